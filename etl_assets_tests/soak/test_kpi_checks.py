"""A KPI that failed, a day without its run, and a value that is not that of the true prices are found."""

from datetime import date
from statistics import fmean, pstdev

import duckdb
import pytest

from etl_assets.market_time import interval_ends
from etl_assets.simulator.network import REGION_NAMES
from soak.kpi_checks import kpi_runs, kpi_values
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
    for report in REPORTS:
        store(warehouse, "completeness", f"aemo.{report}", 100.0)
    return warehouse


def store(warehouse: duckdb.DuckDBPyConnection, kpi: str, entity: str, value: float) -> None:
    warehouse.execute(
        "INSERT INTO kpi.kpi_values (kpi_id, date, entity, value) VALUES (?, ?, ?, ?)", [kpi, DAY, entity, value]
    )


def test_values_of_the_true_prices_hold(valued: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    found = kpi_values(valued, truth)

    assert (found.holds, found.seen) == (True, "of 1 days")


@pytest.mark.parametrize(
    "kpi", ["average-price", "peak-price", "volume-weighted-price", "negative-price-hours", "price-volatility"]
)
@pytest.mark.parametrize("change", ["value + 0.01", "NULL"])
def test_a_value_that_is_off_or_missing_is_found(
    valued: duckdb.DuckDBPyConnection, truth: Truth, kpi: str, change: str
) -> None:
    valued.execute(f"UPDATE kpi.kpi_values SET value = {change} WHERE kpi_id = ? AND entity = 'SA1'", [kpi])

    found = kpi_values(valued, truth)

    assert not found.holds
    assert found.seen.startswith(f"1 differ, such as {kpi} 2025-09-30 SA1 ")


def test_an_interval_of_the_market_that_was_missing_is_found(valued: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    valued.execute("UPDATE kpi.kpi_values SET value = 99.6 WHERE entity = 'aemo.unit_scada'")

    assert kpi_values(valued, truth).seen == "1 differ, such as completeness 2025-09-30 aemo.unit_scada 100.0 99.6"


def test_a_day_without_values_is_found(valued: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    valued.execute("DELETE FROM kpi.kpi_values")

    found = kpi_values(valued, truth)

    assert not found.holds
    assert found.seen.startswith("30 differ")
