"""The webhook call that triggers a KPI's workflow.

Here: the payload, the signature, the call with its retries, and the error that a caller meets. Which call is due, and
what became of a workflow, is the business of the job's state. A webhook's path may be a token: errors and log lines
name the host only.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import httpx
from httpx_retries import Retry

from etl_assets.http import LONGEST_PAUSE_S, Answer, Expect, HttpClient, HttpPolicy, SourceError, origin
from etl_assets.kpi.breaker import HostAtRest, Hosts
from etl_assets.kpi.refusals import refusal, secrets_in
from etl_assets.market_time import utc_now
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from etl_assets.kpi.registry import Kpi

SCHEDULER = "scheduler-worker"
"""How a payload names its sender; the workflows of the former scheduler know it by that."""

API_KEY_HEADER = "X-N8N-API-KEY"
SIGNATURE_HEADER = "X-Signature-256"
IDEMPOTENCY_HEADER = "Idempotency-Key"

RETRIED_STATUSES = (408, 429, *range(500, 600))
RETRIED_ERRORS = (httpx.ConnectError, httpx.ConnectTimeout, httpx.WriteError, httpx.WriteTimeout)
"""A call that did not go out whole. One that did may have started its workflow, whatever became of the answer: a
workflow slower than KPI_WEBHOOK_TIMEOUT was started by every try."""

JITTER = 0.1
"""Waits shrink by up to so much, so that KPIs that failed together do not try again together."""

MAX_ANSWER_BYTES = 1 << 20
"""A workflow says that it has started; what it found it reports back."""

LAST_PORT = 65_535

USER_AGENT = "etl-assets"


class WebhookError(Exception):
    """A webhook did not accept a call. The message says which host, what happened and what to do.

    ``status`` is None where no answer came; ``tries`` is 0 where no call went out. ``is_unreachable`` says that it is
    the host that does not answer, not the workflow: other webhooks of that host will do no better now.
    ``is_unanswered`` says that the call went out and its answer did not come in: the workflow may have started.
    """

    def __init__(
        self, host: str, reason: str, hint: str, *, status: int | None = None, tries: int = 0,
        is_unreachable: bool = False, is_unanswered: bool = False,
    ) -> None:  # fmt: skip
        self.reason = reason
        self.status = status
        self.tries = tries
        self.is_unreachable = is_unreachable
        self.is_unanswered = is_unanswered
        super().__init__(f"Webhook at {host}: {reason}. {hint}" if host else f"Webhook: {reason}. {hint}")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A call that a webhook accepted; ``seconds`` include all tries and the waits between them."""

    status: int
    tries: int
    seconds: float


def trigger_payload(kpi: "Kpi", trace_id: str, moment: datetime, environment: str) -> dict[str, Any]:
    """What a workflow is told: the scheduler's `IndividualKPITrigger`. ``moment`` is aware, told in UTC to seconds."""
    return {
        "traceId": trace_id,
        "kpiId": kpi.id,
        "timestamp": f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "kpiType": kpi.type,
        "metadata": {
            "schedulerWorker": SCHEDULER,
            "environment": environment,
            "kpiName": kpi.name,
            "kpiDescription": kpi.description,
        },
    }


