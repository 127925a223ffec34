"""The simulator over HTTP: an application, a server in a thread for tests, a blocking one for the CLI.

Besides the operator's own paths, ACE's (``/api``, ``/v1``), KPIs' webhooks (``/webhook``) and their registry there is
``/_control``: faults (GET, POST, DELETE), time (GET, POST), webhooks (GET, POST, DELETE) and requests (GET). A fault
can also be put on one request by the query parameter ``?fault=NAME``.
"""

import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from etl_assets.market_time import NEM_TIME, utc_now
from etl_assets.simulator.ace import is_ace
from etl_assets.simulator.ace_requests import AceRequest
from etl_assets.simulator.ace_world import AceWorld
from etl_assets.simulator.answers import Answer
from etl_assets.simulator.faults import FaultBoard, UnknownFaultError
from etl_assets.simulator.service import Simulator
from etl_assets.simulator.webhooks import Webhooks, is_webhook

REQUESTS_KEPT = 10_000
_HOLD_STEP = 0.05
_START_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request as the server answered it."""

    method: str
    path: str
    """Decoded; as it was sent for requests to ACE, where ``%2F`` is a part of a name."""
    status: int
    """0 where the connection was closed without an answer."""
    query: str = ""
    """Of requests to ACE only: the query as it was sent."""


@dataclass(slots=True)
class _Switchboard:
    """What the endpoints share."""

    simulator: Simulator
    requests: deque[LoggedRequest] = field(default_factory=lambda: deque(maxlen=REQUESTS_KEPT))
    released: Event = field(default_factory=Event)
    held: int = 0
    """Answers that were held so far."""
    hang_up: Callable[[object], None] = lambda _: None
    """Closes the connection of a client, given as (host, port)."""


class _CutResponse(Response):
    """Announces the whole length, sends half, and ends; the server then closes the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI's signature
        """Send the start and half of the body only."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})


class _NoResponse(Response):
    """Sends nothing: the connection is closed."""

    def __init__(self, hang_up: Callable[[object], None]) -> None:
        super().__init__(status_code=0)
        self._hang_up = hang_up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI's signature
        """Close, and wait until the server knows: it answers 500 for a request left without an answer."""
        self._hang_up(scope["client"])
        while (await receive())["type"] != "http.disconnect":
            pass


def create_app(simulator: Simulator) -> Starlette:
    """The application that serves a simulator."""
    return _application(_Switchboard(simulator))


def _application(board: _Switchboard) -> Starlette:
    async def serve_path(request: Request) -> Response:
        try:
            return await _serve(board, request)
        except UnknownFaultError as error:
            return JSONResponse({"error": str(error)}, 400)

    async def control(request: Request) -> Response:
        try:
            return await _control(board, request)
        except (UnknownFaultError, ValueError, KeyError, TypeError) as error:
            return JSONResponse({"error": str(error)}, 400)

    methods = ["GET", "HEAD", "POST"]
    return Starlette(
        routes=[
            Route("/_control/{thing}", control, methods=["GET", "POST", "DELETE"]),
            Route("/{path:path}", serve_path, methods=methods),
        ]
    )


async def _serve(board: _Switchboard, request: Request) -> Response:
    body = await request.body()
    path: str = request.scope["path"]
    name = request.query_params.get("fault")
    fault = board.simulator.faults.switch_on(name, path) if name else None
    try:
        answer = await run_in_threadpool(_answer, board.simulator, request, body)
    finally:
        if fault is not None:
            board.simulator.faults.switch_off(fault)
    await _hold(board, answer.hold)
    response = _response(board, answer, request.headers.get("if-none-match"))
    board.requests.append(_logged(request, response.status_code))
    return response


def _as_sent(request: Request) -> tuple[str, str]:
    """Path and query, undecoded."""
    return request.scope["raw_path"].decode("latin-1"), request.scope["query_string"].decode("latin-1")


def _answer(simulator: Simulator, request: Request, body: bytes) -> Answer:
    raw_path, query = _as_sent(request)
    if is_ace(raw_path):
        key = request.headers.get("authorization")
        return simulator.ace.answer(AceRequest(request.method, raw_path, query, key, body))
    path: str = request.scope["path"]
    if is_webhook(path):
        return simulator.webhooks.answer(request.method, path, request.headers, body)
    return simulator.answer(request.method, path, body=body, root=str(request.base_url).rstrip("/"))


def _logged(request: Request, status: int) -> LoggedRequest:
    raw_path, query = _as_sent(request)
    if is_ace(raw_path):
        return LoggedRequest(request.method, raw_path, status, query)
    return LoggedRequest(request.method, request.scope["path"], status)


async def _hold(board: _Switchboard, seconds: float) -> None:
    """Wait for the seconds to pass or the server to stop.

    A look now and then is enough, and safe across threads.
    """
    if not seconds:
        return
    end = time.monotonic() + seconds
    board.held += 1
    while not board.released.is_set() and time.monotonic() < end:  # noqa: ASYNC110  set from another thread
        await anyio.sleep(_HOLD_STEP)


def _response(board: _Switchboard, answer: Answer, known_tag: str | None) -> Response:
    if answer.hung_up:
        return _NoResponse(board.hang_up)
    if known_tag is not None and known_tag == answer.headers.get("ETag"):
        return Response(status_code=304, headers=answer.headers)
    kind = _CutResponse if answer.cut else Response
    return kind(answer.body, answer.status, answer.headers, answer.media)


async def _control(board: _Switchboard, request: Request) -> Response:
    values: dict[str, Any] = await request.json() if request.method == "POST" else {}
    match request.path_params["thing"], request.method:
        case "faults" | "time", "GET":
            pass
        case "faults", "POST":
            switch_on(board.simulator.faults, values)
        case "faults", "DELETE":
            board.simulator.faults.switch_off(request.query_params.get("name"))
        case "time", "POST":
            _set_time(board.simulator, values)
        case "requests", "GET":
            return JSONResponse([asdict(logged) for logged in board.requests])
        case "webhooks", method:
            return _control_webhooks(board.simulator.webhooks, method, values)
        case _:
            return JSONResponse({"error": "Known: faults, time, webhooks, requests."}, 404)
    if request.path_params["thing"] == "time":
        return JSONResponse({"now": board.simulator.clock().isoformat()})
    return JSONResponse([fault.describe() for fault in board.simulator.faults.on()])


def _control_webhooks(webhooks: Webhooks, method: str, values: Mapping[str, Any]) -> Response:
    """The calls so far, after what was asked: POST sets rules of a receiver, DELETE forgets the calls."""
    if method == "POST":
        webhooks.configure(**values)
    if method == "DELETE":
        webhooks.forget()
    return JSONResponse([call.describe() for call in webhooks.calls()])


def switch_on(board: FaultBoard, values: Mapping[str, Any]) -> None:
    """Switch on a fault from JSON.

    ``name``, and optionally path, times, intervals (ISO, NEM time), region, seconds, limit.
    """
    known = {"path", "times", "region", "seconds", "limit"}
    extra = {key: value for key, value in values.items() if key in known}
    intervals = [_instant(text) for text in values.get("intervals", ())]
    board.switch_on(values["name"], intervals=intervals, **extra)


def _set_time(simulator: Simulator, values: Mapping[str, Any]) -> None:
    if "now" in values:
        simulator.set_time(_instant(values["now"]))
    if "advance_seconds" in values:
        simulator.advance(timedelta(seconds=values["advance_seconds"]))


def _instant(text: str) -> datetime:
    """An ISO time; NEM time where it has no offset."""
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=NEM_TIME)


class SimulatorServer:
    """The simulator on a loopback port, a free one or ``port``, in a thread, for the length of a ``with`` block.

    >>> with SimulatorServer(now=lambda: instant) as server:
    ...     httpx.get(f"{server.url}/Reports/CURRENT/DispatchIS_Reports/")
    """

    def __init__(
        self,
        seed: int = 1,
        now: Callable[[], datetime] = utc_now,
        *,
        simulator: Simulator | None = None,
        ace: AceWorld | None = None,
        port: int = 0,
    ) -> None:
        self.port = port
        self.simulator = simulator or Simulator(seed, now, ace=ace)
        self._board = _Switchboard(self.simulator)
        self._socket = socket.socket()
        self._server = _server(self._board)
        self._thread = Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self.url = ""

    @property
    def ace_url(self) -> str:
        """Root of the ACE API as the vendor's own clients take it."""
        return f"{self.url}/api"

    @property
    def ace_v1_url(self) -> str:
        """Root of the ACE API in the shape of 001's documents."""
        return f"{self.url}/v1"

    @property
    def ace(self) -> AceWorld:
        """The truth behind the ACE API."""
        return self.simulator.ace.world

    @property
    def faults(self) -> FaultBoard:
        """The board on which faults are switched on and off."""
        return self.simulator.faults

    @property
    def webhooks(self) -> Webhooks:
        """The receivers of KPIs' webhooks, and the calls that reached them."""
        return self.simulator.webhooks

    @property
    def requests(self) -> list[LoggedRequest]:
        """The requests answered so far, oldest first; control requests are not among them."""
        return list(self._board.requests)

    @property
    def held(self) -> int:
        """How many answers have been held back (``time_out``, ``slow_webhook``) so far."""
        return self._board.held

    def set_time(self, now: datetime) -> None:
        """Stop the simulated clock at an instant (aware)."""
        self.simulator.set_time(now)

    def advance(self, by: timedelta) -> None:
        """Move the simulated clock on."""
        self.simulator.advance(by)

    def __enter__(self) -> Self:
        """Bind, start, and return once the server answers."""
        # At a given port that it had before, connections of then may still be dying.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", self.port))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread.start()
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError(f"the simulator did not start at {self.url}")
            time.sleep(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release held answers, stop, and wait for the thread."""
        self._board.released.set()
        self._server.should_exit = True
        self._thread.join(_START_TIMEOUT)
        self._socket.close()


def serve(host: str, port: int, seed: int = 1, start: datetime | None = None, *, ace: AceWorld | None = None) -> None:
    """Serve until interrupted.

    ``start`` is the simulated time at the first moment; it then passes as time does. ``ace`` is the ACE account;
    without it, the demo's.
    """
    offset = start - utc_now() if start else timedelta()
    board = _Switchboard(Simulator(seed, lambda: utc_now() + offset, ace=ace))
    server = _server(board, host, port)
    try:
        server.run()
    except KeyboardInterrupt:
        return


def _server(board: _Switchboard, host: str = "127.0.0.1", port: int = 0) -> uvicorn.Server:
    """Quiet: no log configuration, no access log, and nothing but what is fatal."""
    config = uvicorn.Config(
        _application(board),
        host=host,
        port=port,
        log_config=None,
        log_level="critical",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)

    def hang_up(client: object) -> None:
        for connection in list(server.server_state.connections):
            if getattr(connection, "client", None) == client:
                connection.transport.close()

    board.hang_up = hang_up
    return server
