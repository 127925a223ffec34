"""Aggregates and counts that are not those of the readings, and what the account never told, are found."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from etl_assets.simulator import ace_wire
from etl_assets.simulator.ace_samples import instant
from etl_assets.simulator.ace_signals import WEATHER_NAMES
from etl_assets.simulator.ace_world import AceSite
from etl_assets_tests.soak.conftest import read
from soak.building_checks import aggregates, counted, listings, weather
from soak.plan import Plan
from soak.truth import Truth

AGGREGATE = (
    'INSERT INTO ace.timeseries_agg (site_name, point_name, "interval", "timestamp", avg_value, min_value, max_value, '
    "sample_count) VALUES ('a', 'p', ?, ?::TIMESTAMPTZ, ?, ?, ?, ?)"
)
TOLD = datetime(2025, 9, 30, 13, 0, tzinfo=UTC)
IN_COLUMNS = {"temp": "temperature", "humidity": "humidity", "wind_speed": "wind_speed"}


@pytest.fixture
def aggregated(warehouse: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Three readings around midnight NEM time (14:00 UTC), and their eight aggregates."""
    times = ("2025-09-29 13:59:30+00", "2025-09-29 14:00:30+00", "2025-09-29 14:00:40+00")
    read(warehouse, "a", *(("p", time, value) for time, value in zip(times, (1.0, 3.0, 5.0), strict=True)))
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
def tower(plan: Plan, truth_of: Callable[..., Truth]) -> Truth:
    """A site large enough to have a weather feed."""
    return truth_of(plan, AceSite("tower", 20))


def tell(warehouse: duckdb.DuckDBPyConnection, truth: Truth, at: datetime = TOLD) -> None:
    """What the account tells of the tower at a time, each value under its own time."""
    for name, (_, samples) in truth.world.weather("tower", at).items():
        column, value = IN_COLUMNS.get(name), float(samples.values()[0])
        warehouse.execute(
            f"INSERT INTO ace.weather_raw (site_name, \"timestamp\", {column or 'metadata'}) VALUES ('tower', ?, ?)",
            [instant(int(samples.time[0])), value if column else json.dumps({name: value})],
        )


def test_weather_that_the_account_told_holds(warehouse: duckdb.DuckDBPyConnection, tower: Truth) -> None:
    tell(warehouse, tower)

    found = weather(warehouse, tower)

    assert (found.holds, found.seen) == (True, "9 values of 9 points")


@pytest.mark.parametrize("name", WEATHER_NAMES)
@pytest.mark.parametrize(
    "change", ["{0} = {0} + 0.5", '"timestamp" = "timestamp" + INTERVAL 7 SECOND', "site_name = 'villa'"]
)
def test_a_value_that_the_account_never_told_is_found(
    warehouse: duckdb.DuckDBPyConnection, tower: Truth, name: str, change: str
) -> None:
    tell(warehouse, tower)
    tell(warehouse, tower, TOLD - timedelta(hours=1))
    column = IN_COLUMNS.get(name)
    if column is None and "{0}" in change:
        change = f"metadata = '{{{{\"{name}\": 123456.5}}}}'"
    warehouse.execute(
        f'UPDATE ace.weather_raw SET {change.format(column)} WHERE "timestamp" < ? AND '
        + (f"{column} IS NOT NULL" if column else f"metadata LIKE '%{name}%'"),
        [TOLD - timedelta(minutes=50)],
    )

    found = weather(warehouse, tower)

    assert not found.holds
    assert "; 1 are not, such as " in found.seen


@pytest.mark.parametrize("name", WEATHER_NAMES)
def test_a_point_of_a_feed_that_told_nothing_is_found(
    warehouse: duckdb.DuckDBPyConnection, tower: Truth, name: str
) -> None:
    tell(warehouse, tower)
    column = IN_COLUMNS.get(name)
    warehouse.execute(
        f"DELETE FROM ace.weather_raw WHERE {column} IS NOT NULL"
        if column
        else f"DELETE FROM ace.weather_raw WHERE metadata LIKE '%{name}%'"
    )

    found = weather(warehouse, tower)

    assert (found.holds, found.seen) == (False, f"8 values of 8 points; not daily: tower {name}")


def test_a_feed_must_tell_something_on_each_whole_day_until_a_backup_was_taken(
    warehouse: duckdb.DuckDBPyConnection, tower: Truth
) -> None:
    longer = replace(tower, plan=replace(tower.plan, end=tower.plan.end + timedelta(days=2)))
    for day in (0, 2):
        tell(warehouse, longer, TOLD + timedelta(days=day))

    assert weather(warehouse, longer).seen.startswith("18 values of 9 points; not daily: tower temp, ")
    assert weather(warehouse, replace(longer, met_until=tower.plan.end)).holds


POINT = "demo-client/tower/10.0.0.1-100/analogInput/1"


