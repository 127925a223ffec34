"""A server that says what a test tells it to, and settings that ask it without waiting."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from etl_assets.settings import Settings

KEY = "sesame"


class ScriptedServer(ThreadingHTTPServer):
    """Gives its answers one after another, the last one for ever, and remembers the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, str], bytes]] = [(200, {}, b"{}")]
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.lock = threading.Lock()

    def handle_error(self, *_: object) -> None:
        """A client that gave up is not this server's error."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def asked(self) -> list[str]:
        return [path for _, path, _, _ in self.seen]


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer

    def answer(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        with self.server.lock:
            self.server.seen.append((self.command, self.path, dict(self.headers), self.rfile.read(size)))
            answers = self.server.answers
            status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.close_connection = True
        if status == 0:
            return
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815 - the names that the standard library calls

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    thread = threading.Thread(target=scripted.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield scripted
    scripted.shutdown()
    thread.join()
    scripted.server_close()


@pytest.fixture
def ace_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings that ask an address without waiting between tries."""

    def make(url: str, **changes: object) -> Settings:
        quick = {
            "etl_data": tmp_path / "data",
            "ace_api_url": url,
            "ace_api_key": KEY,
            "ace_retry_delay": timedelta(0),
            "ace_requests_per_minute": 100_000,
        }
        return Settings(_env_file=None, **quick | changes)

    return make
