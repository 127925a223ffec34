"""``/sites``, ``/timeseries`` and the rest of the buildings: what a program gets that pulls readings."""

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from urllib.parse import quote

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_assets.api import site_queries
from etl_assets.api.parameters import TimeRange
from etl_assets.api.problems import Problem
from etl_assets.api.site_queries import Interval, PointFacts, TimeseriesQuery, matching, timeseries_query_of
from etl_assets.lake.tables import DATA_QUALITY, GAPS, KPI_VALUES, TIMESERIES_AGG, WEATHER_RAW
from etl_assets_tests.api.published import (
    DAY,
    NEXT_DAY,
    SITE,
    Api,
    api,
    at,
    known,
    minutes,
    points,
    published,
    readings,
    settings_in,
    site,
)
from etl_assets_tests.api.test_data import INJECTIONS

NAMES = ("client/b/ahu-1/Temp", "client/b/ahu-2/Temp", "client/b/meter, 'main'", "weather/é")
TEMP = NAMES[0]
TIMES = [moment + timedelta(microseconds=n) for n, moment in enumerate(minutes(DAY, 1440))]
VALUES = [20 + n / 7 for n in range(1440)]
AWAY = "site that was closed"
PAGE = f"/sites/{quote(SITE, safe='')}/points"


def aggregates(name: str, interval: str, starts: list[datetime], mean: float) -> tuple:
    rows = [{"site_name": SITE, "point_name": name, "interval": interval, "timestamp": start, "avg_value": mean,
             "min_value": mean - 1, "max_value": mean + 1, "sample_count": 60} for start in starts]  # fmt: skip
    return TIMESERIES_AGG, pa.Table.from_pylist(rows)


def scores(name: str, day: date, score: float) -> tuple:
    row = {"site_name": SITE, "point_name": name, "date": day, "expected_samples": 1440, "quality_score": score}
    return DATA_QUALITY, pa.Table.from_pylist([row])


def gap(dataset: str, start: datetime, healed: datetime | None) -> tuple:
    row = {"dataset": dataset, "entity": "*", "gap_start": start, "gap_end": start, "missing_intervals": 1,
           "healed_at": healed}  # fmt: skip
    return GAPS, pa.Table.from_pylist(
        [row],
        schema=pa.schema(
            [(name, pa.string()) for name in ("dataset", "entity")]
            + [(name, pa.timestamp("us", tz="UTC")) for name in ("gap_start", "gap_end")]
            + [("missing_intervals", pa.int32()), ("healed_at", pa.timestamp("us", tz="UTC"))]
        ),
    )


def kpi(kpi_id: str, day: date, entity: str, value: float) -> tuple:
    row = {"kpi_id": kpi_id, "date": day, "entity": entity, "value": value, "unit": "AUD/MWh"}
    return KPI_VALUES, pa.Table.from_pylist([row])


@pytest.fixture(scope="module")
def building(tmp_path_factory):
    settings = settings_in(tmp_path_factory.mktemp("building"), small_threshold=1_000, large_threshold=2_000)
    weather = {"site_name": [SITE] * 2, "timestamp": [at("2026-11-20 00:00"), at("2026-11-21 00:00")],
               "temperature": [19.5, -1.0]}  # fmt: skip
    published(
        settings,
        site(),
        site(AWAY),
        points(NAMES, kv_tags='{"unit":"degC"}', collect_interval=60),
        points(["other"], AWAY, point_type=None, kv_tags='{"unit":NaN}', marker_tags='["a",]'),
        readings(TEMP, TIMES, VALUES),
        readings(NAMES[1], TIMES[:10], [None, *VALUES[1:10]]),
        known(TEMP, TIMES[0], TIMES[-1], 1440),
        known(NAMES[1], TIMES[0], TIMES[9], 10),
        known("delisted", TIMES[0], TIMES[0], 1),
        aggregates(TEMP, "1h", minutes(DAY, 1440)[::60], 21.5),
        aggregates(TEMP, "1d", minutes(DAY, 1), 22.5),
        (WEATHER_RAW, pa.table(weather)),
        scores(TEMP, DAY, 0.5),
        scores(NAMES[1], NEXT_DAY, 1.0),
        gap("aemo.dispatch_region", at("2026-11-20 00:05"), None),
        gap("ace.timeseries_raw", at("2026-11-20 00:10"), at("2026-11-20 01:00")),
        kpi("average-price", DAY, "NSW1", 80.5),
        kpi("average-price", DAY, "SA1", -2.5),
        kpi("peak", NEXT_DAY, "", 1.0),
    )
    with api(settings) as served:
        yield served


