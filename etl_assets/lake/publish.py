"""``data/warehouse.duckdb``: the analysts' file.

A plain DuckDB file that opens in any DuckDB tool without an extension. Tables that lie by market day are views
over the explicit list of immutable Parquet files of one lake snapshot; small tables are copies. The file is made
beside its place and swapped in with one rename: a connection that is open keeps the snapshot it opened, a new one
sees the newest, and nobody waits for anybody.

The views give ``read_parquet`` the columns by field id instead of asking it to look into every file: 7 ms against
34 ms for 555 files, and files written before a column was added read as null.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from etl_assets.lake.connection import LakeBusyError, read_lake, write_lake
from etl_assets.lake.sql import literal
from etl_assets.lake.tables import DISPATCH_REGION, TABLES, TIMESERIES_AGG, TIMESERIES_RAW, Table
from etl_assets.lake.upsert import transaction
from etl_assets.redaction import without_secrets
from etl_assets.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

logger = logging.getLogger(__name__)

READ_ONLY_MODE = 0o444
"""Nobody opens the file read-write by accident; the publisher replaces it and never writes into it."""

NEM_CLOCK_SQL = "make_timestamp(epoch_us({time}) + 36000000000)"
"""An instant as NEM wall-clock time (UTC+10), without time-zone data and whatever the session's zone."""

PRICE_VIEW = f"""
    CREATE VIEW aemo.price AS
    SELECT interval_end, {NEM_CLOCK_SQL.format(time="interval_end")} AS settlement_date, region_id,
           rrp, total_demand, price_status, market_suspended_flag, source, market_day
    FROM aemo.dispatch_region
    WHERE intervention = 0
"""
"""Names no database: an analyst may attach the file, or a copy of it, under any name."""

ISO_TEXT_SQL = "strftime(make_timestamp(epoch_us({time})), '%Y-%m-%dT%H:%M:%S.%fZ')"
"""An instant as ISO 8601 text in UTC, without time-zone data."""

TEXT_VIEW = f"""
    SELECT site_name, point_name, {ISO_TEXT_SQL.format(time='"timestamp"')} AS "timestamp", value, quality, metadata,
           {ISO_TEXT_SQL.format(time="collected_at")} AS collected_at,
           {ISO_TEXT_SQL.format(time="created_at")} AS created_at
    FROM ace.timeseries_raw
"""
EPOCH_VIEW = """
    SELECT site_name, point_name, "interval", epoch_us("timestamp") // 1000000 AS "timestamp",
           avg_value, min_value, max_value, sample_count
    FROM ace.timeseries_agg
"""
FORMER_VIEWS = {
    "ace.timeseries_raw_text": (
        TEXT_VIEW,
        "timeseries_raw with its instants as ISO 8601 text, as the predecessor had.",
    ),
    "ace.timeseries_agg_epoch": (
        EPOCH_VIEW,
        "timeseries_agg with its instants in Unix seconds, as the predecessor had.",
    ),
}
ALL_COMMENT = "Readings of the lake and of the archive together, each once."

CLOCK_COMMENT = "End of the interval as NEM wall-clock time (UTC+10): what AEMO's SETTLEMENTDATE says."
PUBLICATION = "warehouse.ops.publication"
PUBLICATION_COMMENTS = {
    PUBLICATION: "What this file shows, and since when: one row.",
    f"{PUBLICATION}.snapshot_id": "Snapshot of the lake that the file shows; it grows with every commit.",
    f"{PUBLICATION}.published_at": "When the file was written.",
    f"{PUBLICATION}.lake_files": "Parquet files that the file's views name.",
}
PRICE_COMMENT = "The price that settles: dispatch_region without the physical runs of interventions (intervention = 0)."


@dataclass(frozen=True, slots=True)
class Publication:
    """What was published: the lake's snapshot, how many files its views name, how large the file is."""

    snapshot_id: int
    published_at: datetime
    lake_files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Copied:
    """A table from outside the lake (the state database) that goes into the file as a copy.

    ``columns`` is what its columns mean, by name; a unit stands at the end, in square brackets.
    """

    schema: str
    name: str
    comment: str
    rows: "pa.Table"
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Viewed:
    """A view over what is in the file already, such as a copy that comes before it; ``columns`` as of ``Copied``."""

    schema: str
    name: str
    comment: str
    query: str
    columns: Mapping[str, str] = field(default_factory=dict)


Extra = Copied | Viewed


