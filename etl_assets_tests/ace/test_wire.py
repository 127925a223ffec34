"""What ACE's answers are read as, in both shapes, whole or broken."""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.ace.fields import microseconds, number
from etl_assets.ace.wire import (
    POINT_COLUMNS,
    READINGS,
    SITE_COLUMNS,
    WEATHER_COLUMNS,
    BrokenPage,
    NotAPage,
    Page,
    decode_page,
    decode_points,
    decode_sites,
    decode_weather,
)
from etl_assets.lake.tables import POINTS, SITES, TIMESERIES_RAW, WEATHER_RAW

AT = datetime(2025, 10, 12, 16, 35, 37, 694434, tzinfo=UTC)
AT_TEXT = "2025-10-12T16:35:37.694434"
ACE_RECORD = {"name": "acme/site/10.0.0.1-100/analogInput/1", "value": "1.6100000143051147", "time": AT_TEXT}
SEED_RECORD = {
    "point_name": "hvac_temp_zone1",
    "timestamp": "2024-01-01T00:00:00Z",
    "value": 72.5,
    "quality": "good",
    "metadata": {"unit": "F"},
}


def ace(*records: object, **tail: object) -> bytes:
    return json.dumps({"point_samples": records, "next_cursor": None, "has_more": False} | tail).encode()


def seed(*records: object, **pagination: object) -> bytes:
    tail = {"next_cursor": None, "has_more": False} | pagination
    return json.dumps({"data": records, "pagination": tail, "total_count": 250000}).encode()


def reading(value: object = "1", time: object = AT_TEXT, name: object = "p", **more: object) -> dict[str, Any]:
    return {"name": name, "value": value, "time": time, **more}


def test_the_vendors_shape_is_read() -> None:
    page = decode_page(ace(ACE_RECORD))

    assert page.rows.schema == READINGS
    assert page.rows.to_pylist() == [
        {
            "point_name": "acme/site/10.0.0.1-100/analogInput/1",
            "timestamp": AT,
            "value": 1.6100000143051147,
            "quality": "unknown",
            "metadata": "{}",
        }
    ]
    assert (page.fetched, page.filtered, page.invalid, page.total_count) == (1, 0, (), None)


def test_the_documents_shape_is_read() -> None:
    page = decode_page(seed(SEED_RECORD, next_cursor="abc123", has_more=True))

    assert page.rows.to_pylist() == [
        {
            "point_name": "hvac_temp_zone1",
            "timestamp": datetime(2024, 1, 1, tzinfo=UTC),
            "value": 72.5,
            "quality": "good",
            "metadata": '{"unit":"F"}',
        }
    ]
    assert (page.next_cursor, page.has_more, page.total_count) == ("abc123", True, 250000)


def test_the_columns_are_those_of_the_lake() -> None:
    assert set(READINGS.names) < {c.name for c in TIMESERIES_RAW.columns}
    assert set(WEATHER_COLUMNS.names) < {c.name for c in WEATHER_RAW.columns}
    assert set(POINT_COLUMNS.names) < {c.name for c in POINTS.columns}
    assert set(SITE_COLUMNS.names) < {c.name for c in SITES.columns}


def test_further_keys_of_a_record_go_into_its_metadata() -> None:
    page = decode_page(ace(reading(unit="degC", metadata={"a": 1}), reading(metadata="note")))

    assert page.rows["metadata"].to_pylist() == ['{"a":1,"unit":"degC"}', '{"metadata":"note"}']