def test_sites_come_with_what_was_read_of_them(building):
    there, away = building.rows("/sites")

    assert (away["site_name"], away["points"], away["total_samples"], away["data_end"]) == (AWAY, 1, 0, None)
    assert (there["site_name"], there["points"], there["total_samples"]) == (SITE, 4, 1451)
    assert (there["data_start"], there["power_points"]) == ("2026-11-19T14:00:00Z", ["p"])


def page(building: Api, **asked) -> dict:
    return building.get(PAGE, **asked).json()


def test_points_come_by_name_page_by_page_those_too_that_the_account_lists_no_more(building):
    first = page(building, limit=2)
    second = page(building, limit=2, cursor=first["_meta"]["nextCursor"])
    third = page(building, limit=2, cursor=second["_meta"]["nextCursor"])

    names = [[row["point_name"] for row in answer["data"]] for answer in (first, second, third)]
    assert names == [[NAMES[0], NAMES[1]], [NAMES[2], "delisted"], [NAMES[3]]]
    assert [answer["_meta"]["total"] for answer in (first, third)] == [5, 5]
    assert third["_meta"]["nextCursor"] is None


def test_a_point_comes_with_what_is_known_of_it(building):
    row = page(building, limit=1)["data"][0]

    assert row["kv_tags"] == {"unit": "degC"}
    assert (row["point_type"], row["collect_interval"], row["total_samples"]) == ("analogInput", 60, 1440)
    assert (row["data_start"], row["data_end"]) == ("2026-11-19T14:00:00Z", "2026-11-20T13:59:00.001439Z")


def test_tags_that_are_not_strictly_json_come_as_text(building):
    answer = building.get(f"/sites/{quote(AWAY, safe='')}/points")

    [row] = json.loads(answer.text, parse_constant=pytest.fail)["data"]
    assert (row["kv_tags"], row["marker_tags"]) == ('{"unit":NaN}', '["a",]')


def test_the_link_of_a_page_leads_to_the_next_with_the_same_question(building):
    answer = building.get(PAGE, limit=1, pattern="*Temp")
    link = answer.headers["Link"].removeprefix("<").partition(">")[0]

    following = building.get(f"{PAGE}{link}")

    assert [row["point_name"] for row in following.json()["data"]] == [NAMES[1]]
    assert "Link" not in following.headers


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"pattern": "*Temp"}, NAMES[:2]),
        ({"pattern": "client/b/*"}, NAMES[:3]),
        ({"pattern": "*[12]/Temp"}, NAMES[:2]),
        ({"pattern": "weather/?"}, NAMES[3:]),
        ({"pattern": "TEMP"}, ()),
        ({"pattern": ""}, ()),
        ({"type": "analogInput"}, NAMES),
        ({"type": "analogInput", "pattern": "*main*"}, NAMES[2:3]),
        ({"type": "binaryInput"}, ()),
    ],
)
def test_points_can_be_asked_for_by_pattern_and_type(building, asked, names):
    assert tuple(row["point_name"] for row in page(building, **asked)["data"]) == names


def test_a_pattern_of_many_asterisks_takes_no_time():
    name = "a" * 200

    assert matching([name], "*a" * 99 + "b") == ()
    assert matching([name], "*a" * 99) == (name,)


@pytest.mark.parametrize("cursor", ["%", "\x00", "gA", "é", "a" * 2_001])
def test_a_cursor_of_somebody_elses_is_refused(building, cursor):
    assert "cursor" in building.get(PAGE, 422, cursor=cursor).json()["detail"]