def publish(settings: Settings, *, now: datetime, extra: Sequence[Extra] = ()) -> Publication:
    """Write the newest snapshot of the lake to ``warehouse.duckdb``.

    Publishers exclude each other, and each reads the lake inside its turn, so the later snapshot wins.
    """
    with _publisher_turn(settings):
        target = settings.warehouse_path
        draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
        try:
            published = _write_settled_draft(settings, draft, now, extra)
            draft.chmod(READ_ONLY_MODE)
            # A write-ahead log left by a read-write session would be replayed into the new file.
            _wal(target).unlink(missing_ok=True)
            draft.replace(target)
            _wal(target).unlink(missing_ok=True)
        finally:
            _remove(draft)
        return published


def published_snapshot(settings: Settings) -> int | None:
    """The lake snapshot that ``warehouse.duckdb`` shows; None where there is no such file, or none that can be read."""
    row = _publication(settings)
    return row[0] if row else None


def published_at(settings: Settings) -> datetime | None:
    """When ``warehouse.duckdb`` was written; None where there is no such file, or none that can be read."""
    row = _publication(settings)
    return row[1] if row else None


def _publication(settings: Settings) -> tuple[int, datetime] | None:
    import duckdb

    if not settings.warehouse_path.exists():
        return None
    # Attached, because duckdb.connect hands a process that still holds the former file that one again.
    with duckdb.connect() as connection:
        try:
            connection.execute(f"ATTACH {literal(settings.warehouse_path)} AS warehouse (READ_ONLY)")
            row = connection.execute("SELECT snapshot_id, published_at FROM warehouse.ops.publication").fetchone()
        except duckdb.Error:
            return None
    return (int(row[0]), row[1]) if row else None


def lake_snapshot(connection: "DuckDBPyConnection") -> int:
    """The newest snapshot of the attached lake."""
    row = connection.execute("SELECT id FROM ducklake_current_snapshot('lake')").fetchone()
    assert row is not None  # noqa: S101 (DuckLake always has snapshot 0)
    return int(row[0])


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")


def _remove(draft: Path) -> None:
    draft.unlink(missing_ok=True)
    _wal(draft).unlink(missing_ok=True)


@contextmanager
def _publisher_turn(settings: Settings) -> Iterator[None]:
    from filelock import FileLock, Timeout

    target = settings.warehouse_path
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_suffix(".publish-lock"), timeout=settings.lake_lock_timeout.total_seconds())
    try:
        lock.acquire()
    except Timeout as error:
        waited = settings.lake_lock_timeout.total_seconds()
        raise LakeBusyError(f"Another process has been publishing {target} for {waited:.0f} s; try again.") from error
    try:
        for left_by_a_killed_publisher in target.parent.glob(f".{target.name}.*.draft*"):
            left_by_a_killed_publisher.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def _write_settled_draft(settings: Settings, draft: Path, now: datetime, extra: Sequence[Extra]) -> Publication:
    """The draft of a snapshot without deletes, which a view over Parquet would not know.

    Files that carry deletes are rewritten, and published, under the writers' lock: no revision comes between.
    """
    try:
        return _write_draft(settings, draft, now, extra)
    except UnsettledDeletesError:
        _remove(draft)
    with write_lake(settings, "rewriting files with deletes for publication") as connection:
        rewrite_deletes(connection)
        return _write_draft(settings, draft, now, extra)


class UnsettledDeletesError(RuntimeError):
    """The newest snapshot has files with deletes; ``rewrite_deletes`` settles them."""


def _tables_with_deletes(connection: "DuckDBPyConnection") -> list[Table]:
    """The tables of which some file in force carries deletes.

    DuckLake leaves a delete file in force where the file that it belongs to has ended: that one is no concern any more.
    """
    rows = connection.execute(
        """
        SELECT DISTINCT schema_name, table_name
        FROM __ducklake_metadata_lake.ducklake_delete_file AS removed
        JOIN __ducklake_metadata_lake.ducklake_data_file AS f
          ON f.data_file_id = removed.data_file_id AND f.end_snapshot IS NULL
        JOIN __ducklake_metadata_lake.ducklake_table AS t ON t.table_id = removed.table_id AND t.end_snapshot IS NULL
        JOIN __ducklake_metadata_lake.ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
        WHERE removed.end_snapshot IS NULL
        """
    ).fetchall()
    names = set(rows)
    return [t for t in TABLES if (t.schema, t.name) in names]


