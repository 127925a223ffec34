"""A KPI that failed, a day without its run, and a value that is not that of the true prices are found."""

from collections.abc import Callable
from datetime import date, datetime
from statistics import fmean, pstdev

import duckdb
import pytest

from etl_assets.market_time import NEM_TIME, interval_ends
from etl_assets.simulator.ace_world import AceSite
from etl_assets.simulator.network import INTERCONNECTOR_NAMES, REGION_NAMES
from soak.kpi_checks import building_kpis, kpi_runs, market_kpis
from soak.plan import Plan
from soak.truth import Truth

DAY = date(2025, 9, 30)
"""The one that the daily run of the short plan is for."""
REPORTS = ("dispatch_region", "dispatch_interconnector", "unit_scada", "trading_price", "rooftop_pv")


@pytest.fixture
def recorded(warehouse: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """The day's job, with a KPI that is completed."""
    warehouse.execute("CREATE TABLE kpi.kpi_jobs AS SELECT ?::DATE AS date", [DAY])
    warehouse.execute(
        "CREATE TABLE kpi.kpi_runs AS SELECT ?::DATE AS date, 'peak-price' AS kpi_id, 'completed' AS status, "
        "NULL::VARCHAR AS error",
        [DAY],
    )
    return warehouse


def test_a_day_whose_kpis_are_all_completed_holds(recorded: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    found = kpi_runs(recorded, truth)

    assert (found.holds, found.seen) == (True, "1 daily jobs")


@pytest.mark.parametrize("status", ["failed", "pending", "running"])
def test_a_kpi_that_is_not_completed_is_found(recorded: duckdb.DuckDBPyConnection, truth: Truth, status: str) -> None:
    recorded.execute("UPDATE kpi.kpi_runs SET status = ?, error = 'no answer'", [status])

    found = kpi_runs(recorded, truth)

    assert (found.holds, found.seen) == (False, f"1 are not, such as 2025-09-30 peak-price {status} no answer")


def test_a_day_without_its_daily_run_is_found(recorded: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    recorded.execute("UPDATE kpi.kpi_jobs SET date = date + 1")

    found = kpi_runs(recorded, truth)

    assert (found.holds, found.seen) == (False, "1 daily jobs; none of 2025-09-30")


@pytest.fixture
def valued(warehouse: duckdb.DuckDBPyConnection, truth: Truth) -> duckdb.DuckDBPyConnection:
    """The day's values, worked out from the market itself."""
    for region in REGION_NAMES:
        rows = [truth.market.region(end, region) for end in interval_ends(DAY)]
        prices, demand = [float(row.rrp) for row in rows], [float(row.total_demand) for row in rows]
        paid = sum(price * mw for price, mw in zip(prices, demand, strict=True))
        store(warehouse, "average-price", region, fmean(prices))
        store(warehouse, "peak-price", region, max(prices))
        store(warehouse, "volume-weighted-price", region, paid / sum(demand))
        store(warehouse, "negative-price-hours", region, sum(price < 0 for price in prices) / 12)
        store(warehouse, "price-volatility", region, pstdev(prices))
    for place, link in enumerate(INTERCONNECTOR_NAMES):
        rows = [truth.market.interconnectors(end)[place] for end in interval_ends(DAY)]
        limits = [row.export_limit if row.mw_flow >= 0 else -row.import_limit for row in rows]
        shares = [float(abs(row.mw_flow) / limit) for row, limit in zip(rows, limits, strict=True) if limit > 0]
        store(warehouse, "interconnector-utilisation", link, 100 * fmean(shares))
    for report in REPORTS:
        store(warehouse, "completeness", f"aemo.{report}", 100.0)
    return warehouse


def store(warehouse: duckdb.DuckDBPyConnection, kpi: str, entity: str, value: float) -> None:
    warehouse.execute(
        "INSERT INTO kpi.kpi_values (kpi_id, date, entity, value) VALUES (?, ?, ?, ?)", [kpi, DAY, entity, value]
    )


def test_values_of_the_true_prices_hold(valued: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    found = market_kpis(valued, truth)

    assert (found.holds, found.seen) == (True, "of 1 days")


@pytest.mark.parametrize(
    "kpi", ["average-price", "peak-price", "volume-weighted-price", "negative-price-hours", "price-volatility"]
)
@pytest.mark.parametrize("change", ["value + 0.01", "NULL"])
def test_a_value_that_is_off_or_missing_is_found(
    valued: duckdb.DuckDBPyConnection, truth: Truth, kpi: str, change: str
) -> None:
    valued.execute(f"UPDATE kpi.kpi_values SET value = {change} WHERE kpi_id = ? AND entity = 'SA1'", [kpi])

    found = market_kpis(valued, truth)

    assert not found.holds
    assert found.seen.startswith(f"1 differ, such as {kpi} 2025-09-30 SA1 ")


def test_an_interval_of_the_market_that_was_missing_is_found(valued: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    valued.execute("UPDATE kpi.kpi_values SET value = 99.6 WHERE entity = 'aemo.unit_scada'")

    assert market_kpis(valued, truth).seen == "1 differ, such as completeness 2025-09-30 aemo.unit_scada 100.0 99.6"


def test_a_day_without_values_is_found(valued: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    valued.execute("DELETE FROM kpi.kpi_values")

    found = market_kpis(valued, truth)

    assert not found.holds
    assert found.seen.startswith("36 differ")


def test_the_use_of_an_interconnector_that_is_off_is_found(valued: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    valued.execute("UPDATE kpi.kpi_values SET value = value - 0.01 WHERE entity = 'V-SA'")

    found = market_kpis(valued, truth)

    assert not found.holds
    assert found.seen.startswith("1 differ, such as interconnector-utilisation 2025-09-30 V-SA ")


POWER = [f"demo-client/tower/10.0.0.1-100/analogInput/{number}" for number in (11, 12, 13)]


@pytest.fixture
def tower(plan: Plan, truth_of: Callable[..., Truth]) -> Truth:
    """A site with five power points, of which the first three are its demand, and a weather feed."""
    return truth_of(plan, AceSite("tower", 30, plain=True))


@pytest.fixture
def metered(warehouse: duckdb.DuckDBPyConnection, tower: Truth) -> duckdb.DuckDBPyConnection:
    """Two intervals of a few readings, 20 kW and 60 kW, and their KPIs; a temperature of 10 and one of 40."""
    readings = [
        (POWER[0], "20:00:10", 10.0), (POWER[0], "20:01:10", 20.0), (POWER[1], "20:00:10", 5.0),
        (POWER[2], "20:31:10", 60.0), ("tower/weather/temp", "20:01:10", 10.0),
        ("demo-client/tower/10.0.0.1-100/analogInput/14", "20:00:10", 1000.0),
    ]  # fmt: skip
    rows = ", ".join(f"('{point}', TIMESTAMPTZ '{DAY} {time}+10', {value})" for point, time, value in readings)
    warehouse.execute(
        "CREATE TABLE ace.timeseries_all AS SELECT 'tower' AS site_name, p AS point_name, t AS \"timestamp\", "
        f"v AS value FROM (VALUES {rows}) AS r(p, t, v)"
    )
    warehouse.execute(
        "INSERT INTO ace.weather_raw (site_name, \"timestamp\", temperature) VALUES ('tower', ?::TIMESTAMPTZ, 40)",
        [f"{DAY} 15:00:00+10"],
    )
    prices = [
        float(tower.market.region(datetime(2025, 9, 30, 20, minute, tzinfo=NEM_TIME), "NSW1").rrp) for minute in (5, 35)
    ]
    values = {
        "site-energy": (20 + 60) / 12,
        "site-peak-demand": 60.0,
        "site-load-factor": 100 * 40 / 60,
        "energy-cost": (20 / 12 * prices[0] + 60 / 12 * prices[1]) / 1000,
        "heating-degree-days": 0.0,
        "cooling-degree-days": 1.0,
    }
    for kpi, value in values.items():
        store(warehouse, kpi, "tower", value)
    return warehouse


def test_values_of_the_readings_hold(metered: duckdb.DuckDBPyConnection, tower: Truth) -> None:
    found = building_kpis(metered, tower)

    assert (found.holds, found.seen) == (True, "of 1 days")


@pytest.mark.parametrize(
    "kpi",
    [
        "site-energy", "site-peak-demand", "site-load-factor", "energy-cost",
        "heating-degree-days", "cooling-degree-days",
    ],
)  # fmt: skip
@pytest.mark.parametrize("change", ["SET value = value + 0.01", "SET value = NULL", "SET entity = 'villa'"])
def test_a_value_of_a_building_that_is_off_or_missing_is_found(
    metered: duckdb.DuckDBPyConnection, tower: Truth, kpi: str, change: str
) -> None:
    metered.execute(f"UPDATE kpi.kpi_values {change} WHERE kpi_id = ?", [kpi])

    found = building_kpis(metered, tower)

    assert not found.holds
    assert f"such as {kpi} 2025-09-30 " in found.seen
