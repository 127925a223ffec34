"""An application at work on loopback, under the server that production has."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI

from etl_assets.api.server import server_of

PATIENCE_S = 20


@dataclass
class Served:
    """An application that answers; ``stop`` begins its end and does not wait for it."""

    url: str
    port: int
    server: uvicorn.Server
    thread: threading.Thread

    def stop(self) -> None:
        self.server.should_exit = True

    def ended(self) -> bool:
        self.thread.join(PATIENCE_S)
        return not self.thread.is_alive()

    def send(self, *parts: bytes, until: bytes = b"") -> bytes:
        """What the server says to raw bytes: all until it closes the connection, or until some words."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as connection:
            for part in parts:
                connection.sendall(part)
            return said(connection, until)


def said(connection: socket.socket, until: bytes = b"") -> bytes:
    """What comes from a connection until it is closed, or until some words have come."""
    found = b""
    connection.settimeout(PATIENCE_S)
    while not (until and until in found):
        try:
            part = connection.recv(65_536)
        except ConnectionResetError:
            break
        if not part:
            break
        found += part
    return found


@contextmanager
def served(app: FastAPI, **options: Any) -> Iterator[Served]:
    """The application under its server, started and, at the end, stopped."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        server = server_of(app, "127.0.0.1", port, log_level="critical", **options)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        found = Served(f"http://127.0.0.1:{port}", port, server, thread)
        deadline = time.monotonic() + PATIENCE_S
        try:
            while not server.started:
                assert thread.is_alive(), "the server did not start"
                assert time.monotonic() < deadline, "the server did not start in time"
                threading.Event().wait(0.005)
            yield found
        finally:
            found.stop()
            assert found.ended(), "the server did not end"
