"""Where KPI jobs stand: the job of each market day, what became of each of its KPIs, and which run has which in hand.

A market day has one **job**, however often it is run; a **run** here is one KPI of it. A KPI that waits for its
workflow to report back stays running; what a workflow reports is taken in ``kpi_reports.py``, and what the record says
of a job or of failed days is in ``kpi_records.py``. All instants are UTC, and nothing here reads the clock.

A job's status and counts are those of its runs, and are brought in line in the transaction that changes one of them.
``triggered_at`` is the one sign that a workflow need not be called: it is there from when the workflow accepted the
call until it reports failure, or fails to report.
"""

import secrets
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import and_, func, insert, null, select, update

from etl_assets.ops.database import begin, begin_alone
from etl_assets.ops.tables import KPI_JOBS, KPI_RUNS
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

RunStatus = Literal["pending", "running", "completed", "failed"]
JobStatus = Literal["pending", "running", "completed", "partial", "failed"]

SUBJECT = "kpi jobs"
"""Of ``begin_alone``: all changes take turns, since a KPI's run and its job change together."""

UNANSWERED_PAUSE = timedelta(minutes=5)
"""So long a run that Dagster tries again leaves alone what had no answer in it. It tries a killed one again as a whole
and at once: what took the answer is still there then, and the last call that is made unasked would be spent on it."""

_JOB = KPI_JOBS.c
_RUN = KPI_RUNS.c


class UnknownRunError(LookupError):
    """There is no such job, or it has no such KPI."""


@dataclass(frozen=True, slots=True)
class KpiRun:
    """One row of ``kpi.kpi_runs``: a KPI in the job of a market day. ``value`` is in the KPI's own unit."""

    trace_id: str
    kpi_id: str
    date: date
    status: RunStatus
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    error: str | None
    retry_count: int
    value: float | None
    payload: Mapping[str, Any] | None
    triggered_at: datetime | None
    report_due: datetime | None
    reported_at: datetime | None
    report: Mapping[str, Any] | None
    run_id: str | None
    claimed_until: datetime | None
    forced_by: str | None
    calls: int
    unanswered: int

    @property
    def call_key(self) -> str:
        """By what a receiver tells a call that comes once more from one that was forced."""
        first = f"{self.trace_id}:{self.kpi_id}"
        return first if self.calls == 1 else f"{first}:{self.calls}"

    @property
    def is_waiting(self) -> bool:
        """Whether its workflow has accepted the call and is still to report back."""
        return self.status == "running" and self.report_due is not None

    def is_in_hand(self, now: datetime) -> bool:
        """Whether a run works on it: the claim of a killed one ends by itself."""
        return self.claimed_until is not None and self.claimed_until > now


@dataclass(frozen=True, slots=True)
class KpiJob:
    """One row of ``kpi.kpi_jobs``: the daily run for a market day, ``date``."""

    trace_id: str
    date: date
    status: JobStatus
    created_at: datetime
    updated_at: datetime
    scheduled_for: datetime
    environment: str
    total_kpis: int
    completed_kpis: int
    failed_kpis: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A KPI in hand, as it is now; ``must_call`` where its workflow has yet to accept a call.

    ``not_before``: this run has called already and had no answer, and does not repeat that until then.
    """

    run: KpiRun
    must_call: bool
    not_before: datetime | None = None


def new_trace_id(moment: datetime) -> str:
    """A job's name: ``trace_20250814_120000_abc12345``, its time (aware) in UTC and eight random characters."""
    random = "".join(secrets.choice(string.digits + string.ascii_lowercase) for _ in range(8))
    return f"trace_{moment.astimezone(UTC):%Y%m%d_%H%M%S}_{random}"


def open_job(
    settings: Settings, day: date, kpi_ids: Sequence[str], *, moment: datetime, now: datetime, forced_by: str = ""
) -> KpiJob:
    """The job of a market day, with these KPIs in it.

    A day has one job: what it lacks is added, so that the same day again calls no workflow twice. ``moment`` is the
    scheduled time, which names a new one. ``forced_by`` is a run that wants the workflows of these KPIs called
    although they may have been: they are pending again, but for those that a run has in hand or that it has forced
    before.
    """
    with begin_alone(settings, SUBJECT) as connection:
        found = _one_job(connection, _JOB.date == day) or _new_job(connection, settings, day, moment, now)
        there = {run.kpi_id: run for run in select_runs(connection, _RUN.trace_id == found.trace_id)}
        stamps = {"date": day, "status": "pending", "created_at": now, "updated_at": now, "retry_count": 0}
        for kpi_id in dict.fromkeys(kpi_ids):
            if (run := there.get(kpi_id)) is None:
                names = {"trace_id": found.trace_id, "kpi_id": kpi_id, "forced_by": forced_by or None, "calls": 1}
                connection.execute(insert(KPI_RUNS).values(**names, **stamps))
                _settle(connection, found.trace_id, now)
            # A run that Dagster tries again goes on with what it has forced: it does not begin anew.
            elif forced_by and run.forced_by != forced_by and not run.is_in_hand(now):
                change_run(connection, run, now, _forced(run, forced_by))
        return existing_job(connection, found.trace_id)


