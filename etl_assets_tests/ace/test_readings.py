"""What a page becomes on its way into the lake."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_assets.ace.page_wire import BadRecord
from etl_assets.ace.readings import Batch, rejected_on, stamped

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
INSTANT = pa.timestamp("us", tz="UTC")
DAY = date(2026, 11, 22)


def readings(*rows: tuple[str, datetime, float], metadata: Sequence[str] = ()) -> pa.Table:
    names, times, values = zip(*rows, strict=True) if rows else ([], [], [])
    return pa.table(
        {
            "point_name": pa.array(names, pa.string()),
            "timestamp": pa.array(times, INSTANT),
            "value": pa.array(values, pa.float64()),
            "quality": pa.array(["unknown"] * len(rows), pa.string()),
            "metadata": pa.array(metadata or ["{}"] * len(rows), pa.string()),
        }
    )


def whole(batch: Batch) -> list[dict[str, Any]]:
    return [{**row, **batch.constants} for row in batch.rows.to_pylist()]


def test_rows_bear_their_site_and_when_they_were_read() -> None:
    found = stamped(readings(("a", NOW, 1.0), ("b", NOW, 2.0)), "site", NOW)

    assert whole(found) == [
        {
            "point_name": name,
            "timestamp": NOW,
            "value": value,
            "quality": "unknown",
            "metadata": "{}",
            "site_name": "site",
            "collected_at": NOW,
            "created_at": NOW,
        }
        for name, value in (("a", 1.0), ("b", 2.0))
    ]


def test_metadata_that_differ_stay_with_their_rows() -> None:
    rows = readings(("b", NOW, 1.0), ("a", NOW, 2.0), metadata=['{"unit": "kW"}', "{}"])

    found = whole(stamped(rows, "site", NOW))

    assert [(row["point_name"], row["metadata"]) for row in found] == [("a", "{}"), ("b", '{"unit": "kW"}')]


def test_a_page_without_readings_is_no_row() -> None:
    assert stamped(readings(), "site", NOW).rows.num_rows == 0


def test_rows_without_points_keep_their_order() -> None:
    times = [NOW, NOW - timedelta(hours=1)]

    found = stamped(pa.table({"timestamp": pa.array(times, INSTANT)}), "site", NOW)

    assert [row["timestamp"] for row in whole(found)] == times


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(["b", "a", "ä", "a/1", "Z", ""]), st.integers(0, 3)), max_size=8), max_size=3
    )
)
def test_rows_come_by_point_and_time_and_of_one_key_in_the_order_received(chunks: list[list[tuple[str, int]]]) -> None:
    rows = [(name, NOW + timedelta(microseconds=at)) for chunk in chunks for name, at in chunk]
    numbered = iter(range(len(rows)))
    tables = [
        readings(*((name, NOW + timedelta(microseconds=at), float(next(numbered))) for name, at in chunk))
        for chunk in chunks
    ]

    found = whole(stamped(pa.concat_tables([readings(), *tables]), "site", NOW))

    expected = sorted(enumerate(rows), key=lambda row: (row[1][0].encode(), row[1][1]))
    assert [row["value"] for row in found] == [float(position) for position, _ in expected]


@pytest.mark.parametrize(
    ("raw", "day"),
    [
        ('{"name":"a","value":null,"time":"2026-11-21T13:59:59.999999"}', date(2026, 11, 21)),
        ('{"name":"a","value":null,"time":"2026-11-21T14:00:00"}', DAY),
        ('{"point_name":"a","timestamp":"2026-11-20T00:00:00Z"}', date(2026, 11, 20)),
        ('{"name":"a","time":"yesterday"}', DAY),
        ('{"name":"a","time":null}', DAY),
        ("[1, 2]", DAY),
        ('{"name":"cut off in the mid', DAY),
    ],
    ids=["before midnight", "at midnight", "the documents' shape", "words", "null", "no object", "cut"],
)
def test_a_record_is_rejected_on_its_own_market_day_or_where_it_was_found(raw: str, day: date) -> None:
    found = rejected_on([BadRecord(raw, "why")], "site", DAY)

    [(found_on, [record])] = found.items()
    assert found_on == day
    assert (record.dataset, record.source, record.raw, record.reason) == ("ace.timeseries_raw", "site", raw, "why")


def test_a_record_met_again_by_a_later_window_is_the_same_one() -> None:
    bad = BadRecord('{"name":"a","value":"NaN","time":"2026-11-21T13:59:59"}', "value is NaN")

    [[first]] = rejected_on([bad], "site", date(2026, 11, 21)).values()
    [[again]] = rejected_on([bad], "site", DAY).values()

    assert first.id == again.id
