"""At most so many requests in any minute, by all processes that share a data folder.

ACE publishes no limit; 001 assumes 100 a minute for an account. Runs, schedules and a person's backfill are different
processes of one account, so the count lies in a file of its own beside the lake: never in the lake's catalog.

The window and its storage are pyrate-limiter's SQLite bucket behind a file lock, which a killed process lets go. Its
``Limiter`` is not used: that starts a thread to clean up, and dates a request by when it should have been sent.
"""

import threading
import time
from pathlib import Path
from typing import Self, cast

from pyrate_limiter import Duration, Rate, RateItem, SQLiteBucket

MINUTE_S = 60.0
RESET_PAUSE_S = 0.05
"""After a count was thrown away: long enough for another process to be next, too short to matter."""


class RateLimit:
    """Leave to send, ``limit`` times in any ``seconds``, counted in ``file``. Threads and processes may share it.

    Opened at first use, so that it may be made before the data folder is. Close it, or use it in a ``with``.
    """

    def __init__(self, file: Path, limit: int, seconds: float = MINUTE_S) -> None:
        self.file = file
        self._rate = Rate(limit, int(seconds * Duration.SECOND))
        self._bucket: SQLiteBucket | None = None
        self._opening = threading.Lock()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def acquire(self) -> None:
        """Wait until a request may be sent, and count it. The wait is one sleep, which an exception ends."""
        while wait := self._take():
            time.sleep(wait)

    def close(self) -> None:
        """Give up the file."""
        if self._bucket is not None:
            self._bucket.close()  # type: ignore[no-untyped-call] # the library's own lack
            self._bucket = None

    def _take(self) -> float:
        """Count a request, or say how many seconds to wait for the next chance."""
        bucket = self._opened()
        with bucket.lock:
            # Dated under the lock: a process that waited for it sends now, not when it began to wait.
            now = time.time_ns() // 1_000_000
            bucket.leak(now)
            item = RateItem("ace", now)
            if bucket.put(item):
                return 0.0
            wait = cast("int", bucket.waiting(item))
            if wait > self._rate.interval + 1:
                # The machine's clock was set back: what was counted lies in the future and would wait for that long.
                bucket.flush()
                return RESET_PAUSE_S
            return max(wait, 1) / 1000

    def _opened(self) -> SQLiteBucket:
        with self._opening:
            if self._bucket is None:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                self._bucket = SQLiteBucket.init_from_file([self._rate], db_path=str(self.file), use_file_lock=True)
            return self._bucket