@pytest.fixture
def listed(warehouse: duckdb.DuckDBPyConnection, tower: Truth) -> duckdb.DuckDBPyConnection:
    """The tower and its points, as the account describes them."""
    warehouse.execute(
        "INSERT INTO ace.sites (site_name, client, nice_name, latitude, longitude, archived, time_zone, region_id, "
        "power_points) VALUES ('tower', 'demo-client', 'Tower', -33.87, 151.21, false, 'Australia/Sydney', 'NSW1', ?)",
        [json.dumps(["demo-client/tower/10.0.0.1-100/analogInput/11"])],
    )
    for point in ace_wire.points(tower.world.layout("tower")):
        warehouse.execute(
            "INSERT INTO ace.points (site_name, point_name, client, point_type, collect_enabled, collect_interval, "
            "is_configured, is_listed, kv_tags, marker_tags, bacnet_data, collect_config, created, updated) "
            "VALUES ('tower', ?, 'demo-client', ?, ?, ?, ?, true, ?, ?, ?, '{}', ?::TIMESTAMPTZ, ?::TIMESTAMPTZ)",
            [
                *(point[name] for name in ("name", "point_type", "collect_enabled", "collect_interval")),
                point["collect_enabled"],
                *(json.dumps(point[name]) for name in ("kv_tags", "marker_tags")),
                point["bacnet_data"] and json.dumps(point["bacnet_data"]),
                *(f"{point[name]}+00" for name in ("created", "updated")),
            ],
        )
    return warehouse


def test_sites_and_points_of_the_account_hold(listed: duckdb.DuckDBPyConnection, tower: Truth) -> None:
    found = listings(listed, tower)

    assert (found.holds, found.seen) == (True, "1 sites, 20 points")


@pytest.mark.parametrize(
    "change",
    [
        "client = 'other'", "nice_name = NULL", "latitude = NULL", "longitude = 0", "archived = true",
        "time_zone = 'UTC'", "region_id = 'VIC1'", "power_points = '[]'", "site_name = 'villa'",
    ],
)  # fmt: skip
def test_a_site_that_the_account_describes_otherwise_is_found(
    listed: duckdb.DuckDBPyConnection, tower: Truth, change: str
) -> None:
    listed.execute(f"UPDATE ace.sites SET {change}")

    found = listings(listed, tower)

    assert not found.holds
    assert found.seen.endswith("such as tower")


@pytest.mark.parametrize(
    "change",
    [
        "client = 'other'", "point_type = NULL", "collect_enabled = NULL", "collect_interval = 17",
        "is_configured = NULL", "is_listed = false", "kv_tags = '{\"unit\": \"percent\"}'",
        "marker_tags = '[\"point\"]'", "bacnet_data = NULL", "collect_config = NULL",
        "created = created + INTERVAL 10 HOUR", "updated = NULL", "point_name = 'other'",
    ],
)  # fmt: skip
def test_a_point_that_the_account_describes_otherwise_is_found(
    listed: duckdb.DuckDBPyConnection, tower: Truth, change: str
) -> None:
    listed.execute(f"UPDATE ace.points SET {change} WHERE point_name = '{POINT}'")

    found = listings(listed, tower)

    assert not found.holds
    assert f"such as tower {POINT}" in found.seen


@pytest.mark.parametrize("table", ["ace.sites", "ace.points"])
def test_a_site_or_a_point_too_many_is_found(listed: duckdb.DuckDBPyConnection, tower: Truth, table: str) -> None:
    listed.execute(f"INSERT INTO {table} (site_name) VALUES ('aviary')")

    found = listings(listed, tower)

    assert not found.holds
    assert "; 1 are not, such as aviary" in found.seen


FIRST, SECOND = (f"demo-client/plant/10.0.0.1-100/analogInput/{number}" for number in (1, 2))


@pytest.fixture
def tallied(warehouse: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """The plant's first point, read from 23:58:30 NEM time on; its second is dead."""
    times = ("2025-09-30 23:58:30+10", "2025-09-30 23:59:30+10", "2025-10-01 00:00:30+10")
    read(warehouse, "plant", *((FIRST, time, 1.0) for time in times))
    warehouse.execute(
        "INSERT INTO ace.query_metadata (site_name, point_name, data_start, data_end, total_samples) "
        "VALUES ('plant', ?, '2025-09-30 23:58:30+10', '2025-10-01 00:00:30+10', 3)",
        [FIRST],
    )
    # Of the 90 seconds that were left of the day, each begun minute but the last owes one.
    warehouse.execute(
        "INSERT INTO quality.data_quality (site_name, point_name, date, actual_samples, expected_samples) "
        "VALUES ('plant', ?, '2025-09-30', 2, 1), ('plant', ?, '2025-09-30', 0, 0), ('plant', ?, '2025-10-01', 7, 7)",
        [FIRST, SECOND, FIRST],
    )
    return warehouse


def test_counts_of_readings_that_are_right_hold(tallied: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    found = counted(tallied, truth)

    # The day that goes on is not looked at.
    assert (found.holds, found.seen) == (True, "1 points, 3 days of points")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ace.query_metadata SET total_samples = 2",
        "UPDATE ace.query_metadata SET data_start = NULL",
        "UPDATE ace.query_metadata SET data_end = data_end - INTERVAL 1 MINUTE",
        "DELETE FROM ace.query_metadata",
        "UPDATE quality.data_quality SET actual_samples = 3 WHERE actual_samples = 2",
        "UPDATE quality.data_quality SET expected_samples = 2 WHERE expected_samples = 1",
        "UPDATE quality.data_quality SET actual_samples = 1 WHERE actual_samples = 0",
        "UPDATE quality.data_quality SET expected_samples = 1440 WHERE actual_samples = 0",
        "DELETE FROM quality.data_quality WHERE actual_samples = 0",
        "DELETE FROM quality.data_quality WHERE actual_samples = 2",
    ],
)
def test_a_count_of_readings_that_is_wrong_is_found(
    tallied: duckdb.DuckDBPyConnection, truth: Truth, change: str
) -> None:
    tallied.execute(change)

    found = counted(tallied, truth)

    assert not found.holds
    assert found.seen.startswith("1 are wrong, such as plant ")
