"""Server-sent events: one watcher for all who listen, and what is sent to each.

Nothing is looked at while nobody listens. Every event's id says how far its listener was told, so that a browser that
comes back with it (``Last-Event-ID``) is told the rest, once, also by a server that was started anew. What a listener
does not take fills its queue; then it is let go, and comes back by itself.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from anyio import to_thread
from fastapi import Response
from starlette.types import Receive, Scope, Send

from etl_assets.api.dashboard.happenings import Event, Look, Position, Watch
from etl_assets.api.problems import Problem, busy

if TYPE_CHECKING:
    from etl_assets.api.health import Health
    from etl_assets.api.warehouse import Warehouse
    from etl_assets.settings import Settings

logger = logging.getLogger(__name__)

LOOKS_EVERY_S = 1.0
HEARTBEAT_S = 15.0
"""Proxies close what is silent for a minute; and so often it is asked whether the listener may still listen."""

MOST_LISTENERS = 50
MOST_OF_ONE = 20
"""Listeners of one client, or of this machine: it must not take the places of all others."""

MOST_WAITING = 1_024
"""Events of a listener that does not take them: twice what a look brings, so that who catches up is not let go."""

RETRY = b"retry: 3000\n\n"
HEARTBEAT = b": still here\n\n"
LISTENERS_RETRY_S = 30


@dataclass(eq=False, slots=True)
class Listener:
    """Somebody who is told. ``wanted`` is how far they say they were told; None in the queue is the end."""

    wanted: Position | None
    client: str = ""
    position: Position | None = None
    runs: dict[str, int] | None = None
    queue: "asyncio.Queue[bytes | None]" = field(default_factory=lambda: asyncio.Queue(MOST_WAITING + 1))

    @property
    def room(self) -> int:
        """How many more events it can be given; one place is the end's."""
        return MOST_WAITING - self.queue.qsize()

    def tell(self, look: Look) -> None:
        """Put what is new to it into its queue, as far as there is room."""
        position = look.start(self.wanted) if self.position is None else self.position
        for event in look.events_after(position):
            if not self.room:
                break
            self.queue.put_nowait(_text(event))
            position = event.position
        self.position = position
        if look.runs != self.runs and look.runs is not None and self.room:
            self.runs = dict(look.runs)
            self.queue.put_nowait(_text(Event("runs", self.runs, position)))

    def end(self) -> None:
        """Nothing more comes after what is in the queue."""
        if self.queue.full():
            self.queue.get_nowait()
        self.queue.put_nowait(None)


class Events:
    """All who listen, and the one watcher. Of one event loop."""

    def __init__(
        self,
        settings: "Settings",
        warehouse: "Warehouse",
        health: "Health",
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._watch = Watch(settings, warehouse, health)
        self._now = now
        self._listeners: set[Listener] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._fault = ""
        self._is_ending = False

    @property
    def listening(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def join(self, last_event_id: str | None, client: str = "") -> Listener:
        """Somebody new, told from where they left off; ``client`` is whose session or token it is, if any.

        Raises ``Problem`` 503 where too many listen, of all or of this client, or at the end.
        """
        of_client = sum(each.client == client for each in self._listeners)
        if self._is_ending or len(self._listeners) >= MOST_LISTENERS or of_client >= MOST_OF_ONE:
            raise busy("Too many listen already", retry_after_s=LISTENERS_RETRY_S)
        listener = Listener(Position.parse(last_event_id), client)
        self._listeners.add(listener)
        self._wanted.set()
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watching(), name="events of the page")
        return listener

    def leave(self, listener: Listener) -> None:
        """Somebody who listens no more."""
        self._listeners.discard(listener)

    def end(self) -> None:
        """Let everybody go, at once and for good: the server ends."""
        self._is_ending = True
        for listener in self._listeners:
            listener.end()
        self._listeners.clear()
        self._wanted.set()

    async def _watching(self) -> None:
        while self._listeners:
            self._wanted.clear()
            # Who comes during a look may have been told less than it begins with: the next one is for them.
            listening = list(self._listeners)
            try:
                look = await to_thread.run_sync(self._watch.look, _oldest(listening), self._now())
                self._tell(look, listening)
                self._fault = ""
            except Exception as error:  # noqa: BLE001 (whatever it is, the next look may find it mended)
                self._complain(type(error).__name__)
            # Who comes in between is not kept waiting.
            await _wait(self._wanted, LOOKS_EVERY_S)

    def _complain(self, fault: str) -> None:
        """Once for each fault: it may last for hours, and is met with every look."""
        if fault != self._fault:
            logger.warning("Events were not looked for: %s", fault)
        self._fault = fault

    def _tell(self, look: Look, listening: list[Listener]) -> None:
        for listener in listening:
            if listener not in self._listeners:
                continue
            if not listener.room:
                logger.info("A listener does not keep up, and is let go")
                listener.end()
                self.leave(listener)
            else:
                listener.tell(look)


class EventStream(Response):
    """What a listener is sent, until it goes, may listen no more, or the server ends."""

    media_type = "text/event-stream"

    def __init__(self, events: Events, listener: Listener, *, may_listen: Callable[[], Awaitable[None]]) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._events = events
        self._listener = listener
        self._may_listen = may_listen
        self._asks_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events as they come, and a heartbeat every 15 seconds."""
        scope.setdefault("state", {})["is_endless"] = True
        self._asks_at = asyncio.get_running_loop().time() + HEARTBEAT_S
        gone = asyncio.create_task(_disconnected(receive), name="is the listener still there?")
        sending = asyncio.create_task(self._send(send), name="events to a listener")
        try:
            await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._events.leave(self._listener)
            for task in (gone, sending):
                task.cancel()
            await asyncio.wait({gone, sending})
        if not sending.cancelled() and (error := sending.exception()):
            logger.warning("Events to a listener broke off: %s", type(error).__name__)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        part: bytes | None = RETRY
        while part is not None:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            part = await self._next()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self) -> bytes | None:
        clock = asyncio.get_running_loop().time
        # However much there is to tell: somebody whose session ended is told no more of it.
        if clock() < self._asks_at:
            try:
                async with asyncio.timeout_at(self._asks_at):
                    return await self._listener.queue.get()
            except TimeoutError:
                pass
        self._asks_at = clock() + HEARTBEAT_S
        try:
            await self._may_listen()
        except Problem as problem:
            # Who asks too much elsewhere may listen nonetheless.
            if problem.status_code != HTTPStatus.TOO_MANY_REQUESTS:
                return None
        return HEARTBEAT


def _oldest(listening: list[Listener]) -> Position | None:
    """After what records are wanted, by whoever was told the least; None where all begin now."""
    known = [place for each in listening if (place := each.position or each.wanted)]
    if not known:
        return None
    return Position(min(each.sync for each in known), min(each.alert for each in known), 0, 0)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _wait(event: asyncio.Event, most_s: float) -> None:
    try:
        async with asyncio.timeout(most_s):
            await event.wait()
    except TimeoutError:
        return


def _text(event: Event) -> bytes:
    """The event as it is sent; JSON has no line breaks of its own."""
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (
        str(event.position).encode(),
        event.kind.encode(),
        msgspec.json.encode(event.data),
    )
