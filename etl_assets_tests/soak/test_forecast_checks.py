"""A forecast that the report never held, or of which a part is missing, is found."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import duckdb
import pytest

from etl_assets.aemo.dashboard import decode_5min
from etl_assets.market_time import NEM_TIME
from etl_assets.simulator.dashboard import five_minute_report
from soak.findings import given
from soak.forecast_checks import FIGURES, forecasts
from soak.plan import Plan
from soak.spells import Spell
from soak.truth import Truth

ISSUED = datetime(2025, 9, 30, 23, 5, tzinfo=NEM_TIME)
"""The newest interval at 23:01, which is a step."""
STEPS = 3
"""Of a plan of an hour: 22:31, 23:01, 23:31."""
ROWS = 5 * 58
"""Of each region the half-hours from 23:30 to 04:00 on the day after the next."""


def store(warehouse: duckdb.DuckDBPyConnection, truth: Truth, issued: datetime, asked: datetime | None = None) -> None:
    """The forecasts of an issue: those of the report as it is when it is asked for."""
    asked = asked or issued - timedelta(minutes=4)
    report = decode_5min(five_minute_report(truth.market, asked), issued_at=asked)
    figures = ", ".join(FIGURES)
    with given(warehouse, report=report.forecast):
        warehouse.execute(
            f"INSERT INTO aemo.region_forecast (interval_end, region_id, issued_at, {figures}) "
            f"SELECT interval_end, region_id, ?, {figures} FROM report",
            [issued],
        )


@pytest.fixture
def truth(plan: Plan, truth_of: Callable[[Plan], Truth]) -> Truth:
    """That of an hour."""
    return truth_of(replace(plan, end=plan.start + timedelta(hours=1)))


@pytest.fixture
def issued(warehouse: duckdb.DuckDBPyConnection, truth: Truth) -> duckdb.DuckDBPyConnection:
    """Issues of two of the steps."""
    store(warehouse, truth, ISSUED)
    store(warehouse, truth, ISSUED + timedelta(minutes=30))
    return warehouse


def test_issues_that_are_as_the_report_was_hold(issued: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    found = forecasts(issued, truth)

    assert (found.holds, found.seen) == (True, "2 issues in 3 steps")


def test_too_few_issues_do_not_hold(warehouse: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    store(warehouse, truth, ISSUED)

    found = forecasts(warehouse, truth)

    assert (found.holds, found.seen) == (False, "1 issues in 3 steps")


def test_a_whole_day_without_an_issue_is_found(issued: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    longer = replace(truth, plan=replace(truth.plan, end=truth.plan.end + timedelta(days=2), step=timedelta(days=1)))

    found = forecasts(issued, longer)

    assert not found.holds
    assert "none of 2025-10-01; 2 issues in 3 steps" in found.seen


def test_after_a_backup_no_issue_can_be_had(warehouse: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    store(warehouse, truth, ISSUED)

    found = forecasts(warehouse, replace(truth, met_until=truth.plan.start + timedelta(minutes=30)))

    assert (found.holds, found.seen) == (True, "1 issues in 2 steps")


@pytest.mark.parametrize("minutes", [-5, 5, 10, 25])
def test_forecasts_under_the_time_of_another_interval_are_found(
    issued: duckdb.DuckDBPyConnection, truth: Truth, minutes: int
) -> None:
    issued.execute(
        "UPDATE aemo.region_forecast SET issued_at = issued_at + to_minutes(?) WHERE issued_at = ?", [minutes, ISSUED]
    )

    found = forecasts(issued, truth)

    assert not found.holds
    assert found.seen.startswith(f"{ROWS} that the report did not have")


@pytest.mark.parametrize("figure", FIGURES)
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


def test_while_intervals_are_withheld_an_issue_may_be_that_of_any_step_until_the_next(
    warehouse: duckdb.DuckDBPyConnection, plan: Plan, truth_of: Callable[[Plan], Truth]
) -> None:
    withheld = [ISSUED + number * timedelta(minutes=5) for number in range(1, 7)]
    spell = Spell("missing_interval", ISSUED, None, {"intervals": withheld})
    brief = replace(plan, end=plan.start + timedelta(hours=1))
    truth = truth_of(replace(brief, spells=(spell,)))
    store(warehouse, truth, ISSUED - timedelta(minutes=30))
    # 23:35 and what is before it is out at 23:31: the newest actual value is that of 23:05.
    store(warehouse, truth, ISSUED, asked=withheld[-1] - timedelta(minutes=4))

    assert forecasts(warehouse, truth).holds
    assert f"{ROWS - 5} that the report did not have" in forecasts(warehouse, truth_of(brief)).seen