def rewrite_deletes(connection: "DuckDBPyConnection") -> int:
    """Rewrite every file that carries deletes without the deleted rows; returns how many tables had such files."""
    tables = _tables_with_deletes(connection)
    for table in tables:
        connection.execute(
            "CALL ducklake_rewrite_data_files('lake', ?, schema => ?, delete_threshold => 0)",
            [table.name, table.schema],
        ).fetchall()
    return len(tables)


def _write_draft(settings: Settings, draft: Path, now: datetime, extra: Sequence[Extra]) -> Publication:
    with read_lake(settings) as connection:
        connection.execute(f"ATTACH {literal(draft)} AS warehouse")
        try:
            snapshot = lake_snapshot(connection)
            with transaction(connection):
                files = _fill(connection, settings, snapshot, extra)
                connection.execute(
                    f"CREATE TABLE {PUBLICATION} AS "
                    "SELECT ?::BIGINT AS snapshot_id, ?::TIMESTAMPTZ AS published_at, ?::BIGINT AS lake_files",
                    [snapshot, now, files],
                )
                _comment(connection, "TABLE", PUBLICATION_COMMENTS)
            connection.execute("CHECKPOINT warehouse")
        finally:
            connection.execute("DETACH warehouse")
    return Publication(snapshot, now, files, draft.stat().st_size)


def _fill(connection: "DuckDBPyConnection", settings: Settings, snapshot: int, extra: Sequence[Extra]) -> int:
    if unsettled := [t.full_name for t in _tables_with_deletes(connection) if t.published == "view"]:
        raise UnsettledDeletesError(", ".join(unsettled))
    _create_schemas(connection, extra)
    files = sum(_create_table(connection, table, snapshot) for table in TABLES)
    _create_price_view(connection)
    _create_views_of_readings(connection, settings, snapshot)
    for each in extra:
        if isinstance(each, Copied):
            _copy_rows(connection, each)
        else:
            _create_extra_view(connection, each)
    return files


def _create_price_view(connection: "DuckDBPyConnection") -> None:
    connection.execute("USE warehouse")
    try:
        connection.execute(PRICE_VIEW)
    finally:
        connection.execute("USE memory")
    view = "warehouse.aemo.price"
    columns = ("interval_end", "region_id", "rrp", "total_demand", "price_status", "market_suspended_flag", "source",
               "market_day")  # fmt: skip
    comments = {view: PRICE_COMMENT, f"{view}.settlement_date": CLOCK_COMMENT}
    comments |= {f"{view}.{name}": DISPATCH_REGION.column(name).description for name in columns}
    _comment(connection, "VIEW", comments)


def _create_views_of_readings(connection: "DuckDBPyConnection", settings: Settings, snapshot: int) -> None:
    import duckdb

    from etl_assets.lake.archive import all_readings_sql

    try:
        everything = all_readings_sql(connection, settings, snapshot)
    except (duckdb.Error, OSError) as error:
        # An archive that does not answer must not keep the market's newest interval from the analysts.
        said = without_secrets(str(error), settings)
        logger.warning("The archive could not be read; ace.timeseries_all shows the lake alone: %s", said)
        everything = f"SELECT * EXCLUDE (market_day), market_day FROM {TIMESERIES_RAW.full_name}"
    views = {"ace.timeseries_all": (everything, ALL_COMMENT), **FORMER_VIEWS}
    connection.execute("USE warehouse")
    try:
        for name, (query, _) in views.items():
            connection.execute(f"CREATE VIEW {name} AS {query}")
    finally:
        connection.execute("USE memory")
    for name, (_, comment) in views.items():
        table = TIMESERIES_AGG if name.startswith(TIMESERIES_AGG.full_name) else TIMESERIES_RAW
        columns = connection.execute(f"SELECT column_name FROM (DESCRIBE warehouse.{name})").fetchall()
        described = {f"warehouse.{name}.{column}": table.column(column).description for (column,) in columns}
        _comment(connection, "VIEW", {f"warehouse.{name}": comment, **described})


def _create_schemas(connection: "DuckDBPyConnection", extra: Sequence[Extra]) -> None:
    for schema in sorted({t.schema for t in TABLES} | {c.schema for c in extra} | {"ops"}):
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS warehouse.{schema}")


