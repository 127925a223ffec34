"""Export jobs as clients see them: their own, and nothing of anybody else's."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from etl_assets.ops.job_records import find_job
from etl_assets.ops.job_state import ExportJob
from etl_assets.settings import Settings


def visible_job(settings: Settings, job_id: str, client_id: str, *, sees_all: bool) -> ExportJob | None:
    """A job that this client made, or any where it sees all. None also for what is another's."""
    if not (job_id.startswith("job_") and job_id.isascii() and job_id.isprintable()):
        return None
    return find_job(settings, job_id, client_id=None if sees_all else client_id)


def job_record(job: ExportJob, *, with_client: bool = False, with_points: bool = True) -> dict[str, Any]:
    """A job as JSON: instants in UTC, ISO 8601. ``progress`` is the share of points read, 0 to 1.

    Without ``with_points`` the request has the count of its points in place of their names, which may be thousands.
    """
    record = {
        "jobId": job.job_id,
        "status": job.status,
        "statusUrl": f"/jobs/{job.job_id}",
        "resultUrl": f"/jobs/{job.job_id}/result" if job.status == "completed" else None,
        "kind": job.kind,
        "site": job.site_name,
        "request": dict(job.request) if with_points else _counted(job.request),
        "format": job.result_format,
        "priority": job.priority,
        "progress": progress(job),
        "pointsDone": job.points_done,
        "pointsTotal": job.points_total,
        "estimatedSamples": job.estimated_samples,
        "samples": job.samples,
        "resultBytes": job.result_bytes,
        "attempts": job.attempts,
        "error": job.error,
        "runId": job.run_id,
        "cancelRequested": bool(job.cancel_requested),
        "createdAt": instant(job.created_at),
        "updatedAt": instant(job.updated_at),
        "nextTryAt": instant(job.not_before) if job.status == "queued" else None,
        "startedAt": instant(job.started_at),
        "finishedAt": instant(job.finished_at),
        "expiresAt": instant(job.expires_at),
    }
    return record | ({"clientId": job.client_id} if with_client else {})


def _counted(request: Mapping[str, Any]) -> dict[str, Any]:
    return {**request, "points": len(request["points"])} if "points" in request else dict(request)


def error_for_clients(error: BaseException) -> str:
    """What a client is told of the error that ended a try: its class, as its text may hold a path of this machine.

    A ``Problem`` is written for clients, and is told whole.
    """
    from etl_assets.api.problems import Problem

    return f"{error.title}: {error.detail}" if isinstance(error, Problem) else type(error).__name__


def progress(job: ExportJob) -> float:
    """Share of its points that a job has read, 0 to 1; 1 exactly where it is completed."""
    if job.status == "completed":
        return 1.0
    return round(job.points_done / job.points_total, 4) if job.points_total else 0.0


def instant(moment: datetime | None) -> str | None:
    """An instant as JSON has it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None
