"""The server: slow senders and slow readers are cut off, and its end lets finish what has begun."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import StreamingResponse

from etl_assets.api import server
from etl_assets.processes import free_port
from etl_assets.settings import Settings
from etl_assets_tests.api.serving import PATIENCE_S, said, served

BIG = b"x" * 8_000_000


class Gate:
    """A route that answers when a test lets it."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.released = threading.Event()


def application(gate: Gate | None = None) -> FastAPI:
    app = FastAPI()

    @app.get("/health/live")
    @app.get("/quick")
    def quick() -> str:
        return "quick"

    @app.get("/slow")
    def slow() -> str:
        assert gate is not None
        gate.asked.set()
        assert gate.released.wait(PATIENCE_S)
        return "slow"

    @app.get("/big")
    async def big() -> StreamingResponse:
        return StreamingResponse(_parts())

    return app


async def _parts() -> AsyncIterator[bytes]:
    for _ in range(20):
        yield BIG


@pytest.mark.parametrize("parts", [(), (b"GET /qui",), (b"GET /quick HTTP/1.1\r\n", b"Host: h\r\n")])
def test_a_head_that_does_not_come_to_its_end_is_given_up(
    parts: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_TIME_S", 0.2)

    with served(application()) as it:
        answer = it.send(*parts)

    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")


def test_a_second_request_of_a_connection_is_waited_for_no_longer_than_a_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_TIME_S", 0.2)

    with served(application()) as it, socket.create_connection(("127.0.0.1", it.port)) as connection:
        connection.sendall(b"GET /quick HTTP/1.1\r\nHost: h\r\n\r\n")
        assert said(connection, until=b'"quick"').startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"GET /quick HTTP/1.1\r\n")

        assert b"200" not in said(connection)


def test_an_answer_that_takes_longer_than_a_head_may_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_TIME_S", 0.05)
    gate = Gate()

    with served(application(gate)) as it, socket.create_connection(("127.0.0.1", it.port)) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert gate.asked.wait(PATIENCE_S)
        # One that came later has been given up by now.
        assert b"200" not in it.send(b"GET")
        gate.released.set()

        assert said(connection).endswith(b'"slow"')


def test_a_reader_that_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SENDING_TIME_S", 0.2)

    with served(application()) as it, socket.create_connection(("127.0.0.1", it.port)) as connection:
        connection.sendall(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
        connection.recv(1)
        while it.server.server_state.connections:
            threading.Event().wait(0.01)
        received = said(connection)

    assert len(received) < 20 * len(BIG)


def test_a_head_that_is_too_large_is_refused() -> None:
    with served(application()) as it:
        answer = it.send(b"GET /quick HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 100_000)

    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")


def test_connections_beyond_the_most_are_turned_away_at_once() -> None:
    with served(application(), limit_concurrency=2) as it:
        held = [socket.create_connection(("127.0.0.1", it.port)) for _ in range(2)]
        answer = it.send(b"GET /quick HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        for connection in held:
            connection.close()

    assert answer.startswith(b"HTTP/1.1 503 ")


def test_what_is_being_answered_ends_before_the_server_does() -> None:
    gate, found = Gate(), []

    with served(application(gate)) as it:
        asking = threading.Thread(target=lambda: found.append(httpx.get(f"{it.url}/slow", timeout=PATIENCE_S)))
        asking.start()
        assert gate.asked.wait(PATIENCE_S)
        it.stop()
        while answers(it.port):
            # Until the end has begun; from then on nobody is let in.
            threading.Event().wait(0.01)
        gate.released.set()
        asking.join(PATIENCE_S)
        assert it.ended()

    assert [answer.text for answer in found] == ['"slow"']


def test_an_answer_that_does_not_end_does_not_keep_the_server() -> None:
    gate = Gate()

    with served(application(gate), timeout_graceful_shutdown=1) as it:
        with socket.create_connection(("127.0.0.1", it.port)) as connection:
            connection.sendall(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
            assert gate.asked.wait(PATIENCE_S)
            it.stop()
            while it.server.server_state.connections:
                threading.Event().wait(0.01)
        gate.released.set()

        assert it.ended()


def start(folder: Path, port: int, **more: str) -> subprocess.Popen[str]:
    kept = {"PATH": os.environ["PATH"], "HOME": str(folder), "ETL_DATA": str(folder / "data")}
    return subprocess.Popen(
        [sys.executable, "-m", "etl_assets.api.server", "--port", str(port)],
        cwd=folder, env=kept | more, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_the_process_answers_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    port = free_port()

    with start(tmp_path, port) as process:
        try:
            while not answers(port):
                assert process.poll() is None, process.stdout.read() if process.stdout else ""
                threading.Event().wait(0.05)
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()

    assert process.returncode in (0, -signal.SIGTERM)
    assert "Traceback" not in output
    assert Settings(_env_file=None, etl_data=tmp_path / "data").api_folder.exists()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/live").is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("RATE_LIMIT_CLIENT", "as many as they like", "etl-assets: RATE_LIMIT_CLIENT is no rate limit: "),
        ("ENVIRONMENT", "production", "etl-assets: SIGNING_KEYS is not set, and in production "),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_sentence(tmp_path: Path, name: str, value: str, sentence: str) -> None:
    with start(tmp_path, free_port(), **{name: value}) as process:
        said_by_it, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert said_by_it.startswith(sentence)
    assert "Traceback" not in said_by_it
