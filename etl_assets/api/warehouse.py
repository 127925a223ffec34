"""The published file as the API reads it: always the newest snapshot, never a lock, and nothing but that file.

Here: opening ``data/warehouse.duckdb`` again when it was replaced, connections for requests and how many of them there
may be, and what of it has changed. Not here: what is asked of it (``data_queries``, ``site_queries``).

Whoever has a connection goes on with the file it was opened on until it is done; the next one sees the newest. How a
file is opened and shut in is in ``published_file.py``.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar, cast

from etl_assets.api.problems import Problem, busy
from etl_assets.api.published_file import Days, PublishedFile, Snapshot, identity_of, open_published
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

INTERRUPT_AGAIN_S = 0.1
"""DuckDB forgets an interrupt that comes just before a query begins; so it is repeated until the query has ended."""

T = TypeVar("T")

logger = logging.getLogger(__name__)

MOST_CONNECTIONS = 16
"""Queries at work at once. On two cores more of them are not faster, and each may take some tens of megabytes."""

MOST_WAITING = 16
"""Requests that wait for a connection: with those that have one fewer than the 40 threads that requests run in."""

PATIENCE = timedelta(seconds=5)
"""How long such a request waits before it is told to come back."""


class Warehouse:
    """Connections to the published file, for any number of threads. Opens nothing before the first use."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.warehouse_path
        self._limit = settings.direct_timeout
        self._lock = threading.Lock()
        self._newest: PublishedFile | None = None
        self._slots = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._waiting = threading.BoundedSemaphore(MOST_WAITING)

    def close(self) -> None:
        """Let go of the file; who still reads goes on."""
        with self._lock:
            former, self._newest = self._newest, None
            if former and not former.readers:
                former.close()

    @property
    def snapshot(self) -> Snapshot:
        """What the newest file shows. Raises ``Problem`` 503 where there is none."""
        with self._borrowed() as opened:
            return opened.snapshot

    @contextmanager
    def connection(self) -> Iterator["DuckDBPyConnection"]:
        """A connection on the newest snapshot, in which tables are named ``warehouse.schema.table``.

        Raises ``Problem`` 503 where there is no file yet, or too many read it already. An error of the engine inside
        the block becomes a ``Problem`` as well: 503 where the query was too large for the memory, or a file is gone.
        """
        with self._slot(), self._borrowed() as opened:
            cursor = opened.root.cursor()
            try:
                with _engine_errors_told():
                    yield cursor
            finally:
                cursor.close()

    @contextmanager
    def timed(
        self, connection: "DuckDBPyConnection", limit: timedelta | None = None, *, spent: timedelta = timedelta(0)
    ) -> Iterator[None]:
        """Interrupt what a connection does in the block after ``limit`` (DIRECT_TIMEOUT); then ``Problem`` 504.

        ``spent`` is how much of the limit is over already.
        """
        allowed = self._limit if limit is None else limit
        left = allowed - spent
        if spent and left <= timedelta(0):
            raise _too_slow(allowed)
        ended, expired = threading.Event(), threading.Event()

        def watch() -> None:
            pause = left.total_seconds()
            while not ended.wait(pause):
                expired.set()
                connection.interrupt()
                pause = INTERRUPT_AGAIN_S

        watcher = threading.Thread(target=watch, name="time limit of a query", daemon=True)
        watcher.start()
        try:
            yield
        except Exception as error:
            if expired.is_set():
                raise _too_slow(allowed) from error
            raise
        finally:
            ended.set()
            # It must not interrupt the connection's next query.
            watcher.join()

    def version(self, table: str, *, days: Days | None = None, site: str | None = None) -> str:
        """A digest that changes when published rows of a table may have, within some days and of a site where given.

        Tables that lie in files change with the files that can hold such rows, all others with the snapshot.
        """
        with self._borrowed() as opened:
            return opened.version(table, days, site)

    def last_day(self, table: str) -> date | None:
        """The newest market day that a table's files are of; None where there are none, or it does not lie by day."""
        with self._borrowed() as opened:
            return opened.last_day(table)

    def once(self, name: str, make: Callable[["DuckDBPyConnection"], T]) -> T:
        """What ``make`` finds in the newest snapshot: made once for each, and then kept as long as it is the newest.

        ``name`` stands for what is made. Only for small things whose names are few.
        """
        with self._borrowed() as opened:
            if name in opened.made:
                return cast("T", opened.made[name])
            # By name: who waits for a short list must not wait for a long count.
            with opened.making.setdefault(name, threading.RLock()):
                if name not in opened.made:
                    cursor = opened.root.cursor()
                    try:
                        with _engine_errors_told(), self.timed(cursor):
                            opened.made[name] = make(cursor)
                    finally:
                        cursor.close()
                return cast("T", opened.made[name])

    def made(self, name: str) -> Any:  # noqa: ANN401 (whatever was made under the name)
        """What ``once`` has made already of the newest snapshot, else None. Waits for nothing and opens nothing."""
        newest = self._newest
        try:
            is_newest = newest is not None and newest.identity == identity_of(self._path.stat())
        except FileNotFoundError:
            return None
        return newest.made.get(name) if newest and is_newest else None

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._slots.acquire(blocking=False):
            self._wait()
        try:
            yield
        finally:
            self._slots.release()

    def _wait(self) -> None:
        if not self._waiting.acquire(blocking=False):
            raise busy("Too many queries are at work")
        try:
            if not self._slots.acquire(timeout=PATIENCE.total_seconds()):
                raise busy("Too many queries are at work")
        finally:
            self._waiting.release()

    @contextmanager
    def _borrowed(self) -> Iterator[PublishedFile]:
        with self._lock:
            opened = self._current()
            opened.readers += 1
        try:
            yield opened
        finally:
            with self._lock:
                opened.readers -= 1
                if not opened.readers and opened is not self._newest:
                    opened.close()

    def _current(self) -> PublishedFile:
        """The newest file, opened where it is not yet; the lock is held."""
        import duckdb

        try:
            identity = identity_of(self._path.stat())
        except FileNotFoundError:
            raise _nothing_published() from None
        if self._newest and self._newest.identity == identity:
            return self._newest
        try:
            former, self._newest = self._newest, open_published(self._path)
        except duckdb.Error:
            logger.exception("%s cannot be opened", self._path)
            raise _nothing_published() from None
        if former and not former.readers:
            former.close()
        return self._newest


@contextmanager
def _engine_errors_told() -> Iterator[None]:
    """Errors of the engine that a client can do something about, as a ``Problem``; what they say stays here."""
    import duckdb

    try:
        yield
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        raise _unavailable(
            "The query needs more memory than there is: ask for fewer days, points or fields, or again later", 5
        ) from error
    except (duckdb.IOException, duckdb.PermissionException) as error:
        # A file that is gone is looked for as a pattern, which is not permitted.
        raise _unavailable(
            "A file of the published data cannot be read; the next publication mends that", 60
        ) from error


def _unavailable(what: str, retry_after_s: int) -> Problem:
    status = HTTPStatus.SERVICE_UNAVAILABLE
    return Problem(status, status.phrase, f"{what}.", headers={"Retry-After": str(retry_after_s)})


def _too_slow(allowed: timedelta) -> Problem:
    status = HTTPStatus.GATEWAY_TIMEOUT
    stopped = f"The query was stopped after {allowed.total_seconds():g} s."
    return Problem(status, status.phrase, f"{stopped} Ask for fewer days, points or fields.")


def _nothing_published() -> Problem:
    return _unavailable("There is no warehouse.duckdb that can be read: nothing has been published yet", 60)
