"""Rows as JSON, CSV, Arrow and Parquet: what is read back is what was there, whatever is in it."""

import csv
import io
import json
import math
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from etl_assets.api.formats import Format, negotiate, render, with_meta
from etl_assets.api.problems import Problem
from etl_assets.api.statements import JSON_TEXT

INSTANT = datetime(2026, 11, 19, 14, 5, tzinfo=UTC)
COLUMNS = {
    "at": pa.timestamp("us", tz="UTC"),
    "clock": pa.timestamp("us"),
    "day": pa.date32(),
    "name": pa.string(),
    "value": pa.float64(),
    "count": pa.int64(),
    "yes": pa.bool_(),
}
SCHEMA = pa.schema(COLUMNS.items())
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001 - NEM clock times have no zone
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "at": st.none() | MOMENTS.map(lambda moment: moment.replace(tzinfo=UTC)),
            "clock": st.none() | MOMENTS,
            "day": st.none() | st.dates(date(1990, 1, 1), date(2100, 1, 1)),
            "name": st.none() | st.text(),
            "value": st.none() | st.floats(),
            "count": st.none() | st.integers(-(2**63), 2**63 - 1),
            "yes": st.none() | st.booleans(),
        }
    ),
    max_size=12,
)


def batches(rows: list[dict], size: int = 5) -> list[pa.RecordBatch]:
    """At least one batch, as a query gives them."""
    parts = [rows[start : start + size] for start in range(0, len(rows), size)] or [[]]
    return [pa.RecordBatch.from_pylist(part, schema=SCHEMA) for part in parts]


def whole(rows: list[dict], form: Format, **more: object) -> bytes:
    return b"".join(render(batches(rows), form, **more))


