"""A KPI that failed, a day without its run, and a value that is not that of true prices or readings are found."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from statistics import fmean, pstdev

import duckdb
import pytest

from etl_assets.market_time import NEM_TIME, interval_ends
from etl_assets.simulator.ace_world import AceSite
from etl_assets.simulator.network import INTERCONNECTOR_NAMES, REGION_NAMES
from etl_assets_tests.soak.conftest import read
from soak.kpi_checks import building_kpis, kpi_runs, market_kpis
from soak.plan import Plan
from soak.spells import Spell
from soak.truth import Truth

DAY = date(2025, 9, 30)
"""The one that the daily run of the short plan is for."""
SPAN = (datetime(2025, 9, 30, 23, 0, tzinfo=NEM_TIME), None)
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


@pytest.mark.parametrize("kpi", ["average-price", "peak-price", "interconnector-utilisation"])
def test_the_pricing_run_of_an_interval_with_an_intervention_is_taken(
    valued: duckdb.DuckDBPyConnection, plan: Plan, truth_of: Callable[..., Truth], kpi: str
) -> None:
    intervention = Spell("intervention", plan.start, None, {"intervals": interval_ends(DAY)[100:160]})

    found = market_kpis(valued, truth_of(replace(plan, spells=(intervention,))))

    assert f"{kpi} " not in found.seen
    assert found.holds


def test_a_day_of_which_a_restored_folder_cannot_have_an_interval_is_not_compared(
    valued: duckdb.DuckDBPyConnection, plan: Plan, truth_of: Callable[..., Truth]
) -> None:
    valued.execute("UPDATE kpi.kpi_values SET value = value + 1")
    ends = {"intervals": interval_ends(DAY)[-6:]}
    longer = replace(plan, end=plan.end + timedelta(days=3))
    lost = replace(truth_of(longer), plan=replace(longer, spells=(Spell("archive_missing_interval", *SPAN, ends),)))

    assert not market_kpis(valued, lost).holds
    found = market_kpis(valued, replace(lost, met_until=plan.start))
    assert "2025-09-30" not in found.seen


POWER = [f"demo-client/tower/10.0.0.1-100/analogInput/{number}" for number in range(11, 16)]
"""The tower's power points, of which the first three are its demand."""


@pytest.fixture
def tower(plan: Plan, truth_of: Callable[..., Truth]) -> Truth:
    """A site with five power points and a weather feed."""
    return truth_of(plan, AceSite("tower", 30, plain=True))


def metered_at(warehouse: duckdb.DuckDBPyConnection, *readings: tuple[str, str, float]) -> None:
    """Readings of the tower on the day: point, NEM time, value."""
    read(warehouse, "tower", *((point, f"{DAY} {time}+10", value) for point, time, value in readings))


@pytest.fixture
def metered(warehouse: duckdb.DuckDBPyConnection, tower: Truth) -> duckdb.DuckDBPyConnection:
    """Three intervals of 20, 60 and 30 kW, the latter in one half-hour, and their KPIs; air of 10 and of 40 degrees."""
    metered_at(
        warehouse,
        (POWER[0], "20:00:10", 10.0), (POWER[0], "20:01:10", 20.0), (POWER[1], "20:00:10", 5.0),
        (POWER[2], "20:31:10", 60.0), (POWER[2], "20:36:10", 30.0), (POWER[3], "20:00:10", 1000.0),
        ("tower/weather/temp", "20:01:10", 10.0),
    )  # fmt: skip
    warehouse.execute(
        "INSERT INTO ace.weather_raw (site_name, \"timestamp\", temperature) VALUES ('tower', ?::TIMESTAMPTZ, 40)",
        [f"{DAY} 15:00:00+10"],
    )
    ends = [datetime(2025, 9, 30, 20, minute, tzinfo=NEM_TIME) for minute in (5, 35, 40)]
    prices = [float(tower.market.region(end, "NSW1").rrp) for end in ends]
    # Each minute that is begun and ended between a point's first reading and midnight owes one.
    expected = 3 * 239 + 208 + 238
    values = {
        "site-energy": (20 + 60 + 30) / 12,
        "site-peak-demand": 45.0,
        "site-load-factor": 100 * (110 / 3) / 45,
        "energy-cost": sum(kw / 12 * price for kw, price in zip((20, 60, 30), prices, strict=True)) / 1000,
        "heating-degree-days": 0.0,
        "cooling-degree-days": 1.0,
        "completeness": 100 * 7 / expected,
    }
    for kpi, value in values.items():
        store(warehouse, kpi, "tower", value)
    store(warehouse, "completeness", "tower weather", 100 * 2 / 24)
    # The market's own is looked at elsewhere.
    store(warehouse, "completeness", "aemo.unit_scada", 12.5)
    return warehouse


def test_values_of_the_readings_hold(metered: duckdb.DuckDBPyConnection, tower: Truth) -> None:
    found = building_kpis(metered, tower)

    assert (found.holds, found.seen) == (True, "of 1 days")


@pytest.mark.parametrize(
    "kpi",
    [
        "site-energy", "site-peak-demand", "site-load-factor", "energy-cost",
        "heating-degree-days", "cooling-degree-days", "completeness",
    ],
)  # fmt: skip
@pytest.mark.parametrize("change", ["SET value = value + 0.01", "SET value = NULL", "SET entity = 'villa'"])
def test_a_value_of_a_building_that_is_off_or_missing_is_found(
    metered: duckdb.DuckDBPyConnection, tower: Truth, kpi: str, change: str
) -> None:
    metered.execute(f"UPDATE kpi.kpi_values {change} WHERE kpi_id = ? AND entity = 'tower'", [kpi])

    found = building_kpis(metered, tower)

    assert not found.holds
    assert f"such as {kpi} 2025-09-30 " in found.seen


def test_an_hour_of_weather_that_was_missing_is_found(metered: duckdb.DuckDBPyConnection, tower: Truth) -> None:
    metered.execute("UPDATE kpi.kpi_values SET value = value / 2 WHERE entity = 'tower weather'")

    assert building_kpis(metered, tower).seen.startswith("1 differ, such as completeness 2025-09-30 tower weather ")


def test_a_cold_day_has_heating_degree_days(warehouse: duckdb.DuckDBPyConnection, tower: Truth) -> None:
    metered_at(warehouse, ("tower/weather/temp", "02:00:10", 3.0), ("tower/weather/temp", "14:00:10", 14.0))
    store(warehouse, "heating-degree-days", "tower", 18 - 8.5)
    store(warehouse, "cooling-degree-days", "tower", 0.0)

    found = building_kpis(warehouse, tower)

    assert "degree-days" not in found.seen


def test_what_a_building_cannot_have_may_be_null(metered: duckdb.DuckDBPyConnection, tower: Truth) -> None:
    metered.execute("DELETE FROM ace.timeseries_all; DELETE FROM ace.weather_raw")
    metered.execute("UPDATE kpi.kpi_values SET value = NULL WHERE NOT starts_with(entity, 'aemo.')")

    assert building_kpis(metered, tower).holds
