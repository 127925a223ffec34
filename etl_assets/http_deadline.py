"""A deadline for one try of a request, whatever trickles in.

A time-out counts the silence between two bytes, so an answer that drips, above all its headers, lasts as long as its
sender likes. Here its connection is cut from another thread. Not here: when to try again.
"""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import httpx

_CONNECTED = ("connection.connect_tcp.complete", "connection.start_tls.complete")


@contextmanager
def ended_after(seconds: float | None, request: httpx.Request) -> Iterator[None]:
    """Cut the request's connection after so many seconds (None: never) and raise ``httpx.ReadTimeout`` for it.

    The connection must be a new one, since only its making says which it is. Until it is made, the time-outs of
    connecting hold.
    """
    if seconds is None:
        yield
        return
    connection = _Connection()
    request.extensions["trace"] = connection.follow
    timer = threading.Timer(seconds, connection.cut)
    timer.daemon = True
    timer.start()
    too_late = httpx.ReadTimeout(f"no whole answer within {seconds:g} s", request=request)
    try:
        yield
    except httpx.TransportError:
        if connection.is_cut:
            raise too_late from None
        raise
    finally:
        timer.cancel()
    # A body without a length ends where its connection does: a cut one would pass for whole.
    if connection.is_cut:
        raise too_late


class _Connection:
    """The socket of one try, known once it is connected."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_over = False
        self.is_cut = False

    def follow(self, event: str, information: Mapping[str, Any]) -> None:
        """Take note of the socket; what httpx calls a trace."""
        if event not in _CONNECTED:
            return
        with self._lock:
            self._socket = information["return_value"].get_extra_info("socket")
            if self._is_over:
                self._cut()

    def cut(self) -> None:
        """End the connection, now or as soon as there is one."""
        with self._lock:
            self._is_over = True
            self._cut()

    def _cut(self) -> None:
        if self._socket is None:
            return
        self.is_cut = True
        # Closed by the other side already, or by us.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
