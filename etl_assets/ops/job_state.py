"""Where export jobs stand: what was asked, which try of it is in hand, how far it is, how it ended.

A job waits **queued** until it is due, is **submitted** under the id of the Dagster run that is to do it, and
**running** once that run has taken it up. A try that fails goes back to queued, due later, until its tries are spent.
What starts runs is in ``exports/submitter.py``; what reads jobs and puts the ended ones away is in ``job_records.py``.
All instants are UTC, and nothing here reads the clock.

The id of a try's run is chosen here, in the transaction that claims the job: whoever submits it after a crash submits
the same run, and Dagster takes an id once. It also fences: a run that was given up can change nothing any more.
"""

import hashlib
import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import and_, func, insert, or_, select, update

from etl_assets.ops.database import begin, begin_alone
from etl_assets.ops.tables import QUEUE_JOBS
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

JobStatus = Literal["queued", "submitted", "running", "completed", "failed", "cancelled"]
ENDED: tuple[JobStatus, ...] = ("completed", "failed", "cancelled")
IN_HAND: tuple[JobStatus, ...] = ("submitted", "running")

SUBJECT = "export jobs"
"""Of ``begin_alone``: submitters and runs that change jobs take turns."""

MOST_UNFINISHED = 20
"""Jobs of one client at a time: enough for a portfolio of sites at once, too few to fill the queue that all share."""

_JOB = QUEUE_JOBS.c


class JobLostError(Exception):
    """The job is in the hands of another run, has ended, or is not there: this run has nothing more to do with it."""


class JobCancelledError(Exception):
    """The job was cancelled by whoever asked for it."""


class OtherRequestError(Exception):
    """The same idempotency key came with another request."""


class TooManyJobsError(Exception):
    """The client has as many unfinished jobs as it may have."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a client asks for. ``request`` is checked; a higher ``priority`` goes first.

    ``sent`` is a digest of the request as the client wrote it: what a pattern stands for changes, the pattern does not.
    """

    client_id: str
    kind: str
    request: Mapping[str, Any]
    result_format: str
    estimated_samples: int
    site_name: str | None = None
    points_total: int = 0
    priority: int = 0
    sent: str = ""


@dataclass(frozen=True, slots=True)
class ExportJob:
    """One row of ``ops.queue_jobs``, or of ``ops.job_history`` once its result is gone."""

    job_id: str
    client_id: str
    site_name: str | None
    kind: str
    request: Mapping[str, Any]
    priority: int
    status: JobStatus
    estimated_samples: int
    samples: int | None
    points_done: int
    points_total: int
    attempts: int
    error: str | None
    run_id: str | None
    created_at: datetime
    updated_at: datetime
    not_before: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    result_bytes: int | None
    result_format: str
    cancel_requested: int
    sent: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.status in ENDED


def new_job_id(client_id: str = "", key: str = "") -> str:
    """A name for a job: random, or the one and only of a client's idempotency key."""
    if not key:
        return f"job_{secrets.token_hex(16)}"
    return f"job_{hashlib.sha256(f'{len(client_id)}:{client_id}{key}'.encode()).hexdigest()[:32]}"


def open_job(settings: Settings, order: Order, *, now: datetime, key: str = "") -> ExportJob:
    """Put an order on record, due at once. The same client's ``key`` again gives the job that it made.

    Without a key, an unfinished job of the client that asks for the same is given back. Raises ``OtherRequestError``
    where the key's job is for something else, ``TooManyJobsError`` where ``MOST_UNFINISHED`` are not done yet.
    """
    job_id = new_job_id(order.client_id, key)
    with begin_alone(settings, SUBJECT) as connection:
        there = _find(connection, _JOB.job_id == job_id) if key else _equal(connection, order)
        if there is None:
            _refuse_too_many(connection, order.client_id)
            connection.execute(insert(QUEUE_JOBS).values(job_id=job_id, **_new_row(order, now)))
            return _existing(connection, job_id)
    if key and not _is_same(there, order):
        raise OtherRequestError(f"this Idempotency-Key made {job_id}, which asks for something else; send a new key")
    return there


