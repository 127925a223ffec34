"""What the record says of KPI jobs: a job as the predecessor's JSON, what was reported, which days need another run."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import select

from etl_assets.ops.database import begin
from etl_assets.ops.kpi_state import KpiJob, KpiRun, existing_job, select_runs
from etl_assets.ops.tables import KPI_JOBS, KPI_RUNS
from etl_assets.settings import Settings

LEFT_AFTER = timedelta(minutes=15)
"""A KPI that no run has in hand was left behind by a killed one when nothing of its job has changed for so long.
Beyond what one KPI may take, while which others wait for a thread."""

MOST_UNANSWERED = 2
"""Calls without an answer, after which a KPI is called again only if somebody asks: its workflow may have started each
time. The second is for an answer that was lost once."""

_JOB = KPI_JOBS.c
_RUN = KPI_RUNS.c


def job_record(settings: Settings, trace_id: str) -> dict[str, Any]:
    """A job as the predecessor's JSON: its field names, times in UTC to the second. Raises ``UnknownRunError``."""
    with begin(settings) as connection:
        found = existing_job(connection, trace_id)
        runs = select_runs(connection, _RUN.trace_id == trace_id)
    return {
        "traceId": found.trace_id,
        "status": found.status,
        "createdAt": _stamp(found.created_at),
        "updatedAt": _stamp(found.updated_at),
        "kpis": {run.kpi_id: _run_record(run) for run in runs},
        "metadata": {
            "totalKPIs": found.total_kpis,
            "completedKPIs": found.completed_kpis,
            "failedKPIs": found.failed_kpis,
            "environment": found.environment,
        },
    }


def failed_days(settings: Settings, *, since: date, now: datetime) -> dict[date, list[str]]:
    """By market day: the KPIs of its job that failed or that a killed run left behind, by id.

    Not those that a run has in hand, nor those whose workflow is to report back, nor those that failed since
    ``MOST_UNANSWERED`` calls had no answer.
    """
    with begin(settings) as connection:
        jobs = connection.execute(select(KPI_JOBS).where(_JOB.date >= since).order_by(_JOB.created_at, _JOB.trace_id))
        newest = {row["date"]: KpiJob(**row) for row in jobs.mappings()}
        open_ones = [found.trace_id for found in newest.values() if found.status != "completed"]
        runs = select_runs(connection, _RUN.trace_id.in_(open_ones), _RUN.status != "completed")
    found: defaultdict[date, list[str]] = defaultdict(list)
    for run in runs:
        if _needs_another(run, newest[run.date], now):
            found[run.date].append(run.kpi_id)
    return dict(sorted(found.items()))


def reported_since(settings: Settings, since: datetime) -> list[KpiRun]:
    """The runs whose workflow reported after an instant, in the order of their reports."""
    with begin(settings) as connection:
        found = select_runs(connection, _RUN.reported_at > since)
    return sorted(found, key=lambda run: (run.reported_at, run.trace_id, run.kpi_id))


def _needs_another(run: KpiRun, its_job: KpiJob, now: datetime) -> bool:
    if run.is_in_hand(now) or run.is_waiting:
        return False
    if run.status == "failed":
        return run.unanswered < MOST_UNANSWERED
    return run.claimed_until is not None or its_job.updated_at <= now - LEFT_AFTER


def _run_record(run: KpiRun) -> dict[str, Any]:
    return {
        "kpiId": run.kpi_id,
        "status": run.status,
        "completedAt": _stamp(run.completed_at) if run.completed_at else None,
        "error": run.error,
        "retryCount": run.retry_count,
    }


def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
