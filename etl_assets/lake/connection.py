"""Opening the lake: extensions, the writer's lock, tables and their migration.

DuckLake on a SQLite catalog takes one writer at a time: concurrent commits fail with ``database is locked``
whatever the busy time-out (duckdb/ducklake 128, 1309). So a writer holds a file lock from ATTACH to DETACH;
readers attach read-only and take none. The same lock is held for a Postgres catalog: DuckLake retries conflicting
commits there, but two appends do not conflict, and two upserts of one key would both insert it. Writers of a Postgres
catalog therefore have to be on one machine.
"""

import importlib.util
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from etl_assets.lake.sql import literal
from etl_assets.lake.tables import TABLES, Table
from etl_assets.redaction import without_secrets_of_the_lake
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from filelock import FileLock

BUSY_TIMEOUT_MS = 10_000
"""SQLite's own wait for a reader's short lock; the writers' lock is ours."""

LOCK_POLL_SECONDS = 0.01
"""Short against a batch's time, so that a writer in a loop does not keep the others out."""


class LakeBusyError(RuntimeError):
    """Another process held the writer's lock for longer than ``LAKE_LOCK_TIMEOUT``."""


def load_extension(connection: "DuckDBPyConnection", name: str) -> None:
    """Load a DuckDB extension from its wheel, which needs no network; from DuckDB's repository where it is missing.

    DuckDB verifies the signature either way.
    """
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is not None and spec.submodule_search_locations:
        for found in Path(next(iter(spec.submodule_search_locations))).rglob(f"{name}.duckdb_extension"):
            connection.load_extension(str(found))
            return
    connection.install_extension(name)
    connection.load_extension(name)


def _is_postgres(settings: Settings) -> bool:
    return settings.lake_catalog.startswith("postgres:")


def _attach_statement(settings: Settings, *, read_only: bool) -> str:
    options = [f"DATA_PATH {literal(settings.lake_files)}", "DATA_INLINING_ROW_LIMIT 0"]
    # The catalog names files relative to the folder that it was made with; inside the data folder both move together.
    options += [] if settings.lake_data else ["OVERRIDE_DATA_PATH true"]
    if _is_postgres(settings):
        catalog = settings.lake_catalog
    else:
        catalog = f"sqlite:{settings.catalog_path.absolute()}"
        options += [f"META_BUSY_TIMEOUT {BUSY_TIMEOUT_MS}"]
        options += [] if read_only else ["META_JOURNAL_MODE 'WAL'"]
    options += ["READ_ONLY"] if read_only else []
    return f"ATTACH {literal(f'ducklake:{catalog}')} AS lake ({', '.join(options)})"


_idle: "defaultdict[str, deque[tuple[DuckDBPyConnection, int]]]" = defaultdict(lambda: deque(maxlen=2))
"""By catalog extension: databases in memory with their extensions loaded and no lake attached, and their uses so far.

Loading costs 0.3 s, mostly DuckDB's check of the signatures; a tick opens the lake some ten times. ``deque`` is
safe between threads."""

USES = 50
"""A database is retired after so many: its memory grows by some 0.2 MB with each."""


def _catalog_extension(settings: Settings) -> str:
    return "postgres_scanner" if _is_postgres(settings) else "sqlite_scanner"


def _bare_database(settings: Settings) -> "tuple[DuckDBPyConnection, int]":
    try:
        return _idle[_catalog_extension(settings)].pop()
    except IndexError:
        import duckdb

        database = duckdb.connect()
        load_extension(database, "ducklake")
        load_extension(database, _catalog_extension(settings))
        return database, 0


_readers: "defaultdict[tuple[str, int], deque[tuple[DuckDBPyConnection, int]]]" = defaultdict(lambda: deque(maxlen=2))
"""Databases with the lake attached for reading, by how it is attached and by the catalog's file.

Attaching, and reading the catalog anew, costs some 0.1 s; a reader that stays attached still sees the newest snapshot
with each statement, and holds no lock between them."""


@contextmanager
def _address_untold(settings: Settings) -> Iterator[None]:
    """Errors that quote the address of the lake, password and all, are raised as ``LakeUnreachableError`` without it.

    Around all that is done with the lake, because DuckDB connects anew to Postgres in the middle of a statement too.
    Others pass as they are.
    """
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        said = without_secrets_of_the_lake(str(error), settings)
        if said == str(error):
            raise
        from etl_assets.lake.unreachable import LakeUnreachableError

        # Without the cause, whose text a traceback would show.
        raise LakeUnreachableError(
            f"The lake cannot be reached: {' '.join(said.split())} Look whether the database that LAKE_CATALOG names "
            "is up and takes that user and password, and whether LAKE_DATA can be read."
        ) from None


