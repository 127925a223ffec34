"""Operational state that is written row by row: records of runs and checkpoints.

One SQLAlchemy database, SQLite by default and Postgres when configured. Not in the lake, because a lake pays a
file for every commit; not in Dagster's storage, because analysts read it: ``publish`` copies it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    create_engine,
    delete,
    inspect,
    select,
    text,
)
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from etl_assets.lake.publish import Copied
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection

METADATA = MetaData()


class _Instant(TypeDecorator[datetime]):
    """An aware instant. Kept in UTC, because SQLite drops the zone and compares what is left as text."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: "Dialect") -> datetime | None:  # noqa: ARG002
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: "Dialect") -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_UTC = _Instant()

SYNC_RUNS = Table(
    "sync_runs",
    METADATA,
    Column("run_id", String, primary_key=True, comment="Dagster run."),
    Column("attempt", Integer, primary_key=True, comment="1, and more where the step was tried again."),
    Column("dataset", String, primary_key=True, comment="Table that was collected, schema.name."),
    Column("partition", String, primary_key=True, comment="Market day, or first and last of a range."),
    Column("started_at", _UTC, nullable=False, comment="Start of the collection."),
    Column("finished_at", _UTC, nullable=False, comment="End of the collection."),
    Column("duration_seconds", Float, nullable=False, comment="How long it took."),
    Column("fetched", Integer, nullable=False, comment="Records read; equals the sum of the next six."),
    Column("filtered", Integer, nullable=False, comment="Records outside the market days that were asked for."),
    Column("invalid", Integer, nullable=False, comment="Records that lie in quarantine."),
    Column("duplicate", Integer, nullable=False, comment="Records repeated within a batch."),
    Column("unchanged", Integer, nullable=False, comment="Records that the lake had already."),
    Column("inserted", Integer, nullable=False, comment="New rows."),
    Column("updated", Integer, nullable=False, comment="Rows completed or revised."),
    Column("missing_before", Integer, nullable=False, comment="Intervals missing before."),
    Column("missing_after", Integer, nullable=False, comment="Intervals still missing."),
    Column("files_read", Integer, nullable=False, comment="Files read."),
    Column("files_refused", Integer, nullable=False, comment="Files refused whole."),
    Column("requests_by_status", JSON, nullable=False, comment="HTTP answers by status."),
    Column("retries", Integer, nullable=False, comment="Requests that were tried again."),
    Column("bytes_received", BigInteger, nullable=False, comment="Bytes received."),
    Column("errors", JSON, nullable=False, comment="What went wrong, one sentence each."),
)

CHECKPOINTS = Table(
    "checkpoints",
    METADATA,
    Column("name", String, primary_key=True, comment="What the checkpoint is of."),
    Column("value", JSON, nullable=False, comment="Where to resume."),
    Column("saved_at", _UTC, nullable=False, comment="When it was saved."),
    Column("expires_at", _UTC, nullable=False, comment="When it is facts no more."),
)


@dataclass(frozen=True, slots=True)
class SyncRun:
    """One row of ``ops.sync_runs``: what one run did for one dataset and partition."""

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
    missing_before: int
    missing_after: int
    files_read: int
    files_refused: int
    requests_by_status: Mapping[str, int]
    retries: int
    bytes_received: int
    errors: tuple[str, ...]


_engines: "dict[str, Engine]" = {}


def _engine(settings: Settings) -> "Engine":
    """The process's engine for this database, its tables created and their missing columns added."""
    url = settings.state_url
    if url not in _engines:
        if url.startswith("sqlite:///"):
            settings.etl_data.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url)
        if engine.dialect.name == "sqlite":
            sqlalchemy_event.listen(engine, "connect", _configure_sqlite)
        with _one_at_a_time(engine):
            _migrate(engine)
        _engines[url] = engine
    return _engines[url]


