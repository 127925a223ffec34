"""KPIs in hand while the state database cannot be written: each by itself, and no workflow called again for it."""

from datetime import timedelta

import pytest

from etl_assets.kpi import trigger as trigger_module
from etl_assets.market_time import utc_now
from etl_assets.ops.database import begin
from etl_assets.ops.kpi_records import failed_days
from etl_assets.settings import Settings
from etl_assets_tests.kpi.conftest import DAY, PRICE, WRONG, Receivers, kpi, statuses, with_workflows, work_off


def refuse(settings: Settings, change: str) -> None:
    """From now on the database refuses a change of a KPI's run: an SQL condition on ``new``."""
    with begin(settings) as connection:
        connection.exec_driver_sql(
            f"CREATE TRIGGER refuse BEFORE UPDATE ON kpi_runs WHEN {change} "
            "BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
        )


def heal(settings: Settings) -> None:
    with begin(settings) as connection:
        connection.exec_driver_sql("DROP TRIGGER refuse")


def test_a_call_that_was_accepted_but_is_not_on_record_is_no_failure_that_is_called_again_at_once(
    market: Settings, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trigger_module, "RECORD_PAUSES_S", (0.0, 0.0))
    kpis = with_workflows(receivers, ["report"])
    work_off(market, [])
    refuse(market, "new.triggered_at IS NOT NULL")

    trace_id, done = work_off(market, kpis)

    heal(market)
    now = utc_now()
    assert done["report"].error.startswith("its workflow was triggered, but this is not on record: IntegrityError: ")
    assert "UPDATE" not in done["report"].error
    assert statuses(market, trace_id) == {"report": "running"}
    assert failed_days(market, since=DAY, now=now) == {}
    assert failed_days(market, since=DAY, now=now + timedelta(hours=1)) == {DAY: ["report"]}
    work_off(market, kpis)
    assert receivers.called == {"report": 2}
    assert len(set(receivers.keys)) == 1


def test_a_call_that_was_accepted_is_put_on_record_when_the_database_is_back_in_time(
    market: Settings, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trigger_module.time, "sleep", lambda _: heal(market))
    work_off(market, [])
    refuse(market, "new.triggered_at IS NOT NULL")

    trace_id, done = work_off(market, with_workflows(receivers, ["report"]))

    assert (done["report"].error, done["report"].workflow) == ("", "triggered")
    assert statuses(market, trace_id) == {"report": "completed"}


def test_a_kpi_that_cannot_be_claimed_stops_no_other(market: Settings, receivers: Receivers):
    kpis = with_workflows(receivers, ["ill", "well"])
    work_off(market, [])
    refuse(market, "new.kpi_id = 'ill' AND new.claimed_until IS NOT NULL")

    trace_id, done = work_off(market, kpis)

    assert done["ill"].error.startswith("it could not be claimed: IntegrityError: ")
    assert receivers.called == {"well": 1}
    assert statuses(market, trace_id) == {"ill": "pending", "well": "completed"}


def test_a_kpi_whose_failure_cannot_be_put_on_record_stops_no_other(market: Settings, receivers: Receivers):
    kpis = [kpi("wrong", sql=WRONG), *with_workflows(receivers, ["well"], sql=PRICE)]
    work_off(market, [])
    refuse(market, "new.status = 'failed'")

    _, done = work_off(market, kpis)

    assert "no_such_column" in done["wrong"].error
    assert receivers.called == {"well": 1}