@contextmanager
def connected(settings: Settings, *, read_only: bool) -> Iterator["DuckDBPyConnection"]:
    """An in-memory DuckDB with the lake attached as ``lake``; detached whatever happens inside.

    What is handed out is a cursor: its temporary tables, registered rows and session settings end with it.
    Takes no lock: use ``read_lake`` or ``write_lake``. Raises ``LakeUnreachableError`` as they do.
    """
    database, uses = _bare_database(settings)
    try:
        with _address_untold(settings), database.cursor() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(_attach_statement(settings, read_only=read_only))
            yield connection
            connection.execute("DETACH lake")
        reusable = _is_bare(database)
    except BaseException:
        database.close()
        raise
    if reusable and uses + 1 < USES:
        _idle[_catalog_extension(settings)].append((database, uses + 1))
    else:
        database.close()


def _is_bare(database: "DuckDBPyConnection") -> bool:
    """Whether the last user left neither an attached database nor a table behind."""
    left = database.execute(
        "SELECT 1 FROM duckdb_databases() WHERE NOT internal AND database_name != 'memory' "
        "UNION ALL SELECT 1 FROM duckdb_tables() UNION ALL SELECT 1 FROM duckdb_views() WHERE NOT internal"
    ).fetchall()
    return not left


def writer_lock(settings: Settings) -> "FileLock":
    """The lock that makes one writer at a time out of all processes of this machine."""
    from filelock import FileLock

    settings.catalog_path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(settings.catalog_path.with_suffix(".lock"), timeout=settings.lake_lock_timeout.total_seconds())


def _holder_file(settings: Settings) -> Path:
    return settings.catalog_path.with_suffix(".lock-holder")


def lock_holder(settings: Settings) -> str:
    """Who holds, or last held, the writer's lock: process number and purpose."""
    try:
        return _holder_file(settings).read_text()
    except FileNotFoundError:
        return "an unknown process"


@contextmanager
def write_lake(settings: Settings, purpose: str) -> Iterator["DuckDBPyConnection"]:
    """A connection that may write, its tables brought up to ``lake/tables.py``.

    ``purpose`` is what others are told while they wait. Raises ``LakeBusyError`` after ``LAKE_LOCK_TIMEOUT``, and
    ``LakeUnreachableError`` where the catalog in Postgres does not answer.
    """
    _is_absent(settings)
    with _locked(settings, purpose), connected(settings, read_only=False) as connection:
        if (catalog := _catalog_identity(settings)) not in _complete:
            migrate(connection, TABLES)
            _complete.add(catalog)
        try:
            yield connection
        except BaseException:
            # Whatever it left half done, tables that are gone included, the next user looks anew.
            _complete.discard(catalog)
            raise


@contextmanager
def _locked(settings: Settings, purpose: str) -> Iterator[None]:
    import os

    from filelock import Timeout

    lock = writer_lock(settings)
    try:
        lock.acquire(poll_interval=LOCK_POLL_SECONDS)
    except Timeout as error:
        raise LakeBusyError(
            f"The lake at {settings.catalog_path} was busy for {settings.lake_lock_timeout.total_seconds():.0f} s: "
            f"{lock_holder(settings)} holds it. Wait for that run, or stop it, and try again."
        ) from error
    try:
        _holder_file(settings).write_text(f"process {os.getpid()} ({purpose})")
        yield
    finally:
        lock.release()


@contextmanager
def _reader(settings: Settings) -> Iterator["DuckDBPyConnection"]:
    """A cursor on a database that has the lake attached for reading, taken from those at rest and put back."""
    rested = _readers[_attach_statement(settings, read_only=True), _catalog_identity(settings)[1]]
    try:
        database, uses = rested.pop()
    except IndexError:
        database, uses = _bare_database(settings)
        with _address_untold(settings):
            database.execute(_attach_statement(settings, read_only=True))
    try:
        with _address_untold(settings), database.cursor() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            yield connection
        left = database.execute(
            "SELECT count(*) FROM duckdb_databases() WHERE NOT internal AND database_name NOT IN ('memory', 'lake')"
        ).fetchone()
    except BaseException:
        database.close()
        raise
    if left == (0,) and uses + 1 < USES:
        rested.append((database, uses + 1))
    else:
        database.close()