def claim_due(settings: Settings, *, now: datetime, limit: int) -> list[ExportJob]:
    """Take what is due, the highest priority and the oldest first: submitted from now on, each under a new run id."""
    due = and_(_JOB.status == "queued", or_(_JOB.not_before.is_(None), _JOB.not_before <= now))
    with begin_alone(settings, SUBJECT) as connection:
        query = select(_JOB.job_id).where(due).order_by(_JOB.priority.desc(), _JOB.created_at, _JOB.job_id)
        found = connection.execute(query.limit(limit)).scalars().all()
        return [_claim(connection, job_id, now) for job_id in found]


def take_up(settings: Settings, job_id: str, run_id: str, *, now: datetime) -> ExportJob:
    """The run has begun: nothing of its result is there yet.

    Raises ``JobLostError`` where the job is not this run's, ``JobCancelledError`` where it is to be cancelled.
    """
    with begin_alone(settings, SUBJECT) as connection:
        job = _mine(connection, job_id, run_id)
        fresh = {"status": "running", "points_done": 0, "samples": 0, "started_at": job.started_at or now}
        return _change(connection, job_id, now, fresh)


def advance(settings: Settings, job_id: str, run_id: str, *, points_done: int, samples: int, now: datetime) -> None:
    """Note how far a run is. Raises ``JobLostError`` and ``JobCancelledError``: then it ends without a result."""
    with begin_alone(settings, SUBJECT) as connection:
        _mine(connection, job_id, run_id)
        _change(connection, job_id, now, {"points_done": points_done, "samples": samples})


def complete(
    settings: Settings, job_id: str, run_id: str, *, samples: int, result_bytes: int, now: datetime,
    put_in_place: Callable[[], object],
) -> ExportJob:  # fmt: skip
    """The result is whole: ``put_in_place`` makes it the job's, and it can be fetched for JOB_RESULT_LIFE.

    Called inside the transaction, so that a run that was given up meanwhile cannot replace another's result.
    Raises ``JobLostError`` and ``JobCancelledError``.
    """
    with begin_alone(settings, SUBJECT) as connection:
        job = _mine(connection, job_id, run_id)
        put_in_place()
        result = {"samples": samples, "result_bytes": result_bytes, "points_done": job.points_total, "error": None}
        return _end(connection, job_id, "completed", now=now, life=settings.job_result_life, **result)


def give_back(settings: Settings, job_id: str, run_id: str, *, error: str, now: datetime) -> ExportJob | None:
    """A try has failed: another is due after 1, 2, 4 … times JOB_RETRY_DELAY, or it was the last.

    None where the job is this run's no more; one that is to be cancelled is cancelled instead.
    """
    life = settings.job_result_life
    with begin_alone(settings, SUBJECT) as connection:
        job = _find(connection, _JOB.job_id == job_id, _JOB.run_id == run_id, _JOB.status.in_(IN_HAND))
        if job is None:
            return None
        if job.cancel_requested:
            return _end(connection, job_id, "cancelled", now=now, life=life)
        if job.attempts > settings.job_retries:
            return _end(connection, job_id, "failed", now=now, life=life, error=error)
        due = now + settings.job_retry_delay * 2 ** (job.attempts - 1)
        return _change(connection, job_id, now, {"status": "queued", "not_before": due, "error": error})


def request_cancel(settings: Settings, job_id: str, *, now: datetime) -> ExportJob | None:
    """Cancel a job: at once where no run has it, else as soon as its run looks. One that has ended stays as it is.

    None where there is no such job.
    """
    with begin_alone(settings, SUBJECT) as connection:
        job = _find(connection, _JOB.job_id == job_id)
        if job is None or job.has_ended:
            return job
        if job.status == "queued":
            life = settings.job_result_life
            return _end(connection, job_id, "cancelled", now=now, life=life, cancel_requested=1)
        return _change(connection, job_id, now, {"cancel_requested": 1})


def cancelled(settings: Settings, job_id: str, run_id: str, *, now: datetime) -> ExportJob | None:
    """The run was stopped, by the client or by an operator in Dagster. None where the job is this run's no more."""
    with begin_alone(settings, SUBJECT) as connection:
        job = _find(connection, _JOB.job_id == job_id, _JOB.run_id == run_id, _JOB.status.in_(IN_HAND))
        if job is None:
            return None
        life = settings.job_result_life
        return _end(connection, job_id, "cancelled", now=now, life=life, cancel_requested=1)


