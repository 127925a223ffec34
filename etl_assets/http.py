"""The one way out: every HTTP request of the project goes through ``HttpClient``.

Here: time-outs, retries, the whole-body check, counters for the run record, and the errors a caller meets.
Not here: what an answer means. That is the business of the module that asked. How patient to be with a source is an
``HttpPolicy``; AEMO's is the default.

An answer counts as received when its body was read to the end: a cut body is a transport error, and retried.
Addresses in errors and log lines carry neither query values nor credentials, nor, where the policy says so, a path.
"""

import logging
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, Self, cast

import httpx
from httpx_retries import Retry, RetryTransport

from etl_assets.http_deadline import ended_after
from etl_assets.settings import Settings

RETRIED_STATUSES = (403, 408, 429, 500, 502, 503, 504)
"""403 is how AEMO's front door (Akamai) limits a rate; the others are the usual transient ones."""

LONGEST_PAUSE_S = 60.0
"""A Retry-After is honoured up to here; one that asks for an hour fails the run."""

BODY_PATIENCE = 20
"""A body may take this many time-outs in all. Without it a dripping server holds a run for ever."""

CONNECT_PATIENCE_S = 30.0
"""However long a source may think about its answer, it takes a connection within this time, or is not there."""

QUOTED_LENGTH = 500
"""Of a refusal's body, so many characters are kept with the error."""

MAX_BODY_BYTES = 1 << 30
"""The largest file read whole (a month of unit SCADA) is some 60 MB; 1 GiB is an accident or an attack."""


UNSENDABLE = "The request's headers cannot be sent"


class SourceError(Exception):
    """A source did not give what was asked of it: what happened, where, and what to do.

    ``url`` is free of query values and credentials; ``status`` is None where no answer came. ``body`` is the
    beginning of a refusal's body, which the message leaves out: a source may echo what it was sent. ``outcomes`` are
    those of all tries, as ``HttpStats`` names them; empty where none went out.
    """

    hint = "Look at the address and headers in the settings."

    def __init__(self, problem: str, url: str, status: int | None = None, hint: str = "") -> None:
        self.problem = problem
        self.url = shown(url)
        self.status = status
        self.body = ""
        self.outcomes: tuple[str, ...] = ()
        self.hint = hint or self.hint
        super().__init__(f"{problem}: {self.url}. {self.hint}")


class NotThere(SourceError):  # noqa: N818 - a state of the source, and named so throughout the project
    """The source has no such file (404, 410): never published, not yet, or rolled off. Not retried."""

    hint = "It may not be published yet, or may have moved to the archive."


class Blocked(SourceError):  # noqa: N818
    """The source refuses us (403) after all retries."""

    hint = "Wait, lower HTTP_CONCURRENCY, and see that HTTP_USER_AGENT is a browser's."


class Unavailable(SourceError):  # noqa: N818
    """No usable answer after all retries: 5xx, 429, time-out, network, cut body."""

    hint = "Try again later; if it lasts, see the source's status and HTTP_TIMEOUT."


class BrokenTransfer(Unavailable):
    """The source was there, but no answer came whole: time-out, cut body, dropped connection. Less may pass."""


class Unintelligible(SourceError):  # noqa: N818
    """An answer came, but it is not what was asked for, such as HTML with status 200 in place of a zip."""

    hint = "Open the address in a browser: the source may show a notice, or its format may have changed."


