"""Answers from the cache, counted beside the requests: none of them waits for who writes to the state database."""

import logging
import threading
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from etl_assets.ops.cache_state import note_hit
from etl_assets.settings import Settings

logger = logging.getLogger(__name__)


class HitCounter:
    """Hits by key, with the time of the last. A thread writes them while there are any, and ends.

    While the database is taken they add up, a row for each key: there are no more of them than cached results.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._unwritten: dict[str, tuple[int, datetime]] = {}
        self._writer: threading.Thread | None = None

    def count(self, key: str, now: datetime) -> None:
        """One hit more. Returns at once."""
        with self._lock:
            hits, _ = self._unwritten.get(key, (0, now))
            self._unwritten[key] = hits + 1, now
            if self._writer is None:
                self._writer = threading.Thread(target=self._write, name="cache-hits", daemon=True)
                self._writer.start()

    def settle(self) -> None:
        """Wait until all that were counted before are on record, or could not be put there."""
        with self._lock:
            writer = self._writer
        if writer is not None:
            writer.join()

    def _write(self) -> None:
        while batch := self._taken():
            for key, (hits, last) in batch.items():
                try:
                    note_hit(self._settings, key, now=last, hits=hits)
                except SQLAlchemyError:
                    logger.exception("%d hits of %s could not be counted", hits, key)

    def _taken(self) -> dict[str, tuple[int, datetime]]:
        """What is to be written. Where nothing is, the thread counts as ended: the next hit starts another."""
        with self._lock:
            batch, self._unwritten = self._unwritten, {}
            if not batch:
                self._writer = None
            return batch
