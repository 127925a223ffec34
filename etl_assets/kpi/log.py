"""What the log says of daily runs: a line for each KPI when it ends, and one for the job.

A sentence, then ``name=value`` for whoever searches. Neither has an address, a payload or a key.
"""

import logging
from typing import TYPE_CHECKING

from etl_assets.ops.kpi_state import KpiJob, job

if TYPE_CHECKING:
    from etl_assets.kpi.run import Done
    from etl_assets.settings import Settings

_log = logging.getLogger(__name__)


def log_kpi(of_job: KpiJob, done: "Done") -> None:
    """How a KPI's market day ended: ``tries`` of its webhook, ``seconds`` of its query and those tries."""
    level = logging.ERROR if done.error else logging.INFO
    status = "failed" if done.error else "pending" if done.is_pending else "completed"
    error = f" error={done.error!r}" if done.error else ""
    _log.log(
        level,
        "KPI at its end: kpi=%s market_day=%s status=%s workflow=%r tries=%d seconds=%.3f trace_id=%s%s",
        done.kpi.id, done.day, status, done.workflow, done.tries, done.seconds, of_job.trace_id, error,
    )  # fmt: skip


def log_job(settings: "Settings", of_job: KpiJob, seconds: float) -> None:
    """How a job stands after a run of ``seconds``; ``success_rate`` is completed of completed and failed."""
    try:
        stands = job(settings, of_job.trace_id) or of_job
    except Exception:  # noqa: BLE001 - the run has done its work
        _log.exception("How job %s stands cannot be read", of_job.trace_id)
        return
    completed, failed = stands.completed_kpis, stands.failed_kpis
    rate = f"{completed / (completed + failed):.3f}" if completed + failed else "none"
    _log.info(
        "KPI job after a run: trace_id=%s market_day=%s status=%s completed=%d failed=%d pending=%d seconds=%.3f "
        "success_rate=%s",
        stands.trace_id, stands.date, stands.status, completed, failed, stands.total_kpis - completed - failed,
        seconds, rate,
    )  # fmt: skip
