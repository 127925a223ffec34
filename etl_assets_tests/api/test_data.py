"""``/data``, ``/data/latest``, ``/regions``: what a program gets that pulls the market."""

import io
import json
import socket
import threading
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from statistics import fmean

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl_assets.api import reading, statements
from etl_assets.api.data_queries import AVERAGED, VALUES
from etl_assets.api.warehouse import MOST_CONNECTIONS
from etl_assets.lake.tables import DISPATCH_INTERCONNECTOR
from etl_assets.market_time import interval_ends
from etl_assets_tests.api.published import DAY, NEXT_DAY, Api, api, at, intervals, published, settings_in

ENDLESS = "SELECT sum(a.i * b.i) FROM range(10000000) AS a(i), range(10000000) AS b(i)"
REGIONS = ("NSW1", "QLD1", "SA1", "TAS1", "VIC1")
INJECTIONS = [
    "'", "' OR 1=1 --", "'; DROP TABLE aemo.price; --", '"', "NSW1' UNION SELECT 1 --", "$1", "?", "%00", "\x00",
    "../../../etc/passwd", "{{7*7}}", "${jndi:ldap://x}", "\\", "a" * 2_000, "😀", "rrp) FROM aemo.price --",
    "read_text('/etc/passwd')", "1e309", "-1", "null", "[]", "{}",
]  # fmt: skip


def price(region: str, end: datetime) -> float:
    """A price that tells which region and interval it is of, negative ones among them."""
    minute = (end.astimezone(UTC) - datetime(2026, 11, 19, 14, tzinfo=UTC)) // timedelta(minutes=1)
    return round(REGIONS.index(region) * 100 + minute / 8 - 120.25, 5)


def two_days() -> list[dict]:
    """All intervals of two market days, and one with a physical run beside the pricing run."""
    ends = [*interval_ends(DAY), *interval_ends(NEXT_DAY)]
    rows = [{"interval_end": end, "region_id": region, "rrp": price(region, end)} for end in ends for region in REGIONS]
    physical = {"interval_end": at("2026-11-20 12:00"), "region_id": "SA1", "intervention": 1, "rrp": 16600.0}
    return [*rows, physical]


def flows(*rows: tuple[str, str, int, float]) -> tuple:
    columns = ("interval_end", "interconnector_id", "intervention", "mw_flow")
    return DISPATCH_INTERCONNECTOR, pa.Table.from_pylist(
        [dict(zip(columns, (at(end), *rest), strict=True)) for end, *rest in rows]
    )


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    settings = settings_in(tmp_path_factory.mktemp("market"))
    published(settings, intervals(two_days()))
    with api(settings) as served:
        yield served


@pytest.fixture
def other(tmp_path):
    """An API of its own, with nothing published."""
    with api(settings_in(tmp_path)) as served:
        yield served


def test_a_market_day_has_the_288_intervals_that_end_after_its_midnight_up_to_the_next(market):
    rows = market.rows("/data", day="2026-11-20", region="VIC1")

    assert len(rows) == 288
    assert rows[0] == {
        "interval_end": "2026-11-19T14:05:00Z", "settlement_date": "2026-11-20T00:05:00", "region_id": "VIC1",
        "rrp": 280.375, "total_demand": 7000.0, "available_generation": 9000.0, "net_interchange": None,
    }  # fmt: skip
    assert (rows[-1]["interval_end"], rows[-1]["settlement_date"]) == ("2026-11-20T14:00:00Z", "2026-11-21T00:00:00")


def test_rows_come_by_interval_and_region_each_with_its_own_price(market):
    rows = market.rows("/data", day="2026-11-20")

    expected = [(end, region) for end in interval_ends(DAY) for region in REGIONS]
    assert [(datetime.fromisoformat(r["interval_end"]), r["region_id"]) for r in rows] == expected
    assert [r["rrp"] for r in rows] == [price(region, end) for end, region in expected]