def test_readings_come_by_point_and_time_with_their_microseconds(building):
    rows = building.rows("/timeseries", site=SITE, points=[NAMES[1], TEMP], **{"from": at_text(1), "to": at_text(3)})

    assert rows == [
        {"point_name": name, "timestamp": TIMES[n].isoformat().replace("+00:00", "Z"), "value": VALUES[n],
         "quality": "good"}
        for name in (TEMP, NAMES[1])
        for n in (1, 2)
    ]  # fmt: skip


def at_text(minute: int) -> str:
    return (minutes(DAY, 1440)[0] + timedelta(minutes=minute)).isoformat()


def test_a_reading_without_a_value_is_null(building):
    rows = building.rows("/timeseries", site=SITE, points=NAMES[1], **{"from": at_text(0), "to": at_text(1)})

    assert [row["value"] for row in rows] == [None]


def test_the_start_of_a_range_belongs_to_it_and_its_end_does_not(building):
    asked = {"from": TIMES[5].isoformat(), "to": TIMES[7].isoformat()}

    rows = building.rows("/timeseries", site=SITE, points=TEMP, **asked)

    assert [row["value"] for row in rows] == VALUES[5:7]


@pytest.mark.parametrize(("interval", "count", "mean"), [("1h", 24, 21.5), ("1d", 1, 22.5), ("5min", 0, None)])
def test_aggregates_come_by_their_start(building, interval, count, mean):
    rows = building.rows("/timeseries", site=SITE, pattern="*1/Temp", day="2026-11-20", interval=interval)

    assert [row["avg_value"] for row in rows] == [mean] * count
    assert [row["timestamp"] for row in rows[:1]] == ["2026-11-19T14:00:00Z"][:count]
    assert {tuple(row)[2:] for row in rows} <= {("avg_value", "min_value", "max_value", "sample_count")}


def test_a_small_request_is_answered_directly_and_says_so(building):
    meta = building.get("/timeseries", site=SITE, points=NAMES[1], day="2026-11-20").json()["_meta"]

    assert meta == {
        "site": SITE, "points": 1, "interval": "raw", "from": "2026-11-19T14:00:00Z", "to": "2026-11-20T14:00:00Z",
        "route": "direct", "cacheHit": False, "estimatedSamples": 10, "samples": 10,
    }  # fmt: skip


def test_a_larger_request_is_answered_from_the_cache_the_second_time_in_the_same_bytes(building):
    asked = {"site": SITE, "points": TEMP, "day": "2026-11-20", "format": "csv"}

    first, second = building.get("/timeseries", **asked), building.get("/timeseries", **asked)

    assert (first.headers["X-Route"], first.headers["X-Cache"]) == ("cached", "miss")
    assert second.headers["X-Cache"] == "hit"
    assert first.content == second.content
    assert [float(row["value"]) for row in csv.DictReader(io.StringIO(second.text))] == VALUES


def test_a_large_request_becomes_a_job(building):
    asked = {"site": SITE, "pattern": "*", "from": "2026-01-01", "to": "2026-12-01"}

    answer = building.get("/timeseries", 202, **asked)

    assert answer.headers["Location"] == answer.json()["statusUrl"]
    # 1,440 and 10 and 1 that are known; of the other two 334 days at 100 a day.
    assert answer.json()["_meta"]["estimatedSamples"] == 1451 + 2 * 334 * 100


@pytest.mark.parametrize("known_total", [5, 15])
@pytest.mark.parametrize(("there", "status"), [(40, 200), (41, 202)])
def test_what_proves_to_be_far_larger_than_was_known_becomes_a_job(tmp_path, known_total, there, status):
    settings = settings_in(tmp_path, small_threshold=10, large_threshold=20)
    times = minutes(DAY, there)
    found = known(TEMP, times[0], times[-1], known_total)
    published(settings, site(), points([TEMP]), readings(TEMP, times, [1.0] * there), found)

    with api(settings) as served:
        body = served.get("/timeseries", status, site=SITE, points=TEMP, day="2026-11-20").json()

    route = {5: "direct", 15: "cached"}[known_total]
    assert body["_meta"]["route"] == (route if status == 200 else "queued")
    assert status == 200 or body["_meta"]["estimatedSamples"] == 41


