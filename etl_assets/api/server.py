"""The API as a process: its server, patient with neither slow senders nor slow readers, and its orderly end.

``python -m etl_assets.api.server --port 8000``; `etl-assets up` starts it beside Dagster.
"""

import argparse
import asyncio
import logging
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from etl_assets.settings import Settings

HEAD_TIME_S = 10.0
"""From the first byte of a request, or the connection, to the end of its head: it fits into a few packets."""

SENDING_TIME_S = 60.0
"""How long a reader may take nothing at all before its connection is cut: until then its query's rows wait."""

HEAD_BYTES = 32_768
"""Beyond MAX_QUERY_BYTES (16 KB, and 414 where it is more) there is room for headers. What comes in one go is taken."""

KEEP_ALIVE_S = 15
CONNECTIONS = 1_000
"""Beyond them a connection is answered 503 at once."""

END_TIME_S = 20
"""What is being answered may end; less than `etl-assets up` waits for its processes."""

AT_END = "at_end"
"""In the state of an application's lifespan: what to call when the server begins to end, for answers without an end."""


class ImpatientProtocol(HttpToolsProtocol):
    """Uvicorn's faster protocol, which by itself waits for ever for a head, of any size, and for a reader."""

    _head_timer: asyncio.TimerHandle | None = None
    _sending_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request; the time for its head runs from the first one, however many follow."""
        super().data_received(data)
        if self._is_answering():
            _stop(self._head_timer)
            self._head_timer, self._head_bytes = None, 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES:
            self._give_up("The head of the request is too large.")
        elif self._head_timer is None:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        _stop(self._head_timer)
        _stop(self._sending_timer)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The reader does not keep up: begin to wait for it."""
        super().pause_writing()
        self._sending_timer = self.loop.call_later(SENDING_TIME_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The reader has caught up."""
        _stop(self._sending_timer)
        super().resume_writing()

    def shutdown(self) -> None:
        """The server begins to end: what is being answered may, and events are told to."""
        if at_end := self.app_state.get(AT_END):
            at_end()
        super().shutdown()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIME_S, self._give_up, "The head of the request took too long.")

    def _give_up(self, reason: str) -> None:
        self._head_timer = None
        if not self._is_answering() and not self.transport.is_closing():
            self.send_400_response(reason)


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def server_of(app: FastAPI, host: str, port: int, **more: Any) -> uvicorn.Server:  # noqa: ANN401 (uvicorn's options)
    """A server for an application; ``more`` are options of ``uvicorn.Config``."""
    options: dict[str, Any] = {
        "http": ImpatientProtocol,
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # Which proxies are believed is the application's business: see TRUSTED_PROXIES.
        "proxy_headers": False,
        "limit_concurrency": CONNECTIONS,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "timeout_graceful_shutdown": END_TIME_S,
    }
    return uvicorn.Server(uvicorn.Config(app, host=host, port=port, **(options | more)))


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until told to stop; what is being answered then may end within 20 seconds.

    Raises ``RateLimitError`` or ``CredentialsError`` where a setting cannot be used, before anything is opened.
    """
    from etl_assets.api.app import create_app
    from etl_assets.api.tokens import Tokens

    app = create_app(settings)
    Tokens.configured(settings)
    server_of(app, host, port).run()


def main() -> None:
    """Serve as the command line says; a setting that cannot be used is one sentence and exit code 1."""
    from etl_assets.api.credentials import CredentialsError
    from etl_assets.api.limits import RateLimitError
    from etl_assets.settings import settings

    parser = argparse.ArgumentParser(prog="python -m etl_assets.api.server", description="The API alone.")
    parser.add_argument("--host", default="127.0.0.1", help="Address to listen on.")
    parser.add_argument("--port", type=int, default=8000, help="Port to listen on.")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("etl_assets").setLevel(logging.INFO)
    try:
        serve(settings(), chosen.host, chosen.port)
    except (RateLimitError, CredentialsError) as error:
        sys.exit(f"etl-assets: {error}")


if __name__ == "__main__":
    main()