def test_names_of_either_shape_are_taken_under_either_list() -> None:
    mixed = {"point_samples": [SEED_RECORD], "has_more": False}

    assert decode_page(json.dumps(mixed).encode()).rows["point_name"].to_pylist() == ["hvac_temp_zone1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-10-12T16:35:37.694434", AT),
        ("2025-10-12 16:35:37.694434", AT),
        ("2025-10-12T16:35:37.694434Z", AT),
        ("2025-10-13T02:35:37.694434+10:00", AT),
        ("2025-10-12T16:35:37.6", AT.replace(microsecond=600_000)),
        ("2025-10-12T16:35:37", AT.replace(microsecond=0)),
        (1_760_286_937, AT.replace(microsecond=0)),
        (1_760_286_937_694, AT.replace(microsecond=694_000)),
        (1_760_286_937_694_434, AT),
        ("1760286937694434", AT),
    ],
)
def test_a_time_is_read(text: object, expected: datetime) -> None:
    alone = decode_page(ace(reading(time=text)))
    mixed = decode_page(ace(reading(time="2001-01-01T00:00:00+01:00"), reading(time=text), reading(time=1_000_000_000)))

    assert alone.rows["timestamp"].to_pylist() == [expected]
    assert mixed.rows["timestamp"].to_pylist()[1] == expected


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2025-13-01T00:00:00", "2025-10-12T24:00:00", "2025-10-12T16:35:37.1234567", "12", 1.5, 10**18,
     True, None, [], "0001-01-01T00:00:00+10:00"],
)  # fmt: skip
def test_a_time_that_cannot_be_read_makes_a_bad_record(text: object) -> None:
    page = decode_page(ace(reading(time=text), reading()))

    assert [bad.reason for bad in page.invalid] == ["time is missing" if text is None else "time cannot be read"]
    assert page.rows.num_rows == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [("72.5", 72.5), (72.5, 72.5), (7, 7.0), (True, 1.0), (False, 0.0), ("-1e3", -1000.0), (" 5 ", 5.0), ("+.5", 0.5)],
)
def test_a_value_is_read(value: object, expected: float) -> None:
    assert decode_page(ace(reading(value))).rows["value"].to_pylist() == [expected]
    assert decode_page(ace(reading("active"), reading(value), reading(1))).rows["value"].to_pylist() == [expected, 1.0]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "value is missing"),
        ("", "value is empty"),
        ("NaN", "value is NaN"),
        ("inf", "value is infinite"),
        ("-Infinity", "value is infinite"),
        ("1e400", "value is infinite"),
        ("active", "value is not a number"),
        ("1_000", "value is not a number"),
        ("1,5", "value is not a number"),
        ("٣", "value is not a number"),
        ([1], "value is not a number"),
    ],
)
def test_a_value_that_cannot_be_stored_makes_a_bad_record(value: object, reason: str) -> None:
    page = decode_page(ace(reading("1"), reading(value), reading("3")))

    assert page.rows["value"].to_pylist() == [1.0, 3.0]
    (bad,) = page.invalid
    assert bad.reason == reason
    assert json.loads(bad.raw) == reading(value)


def test_a_bare_nan_spoils_its_record_only() -> None:
    body = b'{"point_samples": [{"name": "p", "value": NaN, "time": "2025-10-12T16:35:37"}, %s], "has_more": false}'

    page = decode_page(body % json.dumps(ACE_RECORD).encode())

    assert ([bad.reason for bad in page.invalid], page.rows.num_rows) == (["value is NaN"], 1)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (reading(name=None), "point name is missing"),
        ({"value": "1", "time": AT_TEXT}, "point name is missing"),
        (reading(name=""), "point name is empty"),
        (reading(name=5), "point name is not text"),
        ("p", "record is not an object"),
        (None, "record is not an object"),
    ],
)
def test_a_record_without_a_name_is_bad_whoever_is_wanted(record: object, reason: str) -> None:
    page = decode_page(ace(record, reading()), wanted=frozenset({"other"}))

    assert ([bad.reason for bad in page.invalid], page.filtered, page.fetched) == ([reason], 1, 2)