def test_prices_are_those_that_settle_where_there_was_an_intervention(market):
    rows = market.rows("/data", **{"from": "2026-11-20T11:55", "to": "2026-11-20T12:00"}, region="SA1")

    assert [r["rrp"] for r in rows] == [price("SA1", at("2026-11-20 12:00"))]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-11-20T00:05:00+10:00", "2026-11-20T00:15:00+10:00"),
        ("2026-11-20T00:05", "2026-11-20T00:15"),
        ("2026-11-19T14:05:00Z", "2026-11-19T14:15:00Z"),
        ("2026-11-20T01:05+11:00", "2026-11-20T01:15+11:00"),
        ("2026-11-20T00:05:00 10:00", "2026-11-20T00:15:00 1000"),
        ("20261120T000500", "20261120T001500"),
    ],
    ids=["offset", "NEM time", "UTC", "daylight saving", "plus lost in the address", "basic form"],
)
def test_a_range_has_the_intervals_that_end_after_its_start_up_to_its_end(market, start, end):
    rows = market.rows("/data", **{"from": start, "to": end}, region="NSW1")

    assert [r["settlement_date"] for r in rows] == ["2026-11-20T00:10:00", "2026-11-20T00:15:00"]


def test_a_date_alone_is_its_midnight_in_nem_time(market):
    assert market.rows("/data", **{"from": "2026-11-20", "to": "2026-11-21"}) == market.rows("/data", day="2026-11-20")


def test_a_range_without_intervals_is_empty_and_no_error(market):
    body = market.get("/data", day="2001-01-01").json()

    assert body["data"] == []
    assert body["_meta"]["rows"] == 0