class Expect(StrEnum):
    """What kind of body the caller can read."""

    ANY = "anything"
    ZIP = "a zip archive"
    CSV = "CSV text"
    JSON = "JSON"
    HTML = "an HTML page"
    NO_PAGE = "anything but an HTML page"

    def met_by(self, body: bytes) -> bool:
        """Whether the first bytes are of this kind. An empty body is neither a zip, CSV, nor a page."""
        start = body[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
        match self:
            case Expect.ZIP:
                return start.startswith(b"PK")
            case Expect.CSV:
                return bool(start) and not start.startswith(b"<")
            case Expect.JSON:
                return not start.startswith(b"<")
            case Expect.HTML:
                return start.startswith(b"<")
            case Expect.NO_PAGE:
                return not (start.startswith(b"<") and re.search(rb"<(!doctype\s+)?html", start, re.IGNORECASE))
        return True


@dataclass
class HttpStats:
    """Counters of one client, safe to use from several threads.

    ``requests_by_status`` counts every try under its status, or ``timeout`` or ``network`` where none came;
    ``bytes`` is what came over the wire; ``seconds`` is the sum over tries, so it may exceed the wall clock.
    """

    requests_by_status: dict[str, int] = field(default_factory=Counter)
    retries: int = 0
    bytes: int = 0
    seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def count(self, outcome: str, size: int, seconds: float, *, again: bool) -> None:
        """Add one try."""
        with self._lock:
            self.requests_by_status[outcome] = self.requests_by_status.get(outcome, 0) + 1
            self.retries += again
            self.bytes += size
            self.seconds += seconds

    def snapshot(self) -> "HttpStats":
        """A copy that no longer changes."""
        with self._lock:
            return HttpStats(dict(self.requests_by_status), self.retries, self.bytes, self.seconds)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer with a status below 300. ``body`` is decoded from any content encoding.

    ``outcomes`` are those of all tries that it took, as ``HttpStats`` names them: its own status is the last.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    outcomes: tuple[str, ...] = ()


def _nothing() -> None:
    """Before a try, nothing is to be done."""


def _whatever(_: bytes) -> bool:
    """A body of the promised length is whole."""
    return True


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """How one source is asked: what is tried again and when, how long to wait, what is sent along.

    ``timeout`` in seconds is the longest silence; a body may take ``patience`` of them in all. ``before_try`` is
    called ahead of every request that goes out, also a repeated one: it may wait, or raise. ``is_whole`` says of an
    unencoded body whether it looks complete; one that does not counts as cut.

    ``longest_try`` in seconds ends a try whatever trickles in: ``timeout`` and ``patience`` never end an answer whose
    headers drip. Connections are not kept then. ``path_is_secret`` keeps an address's path out of errors and logs.
    """

    retry: Retry
    timeout: float
    concurrency: int
    headers: Mapping[str, str]
    patience: int = BODY_PATIENCE
    before_try: Callable[[], None] = _nothing
    is_whole: Callable[[bytes], bool] = _whatever
    max_body_bytes: int = MAX_BODY_BYTES
    longest_try: float | None = None
    follows_redirects: bool = True
    path_is_secret: bool = False


def market_policy(settings: Settings) -> HttpPolicy:
    """How AEMO is asked."""
    retry = Retry(
        total=settings.http_retries,
        status_forcelist=RETRIED_STATUSES,
        backoff_factor=settings.http_backoff,
        backoff_jitter=0.5,
        max_backoff_wait=LONGEST_PAUSE_S,
    )
    headers = {"User-Agent": settings.http_user_agent}
    return HttpPolicy(retry, settings.http_timeout.total_seconds(), settings.http_concurrency, headers)


@cache
def _certificates() -> ssl.SSLContext:
    """Whom a connection trusts: read once a process, which costs some 20 ms, and not for each client of a tick."""
    return httpx.create_ssl_context()


class HttpClient:
    """HTTP with the project's manners. Threads may share one; close it, or use it in a ``with``."""

    def __init__(
        self,
        settings: Settings,
        transport: httpx.BaseTransport | None = None,
        *,
        policy: HttpPolicy | None = None,
    ) -> None:
        policy = policy or market_policy(settings)
        self.stats = HttpStats()
        self._retry = policy.retry
        self._path_is_secret = policy.path_is_secret
        kept = policy.concurrency if policy.longest_try is None else 0
        limits = httpx.Limits(max_connections=policy.concurrency, max_keepalive_connections=kept)
        transport = transport or httpx.HTTPTransport(verify=_certificates(), limits=limits)
        whole = _WholeBodies(transport, self.stats, policy)
        self._client = httpx.Client(
            transport=RetryTransport(transport=whole, retry=self._retry),
            # Waiting for a free connection is not a fault of the source: no time-out on the pool.
            timeout=httpx.Timeout(policy.timeout, connect=min(policy.timeout, CONNECT_PATIENCE_S), pool=None),
            headers=dict(policy.headers),
            follow_redirects=policy.follows_redirects,
        )
        for name in ("httpx", "httpx_retries.transport"):
            logging.getLogger(name).addFilter(_hide_queries)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Give up the connections."""
        self._client.close()

    def get(
        self,
        url: str,
        expect: Expect = Expect.ANY,
        *,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Fetch an address. Raises a ``SourceError`` where the answer is not of the expected kind."""
        return self._ask(self._request("GET", url, params=params, headers=headers), expect)

    def post(
        self,
        url: str,
        json: object,
        *,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> Answer:
        """Send JSON, expect JSON. Retried only where the caller says that repeating it does no harm."""
        request = self._request("POST", url, json=json, headers=headers, extensions=self._again(repeatable))
        return self._ask(request, Expect.JSON)

    def post_bytes(
        self,
        url: str,
        body: bytes,
        expect: Expect = Expect.ANY,
        *,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> Answer:
        """Send exactly these bytes; ``headers`` say what they are. Retried as ``post``."""
        request = self._request("POST", url, content=body, headers=headers, extensions=self._again(repeatable))
        return self._ask(request, expect)

    def _again(self, repeatable: bool) -> dict[str, Any]:
        return {"retry": self._retry.copy_with(allowed_methods=["POST"])} if repeatable else {}

    def _request(self, method: str, url: str, **parts: Any) -> httpx.Request:  # noqa: ANN401 - httpx's own
        try:
            return self._client.build_request(method, url, **parts)
        except UnicodeEncodeError:
            raise SourceError(UNSENDABLE, self._named(url)) from None

    def _named(self, url: str) -> str:
        return origin(url) if self._path_is_secret else url

    def _ask(self, request: httpx.Request, expect: Expect) -> Answer:
        outcomes: list[str] = request.extensions.setdefault("outcomes", [])
        unlogged = _unlogged.set(self._path_is_secret)
        try:
            return self._answer(request, expect, outcomes)
        except SourceError as error:
            error.outcomes = tuple(outcomes)
            raise
        finally:
            _unlogged.reset(unlogged)

    def _answer(self, request: httpx.Request, expect: Expect, outcomes: list[str]) -> Answer:
        url = self._named(str(request.url))
        try:
            response = self._client.send(request)
        except httpx.LocalProtocolError:
            # Its text may quote a header's value, which may be a secret.
            raise SourceError(UNSENDABLE, url) from None
        except UnicodeError:
            # What the standard library says of a name with a part of more than 63 characters.
            raise SourceError("The host's name cannot be looked up", url) from None
        except (httpx.DecodingError, httpx.TooManyRedirects) as error:
            raise Unintelligible(f"Unreadable answer ({type(error).__name__})", url) from error
        except httpx.HTTPError as error:
            kind = BrokenTransfer if isinstance(error, _BROKEN) else Unavailable
            raise kind(f"No answer ({type(error).__name__}: {error})", url) from error
        if not response.is_success:
            raise _refusal(response, url, self._retry)
        if not expect.met_by(response.content):
            start = response.content[:40]
            raise Unintelligible(f"Expected {expect}, got {start!r}", url, response.status_code)
        return Answer(shown(url), response.status_code, response.headers, response.content, tuple(outcomes))


def shown(url: str) -> str:
    """An address fit for messages and logs: no credentials, no query values, no fragment."""
    parts = httpx.URL(url)
    if not parts.host:
        return url.partition("?")[0]
    bare = str(parts.copy_with(username=None, password=None, query=None, fragment=None)).rstrip("?")
    return f"{bare}?…" if parts.query else bare


def origin(url: str) -> str:
    """Scheme, host and port of an address. Raises ``httpx.InvalidURL`` for what is none."""
    parts = httpx.URL(url)
    return f"{parts.scheme}://{parts.netloc.decode()}"


def _refusal(response: httpx.Response, url: str, retry: Retry) -> SourceError:
    status = response.status_code
    error = _kind_of_refusal(status, retry)(f"Status {status}", url, status)
    error.body = response.text[:QUOTED_LENGTH]
    return error


def _kind_of_refusal(status: int, retry: Retry) -> type[SourceError]:
    if status in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
        return NotThere
    if status == httpx.codes.FORBIDDEN:
        return Blocked
    if retry.is_retryable_status_code(status) or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return Unavailable
    return SourceError


_BROKEN = (httpx.ReadTimeout, httpx.WriteTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


class _WholeBodies(httpx.BaseTransport):
    """Reads each body to its end inside the retried part, compares its length, and counts the try."""

    def __init__(self, inner: httpx.BaseTransport, stats: HttpStats, policy: HttpPolicy) -> None:
        self._inner = inner
        self._stats = stats
        self._policy = policy
        self._patience = policy.timeout * policy.patience

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        again = request.extensions.get("tried") == request.url
        request.extensions["tried"] = request.url
        self._policy.before_try()
        started = time.monotonic()
        outcome, body = "network", b""
        try:
            with ended_after(self._policy.longest_try, request):
                response = self._inner.handle_request(request)
                try:
                    body = self._body(request, response, started + self._patience)
                finally:
                    response.close()
            outcome = str(response.status_code)
        except httpx.TimeoutException:
            outcome = "timeout"
            raise
        finally:
            request.extensions.setdefault("outcomes", []).append(outcome)
            self._stats.count(outcome, len(body), time.monotonic() - started, again=again)
        return httpx.Response(
            response.status_code,
            headers=_as_asked(request, response),
            stream=httpx.ByteStream(body),
            extensions={k: v for k, v in response.extensions.items() if k != "network_stream"},
        )

    def _body(self, request: httpx.Request, response: httpx.Response, deadline: float) -> bytes:
        parts: list[bytes] = []
        size = 0
        for part in cast("httpx.SyncByteStream", response.stream):
            parts.append(part)
            size += len(part)
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout(f"body not complete after {self._patience:g} s", request=request)
            if size > self._policy.max_body_bytes:
                raise httpx.DecodingError(f"body larger than {self._policy.max_body_bytes} bytes", request=request)
        promised = response.headers.get("Content-Length")
        if promised is not None and request.method != "HEAD" and promised.isdigit() and size != int(promised):
            raise httpx.RemoteProtocolError(f"body cut: {size} of {promised} bytes", request=request)
        body = b"".join(parts)
        judged = response.is_success and "Content-Encoding" not in response.headers
        if judged and not self._policy.is_whole(body):
            raise httpx.RemoteProtocolError(f"body cut: its {size} bytes do not end as they began", request=request)
        return body

    def close(self) -> None:
        self._inner.close()


def _as_asked(request: httpx.Request, response: httpx.Response) -> httpx.Headers:
    """The answer's headers; who asked for no encoding gets the bytes as they came: unpacked, 1 MB may be 1 GB."""
    headers = response.headers.copy()
    if request.headers.get("Accept-Encoding") == "identity":
        headers.pop("Content-Encoding", None)
    return headers


_unlogged: ContextVar[bool] = ContextVar("_unlogged", default=False)
"""Whether the libraries below are to say nothing of the request at hand, whose path is a secret."""


def _hide_queries(record: logging.LogRecord) -> bool:
    """Log filter for the libraries below, which write whole addresses."""
    if _unlogged.get():
        return False
    if isinstance(record.args, tuple):
        record.args = tuple(_without_query(argument) for argument in record.args)
    return True


def _without_query(argument: Any) -> Any:  # noqa: ANN401 - a log record's arguments are of any type
    if isinstance(argument, httpx.Request):
        return f"{argument.method} {shown(str(argument.url))}"
    return shown(str(argument)) if isinstance(argument, httpx.URL) else argument