def iso(moment: datetime | date | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def as_json(row: dict) -> dict:
    """A row as a client of JSON is to see it, by Python's own rules."""
    value = row["value"]
    return {
        **row,
        "at": iso(row["at"]),
        "clock": iso(row["clock"]),
        "day": iso(row["day"]),
        "value": value if value is not None and math.isfinite(value) else None,
    }


def as_csv(row: dict) -> list[str]:
    seen = as_json(row)
    seen["yes"] = None if row["yes"] is None else str(row["yes"]).lower()
    return ["" if seen[name] is None else str(seen[name]) for name in COLUMNS]


@given(ROWS)
def test_json_says_what_was_there(rows):
    read = json.loads(whole(rows, Format.JSON))

    assert read == {"data": [as_json(row) for row in rows]}


@given(ROWS)
def test_csv_says_what_was_there(rows):
    header, *lines = csv.reader(io.StringIO(whole(rows, Format.CSV).decode(), newline=""))

    assert header == list(COLUMNS)
    assert [[*line[:4], *line[5:]] for line in lines] == [[*as_csv(r)[:4], *as_csv(r)[5:]] for r in rows]
    assert [float(line[4]) if line[4] else None for line in lines] == [as_json(row)["value"] for row in rows]


@given(ROWS)
def test_an_arrow_stream_is_the_rows_themselves(rows):
    read = pa.ipc.open_stream(whole(rows, Format.ARROW)).read_all()

    assert read.equals(pa.Table.from_batches(batches(rows)).combine_chunks()) or any(
        row["value"] is not None and math.isnan(row["value"]) for row in rows
    )
    assert read.num_rows == len(rows)


@given(ROWS)
def test_a_parquet_file_is_the_rows_themselves(rows):
    read = pq.read_table(io.BytesIO(whole(rows, Format.PARQUET)))

    assert read.schema.names == list(COLUMNS)
    assert read["name"].to_pylist() == [row["name"] for row in rows]
    assert read["at"].to_pylist() == [row["at"] for row in rows]
    assert read["count"].to_pylist() == [row["count"] for row in rows]


@given(ROWS, st.sampled_from([Format.JSON, Format.CSV]), st.integers(1, 12))
def test_where_batches_end_does_not_show_in_text(rows, form, size):
    assert b"".join(render(batches(rows, size), form)) == whole(rows, form)


def test_text_is_written_in_one_way_and_no_other():
    row = {"at": INSTANT, "clock": datetime(2026, 11, 20, 0, 5), "day": date(2026, 11, 20),  # noqa: DTZ001
           "name": 'a "b"', "value": 0.1, "count": 3, "yes": True}  # fmt: skip

    assert whole([row], Format.JSON) == (
        b'{"data":[{"at":"2026-11-19T14:05:00Z","clock":"2026-11-20T00:05:00","day":"2026-11-20",'
        b'"name":"a \\"b\\"","value":0.1,"count":3,"yes":true}]}'
    )
    assert whole([row], Format.CSV) == (
        b"at,clock,day,name,value,count,yes\r\n"
        b'2026-11-19T14:05:00Z,2026-11-20T00:05:00,2026-11-20,"a ""b""",0.1,3,true\r\n'
    )


def test_microseconds_are_written_where_there_are_any():
    moments = [INSTANT, INSTANT + timedelta(microseconds=1)]
    batch = pa.RecordBatch.from_pydict({"at": pa.array(moments, COLUMNS["at"])})

    lines = b"".join(render([batch], Format.CSV)).split()

    assert lines[1:] == [b"2026-11-19T14:05:00Z", b"2026-11-19T14:05:00.000001Z"]


def test_an_instant_of_another_zone_is_written_in_utc():
    batch = pa.RecordBatch.from_pydict({"at": pa.array([INSTANT], pa.timestamp("us", tz="Australia/Sydney"))})

    assert b"".join(render([batch], Format.CSV)).split()[1] == b"2026-11-19T14:05:00Z"


def test_meta_is_told_how_many_rows_there_were_and_comes_last():
    rows = [dict.fromkeys(COLUMNS)] * 7

    read = json.loads(whole(rows, Format.JSON, meta=lambda count: {"rows": count}))

    assert list(read) == ["data", "_meta"]
    assert read["_meta"] == {"rows": 7}


def test_meta_can_be_added_to_a_body_that_was_made_without():
    body = with_meta(whole([dict.fromkeys(COLUMNS)], Format.JSON), {"route": "cached", "site": 'a "b"'})

    assert json.loads(body)["_meta"] == {"route": "cached", "site": 'a "b"'}


def test_text_that_is_json_goes_into_json_as_it_is():
    field = pa.field("tags", pa.string(), metadata=JSON_TEXT)
    batch = pa.RecordBatch.from_arrays([pa.array(['{"a":[1]}', None])], schema=pa.schema([field]))

    assert json.loads(b"".join(render([batch], Format.JSON)))["data"] == [{"tags": {"a": [1]}}, {"tags": None}]
    assert b"".join(render([batch], Format.CSV)).split(b"\r\n")[1] == b'"{""a"":[1]}"'


def test_a_body_is_made_batch_by_batch():
    def endless():
        while True:
            yield batches([dict.fromkeys(COLUMNS)])[0]

    for form in (Format.JSON, Format.CSV, Format.ARROW):
        pieces = render(endless(), form)

        assert [len(next(pieces)) < 2_000 for _ in range(4)] == [True] * 4


def request(*accepts: str) -> Request:
    return Request({"type": "http", "headers": [(b"accept", accept.encode()) for accept in accepts]})


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Format.JSON),
        ("*/*", Format.JSON),
        ("application/json", Format.JSON),
        ("text/csv", Format.CSV),
        ("TEXT/CSV; charset=utf-8", Format.CSV),
        ("text/*", Format.CSV),
        ("application/vnd.apache.arrow.stream", Format.ARROW),
        ("application/vnd.apache.parquet", Format.PARQUET),
        ("application/json;q=0.5, text/csv", Format.CSV),
        ("text/csv;q=0.1, */*;q=0.2", Format.JSON),
        ("application/json;q=0, */*", Format.CSV),
        ("text/html, application/xhtml+xml, */*;q=0.8", Format.JSON),
        ("nonsense, text/csv;q=nonsense, text/csv;q=0.4", Format.CSV),
    ],
)
def test_the_format_is_what_accept_prefers(accept, form):
    assert negotiate(request(accept)) is form


def test_accept_may_come_in_several_headers():
    assert negotiate(request("text/html", "text/csv")) is Format.CSV


def test_the_parameter_goes_before_accept():
    assert negotiate(request("text/csv"), Format.PARQUET) is Format.PARQUET


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "image/*", "*/*;q=0"])
def test_what_accepts_none_of_the_formats_is_told_which_there_are(accept):
    with pytest.raises(Problem) as refused:
        negotiate(request(accept))

    assert refused.value.status_code == 406
    assert "text/csv" in refused.value.detail
