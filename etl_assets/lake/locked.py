"""The published file for SQL of others: a DuckDB that can read it and the files that its views name, and nothing else.

For queries of KPIs and of the API. Neither has the lake attached, nor the extensions that would read other databases.
"""

import re
from typing import TYPE_CHECKING

from etl_assets.lake.sql import literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NAMED_FILE = re.compile(r"'((?:[^']|'')+\.parquet)'")
"""A Parquet file in a view's definition: a text literal."""


def open_locked(path: str, memory: str, *, threads: int | None = None, remote: bool = False) -> "DuckDBPyConnection":
    """A connection on a published file, in use as ``warehouse``, whose settings nobody can change any more.

    ``memory`` is for all queries together, such as ``1GB``; what does not fit is not written to the disk. ``threads``
    None is one for each processor. With ``remote`` files that the views name by an address can be read, too.
    In memory with the file attached, because ``duckdb.connect(path)`` shares a database with other connections of the
    process. Raises ``duckdb.Error`` where it is no DuckDB file.
    """
    import duckdb

    limits = {"threads": threads} if threads else {}
    connection = duckdb.connect(
        config={
            **limits,
            "memory_limit": memory,
            "temp_directory": "",
            "max_temp_directory_size": "0B",
            "autoload_known_extensions": "false",
            "autoinstall_known_extensions": "false",
            "allow_community_extensions": "false",
            "python_enable_replacements": "false",
        }
    )
    connection.execute(f"ATTACH {literal(path)} AS warehouse (READ_ONLY)")
    named = {path for paths in files_of_views(connection).values() for path in paths}
    if remote and any("://" in path for path in named):
        from etl_assets.lake.connection import load_extension

        load_extension(connection, "httpfs")
    connection.execute(f"SET allowed_paths = {literal(named)}")
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    # The files never change, so what was read of them once holds.
    connection.execute("SET GLOBAL parquet_metadata_cache = true")
    connection.execute("SET GLOBAL validate_external_file_cache = 'NO_VALIDATION'")
    connection.execute("USE warehouse")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def files_of_views(connection: "DuckDBPyConnection") -> dict[str, list[str]]:
    """The Parquet files that each view of the attached ``warehouse`` names, by ``schema.view``."""
    rows = connection.execute(
        "SELECT schema_name || '.' || view_name, sql FROM duckdb_views() "
        "WHERE database_name = 'warehouse' AND NOT internal"
    ).fetchall()
    return {name: [path.replace("''", "'") for path in NAMED_FILE.findall(sql)] for name, sql in rows}