def test_points_that_are_not_configured_are_counted_and_named() -> None:
    page = decode_page(
        ace(reading(name="a"), reading("NaN", name="b"), reading(name="c"), reading(name="c")),
        wanted=frozenset({"a", "b"}),
    )

    assert page.rows["point_name"].to_pylist() == ["a"]
    assert (page.fetched, page.filtered, len(page.invalid)) == (4, 2, 1)
    assert page.skipped == {"c"}


def test_a_bad_record_reads_the_same_however_its_page_was_read() -> None:
    quick = decode_page(ace(reading("NaN")))
    careful = decode_page(ace(reading("NaN"), reading(unit="degC")))

    assert quick.invalid == careful.invalid


@pytest.mark.parametrize("shape", [ace, seed])
@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ({"has_more": True, "next_cursor": "c"}, (True, "c")),
        ({"has_more": "true", "next_cursor": "c"}, (True, "c")),
        ({"has_more": False, "next_cursor": "c"}, (False, None)),
        ({"has_more": True, "next_cursor": None}, (True, None)),
        ({"has_more": True, "next_cursor": ""}, (True, None)),
        ({"has_more": None, "next_cursor": "c"}, (True, "c")),
        ({"has_more": None, "next_cursor": None}, (True, None)),
    ],
)
def test_where_the_next_page_is(
    shape: Callable[..., bytes], tail: dict[str, object], expected: tuple[bool, str | None]
) -> None:
    page = decode_page(shape(**tail))

    assert (page.has_more, page.next_cursor) == expected


def test_an_answer_that_is_not_in_pages_is_its_own_end() -> None:
    assert not decode_page(b'{"point_samples": []}', paginated=False).has_more


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>Log in</html>", "Expected JSON, got b'<html>Log in"),
        (b"", "Expected JSON"),
        (b"[]", "Expected a JSON object, got list"),
        (b'{"results": [], "status": "ok"}', "the keys 'results', 'status'"),
        (b"{}", "no keys"),
        (b'{"data": null, "point_samples": {}}', "No list of records"),
        (b'{"data": [], "point_samples": []}', "Two lists of records"),
        (b'{"data": [], "next_cursor": 5, "has_more": true}', "'next_cursor', got int"),
        (b'{"data": [], "next_cursor": null, "has_more": 1}', "'has_more', got int"),
    ],
)
def test_what_is_no_page_is_an_error_that_says_what_it_is(body: bytes, message: str) -> None:
    with pytest.raises(NotAPage, match=message) as caught:
        decode_page(body)

    assert not isinstance(caught.value, BrokenPage)


def test_a_cut_page_is_a_broken_one() -> None:
    with pytest.raises(BrokenPage):
        decode_page(ace(ACE_RECORD)[:60])


def test_the_end_of_a_page_is_described_for_the_cursor() -> None:
    late = "2025-10-12T16:40:00"
    page = decode_page(ace(reading(), reading("NaN", late), reading("1", late, "q")))

    assert (page.last_time_text, page.trailing, page.ordered) == (late, 2, True)
    assert (page.first_time, page.last_time) == (AT, datetime(2025, 10, 12, 16, 40, tzinfo=UTC))
    assert not decode_page(ace(reading("1", late), reading())).ordered


def test_readings_outside_a_window_are_set_aside_and_counted() -> None:
    times = [AT + timedelta(minutes=n) for n in range(-1, 4)]
    page = decode_page(ace(*(reading(time=t.replace(tzinfo=None).isoformat()) for t in times)))

    inside = page.within(AT, AT + timedelta(minutes=2))

    assert inside.rows["timestamp"].to_pylist() == times[1:4]
    assert (inside.outside, inside.filtered, inside.fetched) == (2, 2, 5)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
