"""Cached results: compressed files in the API's folder, each good for one version of the data it was made of.

A file carries its own header (version, end, sizes, checksum), so that what is read is whole and of the asked version
whatever the record in ``ops.cache_metadata`` says; the record is for people, for the size bound and for clean-up.
Who may ask is checked before: nothing here knows clients. That equal requests compute once is ``coalescing.py``.
"""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from etl_assets.exports.hits import HitCounter
from etl_assets.market_time import utc_now
from etl_assets.ops.cache_state import (
    CacheEntry,
    Kept,
    entries_beyond,
    find_entry,
    forget_entries,
    kept,
    list_entries,
    record_entry,
    stale_entries,
)
from etl_assets.settings import Settings

logger = logging.getLogger(__name__)

CODEC = "zstd"
"""Readings shrink to a fifth at several hundred MB/s; gzip takes ten times as long for the same."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A rendered result, without the ``_meta`` that says how it was come by; and what is in it."""

    body: bytes
    points: int
    samples: int


def cache_key(site: str, request: Mapping[str, Any], form: str) -> str:
    """``timeseries/SITE/DIGEST.FORMAT``: equal for equal requests, however they were written."""
    canonical = json.dumps(request, sort_keys=True, separators=(",", ":"), default=str)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:40]
    # A site may be called "..": no part of a path is taken as it comes.
    return f"timeseries/{quote(site, safe='').replace('.', '%2E')}/{digest}.{form}"


class ResultCache:
    """Results by key and version of the data, on disk. Threads and processes may share the folder."""

    def __init__(self, settings: Settings, *, now: Callable[[], datetime] = utc_now) -> None:
        self._settings = settings
        self._now = now
        self._hits = HitCounter(settings)
        self.folder = settings.api_folder / "cache"

    def get(self, key: str, version: str) -> Payload | None:
        """The result, and one hit more; None where there is none for this version, or it is too old or damaged.

        What cannot be used is removed.
        """
        path = self.path(key)
        try:
            stored = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError:
            logger.exception("%s in the cache cannot be read; it is made again", key)
            return None
        found = _unpacked(stored, version, self._now())
        if found is None:
            logger.info("%s in the cache is stale or damaged; it is made again", key)
            _unlink_if_same(path, stored)
            return None
        self._hits.count(key, self._now())
        return found

    def put(self, key: str, version: str, payload: Payload, *, site: str) -> CacheEntry:
        """Keep a result for CACHE_TTL; it appears whole or not at all. Makes room where the cache is full."""
        now = self._now()
        expires = now + self._settings.cache_ttl
        stored = _packed(payload, version, expires, compressed=self._settings.cache_compression)
        _write(self.path(key), stored)
        entry = CacheEntry(
            cache_key=key,
            site_name=site,
            version=version,
            format=key.rpartition(".")[2],
            points_count=payload.points,
            samples_count=payload.samples,
            bytes=len(payload.body),
            compressed_bytes=len(stored),
            hits=0,
            created_at=now,
            last_used_at=now,
            expires_at=expires,
        )
        record_entry(self._settings, entry)
        self._make_room()
        return entry

    def exists(self, key: str, version: str) -> bool:
        """Whether there is a result for this version; counts no hit."""
        path = self.path(key)
        return path.exists() and _unpacked(path.read_bytes(), version, self._now()) is not None

    def info(self, key: str) -> CacheEntry | None:
        """What is on record of a key."""
        self._hits.settle()
        return find_entry(self._settings, key)

    def list(self, prefix: str = "") -> list[CacheEntry]:
        """What is on record under a prefix such as ``timeseries/SITE/``, by key."""
        self._hits.settle()
        return list_entries(self._settings, prefix)

    def statistics(self) -> Kept:
        """The cache as a whole."""
        self._hits.settle()
        return kept(self._settings)

    def cleanup(self, max_age: timedelta | None = None) -> int:
        """Remove what is past its time or older than ``max_age`` (CACHE_MAX_AGE); returns how many entries went.

        Also files that the record does not know: a killed process leaves drafts.
        """
        now = self._now()
        oldest = now - (self._settings.cache_max_age if max_age is None else max_age)
        gone = self._remove(entry.cache_key for entry in stale_entries(self._settings, now=now, made_before=oldest))
        known = {self.path(entry.cache_key) for entry in self.list()}
        for path in self.folder.rglob("*"):
            if path.is_file() and path not in known and path.stat().st_mtime < oldest.timestamp():
                path.unlink(missing_ok=True)
        return gone

    def path(self, key: str) -> Path:
        """Where a key's file is, or would be."""
        return self.folder / f"{key}.zst" if self._settings.cache_compression else self.folder / key

    def _make_room(self) -> None:
        if self.statistics().compressed_bytes > self._settings.cache_max_bytes:
            beyond = entries_beyond(self._settings, self._settings.cache_max_bytes)
            self._remove(entry.cache_key for entry in beyond)

    def _remove(self, keys: Iterable[str]) -> int:
        removed = list(keys)
        for key in removed:
            self.path(key).unlink(missing_ok=True)
        forget_entries(self._settings, removed)
        return len(removed)


def _packed(payload: Payload, version: str, expires: datetime, *, compressed: bool) -> bytes:
    import pyarrow as pa

    body = pa.compress(payload.body, codec=CODEC, asbytes=True) if compressed else payload.body
    header = {
        "version": version,
        "expires": expires.isoformat(),
        "size": len(payload.body),
        "codec": CODEC if compressed else "",
        "points": payload.points,
        "samples": payload.samples,
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    return json.dumps(header).encode() + b"\n" + body


def _unpacked(stored: bytes, version: str, now: datetime) -> Payload | None:
    """The result in a file; None where it is damaged, of another version, or past its time."""
    import pyarrow as pa

    head, _, body = stored.partition(b"\n")
    try:
        header = json.loads(head)
        is_whole = hashlib.sha256(body).hexdigest() == header["sha256"]
        if not is_whole or header["version"] != version or datetime.fromisoformat(header["expires"]) <= now:
            return None
        if header["codec"]:
            body = pa.decompress(body, decompressed_size=header["size"], codec=header["codec"], asbytes=True)
        return Payload(body, header["points"], header["samples"])
    except (ValueError, KeyError, TypeError, OSError):
        return None


def _write(path: Path, stored: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.draft")
    try:
        draft.write_bytes(stored)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _unlink_if_same(path: Path, stored: bytes) -> None:
    """Remove a file unless another process has put a newer one in its place."""
    try:
        if path.read_bytes() == stored:
            path.unlink()
    except FileNotFoundError:
        pass
