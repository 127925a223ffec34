"""One published file, open: a DuckDB of its own, locked down, with what the file says of itself.

The DuckDB is in memory with the file attached read-only, and is shut in as in ``lake/locked.py``.
"""

import hashlib
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from etl_assets.lake.locked import files_of_views, open_locked
from etl_assets.lake.tables import TABLES, VIEWS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Days = tuple[date, date]
"""First and last market day, both included."""

MEMORY = "1GB"
"""For all queries of an opened file together; what does not fit fails, and nothing is written to the disk."""

COPIES = frozenset(t.full_name for t in TABLES if t.published == "copy")
IN_FILES = frozenset(t.full_name for t in TABLES if t.published == "view") | frozenset(VIEWS)

PARTITION = re.compile(r"/(market_day|site_name)=([^/]+)(?=/)")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Which state of the lake is shown, and when it was published."""

    id: int
    published_at: datetime


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A Parquet file that a view names; ``day`` and ``site`` are what its path says it holds, None where nothing."""

    path: str
    day: date | None
    site: str | None

    @classmethod
    def of(cls, path: str) -> "NamedFile":
        """The file of a path such as ``…/market_day=2026-11-20/site_name=a/….parquet``."""
        said = dict(PARTITION.findall(path))
        day, site = said.get("market_day"), said.get("site_name")
        return cls(path, date.fromisoformat(day) if day else None, unquote(site) if site else None)

    def may_hold(self, days: Days | None, site: str | None) -> bool:
        """Whether there may be rows of some days and of a site in it."""
        in_days = days is None or self.day is None or days[0] <= self.day <= days[1]
        return in_days and (site is None or self.site is None or self.site == site)


@dataclass(slots=True)
class PublishedFile:
    """One published file, open. ``readers`` counts who has a connection, ``made`` keeps what was made of it once.

    ``version`` is a digest of what it has of a table, within days and of a site where given.
    """

    identity: tuple[int, ...]
    descriptor: int
    root: "DuckDBPyConnection"
    snapshot: Snapshot
    files: dict[str, tuple[NamedFile, ...]]
    version: Callable[[str, Days | None, str | None], str] = field(init=False)
    readers: int = 0
    made: dict[str, Any] = field(default_factory=dict)
    making: dict[str, threading.RLock] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Versions are worked out once: there are some hundred files to a table, and requests repeat."""
        self.version = lru_cache(maxsize=1024)(self._version)

    def _version(self, table: str, days: Days | None, site: str | None) -> str:
        if table in COPIES:
            return _digest([table, str(self.snapshot.id)])
        if table not in IN_FILES:
            # From the state database, which changes without a snapshot of the lake.
            return _digest([table, str(self.snapshot)])
        names = (table, VIEWS.get(table, table))
        held = {f.path for name in names for f in self.files.get(name, ()) if f.may_hold(days, site)}
        return _digest([table, *sorted(held)])

    def last_day(self, table: str) -> date | None:
        """The newest market day that a table's files are of; None where there are none, or they are of no day."""
        return max((f.day for f in self.files.get(table, ()) if f.day), default=None)

    def close(self) -> None:
        """Let go of it; nobody may be reading."""
        self.root.close()
        os.close(self.descriptor)


def identity_of(stat: os.stat_result) -> tuple[int, ...]:
    """What tells a file from the one that takes its place."""
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size


def open_published(path: Path) -> PublishedFile:
    """The file that is at a path now; it stays that one whatever takes its place.

    Raises ``duckdb.Error`` where it is no published file, ``FileNotFoundError`` where there is none.
    """
    # By its descriptor: what is looked at, opened and kept is one file, and no write-ahead log lies beside it.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        root = open_locked(f"/dev/fd/{descriptor}", MEMORY, remote=True)
        named = files_of_views(root)
        snapshot, files = snapshot_of(root), {name: tuple(map(NamedFile.of, named[name])) for name in named}
    except BaseException:
        os.close(descriptor)
        raise
    return PublishedFile(identity_of(os.fstat(descriptor)), descriptor, root, snapshot, files)


def snapshot_of(connection: "DuckDBPyConnection") -> Snapshot:
    """What a connection's file shows."""
    rows = connection.execute("SELECT snapshot_id, published_at FROM warehouse.ops.publication").fetchall()
    return Snapshot(*rows[0])


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
