"""A forecast that the report never held, or of which a part is missing, is found."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import duckdb
import pytest

from etl_assets.aemo.dashboard import decode_5min
from etl_assets.market_time import NEM_TIME
from etl_assets.simulator.dashboard import five_minute_report
from soak.forecast_checks import forecasts
from soak.plan import Plan
from soak.spells import Spell
from soak.truth import Truth

ISSUED = datetime(2025, 10, 1, 1, 5, tzinfo=NEM_TIME)
STEPS = 3
"""Of a plan of an hour."""
ROWS = 5 * 54
"""Of each region the half-hours from 01:30 to 04:00 on the next day."""


def store(warehouse: duckdb.DuckDBPyConnection, truth: Truth, asked: datetime, issued: datetime | None = None) -> None:
    """The forecasts of the report as it is when it is asked for."""
    body = five_minute_report(truth.market, asked)
    report = decode_5min(body, issued_at=asked)
    warehouse.register("report", report.forecast)
    warehouse.execute(
        "INSERT INTO aemo.region_forecast (interval_end, region_id, issued_at, rrp, total_demand, net_interchange, "
        "scheduled_generation, semi_scheduled_generation) SELECT interval_end, region_id, ?, rrp, total_demand, "
        "net_interchange, scheduled_generation, semi_scheduled_generation FROM report",
        [issued or asked + timedelta(minutes=4)],
    )
    warehouse.unregister("report")


@pytest.fixture
def truth(plan: Plan, truth_of: Callable[[Plan], Truth]) -> Truth:
    """That of an hour."""
    return truth_of(replace(plan, end=plan.start + timedelta(hours=1)))


@pytest.fixture
def issued(warehouse: duckdb.DuckDBPyConnection, truth: Truth) -> duckdb.DuckDBPyConnection:
    """An issue for half of the steps."""
    for number in range(STEPS // 2 + 1):
        store(warehouse, truth, ISSUED - timedelta(minutes=4) + number * timedelta(minutes=30))
    return warehouse


def test_issues_that_are_as_the_report_was_hold(issued: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    found = forecasts(issued, truth)

    assert found.holds
    assert found.seen.endswith(f"rows, of {STEPS // 2 + 1} issues in {STEPS} steps")


def test_too_few_issues_do_not_hold(warehouse: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    store(warehouse, truth, ISSUED - timedelta(minutes=4))

    found = forecasts(warehouse, truth)

    assert (found.holds, found.seen) == (False, f"{ROWS} rows, of 1 issues in {STEPS} steps")


def test_after_a_backup_no_issue_can_be_had(warehouse: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    store(warehouse, truth, ISSUED - timedelta(minutes=4))
    taken = truth.plan.start + timedelta(minutes=30)

    found = forecasts(warehouse, replace(truth, met_until=taken))

    assert (found.holds, found.seen) == (True, f"{ROWS} rows, of 1 issues in 2 steps")


@pytest.mark.parametrize("figure", ["rrp", "total_demand", "net_interchange", "scheduled_generation"])
@pytest.mark.parametrize("value", ["{} + 0.01", "NULL"])
def test_a_forecast_of_another_value_is_found(
    issued: duckdb.DuckDBPyConnection, truth: Truth, figure: str, value: str
) -> None:
    issued.execute(
        f"UPDATE aemo.region_forecast SET {figure} = {value.format(figure)} "
        "WHERE interval_end = '2025-10-01 03:00:00+10' AND region_id = 'SA1' AND issued_at = ?",
        [ISSUED],
    )

    found = forecasts(issued, truth)

    assert not found.holds
    assert found.seen.startswith("1 that the report did not have, such as 2025-09-30 17:00:00+00:00 SA1")


def test_a_forecast_that_is_missing_is_found(issued: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    issued.execute("DELETE FROM aemo.region_forecast WHERE region_id = 'TAS1' AND issued_at = ?", [ISSUED])

    assert forecasts(issued, truth).seen.startswith(f"{ROWS // 5} missing, such as ")


def test_a_forecast_of_a_time_that_the_report_does_not_reach_is_found(
    issued: duckdb.DuckDBPyConnection, truth: Truth
) -> None:
    issued.execute(
        "INSERT INTO aemo.region_forecast BY NAME SELECT * REPLACE (interval_end + INTERVAL 7 DAY AS interval_end) "
        "FROM aemo.region_forecast LIMIT 1"
    )

    assert forecasts(issued, truth).seen.startswith("1 that the report did not have")


def test_an_issue_of_withheld_intervals_may_be_that_of_any_time_until_the_next(
    warehouse: duckdb.DuckDBPyConnection, plan: Plan, truth_of: Callable[[Plan], Truth]
) -> None:
    withheld = [ISSUED + number * timedelta(minutes=5) for number in range(1, 6)]
    spell = Spell("missing_interval", ISSUED, None, {"intervals": withheld})
    truth = truth_of(replace(plan, spells=(spell,), end=plan.start + timedelta(minutes=30)))
    # The newest actual value is that of 01:05 until 01:35 is published.
    store(warehouse, truth, withheld[-1] - timedelta(minutes=4), ISSUED)

    found = forecasts(warehouse, truth)

    assert found.holds
