"""Copies of SQLite databases that others are writing to, by SQLite's own backup.

The lake's catalog is opened by DuckDB's SQLite. A second SQLite library in one process drops the first one's locks, so
that one is copied by a process of its own: this module run as a program.
"""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import quote

from etl_assets.backup.manifest import BackupError
from etl_assets.private_files import OWNER_ONLY

BUSY_S = 30
"""How long SQLite waits for another's lock: as long as the state database's own users."""


def copy_databases(copies: Mapping[Path, Path]) -> None:
    """Copy databases, by source, as they all were at one moment.

    The moment is held by a read transaction on each before the first is copied; on a write-ahead log that keeps no
    writer waiting. Raises ``BackupError`` for one that is damaged.
    """
    with ExitStack() as opened:
        live = {source: opened.enter_context(closing(_reading(source))) for source in copies}
        for source, connection in live.items():
            _hold_moment(source, connection)
        for source, target in copies.items():
            _copy(live[source], source, target)


def _reading(source: Path) -> sqlite3.Connection:
    # Not mode=ro, which would leave an empty write-ahead log behind in the folder.
    return sqlite3.connect(
        f"file:{quote(str(source.absolute()))}?mode=rw", uri=True, timeout=BUSY_S, isolation_level=None
    )


def _hold_moment(source: Path, connection: sqlite3.Connection) -> None:
    try:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        raise BackupError(f"{source} cannot be read: {error}") from error


def _copy(live: sqlite3.Connection, source: Path, target: Path) -> None:
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY))
    try:
        with closing(sqlite3.connect(target)) as copy:
            live.backup(copy)
            (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise BackupError(f"{source} cannot be copied to {target}: {error}") from error
    target.chmod(stat.S_IMODE(source.stat().st_mode))
    if found != "ok":
        raise BackupError(f"{source} is damaged: {found}. Restore an earlier backup.")


def copy_database_apart(source: Path, target: Path) -> None:
    """Copy a database in a process of its own. Raises ``BackupError`` with what that process says."""
    done = subprocess.run(  # noqa: S603 (our own module)
        [sys.executable, "-m", __name__, str(source), str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BackupError((done.stderr.strip().splitlines() or [f"copying {source} ended with {done.returncode}"])[-1])


if __name__ == "__main__":
    try:
        copy_databases({Path(sys.argv[1]): Path(sys.argv[2])})
    except BackupError as error:
        sys.exit(str(error))
