"""Giving to what libraries stamp with the wall clock the simulated time: ``python -m soak.ageing DATA MOMENT``.

DuckLake stamps snapshots and files that await removal, the file system files, Dagster runs. Retention compares those
stamps with "now"; in a week of twenty minutes nothing would ever be old enough. What was stamped later than the
simulated moment was stamped by the wall clock, and gets the moment.

A process of its own, under the writer's lock, because no process that has the lake attached may open its catalog with
Python's SQLite, too.
"""

import os
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

LOCK_TIMEOUT_S = 60


def age(data: Path, moment: datetime) -> None:
    """Bring every stamp after ``moment`` (aware) to it. The lake must not be attached in this process."""
    catalog = data / "lake" / "catalog.sqlite"
    if catalog.exists():
        with FileLock(catalog.with_suffix(".lock"), timeout=LOCK_TIMEOUT_S), closing(sqlite3.connect(catalog)) as lake:
            # As text, as DuckLake keeps and compares them.
            stamp = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
            for table, column in (
                ("ducklake_snapshot", "snapshot_time"),
                ("ducklake_files_scheduled_for_deletion", "schedule_start"),
            ):
                lake.execute(f"UPDATE {table} SET {column} = ?1 WHERE {column} > ?1", [stamp])
            lake.commit()
    for folder in (data / "lake" / "files", data / "api" / "results", data / "api" / "cache"):
        _age_files(folder, moment.timestamp())
    runs = data / "dagster" / "history" / "runs.db"
    if runs.exists():
        with closing(sqlite3.connect(runs, timeout=LOCK_TIMEOUT_S)) as storage:
            naive = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
            storage.execute("UPDATE runs SET create_timestamp = ?1 WHERE create_timestamp > ?1", [naive])
            storage.commit()


def _age_files(folder: Path, seconds: float) -> None:
    for file in folder.rglob("*") if folder.exists() else ():
        try:
            if file.is_file() and file.stat().st_mtime > seconds:
                os.utime(file, (seconds, seconds))
        except FileNotFoundError:
            continue


if __name__ == "__main__":
    age(Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]))
