"""Rows in, counts out: the one way that rows enter the lake.

DuckLake has no primary keys, so ``upsert`` makes keys hold: it deduplicates the batch, compares it with the rows
already there, and inserts or replaces in the caller's transaction. What it read from the lake is limited to the
batch's own market days and time range, so that files are skipped by their statistics.

Two rules about values:

- A batch speaks only of what it carries: a column it lacks, or a null in it, leaves the stored value alone.
- Revisions go by value, not by stamp: the same value is *unchanged* whatever its stamp says; a changed one
  replaces the former, which is kept in ``quality.revisions``.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

from etl_assets.lake.tables import QUARANTINE, REVISIONS, Table

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

MARKET_DAY_SQL = {
    "interval_end": "CAST(make_timestamp(epoch_us({time}) + 36000000000 - 1) AS DATE)",
    "instant": "CAST(make_timestamp(epoch_us({time}) + 36000000000) AS DATE)",
    "day": "CAST({time} AS DATE)",
}
"""The market day, by what a table's time marks. NEM time is UTC+10 for ever, so it is arithmetic: no time-zone data,
no session setting."""

KEYS_PER_READ = 370
"""Market days named one by one when reading back; beyond a year of days a range prunes as well."""


@dataclass(frozen=True, slots=True)
class UpsertCounts:
    """What became of a batch: every row is in exactly one of these."""

    duplicate: int = 0
    unchanged: int = 0
    inserted: int = 0
    updated: int = 0

    def __add__(self, other: "UpsertCounts") -> "UpsertCounts":
        """Counts of two batches together."""
        return UpsertCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def total(self) -> int:
        """Rows of the batch."""
        return self.duplicate + self.unchanged + self.inserted + self.updated


@dataclass(frozen=True, slots=True)
class QuarantinedRecord:
    """A record that could not be accepted: where it came from, what it said, what is wrong with it."""

    dataset: str
    source: str
    raw: str
    reason: str

    @property
    def id(self) -> str:
        """The same record, met again, has the same id."""
        identity = f"{self.dataset}\x00{self.source}\x00{self.raw}\x00{self.reason}"
        return hashlib.sha256(identity.encode()).hexdigest()[:32]


@contextmanager
def transaction(connection: "DuckDBPyConnection") -> Iterator[None]:
    """All of the block, or nothing of it."""
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def upsert(
    connection: "DuckDBPyConnection",
    table: Table,
    rows: "pa.Table",
    *,
    now: datetime,
    mode: Literal["revise", "fill"] = "revise",
) -> UpsertCounts:
    """Bring ``rows`` into ``table``; call inside ``transaction``.

    ``rows`` holds the key and any other declared columns. Of rows with one key the last wins, by the table's
    version stamp first. ``fill`` is for second-rate sources: it inserts and fills nulls, and never changes a value.
    Raises ``ValueError`` for undeclared columns or a missing key column.
    """
    carried = _checked_columns(table, rows)
    if rows.num_rows == 0:
        return UpsertCounts()
    connection.register("incoming", rows)
    try:
        distinct = _stage(connection, table, carried)
        inserted, updated = _classify(connection, table, carried, mode)
        _write(connection, table, carried, now=now, inserted=inserted, updated=updated)
    finally:
        connection.unregister("incoming")
    return UpsertCounts(
        duplicate=rows.num_rows - distinct,
        unchanged=distinct - inserted - updated,
        inserted=inserted,
        updated=updated,
    )


def _checked_columns(table: Table, rows: "pa.Table") -> tuple[str, ...]:
    declared = [c.name for c in table.columns]
    if unknown := set(rows.column_names) - set(declared):
        raise ValueError(f"{table.full_name} has no column {', '.join(sorted(unknown))}; declare it in lake/tables.py")
    if missing := set(table.key) - set(rows.column_names):
        raise ValueError(f"rows for {table.full_name} lack the key column {', '.join(sorted(missing))}")
    return tuple(name for name in declared if name in rows.column_names)


def _stage(connection: "DuckDBPyConnection", table: Table, carried: tuple[str, ...]) -> int:
    """The batch as ``staged``: one row a key, typed, with its market day; returns how many."""
    columns = [f"CAST({name} AS {table.column(name).type}) AS {name}" for name in carried]
    if table.time:
        columns.append(f"{MARKET_DAY_SQL[table.marks].format(time=table.time)} AS market_day")
    version = f"{table.version} DESC NULLS LAST, " if table.version in carried else ""
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE staged AS
        SELECT {", ".join(columns)}
        FROM (SELECT *, row_number() OVER () AS batch_position FROM incoming)
        QUALIFY row_number() OVER (PARTITION BY {", ".join(table.key)} ORDER BY {version}batch_position DESC) = 1
    """)
    return _count(connection, "staged")