def jobs_in_hand(settings: Settings) -> list[ExportJob]:
    """Jobs that a run has, or is about to get, oldest first."""
    with begin(settings) as connection:
        query = select(QUEUE_JOBS).where(_JOB.status.in_(IN_HAND)).order_by(_JOB.created_at, _JOB.job_id)
        return [ExportJob(**row) for row in connection.execute(query).mappings()]


def _equal(connection: "Connection", order: Order) -> ExportJob | None:
    """The client's oldest unfinished job that asks for the same, unless it is to be cancelled."""
    alike = [getattr(_JOB, name) == getattr(order, name) for name in ("site_name", "points_total", "priority")]
    query = select(QUEUE_JOBS).where(_unfinished(order.client_id), _JOB.cancel_requested == 0, *alike)
    rows = connection.execute(query.order_by(_JOB.created_at, _JOB.job_id)).mappings()
    return next((job for job in (ExportJob(**row) for row in rows) if _asked(job) == _asked(order)), None)


def _refuse_too_many(connection: "Connection", client_id: str) -> None:
    count = connection.execute(select(func.count()).where(_unfinished(client_id))).scalar_one()
    if count >= MOST_UNFINISHED:
        raise TooManyJobsError(f"{count} jobs of this client are not done yet; wait for one, or cancel one")


def _unfinished(client_id: str) -> "ColumnElement[bool]":
    return and_(_JOB.client_id == client_id, _JOB.status.not_in(ENDED))


def _is_same(job: ExportJob, order: Order) -> bool:
    """Whether an order is the one that made a job: as it was sent, where that is known."""
    return job.sent == order.sent if job.sent and order.sent else _asked(job) == _asked(order)


def _asked(of: ExportJob | Order) -> tuple[object, ...]:
    return of.kind, dict(of.request), of.result_format, of.priority


def _new_row(order: Order, now: datetime) -> dict[str, Any]:
    asked: dict[str, Any] = {"client_id": order.client_id, "kind": order.kind, "request": dict(order.request)}
    asked |= {"site_name": order.site_name, "result_format": order.result_format, "priority": order.priority}
    asked["sent"] = order.sent
    counts = {"estimated_samples": order.estimated_samples, "points_done": 0, "points_total": order.points_total}
    stamps = {"created_at": now, "updated_at": now, "not_before": now}
    return {**asked, **counts, **stamps, "status": "queued", "attempts": 0, "cancel_requested": 0}


def _claim(connection: "Connection", job_id: str, now: datetime) -> ExportJob:
    changes = {"status": "submitted", "run_id": str(uuid.uuid4()), "attempts": _JOB.attempts + 1}
    return _change(connection, job_id, now, changes)


def _mine(connection: "Connection", job_id: str, run_id: str) -> ExportJob:
    job = _find(connection, _JOB.job_id == job_id)
    if job is None or job.run_id != run_id or job.status not in IN_HAND:
        state = "is not there" if job is None else f"is {job.status} in run {job.run_id}"
        raise JobLostError(f"{job_id} {state}; run {run_id} leaves it alone")
    if job.cancel_requested:
        raise JobCancelledError(f"{job_id} was cancelled")
    return job


def _end(
    connection: "Connection", job_id: str, status: JobStatus, *, now: datetime, life: timedelta, **more: object
) -> ExportJob:
    end = {"status": status, "finished_at": now, "expires_at": now + life, "not_before": None}
    return _change(connection, job_id, now, {**end, **more})


def _change(connection: "Connection", job_id: str, now: datetime, changes: Mapping[str, Any]) -> ExportJob:
    connection.execute(update(QUEUE_JOBS).where(_JOB.job_id == job_id).values(updated_at=now, **changes))
    return _existing(connection, job_id)


def _existing(connection: "Connection", job_id: str) -> ExportJob:
    found = _find(connection, _JOB.job_id == job_id)
    assert found is not None  # noqa: S101 (it was written in this transaction)
    return found


def _find(connection: "Connection", *where: "ColumnElement[bool]") -> ExportJob | None:
    row = connection.execute(select(QUEUE_JOBS).where(*where)).mappings().first()
    return ExportJob(**row) if row else None