@contextmanager
def read_lake(settings: Settings) -> Iterator["DuckDBPyConnection"]:
    """A read-only connection; takes no lock and never waits for a writer.

    The exception is a lake that is absent or lacks a declared table or column: it is first brought up to date.
    Raises ``LakeUnreachableError`` where the catalog in Postgres does not answer.
    """
    if not _is_complete(settings):
        with write_lake(settings, "bringing the lake's tables up to date"):
            pass
    with _reader(settings) as connection:
        yield connection


_complete: set[tuple[str, int]] = set()
"""Catalogs that this process has seen with every declared table and column."""


def _is_complete(settings: Settings) -> bool:
    import duckdb

    if _is_absent(settings):
        return False
    catalog = _catalog_identity(settings)
    if catalog in _complete:
        return True
    try:
        with _reader(settings) as connection:
            present = stored_columns(connection)
    except duckdb.Error:
        # Another process may be creating it; if something else is wrong, the writer will say so.
        return False
    if all({c.name for c in t.stored_columns} <= present.get((t.schema, t.name), set()) for t in TABLES):
        _complete.add(catalog)
    return catalog in _complete


def _is_absent(settings: Settings) -> bool:
    """Whether there is no catalog; then what this process knew of one is forgotten, since another may get its name."""
    if _is_postgres(settings) or settings.catalog_path.exists():
        return False
    path, attached = str(settings.catalog_path.absolute()), _attach_statement(settings, read_only=True)
    _complete.difference_update([known for known in _complete if known[0] == path])
    for key in [key for key in _readers if key[0] == attached]:
        for database, _ in _readers.pop(key):
            database.close()
    return True


def _catalog_identity(settings: Settings) -> tuple[str, int]:
    """The catalog's address, and which file it is: one that was removed and made anew is another."""
    if _is_postgres(settings):
        return settings.lake_catalog, 0
    return str(settings.catalog_path.absolute()), settings.catalog_path.stat().st_ino


def migrate(connection: "DuckDBPyConnection", tables: Sequence[Table]) -> list[str]:
    """Create the tables, and add the columns, that the lake lacks; says what it did. Idempotent."""
    present = stored_columns(connection)
    done: list[str] = []
    connection.execute("BEGIN")
    for table in tables:
        columns = present.get((table.schema, table.name))
        if columns is None:
            _create(connection, table)
            done.append(f"created {table.full_name}")
            continue
        for column in table.stored_columns:
            if column.name not in columns:
                connection.execute(f"ALTER TABLE {table.lake_name} ADD COLUMN {column.name} {column.type}")
                done.append(f"added {table.full_name}.{column.name}")
    connection.execute("COMMIT")
    for table in tables:
        # An option can be set of a table that is there; one that a crash leaves unset costs time and nothing else.
        if table.comes_sorted and (table.schema, table.name) not in present:
            option = "CALL lake.set_option('sort_on_insert', false, schema => ?, table_name => ?)"
            connection.execute(option, [table.schema, table.name]).fetchall()
    return done


def stored_columns(connection: "DuckDBPyConnection") -> dict[tuple[str, str], set[str]]:
    """The columns that each table of the lake has now, by (schema, table)."""
    rows = connection.execute(
        "SELECT schema_name, table_name, list(column_name) FROM duckdb_columns() "
        "WHERE database_name = 'lake' GROUP BY ALL"
    ).fetchall()
    return {(schema, name): set(columns) for schema, name, columns in rows}


def _create(connection: "DuckDBPyConnection", table: Table) -> None:
    columns = ", ".join(f"{c.name} {c.type}" for c in table.stored_columns)
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS lake.{table.schema}")
    connection.execute(f"CREATE TABLE {table.lake_name} ({columns})")
    if table.time:
        connection.execute(
            f"ALTER TABLE {table.lake_name} SET PARTITIONED BY ({', '.join(('market_day', *table.also_by))})"
        )
    if table.sort:
        order = ", ".join(f"{name} ASC" for name in table.sort)
        connection.execute(f"ALTER TABLE {table.lake_name} SET SORTED BY ({order})")