def _create_table(connection: "DuckDBPyConnection", table: Table, snapshot: int) -> int:
    """The table in the draft, commented; returns how many lake files it names."""
    name = f"warehouse.{table.full_name}"
    if table.published == "copy":
        columns = ", ".join(c.name for c in table.stored_columns)
        connection.execute(
            f"CREATE TABLE {name} AS SELECT {columns} FROM {table.lake_name} AT (VERSION => {snapshot}) "
            f"ORDER BY {', '.join(table.key)}"
        )
        files = 0
    else:
        paths = _files(connection, table, snapshot)
        connection.execute(f"CREATE VIEW {name} AS {_view(connection, table, paths)}")
        files = len(paths)
    comments = {name: table.comment} | {f"{name}.{c.name}": c.description for c in table.stored_columns}
    if table.published == "view" and "interval_end" in table.key:
        comments[f"{name}.settlement_date"] = CLOCK_COMMENT
    _comment(connection, "TABLE" if table.published == "copy" else "VIEW", comments)
    return files


def _comment(connection: "DuckDBPyConnection", kind: str, comments: Mapping[str, str]) -> None:
    """Comments on a table or view, which comes first, and on its columns: in one statement, since there are many."""
    kinds = [kind, *["COLUMN"] * (len(comments) - 1)]
    connection.execute(
        "; ".join(
            f"COMMENT ON {of} {name} IS {literal(text)}"
            for of, (name, text) in zip(kinds, comments.items(), strict=True)
        )
    )


def _files(connection: "DuckDBPyConnection", table: Table, snapshot: int) -> list[str]:
    rows = connection.execute(
        "SELECT data_file, delete_file FROM ducklake_list_files('lake', ?, schema => ?, snapshot_version => ?) "
        "ORDER BY data_file",
        [table.name, table.schema, snapshot],
    ).fetchall()
    if any(deletes for _, deletes in rows):
        raise UnsettledDeletesError(table.full_name)
    return [path for path, _ in rows]


def _view(connection: "DuckDBPyConnection", table: Table, paths: Sequence[str]) -> str:
    columns = ", ".join(_with_nem_clock(c.name) for c in table.stored_columns)
    if not paths:
        nulls = ", ".join(f"CAST(NULL AS {c.type}) AS {c.name}" for c in table.stored_columns)
        return f"SELECT {columns} FROM (SELECT {nulls}) WHERE false"
    ids = _field_ids(connection, table)
    schema = ", ".join(
        f"{ids[c.name]}: {{name: '{c.name}', type: '{c.type}', default_value: NULL}}" for c in table.stored_columns
    )
    listed = ", ".join(literal(path) for path in paths)
    return f"SELECT {columns} FROM read_parquet([{listed}], schema = MAP {{{schema}}}, hive_partitioning = false)"


def _with_nem_clock(name: str) -> str:
    if name == "interval_end":
        return f"{name}, {NEM_CLOCK_SQL.format(time=name)} AS settlement_date"
    return name


def _field_ids(connection: "DuckDBPyConnection", table: Table) -> dict[str, int]:
    rows = connection.execute(
        """
        SELECT column_name, column_id
        FROM __ducklake_metadata_lake.ducklake_column AS c
        JOIN __ducklake_metadata_lake.ducklake_table AS t ON t.table_id = c.table_id AND t.end_snapshot IS NULL
        JOIN __ducklake_metadata_lake.ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
        WHERE c.end_snapshot IS NULL AND table_name = ? AND schema_name = ?
        """,
        [table.name, table.schema],
    ).fetchall()
    return {name: int(number) for name, number in rows}


def _copy_rows(connection: "DuckDBPyConnection", copied: Copied) -> None:
    name = f"warehouse.{copied.schema}.{copied.name}"
    connection.register("copied_rows", copied.rows)
    try:
        connection.execute(f"CREATE TABLE {name} AS FROM copied_rows")
    finally:
        connection.unregister("copied_rows")
    _comment(connection, "TABLE", {name: copied.comment} | _by_full_name(name, copied.columns))


def _create_extra_view(connection: "DuckDBPyConnection", viewed: Viewed) -> None:
    name = f"warehouse.{viewed.schema}.{viewed.name}"
    connection.execute("USE warehouse")
    try:
        connection.execute(f"CREATE VIEW {viewed.schema}.{viewed.name} AS {viewed.query}")
    finally:
        connection.execute("USE memory")
    _comment(connection, "VIEW", {name: viewed.comment} | _by_full_name(name, viewed.columns))


def _by_full_name(name: str, columns: Mapping[str, str]) -> dict[str, str]:
    return {f'{name}."{column}"': text for column, text in columns.items()}