def test_a_client_that_has_the_readings_is_told_so(building):
    asked = {"site": SITE, "points": NAMES[1], "day": "2026-11-20"}
    tag = {"If-None-Match": building.get("/timeseries", **asked).headers["ETag"]}

    assert building.get("/timeseries", 304, tag, **asked).content == b""
    assert building.get("/timeseries", 200, tag, **asked, format="csv")


def test_head_of_readings_has_no_body_and_starts_no_job(building):
    asked = {"site": SITE, "pattern": "*", "from": "2026-01-01", "to": "2026-12-01"}

    answer = building.http.head("/timeseries", params=asked)

    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    ("path", "asked", "named"),
    [
        ("/sites/nowhere/points", {}, "nowhere"),
        ("/timeseries", {"site": "nowhere", "points": "a", "day": "2026-11-20"}, "nowhere"),
        ("/timeseries", {"site": SITE, "points": [TEMP, "nothing"], "day": "2026-11-20"}, "nothing"),
        ("/timeseries", {"site": AWAY, "points": TEMP, "day": "2026-11-20"}, TEMP),
        ("/weather", {"site": "nowhere", "day": "2026-11-20"}, "nowhere"),
        ("/quality", {"site": "nowhere", "from": "2026-11-20", "to": "2026-11-20"}, "nowhere"),
    ],
)
def test_a_site_or_point_that_there_is_not_is_named(building, path, asked, named):
    answer = building.get(path, 404, **asked)

    assert answer.headers["Content-Type"] == "application/problem+json"
    assert named in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "asked", "name"),
    [
        ("/timeseries", {"points": TEMP, "day": "2026-11-20"}, "site"),
        ("/timeseries", {"site": SITE, "day": "2026-11-20"}, "points"),
        ("/timeseries", {"site": SITE, "points": TEMP}, "from"),
        ("/timeseries", {"site": SITE, "points": TEMP, "day": "2026-11-20", "interval": "2h"}, "interval"),
        ("/timeseries", {"site": SITE, "pattern": "*" * 201, "day": "2026-11-20"}, "pattern"),
        ("/timeseries", {"site": SITE, "point": TEMP, "pattern": "*", "day": "2026-11-20"}, "point"),
        ("/weather", {"site": SITE, "from": "2025-01-01", "to": "2026-11-20"}, "to"),
        ("/kpis", {"from": "2026-11-20"}, "to"),
        ("/kpis", {"from": "2026-11-20", "to": "2026-11-19"}, "to"),
        ("/kpis", {"from": "2025-11-19", "to": "2026-11-20"}, "to"),
        ("/quality", {"from": "today", "to": "2026-11-20"}, "from"),
        ("/gaps", {"state": "closed"}, "state"),
        ("/sites/x/points", {"limit": 0}, "limit"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_the_name_of_the_parameter(building, path, asked, name):
    answer = building.get(path, 422, **asked)

    assert [error["name"] for error in answer.json()["errors"]] == [name]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/timeseries", {"site": SITE, "points": TEMP, "pattern": "*", "interval": "raw", "from": "2026-11-20",
                         "to": "2026-11-21", "format": "csv"}),
        ("/weather", {"site": SITE, "from": "2026-11-20", "to": "2026-11-21", "format": "csv"}),
        ("/kpis", {"from": "2026-11-20", "to": "2026-11-21", "id": "peak", "entity": "SA1", "format": "csv"}),
        ("/quality", {"from": "2026-11-20", "to": "2026-11-21", "site": SITE, "point": TEMP, "format": "csv"}),
        ("/gaps", {"state": "all", "dataset": "aemo.dispatch_region", "format": "csv"}),
        (f"/sites/{AWAY}/points", {"pattern": "*", "type": "x", "cursor": "YQ", "limit": 1, "format": "csv"}),
    ],
)  # fmt: skip
def test_an_injection_finds_nothing_and_breaks_nothing(building, path, asked):
    before = building.get("/quality", **{"from": "2026-11-20", "to": "2026-11-21"}).content

    for parameter in asked:
        for text in INJECTIONS:
            answer = building.http.get(path, params={**asked, parameter: text})

            assert answer.status_code in {200, 404, 422}, (parameter, text, answer.text)
            lines = answer.text.count("\r\n") if answer.status_code == 200 else 0
            assert lines <= 1 or parameter in {"points", "cursor", "pattern"}, (parameter, text, answer.text)
    assert building.get("/quality", **{"from": "2026-11-20", "to": "2026-11-21"}).content == before


