"""A report taken in: the state of its job, and its values in the lake with how they lie to the KPI's thresholds."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from etl_assets.kpi.callback import take_report
from etl_assets.kpi.registry import built_in, refresh
from etl_assets.kpi.run import Order, run_day
from etl_assets.lake.connection import LakeBusyError, read_lake, write_lake
from etl_assets.ops.kpi_reports import ReportError
from etl_assets.ops.kpi_state import UnknownRunError, job
from etl_assets.settings import Settings
from etl_assets_tests.kpi.conftest import DAY, TICK, Receivers, with_workflows

LATER = TICK + timedelta(hours=1)


@pytest.fixture
def configured(market: Settings, receivers: Receivers, tmp_path: Path) -> Settings:
    """A registry of three workflows that report back; of the first two, 10 EUR is too much, of one in a region."""
    path = tmp_path / "registry.json"
    thresholds = {"analysisConfig": {"alertThresholds": {"high": 10}}, "unit": "EUR"}
    kpis = [
        {"id": name, "name": name, "webhookUrl": receivers.url(name), "reportsBack": True, **more}
        for name, more in (("cost", thresholds), ("costs", {**thresholds, "entity": "region"}), ("other", {}))
    ]
    path.write_text(json.dumps({"kpis": kpis}))
    settings = market.model_copy(update={"kpi_registry": str(path)})
    assert refresh(settings, now=TICK).is_good
    return settings


@pytest.fixture
def trace_id(configured: Settings, receivers: Receivers) -> str:
    """A job whose workflows were triggered and are to report back; one of its KPIs is in no registry any more."""
    kpis = with_workflows(receivers, ["cost", "costs", "other", "gone"], reportsBack=True)
    return run_day(configured, kpis, DAY, Order("run-1", TICK))[0].trace_id


def report(settings: Settings, trace_id: str, kpi_id: str = "cost", status: str = "completed", **more: Any):
    return take_report(settings, {"traceId": trace_id, "kpiId": kpi_id, "status": status, **more}, now=LATER)


def stored(settings: Settings) -> list[tuple[Any, ...]]:
    with read_lake(settings) as lake:
        return lake.execute(
            "SELECT kpi_id, date, entity, value, unit, threshold_status, source, trace_id "
            "FROM lake.kpi.kpi_values ORDER BY ALL"
        ).fetchall()


def test_a_reported_value_is_stored_with_how_it_lies_to_its_thresholds(configured: Settings, trace_id: str) -> None:
    run = report(configured, trace_id, value=10.5)

    assert (run.status, run.value, run.completed_at) == ("completed", 10.5, LATER)
    assert stored(configured) == [("cost", DAY, "", 10.5, "EUR", "above", "report", trace_id)]


def test_the_computed_value_of_a_kpi_with_sql_stands_whatever_its_workflow_reports(
    market: Settings, receivers: Receivers
) -> None:
    (kpi,) = with_workflows(receivers, ["average-price"], sql=built_in().kpi("average-price").sql, entity="region")
    trace_id = run_day(market, [kpi], DAY, Order("run-1", TICK))[0].trace_id
    before = stored(market)

    run = report(market, trace_id, "average-price", values={"NSW1": -1})

    assert before
    assert stored(market) == before
    assert run.report["values"] == {"NSW1": -1}


@pytest.mark.parametrize(
    ("kpi_id", "given", "said"),
    [
        ("cost", {"values": {"NSW1": 1}}, "values: the KPI cost has one number; give it as value"),
        ("costs", {"value": 1}, "value: the KPI costs has a number for each region; give them as values"),
    ],
)
def test_a_value_of_another_shape_than_the_kpis_is_refused(
    configured: Settings, trace_id: str, kpi_id: str, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(ReportError, match=said):
        report(configured, trace_id, kpi_id, **given)

    assert stored(configured) == []
    assert job(configured, trace_id).completed_kpis == 0


def test_values_by_entity_are_stored_each(configured: Settings, trace_id: str) -> None:
    report(configured, trace_id, "costs", values={"NSW1": 10, "SA1": 11})

    assert [row[2:4] + row[5:6] for row in stored(configured)] == [("NSW1", 10.0, "within"), ("SA1", 11.0, "above")]


def test_the_same_report_again_changes_nothing(configured: Settings, trace_id: str) -> None:
    first = report(configured, trace_id, value=1)
    before = stored(configured)

    second = report(configured, trace_id, value=1)

    assert first == second
    assert stored(configured) == before


def test_a_later_report_takes_the_place_of_the_former_with_all_its_entities(
    configured: Settings, trace_id: str
) -> None:
    report(configured, trace_id, "costs", values={"NSW1": 1, "SA1": 2})

    report(configured, trace_id, "costs", values={"NSW1": 3})

    assert [row[2:4] for row in stored(configured)] == [("NSW1", 3.0), ("SA1", None)]


def test_a_report_that_a_newer_one_has_overtaken_stores_nothing(configured: Settings, trace_id: str) -> None:
    report(configured, trace_id, value=2, completedAt="2025-11-22T12:30:00Z")

    report(configured, trace_id, value=1, completedAt="2025-11-22T12:20:00Z")

    assert [row[3] for row in stored(configured)] == [2.0]


def test_a_report_of_a_kpi_that_left_the_registry_is_kept_without_thresholds(
    configured: Settings, trace_id: str
) -> None:
    report(configured, trace_id, "gone", value=99)

    assert [row[0:1] + row[3:6] for row in stored(configured)] == [("gone", 99.0, "", "none")]


def test_a_report_without_a_value_stores_none(configured: Settings, trace_id: str) -> None:
    report(configured, trace_id)

    assert stored(configured) == []


def test_the_job_is_completed_when_all_have_reported(configured: Settings, trace_id: str) -> None:
    before = job(configured, trace_id).status
    for name in ("cost", "costs", "other"):
        report(configured, trace_id, name)
    partly = job(configured, trace_id).status

    report(configured, trace_id, "gone", "failed", error="no such index")

    assert (before, partly, job(configured, trace_id).status) == ("running", "running", "partial")


def test_a_report_of_an_unknown_job_or_kpi_or_of_nothing_is_refused_and_stores_nothing(
    configured: Settings, trace_id: str
) -> None:
    with pytest.raises(UnknownRunError, match="there is no KPI job 'trace_x'"):
        report(configured, "trace_x", value=1)
    with pytest.raises(UnknownRunError, match="has no KPI 'nobody'"):
        report(configured, trace_id, "nobody", value=1)
    with pytest.raises(ReportError, match="status"):
        report(configured, trace_id, status="done", value=1)
    assert stored(configured) == []


def test_a_report_that_met_a_busy_lake_is_stored_when_it_comes_again(configured: Settings, trace_id: str) -> None:
    impatient = configured.model_copy(update={"lake_lock_timeout": timedelta(milliseconds=100)})
    with write_lake(configured, "another writer"), pytest.raises(LakeBusyError):
        report(impatient, trace_id, value=1)

    report(impatient, trace_id, value=1)

    assert [row[3] for row in stored(configured)] == [1.0]
