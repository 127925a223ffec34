"""Aggregates and counts that are not those of the readings, and what the account never told, are found."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from etl_assets.simulator import ace_wire
from etl_assets.simulator.ace_samples import instant
from etl_assets.simulator.ace_world import AceSite
from soak.building_checks import aggregates, counted, listings, weather
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
def towers(plan: Plan, truth_of) -> Truth:
    """A site large enough to have a weather feed."""
    return truth_of(plan, AceSite("tower", 20))


def tell(warehouse: duckdb.DuckDBPyConnection, truth: Truth, at: datetime = TOLD) -> None:
    """What the account tells of the tower at a time, each value under its own time."""
    for column, name in (("temperature", "temp"), ("humidity", "humidity"), ("wind_speed", "wind_speed")):
        _, samples = truth.world.weather("tower", at)[name]
        warehouse.execute(
            f"INSERT INTO ace.weather_raw (site_name, \"timestamp\", {column}) VALUES ('tower', ?, ?)",
            [instant(int(samples.time[0])), float(samples.values()[0])],
        )


def test_weather_that_the_account_told_holds(warehouse: duckdb.DuckDBPyConnection, towers: Truth) -> None:
    tell(warehouse, towers)

    found = weather(warehouse, towers)

    assert (found.holds, found.seen) == (True, "3 values of 1 sites")


@pytest.mark.parametrize("column", ["temperature", "humidity", "wind_speed"])
@pytest.mark.parametrize(
    "change", ["{} = {} + 0.5", '"timestamp" = "timestamp" + INTERVAL 7 SECOND', "site_name = 'villa'"]
)
def test_a_value_that_the_account_never_told_is_found(
    warehouse: duckdb.DuckDBPyConnection, towers: Truth, column: str, change: str
) -> None:
    tell(warehouse, towers)
    tell(warehouse, towers, TOLD - timedelta(hours=1))
    warehouse.execute(
        f"UPDATE ace.weather_raw SET {change.format(column, column)} "
        f"WHERE {column} IS NOT NULL AND \"timestamp\" < '{TOLD - timedelta(minutes=50)}'"
    )

    found = weather(warehouse, towers)

    assert not found.holds
    assert "; 1 are not, such as " in found.seen


def test_a_feed_that_told_nothing_is_found(warehouse: duckdb.DuckDBPyConnection, towers: Truth) -> None:
    found = weather(warehouse, towers)

    assert (found.holds, found.seen) == (False, "0 values of 0 sites; not daily: tower")


def test_a_feed_must_tell_something_on_each_day_until_a_backup_was_taken(
    warehouse: duckdb.DuckDBPyConnection, towers: Truth
) -> None:
    tell(warehouse, towers)
    longer = replace(towers, plan=replace(towers.plan, end=towers.plan.end + timedelta(days=3)))

    assert weather(warehouse, longer).seen == "3 values of 1 sites; not daily: tower"
    assert weather(warehouse, replace(longer, met_until=towers.plan.end)).holds


POINT = "demo-client/tower/10.0.0.1-100/analogInput/1"


@pytest.fixture
def listed(warehouse: duckdb.DuckDBPyConnection, towers: Truth) -> duckdb.DuckDBPyConnection:
    """The tower and its points, as the account describes them."""
    power = json.dumps(["demo-client/tower/10.0.0.1-100/analogInput/11"])
    warehouse.execute(
        "INSERT INTO ace.sites (site_name, client, latitude, longitude, archived, region_id, power_points) "
        "VALUES ('tower', 'demo-client', -33.87, 151.21, false, 'NSW1', ?)",
        [power],
    )
    for point in ace_wire.points(towers.world.layout("tower")):
        warehouse.execute(
            "INSERT INTO ace.points (site_name, point_name, client, collect_enabled, collect_interval, is_listed, "
            "kv_tags, marker_tags, created) VALUES ('tower', ?, 'demo-client', ?, ?, true, ?, ?, ?::TIMESTAMPTZ)",
            [
                *(point[name] for name in ("name", "collect_enabled", "collect_interval")),
                *(json.dumps(point[name]) for name in ("kv_tags", "marker_tags")),
                f"{point['created']}+00",
            ],
        )
    return warehouse


def test_sites_and_points_of_the_account_hold(listed: duckdb.DuckDBPyConnection, towers: Truth) -> None:
    found = listings(listed, towers)

    assert (found.holds, found.seen) == (True, "1 sites, 20 points")


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM ace.sites",
        "UPDATE ace.sites SET power_points = '[]'",
        "UPDATE ace.sites SET latitude = NULL",
        "UPDATE ace.sites SET region_id = 'VIC1'",
        "INSERT INTO ace.sites (site_name) VALUES ('villa')",
        f"DELETE FROM ace.points WHERE point_name = '{POINT}'",
        f"UPDATE ace.points SET collect_interval = 17 WHERE point_name = '{POINT}'",
        f"UPDATE ace.points SET collect_enabled = NULL WHERE point_name = '{POINT}'",
        f"UPDATE ace.points SET is_listed = false WHERE point_name = '{POINT}'",
        f"""UPDATE ace.points SET kv_tags = '{{"unit": "percent"}}' WHERE point_name = '{POINT}'""",
        f"UPDATE ace.points SET created = created + INTERVAL 10 HOUR WHERE point_name = '{POINT}'",
        "INSERT INTO ace.points (site_name, point_name) VALUES ('tower', 'demo-client/tower/none')",
    ],
)
def test_a_site_or_a_point_that_the_account_describes_otherwise_is_found(
    listed: duckdb.DuckDBPyConnection, towers: Truth, change: str
) -> None:
    listed.execute(change)

    found = listings(listed, towers)

    assert not found.holds
    assert "; 1 are not, such as " in found.seen


@pytest.fixture
def tallied(aggregated: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """One reading of the 29th of September NEM time and two of the 30th, and what is said of them."""
    aggregated.execute(
        "INSERT INTO ace.query_metadata (site_name, point_name, data_start, data_end, total_samples) "
        "VALUES ('a', 'p', '2025-09-29 13:59:30+00', '2025-09-29 14:00:40+00', 3)"
    )
    aggregated.execute(
        "INSERT INTO quality.data_quality (site_name, point_name, date, actual_samples) "
        "VALUES ('a', 'p', '2025-09-29', 1), ('a', 'p', '2025-09-30', 2), ('a', 'dead', '2025-09-30', 0)"
    )
    return aggregated


def test_counts_of_readings_that_are_right_hold(tallied: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    found = counted(tallied, truth)

    assert (found.holds, found.seen) == (True, "1 points, 3 days of points")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ace.query_metadata SET total_samples = 2",
        "UPDATE ace.query_metadata SET data_start = NULL",
        "UPDATE ace.query_metadata SET data_end = '2025-09-29 14:00:30+00'",
        "DELETE FROM ace.query_metadata",
        "UPDATE quality.data_quality SET actual_samples = 3 WHERE actual_samples = 2",
        "UPDATE quality.data_quality SET actual_samples = 1 WHERE point_name = 'dead'",
        "DELETE FROM quality.data_quality WHERE actual_samples = 2",
    ],
)
def test_a_count_of_readings_that_is_wrong_is_found(
    tallied: duckdb.DuckDBPyConnection, truth: Truth, change: str
) -> None:
    tallied.execute(change)

    found = counted(tallied, truth)

    assert not found.holds
    assert found.seen.startswith("1 are not, such as ")
