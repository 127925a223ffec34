"""Requests to the simulated ACE API, taken apart and checked as the real one does, and its refusals."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from urllib.parse import parse_qs, unquote

from etl_assets.simulator.ace_samples import microseconds
from etl_assets.simulator.ace_wire import Json, Shape, utc
from etl_assets.simulator.answers import Answer
from etl_assets.simulator.faults import Fault

PER_PAGE = (2, 10, 20, 30, 40, 50, 100, 500, 1000, 5000, 10_000, 100_000)
PAGE_SIZES = (3, 10, 50, 100, 500, 1000, 5000, 10_000, 50_000, 100_000, 300_000, 500_000)
INVALID = "Input payload validation failed"
_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_CURSOR_FAULTS = frozenset({"stalling_cursor", "expired_cursor", "repeated_page"})
"""They spoil requests with a cursor only."""


@dataclass(frozen=True, slots=True)
class AceRequest:
    """A request as it arrived: path and query undecoded, so that ``%2F`` stays inside a name."""

    method: str
    raw_path: str
    query: str = ""
    authorization: str | None = None
    body: bytes = b""


class Refusal(Exception):  # noqa: N818  an answer, not a failure
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, **errors: str) -> None:
        super().__init__(message)
        body: Json = {"message": message, "errors": errors} if errors else {"message": message}
        self.answer = as_json(body, status)


class Ask:
    """A request, taken apart."""

    def __init__(self, request: AceRequest, as_of: datetime) -> None:
        first, *self.segments = [unquote(part) for part in request.raw_path.split("/") if part]
        self.shape = Shape(first)
        self.request = request
        self.as_of = as_of
        self.path = unquote(request.raw_path)
        self.query = {name: values[-1] for name, values in parse_qs(request.query, keep_blank_values=True).items()}
        self.faults: tuple[Fault, ...] = ()

    @cached_property
    def spoilt(self) -> frozenset[str]:
        """The names of the faults that spoil this request."""
        return frozenset(fault.name for fault in self.faults)

    def applies(self, fault: Fault) -> bool:
        """Whether a fault can spoil this request at all."""
        if fault.name in _CURSOR_FAULTS:
            return bool(self.query.get("cursor"))
        if fault.name == "large_pages_break":
            size = self.query.get("page_size", "")
            return size.isdecimal() and int(size) > fault.limit
        return True

    def choice(self, name: str, default: int, allowed: Iterable[int]) -> int:
        """A number out of a closed list."""
        text = self.query.get(name, str(default))
        if not text.isdecimal() or int(text) not in allowed:
            raise Refusal(400, INVALID, **{name: f"The value '{text}' is not a valid choice for '{name}'."})
        return int(text)

    def positive(self, name: str) -> int:
        """A whole number from 1."""
        text = self.query.get(name, "1")
        if not text.isdecimal() or int(text) < 1:
            raise Refusal(400, INVALID, **{name: f"{text} is not a positive integer"})
        return int(text)

    def flag(self, name: str) -> bool:
        """True or false in the ways that clients write it; false where it is not given."""
        text = self.query.get(name, "false")
        if text.lower() not in _FLAGS:
            raise Refusal(400, INVALID, **{name: f"The value '{text}' is not a boolean."})
        return _FLAGS[text.lower()]

    def window(self) -> tuple[int, int]:
        """Start and end of the time asked for, in microseconds since 1970."""
        start, end = self.time("start_time"), self.time("end_time")
        if end < start:
            raise Refusal(400, "end_time must not be before start_time")
        return start, end

    def time(self, name: str) -> int:
        """An instant in microseconds since 1970."""
        if not self.query.get(name):
            raise Refusal(400, INVALID, **{name: "Missing required parameter in the query string"})
        return self._parsed(name)

    def since(self, name: str) -> int | None:
        """An instant that may be left out."""
        return self._parsed(name) if self.query.get(name) else None

    def _parsed(self, name: str) -> int:
        try:
            return microseconds(utc(self.query[name]))
        except ValueError:
            raise Refusal(400, INVALID, **{name: f"{self.query[name]!r} is not an ISO 8601 time."}) from None


def as_json(body: Json, status: int = 200) -> Answer:
    """An answer of JSON."""
    return Answer(status, json.dumps(body).encode(), "application/json")


def unhandled() -> Refusal:
    """What ACE says of its own errors, and of a wrong key."""
    return Refusal(500, "An unhandled exception occurred.")


def not_found() -> Refusal:
    """There is no such endpoint."""
    return Refusal(404, "The requested URL was not found on the server.")
