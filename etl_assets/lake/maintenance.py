"""Keeping the lake's files few and its past bounded.

``merge_small_files`` is the hourly work: a tick writes a file per table, so an open day has up to 288.
``maintain`` is the daily work: the same, then old snapshots are forgotten and their files removed, but none that a
published ``warehouse.duckdb`` of the last ``LAKE_RETENTION`` may name.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from etl_assets.lake.connection import write_lake
from etl_assets.lake.publish import rewrite_deletes
from etl_assets.settings import Settings

ORPHANS_AFTER = timedelta(days=1)
"""A killed writer leaves files that no snapshot names; a living one finishes within this time."""

COARSENESS = timedelta(days=1)
"""DuckLake compares times in a SQLite catalog as text, and takes the whole UTC day of the limit for older."""


@dataclass(frozen=True, slots=True)
class Maintained:
    """What maintenance did: files merged and written, snapshots forgotten, files removed."""

    tables_rewritten: int
    files_merged: int
    files_created: int
    snapshots_expired: int
    files_removed: int
    orphans_removed: int


def merge_small_files(settings: Settings) -> tuple[int, int]:
    """Merge the files of each market day; returns how many were merged into how many. Readers are not disturbed."""
    with write_lake(settings, "merging small files") as connection:
        # All rows are fetched: DuckDB commits a call when its result is exhausted, and not before.
        rows = connection.execute(
            "SELECT files_processed, files_created FROM ducklake_merge_adjacent_files('lake')"
        ).fetchall()
    return sum(merged for merged, _ in rows), sum(created for _, created in rows)


def maintain(settings: Settings, *, now: datetime) -> Maintained:
    """The daily work. Safe to run at any time, twice, or beside ticks; killed half-way it loses nothing."""
    with write_lake(settings, "rewriting files with deletes") as connection:
        connection.execute("CALL ducklake_flush_inlined_data('lake')").fetchall()
        rewritten = rewrite_deletes(connection)
    merged, created = merge_small_files(settings)
    with write_lake(settings, "removing what is no longer referred to") as connection:
        keep_since = (now - settings.lake_retention - COARSENESS).isoformat()
        count = {}
        for what, statement, since in (
            ("snapshots", "ducklake_expire_snapshots", keep_since),
            ("files", "ducklake_cleanup_old_files", keep_since),
            (
                "orphans",
                "ducklake_delete_orphaned_files",
                (now - max(ORPHANS_AFTER, settings.lake_retention)).isoformat(),
            ),
        ):
            rows = connection.execute(f"CALL {statement}('lake', older_than => TIMESTAMPTZ '{since}')").fetchall()
            count[what] = len(rows)
    return Maintained(rewritten, merged, created, count["snapshots"], count["files"], count["orphans"])
