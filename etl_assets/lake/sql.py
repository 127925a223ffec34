"""Values as SQL, and the one row of an aggregate: what every statement of the lake is made with."""

from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Value = str | Path | float | date | datetime | Iterable[str]


def literal(value: Value) -> str:
    """A value as SQL: text and paths quoted, instants and days typed, a collection of texts as a list."""
    match value:
        case str() | Path():
            return "'" + str(value).replace("'", "''") + "'"
        case datetime():
            return f"TIMESTAMPTZ '{value.isoformat()}'"
        case date():
            return f"DATE '{value}'"
        case int() | float():
            return repr(value)
        case _:
            return f"CAST([{', '.join(literal(text) for text in sorted(value))}] AS VARCHAR[])"


def one_row(connection: "DuckDBPyConnection", query: str) -> tuple[Any, ...]:
    """The one row of an aggregate."""
    row = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101 (an aggregate has one row)
    return row
