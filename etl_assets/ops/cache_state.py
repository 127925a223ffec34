"""What the record says of cached results: what each is of, until when it is good, how often it answered.

The files are the business of ``exports/cache.py``. Instants are UTC, sizes are bytes; nothing here reads the clock.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, or_, select, update

from etl_assets.ops.database import begin, begin_alone, upsert_row
from etl_assets.ops.tables import CACHE_METADATA
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

_ENTRY = CACHE_METADATA.c


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One row of ``ops.cache_metadata``. ``bytes`` is the size before compression."""

    cache_key: str
    site_name: str | None
    version: str
    format: str
    points_count: int
    samples_count: int
    bytes: int
    compressed_bytes: int
    hits: int
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    misses: int = 1

    @property
    def compression_ratio(self) -> float:
        """Share of the size that compression saved, 0 to 1."""
        return 1 - self.compressed_bytes / self.bytes if self.bytes else 0.0

    def is_good(self, version: str, now: datetime) -> bool:
        """Whether it may answer for this version of the data."""
        return self.version == version and now < self.expires_at


@dataclass(frozen=True, slots=True)
class Kept:
    """The cache as a whole: its entries, their sizes before and after compression, requests answered and not."""

    entries: int
    bytes: int
    compressed_bytes: int
    hits: int
    misses: int

    @property
    def hit_ratio(self) -> float:
        """Share of the requests that an entry answered, 0 to 1."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


def record_entry(settings: Settings, entry: CacheEntry) -> None:
    """Put an entry on record, in place of a former one under its key; that one's hits and misses stay counted."""
    with begin_alone(settings, f"cache {entry.cache_key}") as connection:
        former = _select(connection, _ENTRY.cache_key == entry.cache_key)
        hits = entry.hits + sum(row.hits for row in former)
        misses = entry.misses + sum(row.misses or 0 for row in former)
        upsert_row(connection, CACHE_METADATA, asdict(entry) | {"hits": hits, "misses": misses})


def find_entry(settings: Settings, key: str) -> CacheEntry | None:
    """The entry under a key."""
    with begin(settings) as connection:
        found = _select(connection, _ENTRY.cache_key == key)
    return found[0] if found else None


def note_hit(settings: Settings, key: str, *, now: datetime, hits: int = 1) -> None:
    """Count answers given from an entry, the last of them ``now``."""
    used = update(CACHE_METADATA).where(_ENTRY.cache_key == key)
    with begin(settings) as connection:
        connection.execute(used.values(hits=_ENTRY.hits + hits, last_used_at=now))


def list_entries(settings: Settings, prefix: str = "") -> list[CacheEntry]:
    """Entries whose keys begin with a prefix, by key."""
    with begin(settings) as connection:
        found = _select(connection, _ENTRY.cache_key.startswith(prefix, autoescape=True))
    # SQLite's LIKE does not tell upper case from lower.
    return [entry for entry in found if entry.cache_key.startswith(prefix)]


def stale_entries(settings: Settings, *, now: datetime, made_before: datetime) -> list[CacheEntry]:
    """Entries that are good no more by time, or were made before a moment."""
    with begin(settings) as connection:
        return _select(connection, or_(_ENTRY.expires_at <= now, _ENTRY.created_at < made_before))


def entries_beyond(settings: Settings, limit: int) -> list[CacheEntry]:
    """What must go for the rest to fit into ``limit`` bytes: the least recently used first."""
    with begin(settings) as connection:
        entries = _select(connection)
    entries.sort(key=lambda entry: (entry.last_used_at, entry.cache_key))
    excess = sum(entry.compressed_bytes for entry in entries) - limit
    beyond: list[CacheEntry] = []
    for entry in entries:
        if excess <= 0:
            break
        beyond.append(entry)
        excess -= entry.compressed_bytes
    return beyond


def forget_entries(settings: Settings, keys: Sequence[str]) -> None:
    """Take entries off the record."""
    with begin(settings) as connection:
        for key in keys:
            connection.execute(delete(CACHE_METADATA).where(_ENTRY.cache_key == key))


def kept(settings: Settings) -> Kept:
    """All entries, added up."""
    sums = (_ENTRY.bytes, _ENTRY.compressed_bytes, _ENTRY.hits, _ENTRY.misses)
    with begin(settings) as connection:
        row = connection.execute(select(func.count(), *(func.sum(column) for column in sums))).one()
    return Kept(*(int(value or 0) for value in row))


def _select(connection: "Connection", *where: "ColumnElement[bool]") -> list[CacheEntry]:
    query = select(CACHE_METADATA).where(*where).order_by(_ENTRY.cache_key)
    return [CacheEntry(**row) for row in connection.execute(query).mappings()]