def test_meta_says_what_the_answer_is_of(market):
    meta = market.get("/data", day="2026-11-20", resolution="hour").json()["_meta"]

    assert meta == {
        "rows": 24 * 5, "snapshot": market.warehouse.snapshot.id, "publishedAt": "2026-11-22T02:00:00Z",
        "from": "2026-11-19T14:00:00Z", "to": "2026-11-20T14:00:00Z", "resolution": "hour",
        "route": "direct", "cacheHit": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("resolution", "length"),
    [("30min", timedelta(minutes=30)), ("hour", timedelta(hours=1)), ("day", timedelta(days=1))],
)
def test_a_coarser_resolution_has_the_means_of_the_intervals_that_end_in_each_bucket(market, resolution, length):
    rows = market.rows("/data", day="2026-11-20", resolution=resolution, region="SA1", fields="rrp")

    midnight = at("2026-11-20 00:00")
    ends = [midnight + length * n for n in range(1, timedelta(days=1) // length + 1)]
    means = [
        round(fmean(price("SA1", inner) for inner in interval_ends(DAY) if end - length < inner <= end), 6)
        for end in ends
    ]
    assert [datetime.fromisoformat(r["interval_end"]) for r in rows] == ends
    assert [r["rrp"] for r in rows] == pytest.approx(means, abs=1e-6)
    assert {r["intervals"] for r in rows} == {length // timedelta(minutes=5)}


def test_a_bucket_that_the_range_cuts_has_the_intervals_in_the_range(market):
    asked = {"from": "2026-11-20T00:50", "to": "2026-11-20T01:05", "resolution": "hour", "region": "NSW1"}

    rows = market.rows("/data", **asked)

    assert [(r["settlement_date"], r["intervals"]) for r in rows] == [
        ("2026-11-20T01:00:00", 2),
        ("2026-11-20T02:00:00", 1),
    ]


@pytest.mark.parametrize("asked", [["SA1", "VIC1"], ["SA1,VIC1"], ["VIC1, SA1,SA1"]])
def test_regions_may_be_repeated_or_have_commas(market, asked):
    rows = market.rows("/data", day="2026-11-20", region=asked, resolution="day")

    assert [r["region_id"] for r in rows] == ["SA1", "VIC1"]


def test_all_values_of_a_row_can_be_asked_for(market):
    rows = market.rows("/data", day="2026-11-20", region="SA1", fields=",".join(VALUES))

    assert list(rows[0]) == ["interval_end", "settlement_date", "region_id", *VALUES]
    assert market.rows("/data", day="2026-11-20", region="SA1", fields=sorted(AVERAGED), resolution="day")


def test_what_a_row_is_of_is_there_whatever_is_asked_for(market):
    rows = market.rows("/data", day="2026-11-20", region="SA1", fields="region_id", resolution="day")

    assert rows == [
        {"interval_end": "2026-11-20T14:00:00Z", "settlement_date": "2026-11-21T00:00:00", "region_id": "SA1",
         "intervals": 288}
    ]  # fmt: skip


def test_all_formats_have_the_same_rows(market):
    asked = {"day": "2026-11-20", "resolution": "30min"}
    from_json = market.rows("/data", **asked)
    arrow = pa.ipc.open_stream(market.get("/data", **asked, format="arrow").content).read_all()
    parquet = pq.read_table(io.BytesIO(market.get("/data", **asked, format="parquet").content))
    lines = market.get("/data", headers={"Accept": "text/csv"}, **asked).text.splitlines()

    assert arrow.to_pylist() == parquet.to_pylist()
    assert arrow["rrp"].to_pylist() == [r["rrp"] for r in from_json]
    assert [end.astimezone(UTC).isoformat()[:19] + "Z" for end in arrow["interval_end"].to_pylist()] == [
        r["interval_end"] for r in from_json
    ]
    assert [line.split(",")[0] for line in lines[1:]] == [r["interval_end"] for r in from_json]


@pytest.mark.parametrize(
    ("form", "media_type"),
    [
        ("json", "application/json"),
        ("csv", "text/csv; charset=utf-8"),
        ("arrow", "application/vnd.apache.arrow.stream"),
        ("parquet", "application/vnd.apache.parquet"),
    ],
)
def test_an_answer_says_its_type_its_tag_and_who_may_keep_it(market, form, media_type):
    answer = market.get("/data", day="2026-11-20", format=form)

    assert answer.headers["Content-Type"] == media_type
    assert answer.headers["ETag"].startswith('W/"')
    assert answer.headers["Cache-Control"].startswith("private")
    assert "Accept" in answer.headers["Vary"]


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({}, "from"),
        ({"from": "2026-11-20"}, "to"),
        ({"from": "2026-11-20", "to": "2026-11-20"}, "to"),
        ({"from": "2026-11-21", "to": "2026-11-20"}, "to"),
        ({"from": "2026-11-20", "to": "2026-12-21T00:05"}, "to"),
        ({"from": "yesterday", "to": "2026-11-20"}, "from"),
        ({"from": "0001-01-01", "to": "2026-11-20"}, "from"),
        ({"from": "2026-11-20", "to": "9999-12-31T23:59:59-14:00"}, "to"),
        ({"day": "2026-11-20", "from": "2026-11-20"}, "day"),
        ({"day": "2026-02-30"}, "day"),
        ({"day": "2026-11-20", "region": "NSW"}, "region"),
        ({"day": "2026-11-20", "region": "NSW1,nsw1"}, "region"),
        ({"day": "2026-11-20", "fields": "source_file"}, "fields"),
        ({"day": "2026-11-20", "fields": "price_status", "resolution": "hour"}, "fields"),
        ({"day": "2026-11-20", "resolution": "2h"}, "resolution"),
        ({"day": "2026-11-20", "format": "xml"}, "format"),
        ({"day": "2026-11-20", "regions": "NSW1"}, "regions"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_the_name_of_the_parameter(market, asked, name):
    answer = market.get("/data", status=422, **asked)

    assert answer.headers["Content-Type"] == "application/problem+json"
    assert [error["name"] for error in answer.json()["errors"]] == [name]


def test_thirty_one_days_can_be_asked_for_and_no_more(market):
    most = {"from": "2026-10-22", "to": "2026-11-22"}

    assert len(market.rows("/data", **most, region="SA1")) == 2 * 288
    refused = market.get("/data", status=422, **{**most, "from": "2026-10-21T23:59:59"}).json()
    assert "31 days" in refused["detail"]


@pytest.mark.parametrize("parameter", ["from", "to", "day", "region", "fields", "resolution", "format"])
def test_an_injection_is_refused_and_changes_nothing(market, parameter):
    asked = {"day": "2026-11-20"} if parameter not in {"from", "to"} else {"from": "2026-11-20", "to": "2026-11-21"}

    statuses = {market.http.get("/data", params={**asked, parameter: text}).status_code for text in INJECTIONS}

    assert statuses == {422}
    assert len(market.rows("/data", day="2026-11-20")) == 288 * 5


def test_what_accepts_none_of_the_formats_is_406(market):
    assert market.get("/data", status=406, headers={"Accept": "image/png"}, day="2026-11-20")


def test_a_client_that_has_the_answer_is_told_so_until_its_rows_change(other: Api):
    published(other.settings, intervals([{"interval_end": at("2026-11-20 00:05"), "region_id": "SA1"}]))
    asked = {"day": "2026-11-20"}
    tag = {"If-None-Match": other.get("/data", **asked).headers["ETag"]}
    published(other.settings, intervals([{"interval_end": at("2026-11-21 00:05"), "region_id": "SA1"}]))

    unchanged = other.get("/data", 304, tag, **asked)
    other.get("/data", 200, tag, **asked, format="csv")
    other.get("/data", 200, tag, **asked, region="SA1")
    published(other.settings, intervals([{"interval_end": at("2026-11-20 00:05"), "region_id": "SA1", "rrp": 51.0}]))

    assert (unchanged.content, unchanged.headers["ETag"]) == (b"", tag["If-None-Match"])
    assert other.get("/data", 200, tag, **asked).json()["data"][0]["rrp"] == 51.0


def test_head_has_the_headers_of_get_and_no_body(market):
    asked = market.http.head("/data", params={"day": "2026-11-20"})

    assert asked.status_code == 200
    assert asked.content == b""
    assert "Content-Length" not in asked.headers
    assert asked.headers["ETag"] == market.get("/data", day="2026-11-20").headers["ETag"]


def test_before_the_first_publication_a_client_is_told_to_come_back(other: Api):
    for path in ("/data?day=2026-11-20", "/data/latest"):
        answer = other.get(path, 503)

        assert answer.headers["Retry-After"] == "60"
        assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/data", "/data/latest", "/regions"])
def test_the_market_is_for_tokens_of_its_scope(market, tmp_path, path):
    without = market.http.get(path, headers={"Authorization": ""})
    with api(settings_in(tmp_path), scope="read:timeseries") as served:
        of_another_scope = served.http.get(path)

    assert without.status_code == 401
    assert of_another_scope.status_code == 403


def test_the_newest_interval_of_each_region_comes_with_the_flows_at_its_borders(other: Api):
    ends = {"NSW1": "2026-11-20 23:55", "SA1": "2026-11-21 00:05"}
    published(
        other.settings,
        intervals([{"interval_end": at(end), "region_id": region, "rrp": -1.5} for region, end in ends.items()]),
        intervals([{"interval_end": at("2026-11-20 12:00"), "region_id": "NSW1"}]),
        flows(("2026-11-20 23:55", "V-SA", 0, 10.0), ("2026-11-21 00:05", "V-SA", 0, 20.0),
              ("2026-11-21 00:05", "V-SA", 1, 30.0), ("2026-11-21 00:05", "VIC1-NSW1", 0, -40.0)),
    )  # fmt: skip

    nsw, sa = other.rows("/data/latest")

    assert [(r["region_id"], r["settlement_date"], r["rrp"]) for r in (nsw, sa)] == [
        ("NSW1", "2026-11-20T23:55:00", -1.5),
        ("SA1", "2026-11-21T00:05:00", -1.5),
    ]
    assert [(f["interconnector_id"], f["mw_flow"]) for f in sa["interconnectors"]] == [("V-SA", 30.0)]
    assert [(f["interconnector_id"], f["mw_flow"]) for f in nsw["interconnectors"]] == [("VIC1-NSW1", -40.0)]


def test_the_newest_interval_is_that_of_the_newest_publication(other: Api):
    published(other.settings)
    nothing = other.rows("/data/latest")
    published(other.settings, intervals([{"interval_end": at("2026-11-20 00:05"), "region_id": "SA1"}]))
    first = other.get("/data/latest")
    tag = {"If-None-Match": first.headers["ETag"]}
    other.get("/data/latest", 304, tag)
    published(other.settings, intervals([{"interval_end": at("2026-11-20 00:10"), "region_id": "SA1"}]))
    second = other.get("/data/latest", 200, tag)

    assert nothing == []
    assert [a.json()["data"][0]["settlement_date"] for a in (first, second)] == [
        "2026-11-20T00:05:00",
        "2026-11-20T00:10:00",
    ]


def test_the_newest_interval_comes_in_every_format(market):
    arrow = pa.ipc.open_stream(market.get("/data/latest", format="arrow").content).read_all()
    lines = market.get("/data/latest", format="csv").text.splitlines()

    assert arrow["region_id"].to_pylist() == list(REGIONS)
    assert len(lines) == 6


def test_the_five_regions_have_their_clocks_and_their_links(market):
    rows = market.rows("/regions")

    assert [(r["region_id"], r["time_zone"]) for r in rows][2] == ("SA1", "Australia/Adelaide")
    assert [link["interconnector_id"] for link in rows[2]["interconnectors"]] == ["V-S-MNSP1", "V-SA"]


def test_an_answer_larger_than_what_is_read_ahead_is_whole(market, monkeypatch):
    monkeypatch.setattr(reading, "READ_AHEAD", 10_000)
    monkeypatch.setattr(statements, "BATCH_ROWS", 100)

    assert len(market.rows("/data", day="2026-11-20", fields=",".join(VALUES))) == 288 * 5


def test_a_client_that_hangs_up_frees_its_connection(market, monkeypatch):
    monkeypatch.setattr(reading, "READ_AHEAD", 0)
    monkeypatch.setattr(statements, "BATCH_ROWS", 5)
    host, _, port = market.url.removeprefix("http://").partition(":")
    token = market.http.headers["Authorization"]

    for _ in range(MOST_CONNECTIONS + 2):
        with socket.create_connection((host, int(port))) as client:
            client.sendall(f"GET /data?day=2026-11-20 HTTP/1.1\r\nHost: a\r\nAuthorization: {token}\r\n\r\n".encode())
            assert client.recv(12) == b"HTTP/1.1 200"
    with ExitStack() as all_of_them:
        for _ in range(MOST_CONNECTIONS):
            all_of_them.enter_context(market.warehouse.connection())


def test_a_client_that_hangs_up_while_its_query_runs_stops_it(market, monkeypatch):
    begun = threading.Event()

    def endless(_):
        begun.set()
        return statements.Statement(ENDLESS)

    monkeypatch.setattr("etl_assets.api.data_queries.IntervalsQuery.statement", endless)
    host, _, port = market.url.removeprefix("http://").partition(":")
    token = market.http.headers["Authorization"]

    with socket.create_connection((host, int(port))) as client:
        client.sendall(f"GET /data?day=2026-11-20 HTTP/1.1\r\nHost: a\r\nAuthorization: {token}\r\n\r\n".encode())
        assert begun.wait(10)

    with ExitStack() as all_of_them:
        for _ in range(MOST_CONNECTIONS):
            all_of_them.enter_context(market.warehouse.connection())


def test_an_answer_that_breaks_off_is_seen_to_be_cut(market, monkeypatch):
    def broken(self, connection):
        yield from list(self.statement().batches(connection))[:1]
        raise OSError("the disk is gone")

    monkeypatch.setattr(reading, "READ_AHEAD", 0)
    monkeypatch.setattr("etl_assets.api.data_queries.IntervalsQuery.batches", broken)

    with market.http.stream("GET", "/data", params={"day": "2026-11-20"}) as answer:
        with pytest.raises(Exception, match="peer closed connection"):
            answer.read()
        assert answer.status_code == 200


def test_an_answer_that_cannot_begin_says_why(market, monkeypatch):
    monkeypatch.setattr(market.warehouse, "_limit", timedelta(0))
    monkeypatch.setattr(
        "etl_assets.api.data_queries.IntervalsQuery.statement",
        lambda _: statements.Statement(ENDLESS),
    )

    problem = json.loads(market.get("/data", 504, day="2026-11-20").content)

    assert problem["status"] == 504
    assert "stopped" in problem["detail"]
