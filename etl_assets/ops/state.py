"""Records of runs and checkpoints, and what of the state database analysts see and how long it is kept.

One SQLAlchemy database, SQLite by default and Postgres when configured. Not in the lake, because a lake pays a
file for every commit; not in Dagster's storage, because analysts read it: ``publish`` copies it.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import JSON, ColumnElement, Select, String, Table, cast, delete, func, or_, select

from etl_assets.lake.publish import Copied, Extra
from etl_assets.ops.database import begin, upsert_row
from etl_assets.ops.tables import (
    ALERTS,
    CACHE_METADATA,
    CHECKPOINTS,
    JOB_HISTORY,
    KPI_JOBS,
    KPI_RUNS,
    QUEUE_JOBS,
    REQUEST_ANALYTICS,
    SITE_SYNC,
    SITE_WINDOWS,
    SYNC_RUNS,
)
from etl_assets.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection

RUNS_COMMENT = (
    "What each run did for each dataset: fetched = filtered + invalid + duplicate + unchanged + inserted + updated. "
    "kept is what passed the filter (fetched - filtered), dropped what did not (filtered)."
)

WORKED_OUT = {
    "kept": "Records that passed the filter: fetched less filtered.",
    "dropped": "Records that the filter took out: filtered by another name.",
}
"""What the columns mean that a copy has and its table has not."""

KPI_HISTORY = timedelta(days=400)
"""Of jobs and runs of KPIs: values are compared with those of a year before, which a run may explain. By when a job was
made and not by its market day: a job for a day long ago keeps its workflows from being called twice as long as any."""

RECORDS_COPIED = 10_000
"""Of jobs, cached results and requests, the newest: a busy API has millions of requests in its thirty days, and they
would be copied at every tick."""

NOT_COPIED = {"client_id", "request", "sent", "error"}
"""Of jobs and requests: who asked, and for what. An error may quote what was asked."""

Status = Literal["complete", "partial", "failed"]


@dataclass(frozen=True, slots=True)
class SyncRun:
    """One row of ``ops.sync_runs``: what one run did for one dataset and partition.

    ``status`` None is stored as partial where there were errors, else as complete. ``stack`` is the text of a
    traceback. Counts of windows, pages and points are those of sites.
    """

    run_id: str
    attempt: int
    dataset: str
    partition: str
    started_at: datetime
    finished_at: datetime
    duration_seconds: float
    fetched: int
    filtered: int
    invalid: int
    duplicate: int
    unchanged: int
    inserted: int
    updated: int
    requests_by_status: Mapping[str, int]
    retries: int
    bytes_received: int
    errors: tuple[str, ...]
    missing_before: int = 0
    missing_after: int = 0
    files_read: int = 0
    files_refused: int = 0
    sync_id: str = ""
    site_name: str = ""
    status: Status | None = None
    pages: int = 0
    cursor_repairs: int = 0
    points_processed: int = 0
    points_skipped: int = 0
    failed_batches: int = 0
    database_errors: int = 0
    windows_complete: int = 0
    windows_failed: int = 0
    windows_deferred: int = 0
    stack: str = ""

    @property
    def kept(self) -> int:
        """Records that passed the filter: what the documents of the predecessor call records_filtered."""
        return self.fetched - self.filtered

    @property
    def dropped(self) -> int:
        """Records that the filter took out."""
        return self.filtered

    @property
    def requests(self) -> int:
        """Requests sent, each try counted."""
        return sum(self.requests_by_status.values())


def new_sync_id(now: datetime) -> str:
    """A name for one sync: ``sync_``, the epoch in seconds, and six random characters."""
    return f"sync_{int(now.timestamp())}_{secrets.token_hex(3)}"


def record_sync_run(settings: Settings, run: SyncRun) -> None:
    """Store what a run did; the same run, dataset and partition again replaces its row."""
    values = {f.name: getattr(run, f.name) for f in fields(run)}
    values["errors"] = list(run.errors)
    values["requests_by_status"] = dict(run.requests_by_status)
    values["status"] = run.status or ("partial" if run.errors else "complete")
    with begin(settings) as connection:
        upsert_row(connection, SYNC_RUNS, values)


def save_checkpoint(settings: Settings, name: str, value: Mapping[str, Any], *, now: datetime, keep: timedelta) -> None:
    """Remember where to resume, for as long as ``keep``."""
    row = {"name": name, "value": dict(value), "saved_at": now, "expires_at": now + keep}
    with begin(settings) as connection:
        upsert_row(connection, CHECKPOINTS, row)


def load_checkpoint(settings: Settings, name: str, *, now: datetime) -> dict[str, Any] | None:
    """Where to resume; None where nothing was saved or it has expired."""
    with begin(settings) as connection:
        row = connection.execute(select(CHECKPOINTS).where(CHECKPOINTS.c.name == name)).mappings().first()
    if row is None or row["expires_at"] <= now:
        return None
    return dict(row["value"])


def load_checkpoints(settings: Settings, prefix: str, *, now: datetime) -> dict[str, dict[str, Any]]:
    """Every checkpoint alive whose name begins with a prefix, by name."""
    found = select(CHECKPOINTS).where(CHECKPOINTS.c.name.startswith(prefix, autoescape=True))
    with begin(settings) as connection:
        rows = connection.execute(found.order_by(CHECKPOINTS.c.name)).mappings().all()
    # SQLite's LIKE does not tell upper case from lower.
    return {r["name"]: dict(r["value"]) for r in rows if r["name"].startswith(prefix) and r["expires_at"] > now}


def clear_checkpoint(settings: Settings, name: str) -> None:
    """Forget a checkpoint: the work is complete."""
    with begin(settings) as connection:
        connection.execute(delete(CHECKPOINTS).where(CHECKPOINTS.c.name == name))


def forget_old(settings: Settings, *, now: datetime) -> int:
    """Remove what is past its time; returns how many rows went.

    That is records of runs, and alerts that were resolved, older than ``SYNC_RUN_RETENTION``; expired checkpoints and
    tokens; records of requests older than ``REQUEST_RETENTION``; jobs of KPIs, with all their runs, older than
    ``KPI_HISTORY``; and windows of sites that rows for whole hours can stand for. A window is never forgotten: what it
    says (this hour need not be read again) stays true, and a backfill would read the hour anew.
    """
    from etl_assets.ops.api_state import forget_requests
    from etl_assets.ops.site_state import coarsen
    from etl_assets.ops.token_state import forget_tokens

    limit = now - settings.sync_run_retention
    old_jobs = select(KPI_JOBS.c.trace_id).where(KPI_JOBS.c.created_at < now - KPI_HISTORY)
    with begin(settings) as connection:
        rows = sum(
            connection.execute(statement).rowcount
            for statement in (
                delete(SYNC_RUNS).where(SYNC_RUNS.c.finished_at < limit),
                delete(CHECKPOINTS).where(CHECKPOINTS.c.expires_at <= now),
                delete(ALERTS).where(ALERTS.c.resolved_at < limit),
                delete(KPI_RUNS).where(KPI_RUNS.c.trace_id.in_(old_jobs)),
                delete(KPI_JOBS).where(KPI_JOBS.c.created_at < now - KPI_HISTORY),
            )
        )
    rows += forget_requests(settings, now=now) + forget_tokens(settings, now=now)
    return int(rows) + coarsen(settings, now=now)


def sync_runs(settings: Settings) -> list[dict[str, Any]]:
    """All rows of ``ops.sync_runs``, oldest first, instants aware."""
    with begin(settings) as connection:
        rows = connection.execute(select(SYNC_RUNS).order_by(SYNC_RUNS.c.started_at)).mappings().all()
    return [dict(row) for row in rows]


def copies_for_analysts(settings: Settings) -> list[Extra]:
    """What of this database goes into ``warehouse.duckdb``: no cursor, no traceback, no address, no client.

    And views over it.
    """
    from etl_assets.ops.views import EXPORT_VIEWS

    with begin(settings) as connection:
        published = [
            *(("ops", *each) for each in _published(connection, settings)),
            *(("ops", *each) for each in _exports()),
            *(("kpi", *each) for each in _kpis()),
        ]
        copies = [
            Copied(schema, name, comment, _arrow(connection, query), _meanings(query))
            for schema, name, comment, query in published
        ]
    return [*copies, *EXPORT_VIEWS]


def _meanings(query: Select[Any]) -> dict[str, str]:
    """What the columns mean, by name: as their tables say, or as is said here of those that are worked out."""
    return {c.name: getattr(c, "comment", None) or WORKED_OUT[c.name] for c in query.selected_columns}


def _published(connection: "Connection", settings: Settings) -> Sequence[tuple[str, str, Select[Any]]]:
    dropped = SYNC_RUNS.c.filtered
    runs = [c for c in SYNC_RUNS.c if c.name != "stack"]
    kept = (SYNC_RUNS.c.fetched - dropped).label("kept")
    alerts = [c for c in ALERTS.c if c.name != "claimed_until"]
    return (
        (
            "sync_runs",
            RUNS_COMMENT,
            select(*runs, kept, dropped.label("dropped")).order_by(SYNC_RUNS.c.started_at),
        ),
        (
            "site_sync",
            "How far each site was read without a hole.",
            select(SITE_SYNC).order_by(SITE_SYNC.c.site_name),
        ),
        (
            "site_windows",
            "Windows in which sites were read: what is not complete, and the last days of what is.",
            _recent_windows(connection, settings),
        ),
        (
            "alerts",
            "Conditions that were raised, and when they cleared.",
            select(*alerts).order_by(ALERTS.c.raised_at, ALERTS.c.key),
        ),
    )


def _exports() -> Sequence[tuple[str, str, Select[Any]]]:
    newest = f"the newest {RECORDS_COPIED:,}"
    return (
        (
            "queue_jobs",
            f"Export jobs at work, and those whose results can be fetched; {newest}.",
            _newest(QUEUE_JOBS, QUEUE_JOBS.c.created_at),
        ),
        (
            "job_history",
            f"Export jobs that have ended and whose results are gone; {newest}.",
            _newest(JOB_HISTORY, JOB_HISTORY.c.created_at),
        ),
        (
            "cache_metadata",
            f"Results that the API keeps to answer equal requests; {newest}.",
            _newest(CACHE_METADATA, CACHE_METADATA.c.created_at),
        ),
        (
            "request_analytics",
            f"Requests that the API answered, and how fast; {newest}.",
            _newest(REQUEST_ANALYTICS, REQUEST_ANALYTICS.c.at),
        ),
    )


def _newest(table: Table, moment: ColumnElement[datetime]) -> Select[Any]:
    columns = [column for column in table.c if column.name not in NOT_COPIED]
    return select(*columns).order_by(moment.desc(), *table.primary_key).limit(RECORDS_COPIED)


def _kpis() -> Sequence[tuple[str, str, Select[Any]]]:
    runs = [c for c in KPI_RUNS.c if c.name != "claimed_until"]
    return (
        (
            "kpi_jobs",
            "The daily run of a market day's KPIs; status and counts are those of its rows in kpi_runs.",
            select(KPI_JOBS).order_by(KPI_JOBS.c.created_at, KPI_JOBS.c.trace_id),
        ),
        (
            "kpi_runs",
            "What became of each KPI of a job: value, workflow, what the workflow reported.",
            select(*runs).order_by(KPI_RUNS.c.trace_id, KPI_RUNS.c.kpi_id),
        ),
    )


def _recent_windows(connection: "Connection", settings: Settings) -> Select[Any]:
    """Years of complete hours would be copied at every tick, and tell an analyst nothing that the readings do not."""
    columns = SITE_WINDOWS.c
    newest = connection.execute(select(func.max(columns.window_end))).scalar()
    query = select(SITE_WINDOWS).order_by(columns.site_name, columns.window_start, columns.window_end, columns.status)
    if newest is None:
        return query
    return query.where(or_(columns.status != "complete", columns.window_end > newest - settings.sync_run_retention))


def _arrow(connection: "Connection", query: Select[Any]) -> "pa.Table":
    import pyarrow as pa

    kinds = {
        "DATE": pa.date32(),
        "DATETIME": pa.timestamp("us", tz="UTC"),
        "FLOAT": pa.float64(),
        "INTEGER": pa.int64(),
        "BIGINT": pa.int64(),
    }
    # JSON stays the text that it is stored as: reading and writing it again took half of the time.
    columns = [cast(c, String).label(c.name) if isinstance(c.type, JSON) else c for c in query.selected_columns]
    rows = connection.execute(query.with_only_columns(*columns, maintain_column_froms=True)).all()
    values = list(zip(*rows, strict=True)) or [()] * len(columns)
    schema = pa.schema([(c.name, kinds.get(str(c.type), pa.string())) for c in columns])
    return pa.Table.from_arrays([pa.array(v, f.type) for v, f in zip(values, schema, strict=True)], schema=schema)
