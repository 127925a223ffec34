"""What it means that a webhook did not accept a call, in words for the job's record.

Here: the reason, what to do, whether it is the host that does not answer, and whether the workflow may have started
all the same. Answers are quoted in a short excerpt, without anything that the call held in confidence: the keys, and
the address's path and query, which n8n repeats.
"""

import json
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import httpx

from etl_assets.http import UNSENDABLE, SourceError

EXCERPT_LENGTH = 200
"""Characters of an answer that a reason quotes; a job record has a line for each KPI."""

_MARK_LENGTH = 8
"""A secret is known by so many first characters: an answer may end, or be cut, in the middle of it."""

_SHORTEST_MARK = 4
"""A shorter secret is hidden where it stands alone: as a part of other words it is everywhere, and nobody's."""

_COMMON_WORDS = frozenset(
    {
        *("webhook", "webhooks", "webhook-test", "hook", "hooks", "n8n", "api", "rest", "v1", "v2"),
        *("workflow", "workflows", "trigger", "kpi", "kpis", "prod", "production", "test"),
    }
)
"""Parts of an address's path that are no secret: they are n8n's own, or anybody's."""

_HOST_IS_OUT = (502, 503, 504)
_SERVER_ERROR = 500

_HINTS = {
    401: "See N8N_API_KEY, and which credentials the workflow's webhook asks for.",
    403: "See N8N_API_KEY and KPI_WEBHOOK_SECRET, and which credentials the workflow's webhook asks for.",
    404: "See webhookUrl in the registry, and that the workflow is active.",
    405: "The workflow's webhook must take POST.",
    410: "See webhookUrl in the registry.",
    413: "The workflow's host must take a body of some hundred bytes.",
    429: "The workflow's host limits its calls; see KPI_WEBHOOK_RETRIES and KPI_WEBHOOK_BACKOFF.",
}
_REQUEST_HINT = "See webhookUrl in the registry and what the workflow asks for."
_WORKFLOW_HINT = "Look at the workflow's executions."
_HOST_HINT = "See that the workflow's host is up, and webhookUrl in the registry."
_SLOW_HINT = "Raise KPI_WEBHOOK_TIMEOUT, or let it answer at once."
_REDIRECT_HINT = "Put the final address into webhookUrl in the registry: keys are not carried elsewhere."
_UNSENT_HINT = "See webhookUrl in the registry, and that N8N_API_KEY is plain ASCII."
_NAME_HINT = "See webhookUrl in the registry: a part of its host's name is empty, or longer than 63 characters."
_NOT_KNOWN = "whether the workflow was started is not known"
_PAGE_HINT = "Open the host in a browser: it may show a notice or ask for a login."


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call was not accepted, and what to do about it.

    ``is_unreachable``: it is the host that does not answer. ``is_unanswered``: the call went out, and the answer did
    not come in.
    """

    reason: str
    hint: str
    is_unreachable: bool = False
    is_unanswered: bool = False


def refusal(error: SourceError, secrets: Iterable[str], timeout: timedelta) -> Refusal:
    """Put a call's error into words; ``secrets`` are not quoted from its answer, ``timeout`` is that of one try."""
    told = _of_connection(error, timeout) if error.status is None else _of_status(error.status, error.body, secrets)
    tries = len(error.outcomes)
    again = f" (after {tries} tries: {', '.join(error.outcomes)})" if tries > 1 else ""
    return replace(told, reason=told.reason + again)


def secrets_in(url: httpx.URL) -> set[str]:
    """Parts of an address that may be secret: credentials, the query with its names, and the path's own segments."""
    path = {segment for part in (url.raw_path.decode(), url.path) for segment in part.partition("?")[0].split("/")}
    tokens = {segment for segment in path if segment.casefold() not in _COMMON_WORDS}
    query = url.query.decode()
    asked = {query, *re.split("[&=]", query), *(part for pair in url.params.multi_items() for part in pair)}
    given = {url.username, url.password, *asked}
    # As the Authorization header has them, which an answer may repeat.
    given.add(b64encode(f"{url.username}:{url.password}".encode()).decode() if url.userinfo else "")
    return {*tokens, *given, *map(unquote, given)} - {""}


def excerpt(body: str, secrets: Iterable[str]) -> str:
    """The beginning of an answer on one line: its message where it is JSON, nothing of an HTML page."""
    text = _message(body)
    if text.lstrip().startswith("<"):
        return ""
    # The longest first: what is left of a longer one would show where a shorter one is a part of it.
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = re.sub(_mark(secret), "…", text, flags=re.IGNORECASE)
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return line.rstrip(".") if len(line) <= EXCERPT_LENGTH else f"{line[:EXCERPT_LENGTH]}…"


def _mark(secret: str) -> str:
    """The expression that finds a secret, whole or cut, and what hangs on to it."""
    if len(secret) < _SHORTEST_MARK:
        return rf"(?<!\w){re.escape(secret)}(?!\w)"
    return re.escape(secret[:_MARK_LENGTH]) + r"\S*"


def _message(body: str) -> str:
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        return body
    return str(answer.get("message") or body) if isinstance(answer, dict) else body


def _of_status(status: int, body: str, secrets: Iterable[str]) -> Refusal:
    if status < httpx.codes.MULTIPLE_CHOICES:
        return Refusal(f"status {status}, but with an HTML page", _PAGE_HINT)
    if status < httpx.codes.BAD_REQUEST:
        return Refusal(f"status {status}: it leads elsewhere, which is not followed", _REDIRECT_HINT)
    quoted = excerpt(body, secrets)
    reason = f"status {status}: {quoted}" if quoted else f"status {status}"
    if status in _HOST_IS_OUT:
        return Refusal(reason, _HOST_HINT, is_unreachable=True)
    otherwise = _WORKFLOW_HINT if status >= _SERVER_ERROR else _REQUEST_HINT
    return Refusal(reason, _HINTS.get(status, otherwise))


def _of_connection(error: SourceError, timeout: timedelta) -> Refusal:
    match cause := error.__cause__:
        case None:
            return Refusal(_uncapitalized(error.problem), _UNSENT_HINT if error.problem == UNSENDABLE else _NAME_HINT)
        case httpx.ConnectTimeout() | httpx.ConnectError():
            return Refusal(_why_no_connection(cause), _HOST_HINT, is_unreachable=True)
        case httpx.WriteError() | httpx.WriteTimeout():
            return Refusal("the call could not be sent whole", _HOST_HINT)
        case httpx.TimeoutException():
            return _unanswered(f"no answer within {timeout.total_seconds():g} s", _SLOW_HINT)
        case httpx.DecodingError():
            return _unanswered("an answer of more than 1 MB", _WORKFLOW_HINT)
    return _unanswered("the connection ended without a whole answer", _WORKFLOW_HINT)


def _unanswered(reason: str, hint: str) -> Refusal:
    return Refusal(f"{reason}; {_NOT_KNOWN}", hint, is_unanswered=True)


def _why_no_connection(error: BaseException) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return "no connection within the time-out"
    match _from_the_system(error):
        case ssl.SSLCertVerificationError() as root:
            return f"its certificate is not trusted ({root.verify_message})"
        case ssl.SSLError() as root:
            return f"no TLS connection ({root.reason})"
        case socket.gaierror() as root:
            return f"its name cannot be looked up ({root.strerror})"
        case OSError() as root if root.strerror:
            return f"no connection ({root.strerror})"
    return "no connection"


def _from_the_system(error: BaseException | None) -> OSError | None:
    """What the operating system said, which the libraries between have wrapped."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _uncapitalized(text: str) -> str:
    return text[:1].lower() + text[1:]
