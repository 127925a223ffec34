"""Receivers that no web framework would be: what they do is written byte by byte."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Answer = Callable[[socket.socket], None]


@contextmanager
def receiver(answer: Answer, requests: list[bytes] | None = None) -> Iterator[str]:
    """A server on loopback that hands each connection, its request read, to ``answer``; gives its address.

    The requests as they came are added to ``requests``.
    """
    seen = [] if requests is None else requests
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        # A client that gives up is what most of these receivers are for.
        with connection, suppress(OSError):
            seen.append(read_request(connection))
            answer(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listening.close()
        for thread in threads:
            thread.join()


def read_request(connection: socket.socket) -> bytes:
    """A whole request, headers and body."""
    with connection.makefile("rb") as stream:
        headers = [*iter(stream.readline, b"\r\n")]
        lengths = [int(line.partition(b":")[2]) for line in headers if line.lower().startswith(b"content-length:")]
        return b"".join(headers) + b"\r\n" + stream.read(sum(lengths))


def drip(start: bytes, drop: bytes) -> Answer:
    """An answer that never ends and is never silent: ``drop`` a hundred times a second, until nobody listens."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        never = threading.Event()
        while not never.wait(0.01):
            connection.sendall(drop)

    return answer


def say(whole: bytes) -> Answer:
    """Just these bytes."""
    return lambda connection: connection.sendall(whole)