def _classify(
    connection: "DuckDBPyConnection", table: Table, carried: tuple[str, ...], mode: Literal["revise", "fill"]
) -> tuple[int, int]:
    """Split ``staged`` against the lake; returns how many rows are new and how many change.

    ``fresh`` has those without a row there yet, ``changed`` the merged rows beside their former selves (``old_``).
    """
    same_key = " AND ".join(f"new.{k} = old.{k}" for k in table.key)
    stored = [c.name for c in table.stored_columns]
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE present AS
        SELECT {", ".join(stored)} FROM {table.lake_name} AS old
        WHERE {_pruning(connection, table)}
          AND EXISTS (FROM staged AS new WHERE {same_key})
    """)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE fresh AS FROM staged AS new ANTI JOIN present AS old ON {same_key}"
    )
    differs = _differs(table, carried, mode)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE changed AS
        SELECT {", ".join(_merged(table, name, carried, mode) for name in stored)},
               {", ".join(f"old.{name} AS old_{name}" for name in stored)}
        FROM staged AS new JOIN present AS old ON {same_key}
        WHERE {differs}
    """)
    return _count(connection, "fresh"), _count(connection, "changed")


def _differs(table: Table, carried: tuple[str, ...], mode: Literal["revise", "fill"]) -> str:
    compared = [name for name in table.compared if name in carried]
    if not compared:
        return "false"
    if mode == "fill":
        return " OR ".join(f"(old.{name} IS NULL AND new.{name} IS NOT NULL)" for name in compared)
    changes = " OR ".join(f"(new.{name} IS NOT NULL AND new.{name} IS DISTINCT FROM old.{name})" for name in compared)
    if table.version in carried:
        return f"({changes}) AND NOT coalesce(new.{table.version} < old.{table.version}, false)"
    return changes


def _merged(table: Table, name: str, carried: tuple[str, ...], mode: Literal["revise", "fill"]) -> str:
    if name not in carried:
        return f"old.{name} AS {name}"
    former_first = mode == "fill" or name in table.key or table.column(name).first
    first, second = ("old", "new") if former_first else ("new", "old")
    return f"coalesce({first}.{name}, {second}.{name}) AS {name}"


def _pruning(connection: "DuckDBPyConnection", table: Table, alias: str = "old") -> str:
    """A filter in literals that lets the lake skip files: the batch's market days, partitions and time range."""
    if not table.time:
        return "true"
    conditions = [in_days(_staged_values(connection, "market_day"), f"{alias}.market_day")]
    for name in table.also_by:
        values = ", ".join(_literal(value) for value in _staged_values(connection, name))
        conditions.append(f"{alias}.{name} IN ({values})")
    if table.marks != "day":
        bounds = connection.execute(f"SELECT min({table.time}), max({table.time}) FROM staged").fetchone()
        assert bounds is not None  # noqa: S101 (an aggregate has one row)
        first, last = (moment.isoformat() for moment in bounds)
        conditions.append(f"{alias}.{table.time} BETWEEN TIMESTAMPTZ '{first}' AND TIMESTAMPTZ '{last}'")
    return " AND ".join(conditions)


