"""What a look at a data folder finds, and how the published file is asked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etl_assets.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: whether it is as it must be, and what was seen."""

    name: str
    holds: bool
    seen: str


def tried(name: str, look: Callable[[], Finding]) -> Finding:
    """A look's finding; where it could not look, that is one, so that the others are still told."""
    try:
        return look()
    except Exception as error:  # noqa: BLE001 (whatever it is, it is told)
        return Finding(name, holds=False, seen=f"could not be looked at: {type(error).__name__}: {str(error)[:300]}")


INSTANT_DAY = '("timestamp" + INTERVAL 10 HOUR)::DATE'
"""The market day of an instant, in a session in UTC."""
INTERVAL_DAY = "(interval_end - INTERVAL 1 MICROSECOND + INTERVAL 10 HOUR)::DATE"
"""The market day of an interval by its end: 24:00 belongs to the day that it ends."""


@contextmanager
def published(settings: Settings) -> Iterator["DuckDBPyConnection"]:
    """The published file, beside an in-memory database for the truth."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH '{settings.warehouse_path}' AS warehouse (READ_ONLY)")
        connection.execute("USE warehouse")
        yield connection


@contextmanager
def given(connection: "DuckDBPyConnection", **tables: "pa.Table") -> Iterator[None]:
    """Tables that can be asked under their names meanwhile."""
    for name, rows in tables.items():
        connection.register(name, rows)
    try:
        yield
    finally:
        for name in tables:
            connection.unregister(name)


def all_rows(connection: "DuckDBPyConnection", statement: str) -> list[tuple[Any, ...]]:
    """All rows of a statement."""
    return connection.execute(statement).fetchall()


def one_value(connection: "DuckDBPyConnection", statement: str) -> Any:  # noqa: ANN401 (a value of any type)
    """The first value of a statement's first row."""
    row = connection.execute(statement).fetchone()
    return row[0] if row else None


def as_text(row: tuple[Any, ...]) -> str:
    """A row as one reads it."""
    return " ".join(str(value) for value in row)
