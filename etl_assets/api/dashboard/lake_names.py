"""The published file under the lake's own names, for questions that the checks ask of the lake.

What is complete, due or covered is worked out in one place (``aemo/completeness.py``, ``quality/scores.py``), by
statements that name ``lake.schema.table``. Here these names stand for what was published, so that the page and the
checks cannot differ.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
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


IS_NAMED = "SELECT 1 FROM duckdb_schemas() WHERE database_name = 'lake' AND schema_name = 'named'"
"""The schema is the last thing that is made: where it is, all names are."""

_NAMING = Lock()


@contextmanager
def as_lake(warehouse: "Warehouse") -> "Iterator[DuckDBPyConnection]":
    """A connection on the newest snapshot that knows its tables by the lake's names too, with DIRECT_TIMEOUT.

    Raises ``Problem`` as ``Warehouse.connection`` and ``Warehouse.timed`` do.
    """
    with warehouse.connection() as connection, warehouse.timed(connection):
        if not _is_named(connection):
            # Not by ``Warehouse.once``: that is of the newest file, which need not be this connection's any more.
            with _NAMING:
                if not _is_named(connection):
                    _name(connection)
        yield connection


def _is_named(connection: "DuckDBPyConnection") -> bool:
    return connection.execute(IS_NAMED).fetchone() is not None


def _name(connection: "DuckDBPyConnection") -> None:
    """Views in memory, of all connections to this file: they cost nothing, and nothing is stored."""
    published = {name for (name,) in connection.execute(NAMES).fetchall()}
    connection.execute("ATTACH IF NOT EXISTS ':memory:' AS lake")
    for schema in sorted({table.schema for table in TABLES}):
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS lake.{schema}")
    for table in TABLES:
        if table.full_name in published:
            connection.execute(f"CREATE VIEW IF NOT EXISTS {table.lake_name} AS FROM warehouse.{table.full_name}")
    connection.execute("CREATE SCHEMA lake.named")


def published_files(warehouse: "Warehouse") -> dict[str, list[NamedFile]]:
    """The Parquet files of each published table, by ``schema.table``, with the day and site that each is of."""
    return warehouse.once(
        "files by table",
        lambda connection: {
            name: [NamedFile.of(path) for path in paths] for name, paths in files_of_views(connection).items()
        },
    )
