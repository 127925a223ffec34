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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import TYPE_CHECKING, Literal

from etl_assets.lake.sql import literal, one_row
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

Mode = Literal["revise", "fill"]
"""``fill`` inserts and fills nulls, and never changes a value."""

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
    mode: Mode = "revise",
    constants: Mapping[str, str | datetime] | None = None,
) -> UpsertCounts:
    """Bring ``rows`` into ``table``; call inside ``transaction``.

    ``rows`` holds the key and any other declared columns, but for ``constants``, which are the same in all rows. Of
    rows with one key the last wins, by the table's version stamp first. ``fill`` is for second-rate sources: it
    inserts and fills nulls, and never changes a value.
    Raises ``ValueError`` for undeclared columns or a missing key column.
    """
    constants = constants or {}
    carried = _checked_columns(table, [*rows.column_names, *constants])
    if rows.num_rows == 0:
        return UpsertCounts()
    connection.register("incoming", rows)
    try:
        batch = _stage(connection, table, carried, constants, rows.num_rows)
        inserted, updated = _classify(connection, batch, mode)
        _write(connection, batch, mode, now=now, inserted=inserted, updated=updated)
    finally:
        connection.unregister("incoming")
    return UpsertCounts(
        duplicate=rows.num_rows - batch.rows,
        unchanged=batch.rows - inserted - updated,
        inserted=inserted,
        updated=updated,
    )


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows on their way into a table: ``staged`` names them, one row a key; ``where`` is where such rows may lie."""

    table: Table
    carried: tuple[str, ...]
    staged: str
    rows: int
    where: str

    @property
    def same_key(self) -> str:
        return " AND ".join(f"new.{k} = old.{k}" for k in self.table.key)


def _checked_columns(table: Table, given: Sequence[str]) -> tuple[str, ...]:
    declared = [c.name for c in table.columns]
    if unknown := set(given) - set(declared):
        raise ValueError(f"{table.full_name} has no column {', '.join(sorted(unknown))}; declare it in lake/tables.py")
    needed = {*table.key, *((table.time, *table.also_by) if table.time else ())}
    if missing := needed - set(given):
        raise ValueError(f"rows for {table.full_name} lack the key column {', '.join(sorted(missing))}")
    return tuple(name for name in declared if name in given)


def _stage(
    connection: "DuckDBPyConnection",
    table: Table,
    carried: tuple[str, ...],
    constants: Mapping[str, str | datetime],
    rows: int,
) -> _Batch:
    """The batch, one row a key, typed, with its market day.

    Without repeated keys, the rule, it is a view: copying 100,000 rows of long names costs more than comparing them.
    """
    sources = {name: literal(constants[name]) if name in constants else name for name in carried}
    columns = [f"CAST({source} AS {table.column(name).type}) AS {name}" for name, source in sources.items()]
    if table.time:
        columns.append(f"{MARKET_DAY_SQL[table.marks].format(time=sources[table.time])} AS market_day")
    selected, key = ", ".join(columns), ", ".join(table.key)
    connection.execute(f"CREATE OR REPLACE TEMP VIEW staged_view AS SELECT {selected} FROM incoming")
    [distinct] = one_row(connection, f"SELECT count(DISTINCT hash({key})) FROM staged_view")
    if distinct == rows:
        return _Batch(table, carried, "staged_view", rows, _pruning(connection, table, "staged_view"))
    version = f"{table.version} DESC NULLS LAST, " if table.version in carried else ""
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE staged_rows AS
        SELECT {selected}
        FROM (SELECT *, row_number() OVER () AS batch_position FROM incoming)
        QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {version}batch_position DESC) = 1
    """)
    [distinct] = one_row(connection, "SELECT count(*) FROM staged_rows")
    return _Batch(table, carried, "staged_rows", distinct, _pruning(connection, table, "staged_rows"))


def _classify(connection: "DuckDBPyConnection", batch: _Batch, mode: Mode) -> tuple[int, int]:
    """How many rows of the batch are new to the lake, and how many change one that is there."""
    table = batch.table
    if table.time and not connection.execute(f"SELECT 1 FROM {table.lake_name} WHERE {batch.where} LIMIT 1").fetchone():
        return batch.rows, 0
    differs = _differs(table, batch.carried, mode)
    there, changed = one_row(
        connection,
        f"""
        SELECT count(*), count(*) FILTER (WHERE {differs})
        FROM {batch.staged} AS new
        JOIN (SELECT * FROM {table.lake_name} WHERE {batch.where}) AS old ON {batch.same_key}
        """,
    )
    return batch.rows - int(there), int(changed)


