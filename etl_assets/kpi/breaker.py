"""Hosts of webhooks, and when one is left alone: after so many calls in a row that it did not answer.

Here: whether a host may be called now. What counts as no answer is the caller's business (``webhook``). Counts are of
this process and its run; the next run finds out anew.

What it bounds is the calls that begin after a host has failed so often. Those that began before go on: with
KPI_CONCURRENCY at 64, up to 64 calls are on their way to a dead host before the fifth has failed. To send out no more
than five until one was answered would make a row of slow workflows, whose first answer may take as long as its
time-out allows.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from pybreaker import STATE_CLOSED, STATE_OPEN, CircuitBreaker

_log = logging.getLogger(__name__)


class HostAtRest(Exception):  # noqa: N818 - a state of the host, and named so throughout the module
    """The host is not called now; the message says why, and until when (UTC)."""


class _NoAnswer(Exception):  # noqa: N818
    """Tells the circuit breaker of a call without an answer."""


class Host:
    """One host. Threads may share it.

    After ``failures`` calls in a row without an answer it rests for ``pause``; then one call finds out whether it
    answers again, while others are turned away. ``now`` gives aware instants.
    """

    def __init__(self, name: str, failures: int, pause: timedelta, now: Callable[[], datetime]) -> None:
        self.name = name
        self._pause = pause
        self._now = now
        self._lock = threading.Lock()
        self._rests_until = datetime.min.replace(tzinfo=UTC)
        self._last_failure = ""
        # It counts and keeps the state only: its own call() holds a lock while the function runs, which would make
        # one call at a time out of fifty, and after the pause it lets all of them through.
        self._breaker = CircuitBreaker(fail_max=failures, throw_new_error_on_trip=False)

    def admit(self) -> None:
        """Say that a call begins; its end is told to ``note``. Raises ``HostAtRest``."""
        with self._lock:
            state = self._breaker.current_state
            if state == STATE_CLOSED:
                return
            if state != STATE_OPEN or self._now() < self._rests_until:
                raise HostAtRest(self._why(state))
            self._breaker.half_open()

    def note(self, failure: str = "") -> None:
        """Say how an admitted call ended: ``failure`` is what the host did instead of answering, empty where it did."""
        with self._lock:
            if self._breaker.current_state == STATE_OPEN:
                # It began before the rest did, and says nothing new.
                return
            if not failure:
                self._breaker.call(_answered)
                return
            self._last_failure = failure
            with suppress(_NoAnswer):
                self._breaker.call(_silent)
            if self._breaker.current_state == STATE_OPEN:
                self._rests_until = self._now() + self._pause
                _log.warning("Webhooks at %s: %s", self.name, self._why(STATE_OPEN))

    def _why(self, state: str) -> str:
        calls = self._breaker.fail_counter
        history = f"{calls} calls in a row without an answer (the last: {self._last_failure})"
        if state == STATE_OPEN:
            return f"left alone until {self._rests_until.astimezone(UTC):%Y-%m-%d %H:%M:%SZ} after {history}"
        return f"left alone while one call finds out whether it answers again, after {history}"


class Hosts:
    """All hosts of one run, by name."""

    def __init__(self, failures: int, pause: timedelta, now: Callable[[], datetime]) -> None:
        self._failures = failures
        self._pause = pause
        self._now = now
        self._lock = threading.Lock()
        self._hosts: dict[str, Host] = {}

    def named(self, name: str) -> Host:
        """The host of this name: scheme, host and port."""
        with self._lock:
            if name not in self._hosts:
                self._hosts[name] = Host(name, self._failures, self._pause, self._now)
            return self._hosts[name]


def _answered() -> None:
    """A call that was answered."""


def _silent() -> None:
    raise _NoAnswer
