"""The published file under the lake's own names, for questions that the checks ask of the lake.

What is complete, due or covered is worked out in one place (``aemo/completeness.py``, ``quality/scores.py``), by
statements that name ``lake.schema.table``. Here these names stand for what was published, so that the page and the
checks cannot differ.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from etl_assets.api.published_file import NamedFile
from etl_assets.lake.locked import files_of_views
from etl_assets.lake.tables import TABLES

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from etl_assets.api.warehouse import Warehouse

NAMES = """
    SELECT DISTINCT schema_name || '.' || table_name FROM duckdb_columns() WHERE database_name = 'warehouse'
"""


@contextmanager
def as_lake(warehouse: "Warehouse") -> "Iterator[DuckDBPyConnection]":
    """A connection on the newest snapshot that knows its tables by the lake's names too, with DIRECT_TIMEOUT.

    Raises ``Problem`` as ``Warehouse.connection`` and ``Warehouse.timed`` do.
    """
    with warehouse.connection() as connection, warehouse.timed(connection):
        known = connection.execute("SELECT 1 FROM duckdb_databases() WHERE database_name = 'lake'").fetchone()
        if known is None:
            warehouse.once("the lake's names", _name)
        yield connection


def _name(connection: "DuckDBPyConnection") -> bool:
    """Views in memory, of all connections to this file: they cost nothing, and nothing is stored."""
    published = {name for (name,) in connection.execute(NAMES).fetchall()}
    connection.execute("ATTACH IF NOT EXISTS ':memory:' AS lake")
    for schema in sorted({table.schema for table in TABLES}):
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS lake.{schema}")
    for table in TABLES:
        if table.full_name in published:
            connection.execute(f"CREATE VIEW IF NOT EXISTS {table.lake_name} AS FROM warehouse.{table.full_name}")
    return True


def published_files(warehouse: "Warehouse") -> dict[str, list[NamedFile]]:
    """The Parquet files of each published table, by ``schema.table``, with the day and site that each is of."""
    return warehouse.once(
        "files by table",
        lambda connection: {
            name: [NamedFile.of(path) for path in paths] for name, paths in files_of_views(connection).items()
        },
    )
