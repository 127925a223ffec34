"""What stands around every request: its id, every answer's headers, limits on what a client may send, and how long.

Plain ASGI, so that answers are streamed through. What a guard refuses it raises as a ``Problem``; ``RequestFrame``, the
outermost, makes an answer of it. How many requests a client may send is in ``limits.py``.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from etl_assets.api.problems import Problem, internal_error, problem_response

if TYPE_CHECKING:
    from etl_assets.api.limits import Standing

logger = logging.getLogger(__name__)

BODY_TIME_S = 10.0
"""A body is 64 KB at most: on a line that needs longer, no answer would be of use either."""

CLOSING = {"Connection": "close"}
"""For answers that leave a part of the request unread: the next one must not begin in the middle of it."""

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""Of every answer that does not say otherwise: a page sets the policy that it needs, data how long it keeps."""

_SECURITY = tuple((name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items())

HTTPS_ONLY = "max-age=31536000"
"""A year, and only told over https: the loopback has none."""

KNOWN_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


@dataclass(frozen=True, slots=True)
class Answered:
    """A request and what became of it. ``route`` names its parameters and not their values; empty where there is none.

    ``duration_s`` is to the last byte of the answer; of one without an end (``is_endless`` in ``request.state``) to its
    first, because how long somebody listens says nothing of how fast the answer is. ``route_type``, ``samples`` and
    ``cache_hit`` are what the route left in ``request.state`` under these names.
    """

    request_id: str
    at: datetime
    client_id: str | None
    method: str
    route: str
    status: int
    duration_s: float
    response_bytes: int
    route_type: str | None
    samples: int | None
    cache_hit: bool | None


class Watcher(Protocol):
    """Who is told of every request."""

    def began(self) -> None:
        """A request has come."""

    def ended(self, answered: Answered) -> None:
        """It was answered, or broken off."""


class RequestFrame:
    """Gives a request its id, its answer the headers of all answers, and tells the watchers of it.

    The id is ours and never a client's, since records are kept under it. A fault of ours ends here: the client learns
    the request's id, the log the rest.
    """

    def __init__(self, app: ASGIApp, now: Callable[[], datetime], watchers: tuple[Watcher, ...] = ()) -> None:
        self._app = app
        self._now = now
        self._watchers = watchers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; nothing is raised but a cancellation."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"] = str(uuid4())
        at = self._now()
        answer = _Answer(scope, send)
        for watcher in self._watchers:
            watcher.began()
        try:
            await self._answered(scope, receive, answer)
        finally:
            answered = answer.summed_up(at)
            for watcher in self._watchers:
                watcher.ended(answered)

    async def _answered(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            await self._app(scope, receive, answer.send)
        except Exception as error:
            problem = error if isinstance(error, Problem) else internal_error()
            if not isinstance(error, Problem):
                logger.exception("Request %s, %s, failed", scope["state"]["request_id"], _route(scope) or "no route")
            # Of an answer that has begun the end is missing: the server closes the connection.
            if not answer.status:
                await problem_response(problem, scope["state"]["request_id"])(scope, receive, answer.send)


class _Answer:
    """An answer on its way: adds the headers of all answers, and keeps count."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._began = time.perf_counter()
        self._first_byte_s = 0.0
        self.status = 0
        self.sent = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._first_byte_s = time.perf_counter() - self._began
            message["headers"] = [*message.get("headers", ()), *self._missing(message)]
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
        await self._send(message)

    def _missing(self, message: Message) -> Iterator[tuple[bytes, bytes]]:
        """The headers of all answers that this one lacks; as bytes, since every request pays for them."""
        there = {name.lower() for name, _ in message.get("headers", ())}
        yield from (header for header in _SECURITY if header[0] not in there)
        state = self._scope["state"]
        yield b"x-request-id", state["request_id"].encode()
        if self._scope.get("scheme") == "https":
            yield b"strict-transport-security", HTTPS_ONLY.encode()
        standing: Standing | None = state.get("rate_limit")
        if standing:
            yield from ((name.encode(), value.encode()) for name, value in standing.headers.items())

    def summed_up(self, at: datetime) -> Answered:
        state: MutableMapping[str, Any] = self._scope["state"]
        principal = state.get("principal")
        method = self._scope["method"]
        return Answered(
            request_id=state["request_id"],
            at=at,
            client_id=principal.client_id if principal else None,
            method=method if method in KNOWN_METHODS else "other",
            route=_route(self._scope),
            # What was broken off before it began has no status of its own; 499 is what servers log for it.
            status=self.status or 499,
            duration_s=self._first_byte_s if state.get("is_endless") else time.perf_counter() - self._began,
            response_bytes=self.sent,
            route_type=state.get("route_type"),
            samples=state.get("samples"),
            cache_hit=state.get("cache_hit"),
        )


def _route(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", ""))


class RequestLimits:
    """Refuses requests that are too large, and bodies that take too long: 413, 414, 408.

    A body is counted as it comes: it need not say its length, and what it says need not be true.
    """

    def __init__(self, app: ASGIApp, *, body_bytes: int, target_bytes: int, body_time_s: float = BODY_TIME_S) -> None:
        self._app = app
        self._body_bytes = body_bytes
        self._target_bytes = target_bytes
        self._body_time_s = body_time_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raise ``Problem`` 413 or 414, or pass the request on with a watch on its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) + 1 > self._target_bytes:
            detail = f"Path and query have more than {self._target_bytes:,} bytes; ask for less at once."
            raise Problem(414, "URI Too Long", detail, headers=CLOSING)
        if any(name == b"content-length" and _is_beyond(value, self._body_bytes) for name, value in scope["headers"]):
            raise self._too_large()
        await self._app(scope, self._watched(receive), send)

    def _too_large(self) -> Problem:
        detail = f"The body has more than {self._body_bytes:,} bytes, which is the most that is taken."
        return Problem(413, HTTPStatus(413).phrase, detail, headers=CLOSING)

    def _watched(self, receive: Receive) -> Receive:
        received, is_whole = 0, False
        deadline: float | None = None

        async def next_part() -> Message:
            nonlocal received, is_whole, deadline
            if is_whole:
                return await receive()
            clock = asyncio.get_running_loop().time
            deadline = deadline or clock() + self._body_time_s
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                detail = f"The body did not arrive within {self._body_time_s:g} s."
                raise Problem(408, "Request Timeout", detail, headers=CLOSING) from None
            received += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if received > self._body_bytes:
                raise self._too_large()
            return message

        return next_part


def _is_beyond(length: bytes, limit: int) -> bool:
    return length.isdigit() and int(length) > limit
