"""Figures of the published file for operators: open gaps, quality, what every table has. Each is made once a snapshot.

Queries are constants; what they name comes from ``lake/tables.py``.
"""

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from etl_assets.lake.tables import TABLES, Table

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

GAPS_SQL = """
    SELECT dataset, count(*), coalesce(sum(missing_intervals), 0)::BIGINT
    FROM warehouse.quality.gaps
    WHERE healed_at IS NULL
    GROUP BY dataset
    ORDER BY dataset
"""

SCORES_SQL = """
    SELECT site_name, date, avg(quality_score)
    FROM warehouse.quality.data_quality
    WHERE quality_score IS NOT NULL
    GROUP BY site_name, date
    QUALIFY date = max(date) OVER (PARTITION BY site_name)
    ORDER BY site_name
"""

FILES_SQL = r"""
    SELECT schema_name || '.' || view_name, regexp_extract_all(sql, '''((?:[^'']|'''')+\.parquet)''', 1)
    FROM duckdb_views()
    WHERE database_name = 'warehouse' AND NOT internal
"""

NAMES_SQL = """
    SELECT DISTINCT schema_name || '.' || table_name
    FROM duckdb_columns()
    WHERE database_name = 'warehouse'
"""


@dataclass(frozen=True, slots=True)
class TableFigures:
    """A published table: its rows, its Parquet files and their size, and the newest instant or day in it.

    A table that lies in the published file itself has no files, one whose files are not on this machine no size; and
    there is nothing newest in a table without a time, or without a row.
    """

    table: str
    rows: int
    files: int
    bytes: int | None
    newest: datetime | date | None


def open_gaps(connection: "DuckDBPyConnection") -> list[tuple[str, int, int]]:
    """By dataset: how many gaps are open, and how many intervals are missing in them."""
    return connection.execute(GAPS_SQL).fetchall()


def quality_scores(connection: "DuckDBPyConnection") -> list[tuple[str, date, float]]:
    """By site: its last scored market day, and the mean score of its points, 0 to 1."""
    return connection.execute(SCORES_SQL).fetchall()


def table_figures(connection: "DuckDBPyConnection") -> list[TableFigures]:
    """Every table of the lake, in the order of ``lake/tables.py``; one that was never published is left out."""
    files = dict(connection.execute(FILES_SQL).fetchall())
    there = {name for (name,) in connection.execute(NAMES_SQL).fetchall()}
    return [_figures(connection, table, files.get(table.full_name, [])) for table in TABLES if table.full_name in there]


def _figures(connection: "DuckDBPyConnection", table: Table, files: list[str]) -> TableFigures:
    newest = f"max({table.time})" if table.time else "NULL"
    row = connection.execute(f"SELECT count(*), {newest} FROM warehouse.{table.full_name}").fetchone()
    assert row is not None  # noqa: S101 (an aggregate has one row)
    return TableFigures(table.full_name, row[0], len(files), _size(files), row[1])


def _size(files: list[str]) -> int | None:
    if not files or any("://" in name for name in files):
        return None
    paths = [Path(name.replace("''", "'")) for name in files]
    # Maintenance may have removed a file that only a former publication names.
    return sum(path.stat().st_size for path in paths if path.exists())
