"""A process that archives when told and stops at a point: ``python archiving.py POINT DATA_FOLDER NOW``.

See test_archive.py, which kills it there.
"""

import sys
from collections.abc import Callable
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from etl_assets.lake import archive
from etl_assets.settings import Settings


def stop(said: str = "stopped") -> None:
    print(said, flush=True)  # noqa: T201
    sys.stdin.readline()


def before(name: str) -> None:
    original: Callable[..., Any] = getattr(archive, name)

    def stopping(*arguments: Any, **options: Any) -> Any:
        stop()
        return original(*arguments, **options)

    setattr(archive, name, stopping)


def before_the_commit() -> None:
    original = archive.transaction

    @contextmanager
    def stopping(connection: Any) -> Any:
        with original(connection):
            yield
            stop()

    archive.transaction = stopping


POINTS = {
    "before the draft has its name": lambda: before("_settle"),
    "before the manifest": lambda: before("_write_manifest"),
    "before the removal": lambda: before("_remove_from_lake"),
    "before the commit of the removal": before_the_commit,
}

if __name__ == "__main__":
    point, data, now = sys.argv[1:]
    POINTS[point]()
    stop("ready")
    archive.archive_old(Settings(_env_file=None, etl_data=Path(data)), now=datetime.fromisoformat(now))