def _differs(table: Table, carried: tuple[str, ...], mode: Mode) -> str:
    compared = [name for name in table.compared if name in carried]
    if not compared:
        return "false"
    if mode == "fill":
        return " OR ".join(f"(old.{name} IS NULL AND new.{name} IS NOT NULL)" for name in compared)
    changes = " OR ".join(f"(new.{name} IS NOT NULL AND new.{name} IS DISTINCT FROM old.{name})" for name in compared)
    if table.version in carried:
        return f"({changes}) AND NOT coalesce(new.{table.version} < old.{table.version}, false)"
    return changes


def _merged(table: Table, name: str, carried: tuple[str, ...], mode: Mode) -> str:
    if name not in carried:
        return f"old.{name} AS {name}"
    former_first = mode == "fill" or name in table.key or table.column(name).first
    first, second = ("old", "new") if former_first else ("new", "old")
    return f"coalesce({first}.{name}, {second}.{name}) AS {name}"


def _pruning(connection: "DuckDBPyConnection", table: Table, staged: str) -> str:
    """A filter in literals that lets the lake skip files: the batch's market days, partitions and time range."""
    if not table.time:
        return "true"
    lists = ", ".join(f"list(DISTINCT {name})" for name in ("market_day", *table.also_by))
    first, last, days, *others = one_row(
        connection, f"SELECT min({table.time}), max({table.time}), {lists} FROM {staged}"
    )
    conditions = [in_days(days)]
    for name, values in zip(table.also_by, others, strict=True):
        conditions.append(f"{name} IN ({', '.join(literal(value) for value in sorted(values))})")
    if table.marks != "day":
        conditions.append(
            f"{table.time} BETWEEN TIMESTAMPTZ '{first.isoformat()}' AND TIMESTAMPTZ '{last.isoformat()}'"
        )
    return " AND ".join(conditions)


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
    connection: "DuckDBPyConnection", batch: _Batch, mode: Mode, *, now: datetime, inserted: int, updated: int
) -> None:
    table = batch.table
    names = ", ".join(c.name for c in table.stored_columns)
    if updated:
        _select_changed(connection, batch, mode)
        if table.traced:
            _trace(connection, table, [name for name in table.compared if name in batch.carried], now)
    sources = [f"SELECT {names} FROM changed"] if updated else []
    if inserted:
        sources.append(_fresh(batch, all_of_it=inserted == batch.rows))
    if not sources:
        return
    # What is fresh is told by what is there, so it is read before anything is deleted. The lake itself sorts files.
    connection.execute(f"CREATE OR REPLACE TEMP VIEW written AS {' UNION ALL '.join(sources)}")
    if updated and inserted:
        connection.execute("CREATE OR REPLACE TEMP TABLE written_rows AS FROM written")
    if updated:
        same_key = " AND ".join(f"kept.{k} = changed.{k}" for k in table.key)
        connection.execute(
            f"DELETE FROM {table.lake_name} AS kept WHERE {batch.where} AND EXISTS (FROM changed WHERE {same_key})"
        )
    source = "written_rows" if updated and inserted else "written"
    connection.execute(f"INSERT INTO {table.lake_name} ({names}) SELECT {names} FROM {source}")


def _fresh(batch: _Batch, *, all_of_it: bool) -> str:
    """The rows of a batch that the lake has not, as SQL, with nulls for columns that the batch lacks."""
    stored = [c.name for c in batch.table.stored_columns]
    columns = ", ".join(n if n in batch.carried or n == "market_day" else f"NULL AS {n}" for n in stored)
    if all_of_it:
        return f"SELECT {columns} FROM {batch.staged}"
    key = ", ".join(batch.table.key)
    there = f"(SELECT {key} FROM {batch.table.lake_name} WHERE {batch.where})"
    return f"SELECT {columns} FROM {batch.staged} AS new ANTI JOIN {there} AS old ON {batch.same_key}"


def _select_changed(connection: "DuckDBPyConnection", batch: _Batch, mode: Mode) -> None:
    """``changed``: the merged rows beside their former selves (``old_``)."""
    stored = [c.name for c in batch.table.stored_columns]
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE changed AS
        SELECT {", ".join(_merged(batch.table, name, batch.carried, mode) for name in stored)},
               {", ".join(f"old.{name} AS old_{name}" for name in stored)}
        FROM {batch.staged} AS new
        JOIN (SELECT * FROM {batch.table.lake_name} WHERE {batch.where}) AS old ON {batch.same_key}
        WHERE {_differs(batch.table, batch.carried, mode)}
    """)


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