def claim(
    settings: Settings, trace_id: str, kpi_id: str, *, run_id: str, now: datetime, until: datetime
) -> Claim | None:
    """Take a KPI in hand until ``until``; None where another run has it. The run that has it may claim it again.

    One whose workflow must be called is running from now on, and how its last try ended is cleared. One whose
    workflow need not be called, or not yet, is claimed for its value alone, and its status stays until ``finish``.
    Raises ``UnknownRunError``.
    """
    # The process that takes a crashed one's place has its run id, so that it need not wait for the claims to end.
    # Should the one that was thought dead live, both may call: the receiver can tell by the Idempotency-Key.
    with begin_alone(settings, SUBJECT) as connection:
        run = find_run(connection, trace_id, kpi_id)
        if run.is_in_hand(now) and run.run_id != run_id:
            return None
        not_before = _not_before(run, run_id, now)
        must_call = run.triggered_at is None and run.status != "completed" and not_before is None
        changes: dict[str, Any] = {"run_id": run_id, "claimed_until": until}
        if must_call:
            # The former report stays, so that it is known when it comes once more.
            changes |= {"status": "running", "completed_at": None, "error": None}
            changes |= {"report_due": None, "reported_at": None}
        return Claim(change_run(connection, run, now, changes), must_call, not_before)


def record_call(settings: Settings, trace_id: str, kpi_id: str, *, payload: Mapping[str, Any], now: datetime) -> None:
    """Put on record, before the call, what the workflow is sent. A call that is not the first counts as a retry.

    Raises ``UnknownRunError``.
    """
    with begin_alone(settings, SUBJECT) as connection:
        run = find_run(connection, trace_id, kpi_id)
        again = run.payload is not None
        change_run(connection, run, now, {"payload": dict(payload), "retry_count": run.retry_count + again})


def accepted(settings: Settings, trace_id: str, kpi_id: str, *, retries: int, now: datetime, waits: bool) -> None:
    """The webhook has accepted the call, after ``retries`` further tries.

    With ``waits`` the KPI stays running until its workflow reports back, else it is completed. A workflow that has
    reported its end before its webhook answered is believed. Raises ``UnknownRunError``.
    """
    with begin_alone(settings, SUBJECT) as connection:
        run = find_run(connection, trace_id, kpi_id)
        changes: dict[str, Any] = {"retry_count": run.retry_count + retries, "unanswered": 0}
        if run.status not in {"completed", "failed"}:
            changes |= {"triggered_at": now}
            if waits:
                changes |= {"status": "running", "report_due": now + settings.kpi_report_timeout}
            else:
                changes |= {"status": "completed", "completed_at": now, "report_due": None}
        change_run(connection, run, now, changes)


def finish(  # noqa: PLR0913 (what ended and how, each named at the call)
    settings: Settings,
    trace_id: str,
    kpi_id: str,
    *,
    status: Literal["completed", "failed"],
    now: datetime,
    error: str = "",
    retries: int = 0,
    value: float | None = None,
    is_unanswered: bool = False,
) -> None:
    """Let go of a KPI with what became of it, and its number where it has one and the workflow reported none.

    ``completed`` speaks of the KPI's own part: while its workflow is to report back it stays running, and failed
    where the workflow has failed since. ``retries`` count with ``failed``: those of a call that was accepted are
    counted by ``accepted``. ``is_unanswered``: it failed since its call had no answer, so that whether the workflow
    was started is not known. Raises ``UnknownRunError``.
    """
    with begin_alone(settings, SUBJECT) as connection:
        run = find_run(connection, trace_id, kpi_id)
        changes: dict[str, Any] = {"claimed_until": None}
        if value is not None or run.reported_at is None:
            changes |= {"value": value}
        if status == "failed":
            changes |= {"status": status, "completed_at": now, "error": error or "it failed without saying why"}
            changes |= {"retry_count": run.retry_count + retries, "unanswered": run.unanswered + is_unanswered}
        elif run.report_due is not None:
            changes |= {"status": "running", "completed_at": None, "error": None}
        elif not (run.status == "failed" and run.payload is not None and run.triggered_at is None):
            completed_at = run.completed_at if run.status == "completed" else now
            changes |= {"status": status, "completed_at": completed_at, "error": None}
        change_run(connection, run, now, changes)


def job(settings: Settings, trace_id: str) -> KpiJob | None:
    """A job by its trace id."""
    with begin(settings) as connection:
        return _one_job(connection, _JOB.trace_id == trace_id)


def newest_job(settings: Settings, day: date) -> KpiJob | None:
    """The job of a market day."""
    with begin(settings) as connection:
        return _one_job(connection, _JOB.date == day)