def _configure_sqlite(connection: "DBAPIConnection", _record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA busy_timeout = 30000")


def _one_at_a_time(engine: "Engine") -> AbstractContextManager[object]:
    """Processes that open an SQLite file at once make it, its journal and its tables in turn."""
    if engine.dialect.name != "sqlite" or engine.url.database in (None, "", ":memory:"):
        return nullcontext()
    from filelock import FileLock

    return FileLock(f"{engine.url.database}.lock")


def _migrate(engine: "Engine") -> None:
    METADATA.create_all(engine)
    inspector = inspect(engine)
    with engine.begin() as connection:
        for table in METADATA.sorted_tables:
            present = {column["name"] for column in inspector.get_columns(table.name)}
            for column in table.columns:
                if column.name not in present:
                    kind = column.type.compile(engine.dialect)
                    connection.execute(text(f'ALTER TABLE {table.name} ADD COLUMN "{column.name}" {kind}'))


@contextmanager
def _begin(settings: Settings) -> "Iterator[Connection]":
    with _engine(settings).begin() as connection:
        yield connection


def _upsert(connection: "Connection", table: Table, values: Mapping[str, Any]) -> None:
    insert = postgres_insert if connection.dialect.name == "postgresql" else sqlite_insert
    statement = insert(table).values(**values)
    key = [column.name for column in table.primary_key]
    changes = {name: statement.excluded[name] for name in values if name not in key}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=changes))


def record_sync_run(settings: Settings, run: SyncRun) -> None:
    """Store what a run did; the same run, dataset and partition again replaces its row."""
    values = {f.name: getattr(run, f.name) for f in fields(run)}
    values["errors"] = list(run.errors)
    values["requests_by_status"] = dict(run.requests_by_status)
    with _begin(settings) as connection:
        _upsert(connection, SYNC_RUNS, values)


def save_checkpoint(settings: Settings, name: str, value: Mapping[str, Any], *, now: datetime, keep: timedelta) -> None:
    """Remember where to resume, for as long as ``keep``."""
    with _begin(settings) as connection:
        _upsert(
            connection,
            CHECKPOINTS,
            {"name": name, "value": dict(value), "saved_at": now, "expires_at": now + keep},
        )


def load_checkpoint(settings: Settings, name: str, *, now: datetime) -> dict[str, Any] | None:
    """Where to resume; None where nothing was saved or it has expired."""
    with _begin(settings) as connection:
        row = connection.execute(select(CHECKPOINTS).where(CHECKPOINTS.c.name == name)).mappings().first()
    if row is None or row["expires_at"] <= now:
        return None
    return dict(row["value"])


def clear_checkpoint(settings: Settings, name: str) -> None:
    """Forget a checkpoint: the work is complete."""
    with _begin(settings) as connection:
        connection.execute(delete(CHECKPOINTS).where(CHECKPOINTS.c.name == name))


def forget_old(settings: Settings, *, now: datetime) -> int:
    """Remove run records older than ``SYNC_RUN_RETENTION`` and expired checkpoints; returns how many rows went."""
    with _begin(settings) as connection:
        runs = connection.execute(
            delete(SYNC_RUNS).where(SYNC_RUNS.c.finished_at < now - settings.sync_run_retention)
        ).rowcount
        checkpoints = connection.execute(delete(CHECKPOINTS).where(CHECKPOINTS.c.expires_at <= now)).rowcount
    return int(runs + checkpoints)


def sync_runs(settings: Settings) -> list[dict[str, Any]]:
    """All rows of ``ops.sync_runs``, oldest first, instants aware."""
    with _begin(settings) as connection:
        rows = connection.execute(select(SYNC_RUNS).order_by(SYNC_RUNS.c.started_at)).mappings().all()
    return [dict(row) for row in rows]


def copies_for_analysts(settings: Settings) -> list[Copied]:
    """What of this database goes into ``warehouse.duckdb``."""
    import pyarrow as pa

    kinds = {
        "DATETIME": pa.timestamp("us", tz="UTC"),
        "FLOAT": pa.float64(),
        "INTEGER": pa.int64(),
        "BIGINT": pa.int64(),
    }
    schema = pa.schema([(c.name, kinds.get(str(c.type), pa.string())) for c in SYNC_RUNS.columns])
    rows = [
        {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in row.items()}
        for row in sync_runs(settings)
    ]
    return [
        Copied(
            schema="ops",
            name="sync_runs",
            comment="What each run did for each dataset: "
            "fetched = filtered + invalid + duplicate + unchanged + inserted + updated.",
            rows=pa.Table.from_pylist(rows, schema=schema),
        )
    ]
