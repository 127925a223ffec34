"""The state database: opening it, its migration, and transactions that several processes may begin at once.

What its tables are is in ``tables.py``; what is done with them in ``state.py``, ``site_state.py`` and ``alerts.py``.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Table, create_engine, inspect, text
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from etl_assets.ops.tables import METADATA
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection

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
def begin(settings: Settings) -> "Iterator[Connection]":
    """A transaction: all of the block, or nothing of it."""
    with _engine(settings).begin() as connection:
        yield connection


@contextmanager
def begin_alone(settings: Settings, subject: str) -> "Iterator[Connection]":
    """A transaction that reads before it writes: no other on this subject changes anything in between.

    SQLite has one writer at a time whatever the subject; Postgres locks the subject alone.
    """
    with _engine(settings).begin() as connection:
        if connection.dialect.name == "sqlite":
            # Without it the driver begins at the first write, after what was read may have changed.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:subject))"), {"subject": subject})
        yield connection


def upsert_row(
    connection: "Connection", table: Table, values: Mapping[str, Any], *, where: ColumnElement[bool] | None = None
) -> None:
    """Insert a row; where its key is there already change that row, if ``where`` holds for it."""
    insert = postgres_insert if connection.dialect.name == "postgresql" else sqlite_insert
    statement = insert(table).values(**values)
    key = [column.name for column in table.primary_key]
    changes = {name: statement.excluded[name] for name in values if name not in key}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=changes, where=where))
