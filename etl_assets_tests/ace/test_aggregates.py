"""Aggregates are what a direct aggregation of the readings gives, whatever the ticks that made them."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import count, pairwise
from math import fsum

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from etl_assets.ace.aggregates import derive_aggregates, derive_day
from etl_assets.lake.connection import write_lake
from etl_assets.lake.tables import TIMESERIES_RAW
from etl_assets.lake.upsert import UpsertCounts, transaction, upsert
from etl_assets.market_time import NEM_TIME
from etl_assets.settings import Settings

DAY = date(2026, 11, 20)
START = datetime(2026, 11, 20, tzinfo=NEM_TIME)
NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
WIDTHS = {"1min": 60, "5min": 300, "1h": 3600, "1d": 86400}

Reading = tuple[str, datetime, float]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    settings = Settings(_env_file=None, etl_data=tmp_path_factory.mktemp("aggregates") / "data")
    with write_lake(settings, "a test") as connection:
        yield connection


SITES = (f"site-{number}" for number in count())


@pytest.fixture
def site() -> str:
    """A site that no other test knows."""
    return next(SITES)


def at(text: str) -> datetime:
    """A clock time of the market day, to the microsecond."""
    hour, minute, second = text.split(":")
    return START + timedelta(hours=int(hour), minutes=int(minute), seconds=float(second))


def put(lake, site: str, readings: Sequence[Reading]) -> None:
    rows = pa.table(
        {
            "site_name": [site] * len(readings),
            "point_name": [point for point, _, _ in readings],
            "timestamp": [moment for _, moment, _ in readings],
            "value": [value for _, _, value in readings],
        }
    )
    with transaction(lake):
        upsert(lake, TIMESERIES_RAW, rows, now=NOW)


def tick(lake, site: str, since: datetime, until: datetime) -> UpsertCounts:
    with transaction(lake):
        return derive_aggregates(lake, site, since, until, now=NOW)


def day(lake, site: str, day: date = DAY) -> UpsertCounts:
    with transaction(lake):
        return derive_day(lake, site, day, now=NOW)


def aggregates(lake, site: str, interval: str) -> list[tuple]:
    """Point, start in seconds of the market day, mean, lowest, highest, how many."""
    rows = lake.execute(
        'SELECT point_name, "timestamp", avg_value, min_value, max_value, sample_count FROM lake.ace.timeseries_agg '
        'WHERE site_name = ? AND "interval" = ? ORDER BY 1, 2',
        [site, interval],
    ).fetchall()
    return [(point, (start - START).total_seconds(), *figures) for point, start, *figures in rows]


def test_readings_are_gathered_by_minute_five_minutes_hour_and_market_day(lake, site):
    put(lake, site, [("p", at("10:00:01"), 1.0), ("p", at("10:00:59"), 3.0), ("p", at("10:03:00"), 8.0)])

    counts = day(lake, site)

    assert counts == UpsertCounts(inserted=5)
    assert aggregates(lake, site, "1min") == [("p", 36000, 2.0, 1.0, 3.0, 2), ("p", 36180, 8.0, 8.0, 8.0, 1)]
    assert aggregates(lake, site, "5min") == [("p", 36000, 4.0, 1.0, 8.0, 3)]
    assert aggregates(lake, site, "1h") == [("p", 36000, 4.0, 1.0, 8.0, 3)]
    assert aggregates(lake, site, "1d") == [("p", 0, 4.0, 1.0, 8.0, 3)]


def test_an_interval_has_its_start_and_not_its_end(lake, site):
    put(lake, site, [("p", at("10:59:59.999999"), 1.0), ("p", at("11:00:00"), 2.0)])

    day(lake, site)

    assert [row[1] for row in aggregates(lake, site, "1h")] == [36000, 39600]


def test_the_day_is_the_market_day_and_not_that_of_utc(lake, site):
    put(lake, site, [("p", at("00:00:00"), 1.0), ("p", at("23:59:59.999999"), 3.0), ("p", at("24:00:00"), 9.0)])

    tick(lake, site, at("00:00:00"), at("24:00:00"))

    assert aggregates(lake, site, "1d") == [("p", 0, 2.0, 1.0, 3.0, 2), ("p", 86400, 9.0, 9.0, 9.0, 1)]
    days = lake.execute(
        "SELECT DISTINCT market_day FROM lake.ace.timeseries_agg WHERE site_name = ? ORDER BY 1", [site]
    )
    assert days.fetchall() == [(DAY,), (date(2026, 11, 21),)]


def test_what_is_there_already_is_unchanged(lake, site):
    put(lake, site, [("p", at("10:00:01"), 0.1), ("p", at("10:00:02"), 0.2), ("p", at("10:00:03"), 0.3)])
    day(lake, site)

    assert day(lake, site) == UpsertCounts(unchanged=4)
    assert tick(lake, site, at("10:00:01"), at("10:00:01")) == UpsertCounts(unchanged=4)


def test_a_corrected_reading_changes_its_own_intervals_alone(lake, site):
    put(lake, site, [("p", at("10:00:00"), 1.0), ("p", at("10:01:00"), 3.0), ("q", at("10:01:00"), 5.0)])
    day(lake, site)
    put(lake, site, [("p", at("10:01:00"), 7.0)])

    counts = tick(lake, site, at("10:01:00"), at("10:01:00"))

    # The minute, five minutes, hour and day of p; of q each is looked at and left.
    assert counts == UpsertCounts(updated=4, unchanged=4)
    assert aggregates(lake, site, "1d") == [("p", 0, 4.0, 1.0, 7.0, 2), ("q", 0, 5.0, 5.0, 5.0, 1)]


def test_intervals_whose_readings_are_gone_go_too(lake, site):
    put(lake, site, [("p", at("10:00:00"), 1.0), ("p", at("12:00:00"), 3.0)])
    day(lake, site)
    lake.execute('DELETE FROM lake.ace.timeseries_raw WHERE site_name = ? AND "timestamp" = ?', [site, at("12:00:00")])

    tick(lake, site, at("12:00:00"), at("12:00:00"))

    assert aggregates(lake, site, "1h") == [("p", 36000, 1.0, 1.0, 1.0, 1)]
    assert aggregates(lake, site, "1d") == [("p", 0, 1.0, 1.0, 1.0, 1)]


def test_a_day_whose_readings_are_archived_keeps_its_aggregates(lake, site):
    put(lake, site, [("p", at("10:00:00"), 1.0)])
    day(lake, site)
    lake.execute("DELETE FROM lake.ace.timeseries_raw WHERE site_name = ?", [site])

    assert day(lake, site) == UpsertCounts()
    assert aggregates(lake, site, "1d") == [("p", 0, 1.0, 1.0, 1.0, 1)]


def test_a_mean_of_equal_readings_is_that_reading(lake, site):
    put(lake, site, [("p", at(f"10:00:0{n}"), 0.1) for n in range(3)])

    day(lake, site)

    assert aggregates(lake, site, "1min") == [("p", 36000, 0.1, 0.1, 0.1, 3)]


def test_sites_do_not_touch_each_other(lake, site):
    other = next(SITES)
    put(lake, site, [("p", at("10:00:00"), 1.0)])
    put(lake, other, [("p", at("10:00:00"), 5.0)])
    day(lake, site)
    day(lake, other)

    assert aggregates(lake, site, "1d") == [("p", 0, 1.0, 1.0, 1.0, 1)]
    assert aggregates(lake, other, "1d") == [("p", 0, 5.0, 5.0, 5.0, 1)]


def directly(readings: Sequence[Reading], width: int) -> dict[tuple[str, float], list[float]]:
    found: dict[tuple[str, float], list[float]] = {}
    for point, moment, value in readings:
        start = (moment - START) // timedelta(seconds=width) * width
        found.setdefault((point, start), []).append(value)
    return found


def assert_direct(lake, site: str, readings: Sequence[Reading]) -> None:
    for interval, width in WIDTHS.items():
        expected = directly(readings, width)
        stored = aggregates(lake, site, interval)
        assert {(point, start) for point, start, *_ in stored} == expected.keys()
        assert len(stored) == len(expected)
        for point, start, mean, low, high, number in stored:
            values = expected[(point, start)]
            assert (low, high, number) == (min(values), max(values), len(values))
            assert mean == pytest.approx(fsum(values) / len(values), rel=1e-9, abs=1e-9 * max(map(abs, values)))


moments = st.one_of(
    st.integers(0, 2 * 3600 * 1_000_000).map(lambda us: START + timedelta(hours=23, microseconds=us)),
    # On the edges of intervals, midnight among them, and beside them.
    st.tuples(st.integers(0, 24), st.integers(-1, 1)).map(
        lambda edge: START + timedelta(hours=23, minutes=5 * edge[0], microseconds=edge[1])
    ),
)
readings_of_any_kind = st.lists(
    st.tuples(st.sampled_from(["p", "q"]), moments, st.floats(-1e9, 1e9)),
    min_size=1,
    max_size=25,
    unique_by=lambda reading: reading[:2],
)


@hypothesis_settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(readings=readings_of_any_kind, cuts=st.lists(st.integers(0, 25), max_size=1), draw=st.randoms())
def test_ticks_in_any_order_give_what_a_direct_aggregation_gives(lake, readings: list[Reading], cuts: list[int], draw):
    site = next(SITES)
    draw.shuffle(readings)
    edges = sorted({0, len(readings), *(min(cut, len(readings)) for cut in cuts)})

    for first, last in pairwise(edges):
        batch = readings[first:last]
        put(lake, site, batch)
        tick(lake, site, min(r[1] for r in batch), max(r[1] for r in batch))

    assert_direct(lake, site, readings)
    counts = day(lake, site)
    assert (counts.inserted, counts.updated) == (0, 0), "a whole day differs from its ticks"