@pytest.mark.parametrize("name", INJECTIONS)
def test_an_injection_in_a_path_is_a_site_that_there_is_not(building, name):
    answer = building.http.get(f"/sites/{quote(name, safe='')}/points")

    assert answer.status_code in {404, 422}


def test_weather_has_the_observations_of_a_range(building):
    rows = building.rows("/weather", site=SITE, day="2026-11-20")

    assert [(row["timestamp"], row["temperature"], row["conditions"]) for row in rows] == [
        ("2026-11-19T14:00:00Z", 19.5, None)
    ]


@pytest.mark.parametrize(
    ("asked", "values"),
    [
        ({}, [80.5, -2.5, 1.0]),
        ({"id": "peak"}, [1.0]),
        ({"id": "peak,average-price", "to": "2026-11-20"}, [80.5, -2.5]),
        ({"entity": "SA1"}, [-2.5]),
        ({"id": "unheard-of"}, []),
    ],
)
def test_kpis_can_be_asked_for_by_id_entity_and_day(building, asked, values):
    rows = building.rows("/kpis", **{"from": "2026-11-20", "to": "2026-11-21", **asked})

    assert [row["value"] for row in rows] == values


@pytest.mark.parametrize(
    ("asked", "found"),
    [({}, [0.5, 1.0]), ({"point": TEMP}, [0.5]), ({"from": "2026-11-21"}, [1.0]), ({"site": AWAY}, [])],
)
def test_scores_can_be_asked_for_by_site_point_and_day(building, asked, found):
    rows = building.rows("/quality", **{"from": "2026-11-20", "to": "2026-11-21", **asked})

    assert [row["quality_score"] for row in rows] == found


@pytest.mark.parametrize(
    ("asked", "datasets"),
    [
        ({}, ["aemo.dispatch_region"]),
        ({"state": "healed"}, ["ace.timeseries_raw"]),
        ({"state": "all"}, ["aemo.dispatch_region", "ace.timeseries_raw"]),
        ({"state": "all", "dataset": "ace.timeseries_raw"}, ["ace.timeseries_raw"]),
    ],
)
def test_gaps_are_the_open_ones_unless_others_are_asked_for(building, asked, datasets):
    assert [row["dataset"] for row in building.rows("/gaps", **asked)] == datasets


@pytest.mark.parametrize("path", ["/sites", PAGE, "/timeseries", "/weather", "/kpis", "/quality", "/gaps"])
def test_buildings_are_for_tokens_of_their_scope(building, tmp_path, path):
    assert building.http.get(path, headers={"Authorization": ""}).status_code == 401
    with api(settings_in(tmp_path), scope="read:data") as served:
        assert served.http.get(path).status_code == 403


DAY_OF_IT = TimeRange(TIMES[0], TIMES[0] + timedelta(days=1))


