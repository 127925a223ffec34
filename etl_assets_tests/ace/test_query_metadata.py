"""What there is of each point is right after every tick, whatever came before."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from etl_assets.ace.aggregates import derive_aggregates
from etl_assets.ace.query_metadata import refresh_query_metadata
from etl_assets.lake.connection import write_lake
from etl_assets.lake.tables import TIMESERIES_RAW
from etl_assets.lake.upsert import UpsertCounts, transaction, upsert
from etl_assets.settings import Settings

T = datetime(2026, 11, 20, 1, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def lake(settings: Settings) -> Iterator:
    with write_lake(settings, "a test") as connection:
        yield connection


def sync(lake, *readings: tuple[str, datetime], now: datetime = T, site: str = "a") -> UpsertCounts:
    """Stores readings of value 1, and derives what follows."""
    rows = pa.table(
        {
            "site_name": [site] * len(readings),
            "point_name": [point for point, _ in readings],
            "timestamp": [moment for _, moment in readings],
            "value": [1.0] * len(readings),
        }
    )
    since, until = (bound(moment for _, moment in readings) for bound in (min, max))
    with transaction(lake):
        upsert(lake, TIMESERIES_RAW, rows, now=now)
        derive_aggregates(lake, site, since, until, now=now)
        return refresh_query_metadata(lake, site, since=since, until=until, now=now)


def known(lake, site: str = "a") -> list[tuple]:
    return lake.execute(
        "SELECT point_name, data_start, data_end, total_samples, last_aggregated FROM lake.ace.query_metadata "
        "WHERE site_name = ? ORDER BY 1",
        [site],
    ).fetchall()


def test_a_point_is_known_from_its_first_reading_to_its_last(lake):
    counts = sync(lake, ("p", T), ("p", T + HOUR), ("q", T))

    assert counts == UpsertCounts(inserted=2)
    assert known(lake) == [("p", T, T + HOUR, 2, T), ("q", T, T, 1, T)]


def test_a_tick_widens_what_it_touches_and_leaves_the_other_points(lake):
    sync(lake, ("p", T), ("q", T))

    counts = sync(lake, ("p", T + HOUR), ("p", T - HOUR), now=T + HOUR)

    assert counts == UpsertCounts(updated=1, unchanged=1)
    assert known(lake) == [("p", T - HOUR, T + HOUR, 3, T + HOUR), ("q", T, T, 1, T)]


def test_a_tick_that_brings_nothing_new_changes_nothing(lake):
    sync(lake, ("p", T), ("p", T + HOUR))

    counts = sync(lake, ("p", T), now=T + HOUR)

    assert counts == UpsertCounts(unchanged=1)
    assert known(lake) == [("p", T, T + HOUR, 2, T)]


def test_readings_of_other_days_and_archived_ones_count(lake):
    day_before = T - timedelta(days=1)
    sync(lake, ("p", day_before))
    lake.execute("DELETE FROM lake.ace.timeseries_raw WHERE market_day = ?", [date(2026, 11, 19)])

    sync(lake, ("p", T))

    assert [row[1:4] for row in known(lake)] == [(day_before, T, 2)]


def test_a_point_of_one_name_at_two_sites_is_two_points(lake):
    sync(lake, ("p", T))
    sync(lake, ("p", T + HOUR), site="b")

    assert [row[1:4] for row in known(lake)] == [(T, T, 1)]
    assert [row[1:4] for row in known(lake, "b")] == [(T + HOUR, T + HOUR, 1)]