def signature(secret: str, body: bytes) -> str:
    """The HMAC-SHA256 of a body, as the header ``X-Signature-256`` has it: ``sha256=`` and 64 hexadecimal digits."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def webhook_policy(settings: Settings) -> HttpPolicy:
    """How webhooks are called: a try ends after KPI_WEBHOOK_TIMEOUT in all, whatever its answer does."""
    retry = Retry(
        total=settings.kpi_webhook_retries,
        status_forcelist=RETRIED_STATUSES,
        retry_on_exceptions=RETRIED_ERRORS,
        # The library doubles it before the first further try already.
        backoff_factor=settings.kpi_webhook_backoff / 2,
        backoff_jitter=JITTER,
        max_backoff_wait=LONGEST_PAUSE_S,
    )
    timeout = settings.kpi_webhook_timeout.total_seconds()
    return HttpPolicy(
        retry=retry,
        timeout=timeout,
        concurrency=settings.kpi_concurrency,
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        patience=1,
        max_body_bytes=MAX_ANSWER_BYTES,
        longest_try=timeout,
        follows_redirects=False,
        path_is_secret=True,
    )


class Workflows:
    """The way to all webhooks of a run. Threads share one; close it, or use it in a ``with``.

    A host that does not answer ``KPI_BREAKER_FAILURES`` calls in a row is left alone for ``KPI_BREAKER_PAUSE``; a
    call is one trigger with all its tries, so that retries carry over a short restart. ``now`` times that rest.
    """

    def __init__(self, settings: Settings, *, now: Callable[[], datetime] = utc_now) -> None:
        self._api_key = settings.n8n_api_key.get_secret_value()
        self._secret = settings.kpi_webhook_secret.get_secret_value()
        self._timeout = settings.kpi_webhook_timeout
        self._http = HttpClient(settings, policy=webhook_policy(settings))
        self._hosts = Hosts(settings.kpi_breaker_failures, settings.kpi_breaker_pause, now)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Give up the connections."""
        self._http.close()

    def trigger(self, url: str, payload: Mapping[str, Any], *, key: str) -> Accepted:
        """Call a webhook until it accepts. Raises ``WebhookError`` where it does not.

        A call that went out and had no answer is not repeated here. Who repeats it later gives the same ``key``, so
        that the receiver can tell.
        """
        address = _address(url)
        host = self._hosts.named(origin(url))
        try:
            host.admit()
        except HostAtRest as error:
            reason, hint = f"not called: {error}", "See that the workflow's host is up; a later run calls it."
            raise WebhookError(_host_name(address), reason, hint, is_unreachable=True) from None
        failure = ""
        try:
            return self._call(address, payload, key)
        except WebhookError as error:
            failure = error.reason if error.is_unreachable else ""
            raise
        finally:
            host.note(failure)

    def _call(self, address: httpx.URL, payload: Mapping[str, Any], key: str) -> Accepted:
        started = time.monotonic()
        body = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        outcome = self._post(address, body, key)
        if isinstance(outcome, WebhookError):
            # Raised here, where no other error is at hand, so that nothing shows up in its context.
            raise outcome
        return Accepted(outcome.status, len(outcome.outcomes), time.monotonic() - started)

    def _post(self, address: httpx.URL, body: bytes, key: str) -> Answer | WebhookError:
        try:
            return self._http.post_bytes(
                str(address), body, Expect.NO_PAGE, headers=self._headers(body, key), repeatable=True
            )
        except SourceError as error:
            told = refusal(error, {self._api_key, self._secret, *secrets_in(address)}, self._timeout)
            return WebhookError(
                _host_name(address),
                told.reason,
                told.hint,
                status=error.status,
                tries=len(error.outcomes),
                is_unreachable=told.is_unreachable,
                is_unanswered=told.is_unanswered,
            )

    def _headers(self, body: bytes, key: str) -> dict[str, str]:
        headers = {"Content-Type": "application/json", IDEMPOTENCY_HEADER: key}
        if self._api_key:
            headers[API_KEY_HEADER] = self._api_key
        if self._secret:
            headers[SIGNATURE_HEADER] = signature(self._secret, body)
        return headers


def _address(url: str) -> httpx.URL:
    """The address, read. Raises ``WebhookError`` for one that cannot be called."""
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        address = httpx.URL()
    if address.scheme not in ("http", "https") or not address.host or (address.port or 0) > LAST_PORT:
        hint = "Correct it in the registry: it begins with https:// and a host."
        raise WebhookError("", "webhookUrl is not an address that can be called", hint)
    return address


def _host_name(address: httpx.URL) -> str:
    """Host, and port where it is named."""
    return address.netloc.decode()