def _staged_values(connection: "DuckDBPyConnection", name: str) -> list[Any]:
    return [row[0] for row in connection.execute(f"SELECT DISTINCT {name} FROM staged ORDER BY 1").fetchall()]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def in_days(days: Iterable[date], column: str = "market_day") -> str:
    """A filter in literals for some market days, which DuckLake prunes files by."""
    ordered = sorted(days)
    if not ordered:
        return "false"
    if len(ordered) > KEYS_PER_READ:
        return f"{column} BETWEEN DATE '{ordered[0]}' AND DATE '{ordered[-1]}'"
    literals = ", ".join(f"DATE '{day}'" for day in ordered)
    return f"{column} IN ({literals})"


def _write(
    connection: "DuckDBPyConnection",
    table: Table,
    carried: tuple[str, ...],
    *,
    now: datetime,
    inserted: int,
    updated: int,
) -> None:
    names = [c.name for c in table.stored_columns]
    order = f" ORDER BY {', '.join(table.sort)}" if table.sort else ""
    if updated:
        if table.traced:
            _trace(connection, table, [name for name in table.compared if name in carried], now)
        same_key = " AND ".join(f"kept.{k} = changed.{k}" for k in table.key)
        prune = _pruning(connection, table, "kept")
        connection.execute(
            f"DELETE FROM {table.lake_name} AS kept WHERE {prune} AND EXISTS (FROM changed WHERE {same_key})"
        )
    if inserted or updated:
        fresh_columns = ", ".join(n if n in carried or n == "market_day" else f"NULL AS {n}" for n in names)
        connection.execute(
            f"INSERT INTO {table.lake_name} ({', '.join(names)}) "
            f"SELECT * FROM (SELECT {fresh_columns} FROM fresh UNION ALL SELECT {', '.join(names)} FROM changed){order}"
        )


def _trace(connection: "DuckDBPyConnection", table: Table, compared: list[str], now: datetime) -> None:
    """Former values of revised rows into ``quality.revisions``; completing a provisional row is no revision."""
    was_complete = " AND ".join(f"old_{name} IS NOT NULL" for name in table.complete_when) or "true"
    key = ", ".join(f"'{k}', CAST({k} AS VARCHAR)" for k in table.key)
    source = ("old_source_file", "source_file") if _has_source_file(table) else ("NULL", "NULL")
    for name in compared:
        connection.execute(
            f"""
            INSERT INTO {REVISIONS.lake_name}
                (table_name, row_key, revised_at, column_name, former_value, new_value, former_source, new_source)
            SELECT ?, CAST(json_object({key}) AS VARCHAR), ?, ?, CAST(old_{name} AS VARCHAR), CAST({name} AS VARCHAR),
                   {source[0]}, {source[1]}
            FROM changed
            WHERE old_{name} IS NOT NULL AND {name} IS DISTINCT FROM old_{name} AND {was_complete}
            """,
            [table.full_name, now, name],
        )


def _has_source_file(table: Table) -> bool:
    return any(c.name == "source_file" for c in table.columns)


def _count(connection: "DuckDBPyConnection", table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None  # noqa: S101 (an aggregate has one row)
    return int(row[0])


def quarantine(
    connection: "DuckDBPyConnection",
    records: Iterable[QuarantinedRecord],
    *,
    run_id: str,
    day: date,
    now: datetime,
) -> UpsertCounts:
    """Keep unacceptable records with their raw text and reason; the same record met again is not doubled."""
    import pyarrow as pa

    rows = [
        {**{f.name: getattr(record, f.name) for f in fields(record)}, "id": record.id,
         "run_id": run_id, "day": day, "collected_at": now}
        for record in records
    ]  # fmt: skip
    if not rows:
        return UpsertCounts()
    return upsert(connection, QUARANTINE, pa.Table.from_pylist(rows), now=now)
