"""A record of every request, written beside the requests: they never wait for the database.

What ``ops.request_analytics`` keeps of a request is how it went, never what was asked for, nor any address.
"""

import logging
import queue
import threading
from collections.abc import Mapping
from typing import Any

from etl_assets.api.guards import Answered
from etl_assets.ops.api_state import record_requests
from etl_assets.settings import Settings

logger = logging.getLogger(__name__)

MOST_WAITING = 10_000
"""Records that wait to be written. Beyond them records are dropped, and counted: a database that does not answer must
not fill the memory."""

BATCH = 500
BATCH_TIME_S = 1.0
"""One transaction a second, however many requests."""

STOP_TIME_S = 5.0


class Analytics:
    """Takes in what became of requests, and writes it in batches until it is stopped."""

    def __init__(self, settings: Settings, *, most_waiting: int = MOST_WAITING) -> None:
        self._settings = settings
        self._waiting: queue.Queue[Answered] = queue.Queue(most_waiting)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="request-analytics", daemon=True)
        self.dropped = 0
        """Records that were not written: there were too many, or the database did not take them."""

    def start(self) -> None:
        """Begin to write. Once only."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, for five seconds at most, and end."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(STOP_TIME_S)

    def began(self) -> None:
        """Nothing is recorded of a request before its end."""

    def ended(self, answered: Answered) -> None:
        """Take a request in."""
        try:
            self._waiting.put_nowait(answered)
        except queue.Full:
            self.dropped += 1

    def _work(self) -> None:
        while not (self._stopped.wait(BATCH_TIME_S) and self._waiting.empty()):
            while batch := self._batch():
                self._write(batch)

    def _batch(self) -> list[Answered]:
        found: list[Answered] = []
        while len(found) < BATCH:
            try:
                found.append(self._waiting.get_nowait())
            except queue.Empty:
                break
        return found

    def _write(self, batch: list[Answered]) -> None:
        try:
            record_requests(self._settings, [_row(answered) for answered in batch])
        except Exception as error:  # noqa: BLE001 (whatever it is, the next batch may be taken)
            self.dropped += len(batch)
            logger.warning("%d requests are not on record: %s", len(batch), type(error).__name__)


def _row(answered: Answered) -> Mapping[str, Any]:
    return {
        "request_id": answered.request_id,
        "at": answered.at,
        "client_id": answered.client_id,
        "method": answered.method,
        "route": answered.route,
        "route_type": answered.route_type,
        "status": answered.status,
        "duration_ms": round(answered.duration_s * 1000, 3),
        "response_bytes": answered.response_bytes,
        "samples": answered.samples,
        "cache_hit": None if answered.cache_hit is None else int(answered.cache_hit),
    }
