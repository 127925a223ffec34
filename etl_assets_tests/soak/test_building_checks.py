"""Aggregates that are not those of the readings, and weather that nobody told, are found."""

from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from soak.building_checks import aggregates, weather
from soak.plan import Plan
from soak.truth import Truth

AGGREGATE = (
    'INSERT INTO ace.timeseries_agg (site_name, point_name, "interval", "timestamp", avg_value, min_value, max_value, '
    "sample_count) VALUES ('a', 'p', ?, ?::TIMESTAMPTZ, ?, ?, ?, ?)"
)
TOLD = datetime(2025, 9, 30, 13, 0, tzinfo=UTC)


@pytest.fixture
def aggregated(warehouse: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Three readings around midnight NEM time (14:00 UTC), and their eight aggregates."""
    warehouse.execute(
        "CREATE TABLE ace.timeseries_all AS SELECT 'a' AS site_name, 'p' AS point_name, t AS \"timestamp\", v AS value "
        "FROM (VALUES (TIMESTAMPTZ '2025-09-29 13:59:30+00', 1.0), ('2025-09-29 14:00:30+00', 3.0), "
        "('2025-09-29 14:00:40+00', 5.0)) AS r(t, v)"
    )
    for interval, first in (("1min", "13:59"), ("5min", "13:55"), ("1h", "13:00"), ("1d", "14:00")):
        day = "28" if interval == "1d" else "29"
        for start, one, two, count in ((f"2025-09-{day} {first}", 1.0, 1.0, 1), ("2025-09-29 14:00", 3.0, 5.0, 2)):
            warehouse.execute(AGGREGATE, [interval, f"{start}:00+00", (one + two) / 2, one, two, count])
    return warehouse


def test_aggregates_are_worked_out_again_and_days_begin_at_midnight_nem_time(
    aggregated: duckdb.DuckDBPyConnection, truth: Truth
) -> None:
    found = aggregates(aggregated, truth)

    assert (found.holds, found.seen) == (True, "8 rows")


@pytest.mark.parametrize("column", ["avg_value", "min_value", "max_value", "sample_count"])
@pytest.mark.parametrize("value", ["6", "NULL"])
def test_an_aggregate_of_another_value_or_of_none_is_found(
    aggregated: duckdb.DuckDBPyConnection, truth: Truth, column: str, value: str
) -> None:
    aggregated.execute(
        f"UPDATE ace.timeseries_agg SET {column} = {value} WHERE sample_count = 2 AND \"interval\" = '1d'"
    )

    found = aggregates(aggregated, truth)

    assert (found.holds, found.seen) == (False, "0 missing, 0 of no reading, 1 different, of 8")


def test_an_aggregate_that_is_missing_is_found(aggregated: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    aggregated.execute("DELETE FROM ace.timeseries_agg WHERE \"interval\" = '5min' AND sample_count = 1")

    found = aggregates(aggregated, truth)

    assert (found.holds, found.seen) == (False, "1 missing, 0 of no reading, 0 different, of 8")


def test_an_aggregate_of_no_reading_is_found(aggregated: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    aggregated.execute(AGGREGATE, ["1h", "2025-09-29 20:00:00+00", 1.0, 1.0, 1.0, 1])

    found = aggregates(aggregated, truth)

    assert (found.holds, found.seen) == (False, "0 missing, 1 of no reading, 0 different, of 9")


@pytest.fixture
def weather_truth(plan: Plan, truth_of) -> Truth:
    """A site large enough to have a weather feed."""
    from etl_assets.simulator.ace_world import AceSite

    return truth_of(plan, AceSite("tower", 20))


def tell(warehouse: duckdb.DuckDBPyConnection, truth: Truth, off: float | None) -> None:
    """The last temperature before 13:00 UTC, so much off; None: no temperature."""
    _, samples = truth.world.weather("tower", TOLD)["temp"]
    temperature = None if off is None else float(samples.values()[0]) + off
    warehouse.execute(
        "INSERT INTO ace.weather_raw (site_name, \"timestamp\", temperature) VALUES ('tower', ?, ?)",
        [TOLD + (timedelta() if off is None else timedelta(seconds=off)), temperature],
    )


def test_a_temperature_that_the_account_told_holds(warehouse: duckdb.DuckDBPyConnection, weather_truth: Truth) -> None:
    tell(warehouse, weather_truth, 0.0)
    tell(warehouse, weather_truth, None)

    found = weather(warehouse, weather_truth)

    assert (found.holds, found.seen) == (True, "0 of 1 are not")


def test_a_temperature_that_the_account_never_told_is_found(
    warehouse: duckdb.DuckDBPyConnection, weather_truth: Truth
) -> None:
    tell(warehouse, weather_truth, 0.0)
    tell(warehouse, weather_truth, 100.0)

    found = weather(warehouse, weather_truth)

    assert (found.holds, found.seen) == (False, "1 of 2 are not")


def test_no_temperature_at_all_does_not_hold(warehouse: duckdb.DuckDBPyConnection, weather_truth: Truth) -> None:
    tell(warehouse, weather_truth, None)

    assert not weather(warehouse, weather_truth).holds
