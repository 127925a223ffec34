"""What the log says of a daily run."""

import logging
import re

import pytest

from etl_assets.settings import Settings
from etl_assets_tests.kpi.conftest import Receivers, says, with_workflows, work_off


def test_the_log_has_a_line_for_each_kpi_and_one_for_the_job(
    market: Settings, receivers: Receivers, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "etl_assets.kpi.log")
    receivers.answers["ill"] = says(404)
    kpis = [*with_workflows(receivers, ["ill", "well"]), *with_workflows(receivers, ["waits"], reportsBack=True)]

    trace_id, _ = work_off(market, kpis)

    *each, of_job = [record.getMessage() for record in caplog.records if record.name == "etl_assets.kpi.log"]
    [ill, waits, well] = sorted(each)
    assert re.fullmatch(
        r"KPI at its end: kpi=ill market_day=2025-11-21 status=failed workflow='not triggered' tries=1 "
        rf"seconds=\d\.\d{{3}} trace_id={trace_id} error='Webhook at 127\.0\.0\.1:\d+: status 404: .*'",
        ill,
    )
    assert " kpi=waits market_day=2025-11-21 status=pending workflow='triggered, is to report back' tries=1 " in waits
    assert " kpi=well market_day=2025-11-21 status=completed workflow='triggered' tries=1 " in well
    assert re.fullmatch(
        rf"KPI job after a run: trace_id={trace_id} market_day=2025-11-21 status=running completed=1 failed=1 "
        r"pending=1 seconds=\d+\.\d{3} success_rate=0\.500",
        of_job,
    )
