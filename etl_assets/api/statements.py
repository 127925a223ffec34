"""A prepared statement and its rows as Arrow batches: what every query of the API comes down to."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

BATCH_ROWS = 8_192
"""Rows read, made into text and sent at once: 1 MB of JSON for five columns, 8 MB for all forty."""

JSON_TEXT = {b"holds": b"json"}
"""Marks a column of text as JSON."""


class Query(Protocol):
    """What an answer has to know of a query whose parameters were checked."""

    @property
    def table(self) -> str:
        """Published table that it reads, schema.name."""

    @property
    def days(self) -> tuple[date, date] | None:
        """First and last market day that it reads; None: all."""

    @property
    def site(self) -> str | None:
        """Site that it reads; None: all, or none."""

    def request(self) -> dict[str, Any]:
        """What was asked, as JSON; equal for equal queries."""

    def batches(self, connection: "DuckDBPyConnection") -> Iterator["pa.RecordBatch"]:
        """Its rows in order, batch by batch. At least one batch, which may be empty and has the columns."""


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL that is made of our own identifiers alone, and the values for its parameters.

    ``holds_json`` names columns whose text is JSON already, and goes as such into a JSON answer.
    """

    sql: str
    values: tuple[Any, ...] = ()
    holds_json: tuple[str, ...] = ()

    def batches(self, connection: "DuckDBPyConnection") -> Iterator["pa.RecordBatch"]:
        """Its rows, read as they are asked for. At least one batch."""
        import pyarrow as pa

        reader = connection.execute(self.sql, list(self.values)).to_arrow_reader(BATCH_ROWS)
        schema = pa.schema([self._marked(f) for f in reader.schema])
        empty = True
        for batch in reader:
            empty = False
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)
        if empty:
            yield pa.RecordBatch.from_pylist([], schema=schema)

    def _marked(self, column: "pa.Field") -> "pa.Field":
        return column.with_metadata(JSON_TEXT) if column.name in self.holds_json else column


@dataclass(frozen=True, slots=True)
class TableQuery:
    """Rows of one published table by a statement; ``asked`` is what makes it different from other such queries."""

    table: str
    statement: Statement
    asked: dict[str, Any]
    days: tuple[date, date] | None = None
    site: str | None = None
    rows: str = field(default="rows")

    def request(self) -> dict[str, Any]:
        """What was asked, as JSON."""
        return {"table": self.table, "rows": self.rows, **self.asked}

    def batches(self, connection: "DuckDBPyConnection") -> Iterator["pa.RecordBatch"]:
        """Its rows in the statement's order."""
        return self.statement.batches(connection)