moments = st.datetimes().map(datetime.isoformat) | st.integers(10**9, 10**16) | st.just(AT_TEXT)
values = st.floats().map(repr) | st.floats() | st.booleans() | st.sampled_from(["NaN", "active", "", None])
names = st.sampled_from(["a", "b", "c", ""])
shapes = st.fixed_dictionaries({"name": names, "value": values, "time": moments}) | st.fixed_dictionaries(
    {"point_name": names, "value": values, "timestamp": moments},
    optional={"quality": st.text(max_size=5) | st.none(), "metadata": anything, "x": anything},
)
keys = st.sampled_from(["name", "point_name", "value", "time", "timestamp", "quality", "metadata", "x"])
records = shapes | st.dictionaries(keys, anything | moments | values) | anything


@settings(max_examples=150, deadline=None)
@given(
    sent=st.lists(records, max_size=8) | st.lists(shapes, max_size=8),
    key=st.sampled_from(["data", "point_samples"]),
    wanted=st.frozensets(st.sampled_from("abc")),
)
def test_every_record_of_any_page_is_accounted_for(sent: list[object], key: str, wanted: frozenset[str]) -> None:
    page = decode_page(json.dumps({key: sent, "has_more": False}).encode(), wanted=wanted)

    assert_balanced(page, len(sent))
    kept = page.rows.to_pylist()
    assert all(math.isfinite(row["value"]) and row["point_name"] for row in kept)
    assert all(row["point_name"] in wanted for row in kept if wanted)
    assert all(isinstance(json.loads(row["metadata"]), dict) for row in kept)


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=60) | anything.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_page_or_an_error(body: bytes) -> None:
    try:
        page = decode_page(body)
    except NotAPage:
        return

    assert_balanced(page, page.fetched)


@settings(max_examples=100, deadline=None)
@given(at=st.integers(0, 400))
def test_a_page_cut_anywhere_is_an_error(at: int) -> None:
    body = ace(ACE_RECORD, reading("NaN"), SEED_RECORD)

    with pytest.raises(NotAPage):
        decode_page(body[: min(at, len(body) - 1)])


@given(moment=st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2900, 1, 1)))  # noqa: DTZ001 - naive is meant
def test_a_naive_time_is_utc_to_the_microsecond(moment: datetime) -> None:
    expected = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)  # noqa: DTZ001

    assert microseconds(moment.isoformat()) == expected


@given(value=st.floats(allow_nan=False))
def test_a_number_in_text_is_that_number(value: float) -> None:
    assert number(repr(value)) == value


def assert_balanced(page: Page, sent: int) -> None:
    assert page.fetched == sent
    assert page.fetched == page.rows.num_rows + len(page.invalid) + page.filtered


def test_last_values_are_one_row_an_instant() -> None:
    values: dict[str, object] = {
        "temp": {"name": "s/weather/temp", "value": "21.5", "time": "2026-08-07T16:25:00"},
        "humidity": {"name": "s/weather/humidity", "value": 40, "time": "2026-08-07T16:25:00"},
        "wind_speed": {"name": "s/weather/wind_speed", "value": "3", "time": "2026-08-07T16:20:00"},
        "pressure": {"name": "s/weather/pressure", "value": "1013", "time": "2026-08-07T16:25:00"},
        "clouds": {"name": "s/weather/clouds", "value": "NaN", "time": "2026-08-07T16:25:00"},
        "wet_bulb": None,
    }

    weather = decode_weather(json.dumps({"weather": values}).encode())

    assert weather.rows.schema == WEATHER_COLUMNS
    assert weather.rows.to_pylist() == [
        {
            "timestamp": datetime(2026, 8, 7, 16, 20, tzinfo=UTC),
            "temperature": None, "humidity": None, "precipitation": None, "wind_speed": 3.0, "conditions": None,
            "metadata": '{"source":"ace_iot_api"}',
        },
        {
            "timestamp": datetime(2026, 8, 7, 16, 25, tzinfo=UTC),
            "temperature": 21.5, "humidity": 40.0, "precipitation": None, "wind_speed": None, "conditions": None,
            "metadata": '{"pressure":1013.0,"source":"ace_iot_api"}',
        },
    ]  # fmt: skip
    assert ([bad.reason for bad in weather.invalid], weather.fetched) == (["value is NaN"], 3)
    assert decode_weather(json.dumps(values).encode()) == weather


