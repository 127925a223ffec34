"""What the record says of export jobs, and how ended ones are put away. Their states are in ``job_state.py``."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Table, delete, func, insert, select

from etl_assets.ops.database import begin, begin_alone
from etl_assets.ops.job_state import ENDED, SUBJECT, ExportJob, JobStatus
from etl_assets.ops.tables import JOB_HISTORY, QUEUE_JOBS
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

HISTORY_LIFE = timedelta(days=400)
"""Of jobs whose results are gone: long enough to compare a month with the same one of the year before."""

JOBS_LISTED = 1_000
"""At most in one answer."""


def find_job(settings: Settings, job_id: str, *, client_id: str | None = None) -> ExportJob | None:
    """A job, of the queue or of the history; with ``client_id`` only where it is that client's."""
    with begin(settings) as connection:
        for table in (QUEUE_JOBS, JOB_HISTORY):
            if found := _select(connection, table, client_id, table.c.job_id == job_id, limit=1):
                return found[0]
    return None


def list_jobs(
    settings: Settings, *, client_id: str | None = None, status: JobStatus | None = None, limit: int = JOBS_LISTED
) -> list[ExportJob]:
    """Jobs of the queue, the newest first; with ``client_id`` only that client's."""
    with begin(settings) as connection:
        where = [QUEUE_JOBS.c.status == status] if status else []
        return _select(connection, QUEUE_JOBS, client_id, *where, limit=limit)


def dead_letters(settings: Settings, *, limit: int = JOBS_LISTED) -> list[ExportJob]:
    """Jobs that failed for good, of the queue and then of the history, the newest first in each."""
    found: list[ExportJob] = []
    with begin(settings) as connection:
        for table in (QUEUE_JOBS, JOB_HISTORY):
            found += _select(connection, table, None, table.c.status == "failed", limit=limit)
    return found[:limit]


def count_jobs(settings: Settings) -> dict[str, int]:
    """How many jobs the queue has, by status."""
    query = select(QUEUE_JOBS.c.status, func.count()).group_by(QUEUE_JOBS.c.status)
    with begin(settings) as connection:
        return dict(connection.execute(query).all())


def put_away(settings: Settings, *, now: datetime) -> list[ExportJob]:
    """Move jobs whose results have expired to the history, and forget history after ``HISTORY_LIFE``.

    Returns what was moved; results that nothing names any more are the caller's to remove.
    """
    old = [QUEUE_JOBS.c.status.in_(ENDED), QUEUE_JOBS.c.expires_at <= now]
    with begin_alone(settings, SUBJECT) as connection:
        moved = _select(connection, QUEUE_JOBS, None, *old, limit=None)
        if moved:
            names = [column.name for column in QUEUE_JOBS.c]
            # A client may use a key again once what it made is history.
            again = JOB_HISTORY.c.job_id.in_([job.job_id for job in moved])
            connection.execute(delete(JOB_HISTORY).where(again))
            connection.execute(insert(JOB_HISTORY).from_select(names, select(QUEUE_JOBS).where(*old)))
            connection.execute(delete(QUEUE_JOBS).where(*old))
        connection.execute(delete(JOB_HISTORY).where(JOB_HISTORY.c.created_at < now - HISTORY_LIFE))
    return moved


def jobs_with_files(settings: Settings) -> set[str]:
    """Jobs whose files must stay: those in the queue. What was put away has none."""
    with begin(settings) as connection:
        return set(connection.execute(select(QUEUE_JOBS.c.job_id)).scalars())


def _select(
    connection: "Connection", table: Table, client_id: str | None, *where: "ColumnElement[bool]", limit: int | None
) -> list[ExportJob]:
    own = [table.c.client_id == client_id] if client_id is not None else []
    query = select(table).where(*own, *where).order_by(table.c.created_at.desc(), table.c.job_id).limit(limit)
    return [ExportJob(**row) for row in connection.execute(query).mappings()]
