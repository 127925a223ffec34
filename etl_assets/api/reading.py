"""Rows on their way from the published file to a client: read in threads, sent as they come, stopped when nobody waits.

A connection is held no longer than it is needed: what fits into ``READ_AHEAD`` is read at once, and the connection is
free before the first byte goes out. Only larger results keep theirs while the client takes them.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from anyio import to_thread
from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from etl_assets.api.published_file import Snapshot, snapshot_of
from etl_assets.api.statements import Query
from etl_assets.api.warehouse import INTERRUPT_AGAIN_S, Warehouse

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

T = TypeVar("T")

READ_AHEAD = 4 << 20
"""Bytes of columns held for one answer: 31 days of five regions are 2 MB."""

STALLED_S = 30.0
"""A client that does not take a piece within this time is given up; a piece is a few megabytes at most."""

LONGEST_S = 600.0
"""And one that takes longer for all of them: a connection to the database may be waiting for it."""

logger = logging.getLogger(__name__)


class TooManyRowsError(Exception):
    """A query has more rows than may be read for one answer. ``rows`` were read before it was stopped."""

    def __init__(self, rows: int) -> None:
        super().__init__(f"the query was stopped after {rows:,} rows")
        self.rows = rows


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of a whole reading: so many rows, or a batch more, within DIRECT_TIMEOUT from now on. ``clock`` is in seconds."""

    rows: int
    clock: Callable[[], float] = time.monotonic
    start: float = field(init=False)

    def __post_init__(self) -> None:
        """The time runs from now on."""
        object.__setattr__(self, "start", self.clock())

    @property
    def spent(self) -> timedelta:
        """How much of the time is over."""
        return timedelta(seconds=self.clock() - self.start)


class Reading:
    """The rows of one query, once: an iterator of batches that counts, and that another thread can interrupt.

    Without ``bounds`` the time limit is of each piece that is read ahead: a client's own time lies between them.
    ``snapshot`` says which publication they are of, once the first batch is there; ``rows`` how many were read.
    """

    snapshot: Snapshot

    def __init__(self, warehouse: Warehouse, query: Query, bounds: Bounds | None = None) -> None:
        self.rows = 0
        self.is_stopped = False
        self._bounds = bounds
        self._connection: DuckDBPyConnection | None = None
        self._batches = self._read(warehouse, query)

    def __iter__(self) -> Iterator["pa.RecordBatch"]:
        """The batches that are left. Raises ``Problem`` as ``Warehouse`` does, or ``TooManyRowsError``."""
        return self._batches

    def interrupt(self) -> None:
        """Make what is at work end soon, with an error."""
        self.is_stopped = True
        if (connection := self._connection) is not None:
            connection.interrupt()

    def close(self) -> None:
        """Give the connection back; not while another thread reads."""
        self._batches.close()

    def _read(self, warehouse: Warehouse, query: Query) -> "Generator[pa.RecordBatch]":
        with warehouse.connection() as connection:
            self._connection = connection
            self.snapshot = snapshot_of(connection)
            batches = query.batches(connection)
            while ahead := self._ahead(warehouse, connection, batches):
                if sum(batch.nbytes for batch in ahead) <= READ_AHEAD:
                    break
                yield from ahead
        self._connection = None
        yield from ahead

    def _ahead(
        self, warehouse: Warehouse, connection: "DuckDBPyConnection", batches: "Iterator[pa.RecordBatch]"
    ) -> "list[pa.RecordBatch]":
        """The next batches, as many as are read at once: more than ``READ_AHEAD``, or all that are left."""
        ahead: list[pa.RecordBatch] = []
        size = 0
        spent = self._bounds.spent if self._bounds else timedelta(0)
        with warehouse.timed(connection, spent=spent):
            while size <= READ_AHEAD and (batch := self._next(batches)) is not None:
                ahead.append(batch)
                size += batch.nbytes
                self.rows += batch.num_rows
                if self._bounds and self.rows > self._bounds.rows:
                    raise TooManyRowsError(self.rows)
        return ahead

    def _next(self, batches: "Iterator[pa.RecordBatch]") -> "pa.RecordBatch | None":
        if self.is_stopped:
            raise InterruptedError("nobody waits for the rest")
        return next(batches, None)


async def until_gone(request: Request, work: Callable[[], T], interrupt: Callable[[], None]) -> T:
    """What ``work`` returns, in a thread; ``interrupt`` is called when the client has gone before."""
    async with _interrupted_when_gone(request.receive, interrupt):
        return await to_thread.run_sync(work)


@asynccontextmanager
async def _interrupted_when_gone(receive: Receive, interrupt: Callable[[], None]) -> AsyncIterator[None]:
    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        while True:
            interrupt()
            await asyncio.sleep(INTERRUPT_AGAIN_S)

    watcher = asyncio.create_task(watch(), name="is the client still there?")
    try:
        yield
    finally:
        watcher.cancel()
        await asyncio.wait([watcher])


class StreamedRows(Response):
    """An answer whose body is made while it is sent; ``first`` is its beginning, made already.

    Where the rest cannot be had, or the client does not take it, the connection ends before the body does: that is how
    a client sees that it has not got everything.
    """

    def __init__(
        self, reading: Reading, first: bytes, rest: Iterator[bytes], *, media_type: str, headers: Mapping[str, str]
    ) -> None:
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers(headers)
        self._reading = reading
        self._first = first
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, piece by piece."""
        try:
            async with _interrupted_when_gone(receive, self._reading.interrupt), asyncio.timeout(LONGEST_S):
                await self._send(send)
        except Exception as error:  # noqa: BLE001 (whatever it is, the status has been sent)
            if not self._reading.is_stopped:
                logger.warning("%s broke off: %s: %s", scope["path"], type(error).__name__, error)
        finally:
            scope.setdefault("state", {})["samples"] = self._reading.rows
            self._reading.close()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        piece: bytes | None = self._first
        while piece is not None:
            async with asyncio.timeout(STALLED_S):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = await to_thread.run_sync(next, self._rest, None)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
