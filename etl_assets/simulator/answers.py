"""An HTTP answer before it is sent, and the answers that need no content: the operator's error pages and faults."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from etl_assets.simulator.faults import Fault


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer before it is sent."""

    status: int
    body: bytes = b""
    media: str = "text/html"
    headers: dict[str, str] = field(default_factory=dict)
    hold: float = 0
    """Seconds the server waits before it answers."""
    cut: bool = False
    """Whether the connection closes in the middle of the body."""
    hung_up: bool = False
    """Whether the connection closes without any answer."""


def error_page(status: int, title: str, headers: dict[str, str] | None = None) -> Answer:
    """A page of HTML, as a web server's front door sends it."""
    body = f"<html><head><title>{title}</title></head><body><h2>{title}</h2></body></html>\r\n"
    return Answer(status, body.encode(), headers=headers or {})


def spoiled(faults: Iterable[Fault]) -> Answer | None:
    """The answer of the first fault that needs no content."""
    for fault in faults:
        if fault.name == "time_out":
            return replace(error_page(504, "Gateway Timeout"), hold=fault.seconds)
        if fault.name in _SPOILED:
            return _SPOILED[fault.name]
    return None


_SPOILED = {
    "too_many_requests": error_page(429, "Too Many Requests", {"Retry-After": "1"}),
    "too_many_requests_silent": error_page(429, "Too Many Requests"),
    "blocked": error_page(403, "Access Denied"),
    "server_error": error_page(503, "Service Unavailable"),
    "html_with_200": error_page(200, "The site is undergoing maintenance"),
    "no_content": Answer(204),
}
