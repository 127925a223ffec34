"""A copy of the lake's catalog: which files it names, how many rows its tables have, where its files are to be.

Reads copies with Python's SQLite, never the catalog in use: only DuckDB opens that one.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from etl_assets.backup.manifest import BackupError, TableFacts

FILES_SQL = """
    SELECT s.path, s.path_is_relative, t.path, t.path_is_relative, f.path, f.path_is_relative
    FROM (
        SELECT table_id, path, path_is_relative FROM ducklake_data_file
        UNION ALL
        SELECT table_id, path, path_is_relative FROM ducklake_delete_file
    ) AS f
    JOIN (SELECT DISTINCT table_id, schema_id, path, path_is_relative FROM ducklake_table) AS t USING (table_id)
    JOIN (SELECT DISTINCT schema_id, path, path_is_relative FROM ducklake_schema) AS s USING (schema_id)
"""
"""Of every snapshot that is not forgotten, so that time travel survives a restore. Files that wait to be removed are
not among them: only a ``warehouse.duckdb`` published earlier names those."""

TABLES_SQL = """
    SELECT s.schema_name || '.' || t.table_name,
           coalesce(sum(f.record_count), 0) - coalesce(sum(d.delete_count), 0),
           count(f.data_file_id)
    FROM ducklake_table AS t
    JOIN ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
    LEFT JOIN ducklake_data_file AS f ON f.table_id = t.table_id AND f.end_snapshot IS NULL
    LEFT JOIN ducklake_delete_file AS d ON d.data_file_id = f.data_file_id AND d.end_snapshot IS NULL
    WHERE t.end_snapshot IS NULL
    GROUP BY s.schema_name, t.table_name
    ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class CatalogFacts:
    """What a catalog says: its newest snapshot, its tables, its files as paths inside the lake's folder."""

    snapshot: int
    tables: dict[str, TableFacts]
    files: list[str]


def read_catalog(copy: Path) -> CatalogFacts:
    """What a copy of a catalog says. Raises ``BackupError`` where it names a file outside of the lake's folder."""
    with closing(sqlite3.connect(copy)) as connection:
        (snapshot,) = connection.execute("SELECT max(snapshot_id) FROM ducklake_snapshot").fetchone()
        tables = {name: TableFacts(rows=rows, files=files) for name, rows, files in connection.execute(TABLES_SQL)}
        files = sorted({_path(row) for row in connection.execute(FILES_SQL)})
    return CatalogFacts(snapshot, tables, files)


def _path(row: tuple[str, int, str, int, str, int]) -> str:
    *_, path, _ = row
    if not all(row[1::2]):
        raise BackupError(f"the lake's catalog names {path}, which is not in the lake's own folder")
    return "".join(row[0::2])


def move_files(copy: Path, folder: str) -> None:
    """Make a copy of a catalog name its files in another folder."""
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute(
            "UPDATE ducklake_metadata SET value = ? WHERE key = 'data_path' AND scope IS NULL",
            [f"{folder.rstrip('/')}/"],
        )