def last_job(settings: Settings) -> KpiJob | None:
    """The job that was made last, whatever its market day."""
    with begin(settings) as connection:
        return _one_job(connection)


def runs_of(settings: Settings, trace_id: str) -> list[KpiRun]:
    """The KPIs of a job, by id; none where there is no such job."""
    with begin(settings) as connection:
        return select_runs(connection, _RUN.trace_id == trace_id)


def existing_job(connection: "Connection", trace_id: str) -> KpiJob:
    """A job by its trace id. Raises ``UnknownRunError`` where there is none."""
    found = _one_job(connection, _JOB.trace_id == trace_id)
    if found is None:
        raise UnknownRunError(f"there is no KPI job {trace_id!r}; look at the traceId that the workflow was sent")
    return found


def find_run(connection: "Connection", trace_id: str, kpi_id: str) -> KpiRun:
    """One KPI of a job. Raises ``UnknownRunError``, which says whether it is the job that is unknown."""
    found = select_runs(connection, _RUN.trace_id == trace_id, _RUN.kpi_id == kpi_id)
    if found:
        return found[0]
    existing_job(connection, trace_id)
    raise UnknownRunError(f"the job {trace_id} has no KPI {kpi_id!r}; look at the kpiId that the workflow was sent")


def select_runs(connection: "Connection", *where: "ColumnElement[bool]") -> list[KpiRun]:
    """Runs by trace id and KPI."""
    rows = connection.execute(select(KPI_RUNS).where(*where).order_by(_RUN.trace_id, _RUN.kpi_id))
    # The columns that came later are empty in the rows that were there before.
    return [
        KpiRun(**{**row, "calls": row["calls"] or 1, "unanswered": row["unanswered"] or 0}) for row in rows.mappings()
    ]


def change_run(connection: "Connection", run: KpiRun, now: datetime, changes: Mapping[str, Any]) -> KpiRun:
    """Change a run and bring its job in line; returns it as it is then. Call inside ``begin_alone`` of ``SUBJECT``."""
    this = and_(_RUN.trace_id == run.trace_id, _RUN.kpi_id == run.kpi_id)
    connection.execute(update(KPI_RUNS).where(this).values(updated_at=now, **changes))
    _settle(connection, run.trace_id, now)
    return find_run(connection, run.trace_id, run.kpi_id)


def _not_before(run: KpiRun, run_id: str, now: datetime) -> datetime | None:
    is_unanswered = run.status == "failed" and run.unanswered > 0 and run.triggered_at is None
    if not (is_unanswered and run.run_id == run_id and run.completed_at):
        return None
    pause_ends = run.completed_at + UNANSWERED_PAUSE
    return pause_ends if now < pause_ends else None


def _new_job(connection: "Connection", settings: Settings, day: date, moment: datetime, now: datetime) -> KpiJob:
    trace_id = new_trace_id(moment)
    row = {"trace_id": trace_id, "date": day, "created_at": now, "scheduled_for": moment}
    stated = {"status": "pending", "updated_at": now, "environment": settings.environment}
    counts = {"total_kpis": 0, "completed_kpis": 0, "failed_kpis": 0}
    connection.execute(insert(KPI_JOBS).values(**row, **stated, **counts))
    return existing_job(connection, trace_id)


def _forced(run: KpiRun, forced_by: str) -> dict[str, Any]:
    """What makes a KPI as if it had not been called, but for the number of the call to come."""
    cleared = ("triggered_at", "report_due", "reported_at", "completed_at", "error", "claimed_until")
    calls = run.calls + (run.payload is not None)
    kept = {"status": "pending", "forced_by": forced_by, "calls": calls, "retry_count": 0, "unanswered": 0}
    # JSON has a null of its own, which is not an empty column.
    return {**dict.fromkeys(cleared), **kept, "payload": null(), "report": null()}


def _settle(connection: "Connection", trace_id: str, now: datetime) -> None:
    """Derive a job's status and counts from its runs; nothing else writes them."""
    query = select(_RUN.status, func.count()).where(_RUN.trace_id == trace_id).group_by(_RUN.status)
    counted: Counter[str] = Counter(dict(connection.execute(query).all()))
    counts = {"completed_kpis": counted["completed"], "failed_kpis": counted["failed"]}
    changes = {"status": _job_status(counted), "total_kpis": counted.total(), "updated_at": now, **counts}
    connection.execute(update(KPI_JOBS).where(_JOB.trace_id == trace_id).values(**changes))


def _job_status(counted: Counter[str]) -> JobStatus:
    if counted["pending"] == counted.total():
        return "pending"
    if counted["pending"] or counted["running"]:
        return "running"
    if not counted["failed"]:
        return "completed"
    return "partial" if counted["completed"] else "failed"


def _one_job(connection: "Connection", *where: "ColumnElement[bool]") -> KpiJob | None:
    query = select(KPI_JOBS).where(*where).order_by(_JOB.created_at.desc(), _JOB.trace_id.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return KpiJob(**row) if row else None