@pytest.mark.parametrize(
    ("facts", "samples"),
    [
        (PointFacts(None, TIMES[0], TIMES[-1], 1440), 1440),
        (PointFacts(None, TIMES[0] - timedelta(days=1), TIMES[0] + timedelta(days=1), 2880), 1440),
        (PointFacts(None, TIMES[0] - timedelta(days=2), TIMES[0] - timedelta(days=1), 1440), 0),
        (PointFacts(None, TIMES[0] + timedelta(days=2), TIMES[0] + timedelta(days=2), 1), 0),
        (PointFacts(None, None, None, 0), None),
    ],
    ids=["all", "half", "none", "one reading elsewhere", "unknown"],
)
def test_readings_are_counted_by_what_is_known_of_a_point(facts, samples):
    assert facts.samples(DAY_OF_IT) == samples


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.none() | st.tuples(st.integers(0, 9), st.integers(1, 9),
                    st.integers(1, 9_000)), min_size=1),
    st.integers(1, 12),
    st.integers(10, 2_000),
    st.sampled_from(Interval),
)  # fmt: skip
def test_the_pieces_of_a_query_are_the_query_in_order_and_none_is_large(known_points, days, most, interval):
    start = TIMES[0]
    facts = {
        name: PointFacts(None, *(start + timedelta(days=d) for d in (of[0], of[0] + of[1])), of[2]) if of
        else PointFacts(None, None, None, 0)
        for name, of in known_points.items()
    }  # fmt: skip
    names = tuple(sorted(known_points))
    query = TimeseriesQuery(SITE, names, interval, TimeRange(start, start + timedelta(days=days)), facts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site_queries, "PIECE_ROWS", most)
        pieces = list(query.pieces())

    asked = [(name, piece.range) for piece in pieces for name in piece.points]
    for name in names:
        ranges = [r for of, r in asked if of == name]
        assert (ranges[0].start, ranges[-1].end) == (query.range.start, query.range.end)
        assert all(one.end == next_one.start for one, next_one in pairwise(ranges))
    assert list(dict.fromkeys(name for name, _ in asked)) == list(names)
    for piece in pieces:
        expected = sum(piece._expected(facts[name]) for name in piece.points)
        assert expected <= most + 2 or all(facts[name].data_start is None for name in piece.points)


def test_the_rows_of_a_query_are_the_same_in_pieces(building, monkeypatch):
    query = timeseries_query_of(building.warehouse, {
        "site": SITE, "points": [TEMP, NAMES[1]], "interval": "raw", "from": at_text(0), "to": at_text(1440),
    })  # fmt: skip
    with building.warehouse.connection() as connection:
        whole = pa.Table.from_batches(query.batches(connection))
        monkeypatch.setattr(site_queries, "PIECE_ROWS", 100)
        in_pieces = list(query.batches(connection))

    assert len(list(query.pieces())) == 16
    assert pa.Table.from_batches(in_pieces).equals(whole)
    assert whole.num_rows == 1450
    assert max(batch.num_rows for batch in in_pieces) <= 101


def test_a_query_is_made_again_from_what_it_says_it_was_asked(building):
    asked = {
        "site": SITE,
        "points": [NAMES[1], TEMP],
        "interval": "1h",
        "from": "2026-11-20",
        "to": "2026-11-21T00:00Z",
    }
    query = timeseries_query_of(building.warehouse, asked)

    assert timeseries_query_of(building.warehouse, query.request()) == query
    assert query.request()["points"] == [TEMP, NAMES[1]]
    assert query.range.end == datetime(2026, 11, 21, tzinfo=UTC)


def test_a_query_for_no_point_has_columns_and_no_rows(building):
    asked = {"site": SITE, "points": [], "interval": "raw", "from": "2026-11-20", "to": "2026-11-21"}
    query = timeseries_query_of(building.warehouse, asked)
    with building.warehouse.connection() as connection:
        batches = list(query.batches(connection))

    assert [(batch.num_rows, batch.schema.names[0]) for batch in batches] == [(0, "point_name")]


def test_a_site_that_there_is_not_raises_a_problem_in_a_job_too(building):
    asked = {"site": "nowhere", "points": [], "interval": "raw", "from": "2026-11-20", "to": "2026-11-21"}

    with pytest.raises(Problem, match="nowhere"):
        timeseries_query_of(building.warehouse, asked)