def test_observations_are_filled_up_as_001_asks_and_say_so() -> None:
    record = {"timestamp": "2024-01-01T00:00:00Z", "temperature": 20.5, "humidity": 60, "wind_speed": "gale"}

    weather = decode_weather(json.dumps({"data": [record, {"timestamp": "x"}, {"timestamp": AT_TEXT}, 5]}).encode())

    (row,) = weather.rows.to_pylist()
    metadata = json.loads(row.pop("metadata"))
    assert row == {
        "timestamp": datetime(2024, 1, 1, tzinfo=UTC),
        "temperature": 20.5, "humidity": 60.0, "precipitation": 0.0, "wind_speed": None, "conditions": "unknown",
    }  # fmt: skip
    assert metadata == {
        "raw": record,
        "source": "ace_iot_api",
        "defaulted": ["precipitation", "conditions"],
        "unusable": ["wind_speed"],
    }
    assert [bad.reason for bad in weather.invalid] == [
        "time cannot be read",
        "no value at all",
        "record is not an object",
    ]


@pytest.mark.parametrize("body", [b'{"weather": null}', b'{"weather": {"temp": null}}', b'{"temp": null}'])
def test_all_null_is_no_weather(body: bytes) -> None:
    assert decode_weather(body).fetched == 0


def test_weather_in_neither_shape_is_an_error() -> None:
    with pytest.raises(NotAPage, match="the keys 'main'"):
        decode_weather(b'{"main": {"temp": 5}}')


def test_points_are_read_from_their_envelope() -> None:
    point = {
        "id": 7, "name": "acme/site/dev/analogInput/1", "client": "acme", "site": "site", "point_type": None,
        "kv_tags": {"b": 1, "a": 2}, "marker_tags": ["temp"], "bacnet_data": {"units": "degC"}, "collect_config": {},
        "collect_enabled": True, "collect_interval": 300, "created": "2025-01-01T00:00:00", "updated": None,
    }  # fmt: skip
    body = {"items": [point, {"id": 8}], "page": 2, "pages": 5, "per_page": 2, "total": 10}

    listing = decode_points(json.dumps(body).encode())

    assert listing.rows.to_pylist() == [
        {
            "point_name": "acme/site/dev/analogInput/1", "client": "acme", "point_type": None, "collect_enabled": True,
            "collect_interval": 300, "kv_tags": '{"a":2,"b":1}', "marker_tags": '["temp"]',
            "bacnet_data": '{"units":"degC"}', "collect_config": "{}",
            "created": datetime(2025, 1, 1, tzinfo=UTC), "updated": None,
        }
    ]  # fmt: skip
    assert (listing.page, listing.pages, listing.fetched) == (2, 5, 2)
    assert [bad.reason for bad in listing.invalid] == ["name is missing"]


@pytest.mark.parametrize(
    "body", [b'["a", "b"]', b'{"points": ["a", {"name": "b"}]}', b'{"data": [{"point_name": "a"}, "b"]}']
)
def test_points_are_read_from_bare_lists(body: bytes) -> None:
    assert decode_points(body).rows["point_name"].to_pylist() == ["a", "b"]


def test_a_site_without_the_fields_that_its_model_demands_is_read() -> None:
    body = b'{"items": [{"id": 1, "name": "hq", "latitude": "-33.9", "archived": false}], "page": 1, "pages": 1}'

    assert decode_sites(body).rows.to_pylist() == [
        {
            "site_name": "hq", "client": None, "nice_name": None,
            "latitude": -33.9, "longitude": None, "archived": False,
        }
    ]  # fmt: skip


def test_a_list_that_is_none_names_what_it_is() -> None:
    with pytest.raises(NotAPage, match="the keys 'message'"):
        decode_sites(b'{"message": "no"}')
