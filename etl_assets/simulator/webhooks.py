"""The receivers of KPIs' webhooks: they answer as n8n does, and remember who called.

Every name is a registered webhook that takes any call, until ``configure`` says otherwise. Also here: the registry of
the two KPIs whose workflows these are, in the form of the scheduler's documents.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from threading import Lock
from typing import Any

from etl_assets.simulator.answers import Answer, spoiled
from etl_assets.simulator.faults import Fault, FaultBoard, Scope

ROOT = "/webhook/"
REGISTRY_PATH = "/kpi/registry.json"
HEADERS_KEPT = ("content-type", "user-agent", "idempotency-key", "x-n8n-api-key", "x-signature-256")

_STARTED = {"message": "Workflow was started"}
_FAILED = {"message": "Error in workflow"}
_HINT = (
    "The workflow must be active for a production URL to run successfully. You can activate the workflow using the "
    "toggle in the top-right of the editor."
)
_FORBIDDEN = Answer(403, b"Authorization data is wrong!", "text/plain", {"WWW-Authenticate": 'Basic realm="Webhook"'})


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """One call as it arrived."""

    name: str
    path: str
    headers: Mapping[str, str]
    """Those of ``HEADERS_KEPT`` that came, by lower-case name."""
    payload: Any
    """The body as JSON; None where it is none."""
    signature_held: bool | None
    """Whether the signature was that of the body; None where the receiver has no secret."""
    at: datetime
    """On the simulated clock, in NEM time."""
    status: int
    """What it was answered, or was about to be; 0 for nothing."""

    def describe(self) -> dict[str, object]:
        """The call as the control endpoint shows it."""
        return {**asdict(self), "at": self.at.isoformat()}


@dataclass(frozen=True, slots=True)
class Receiver:
    """The rules of one webhook: the key and the secret it demands, and whether it is there at all."""

    api_key: str = ""
    secret: str = ""
    registered: bool = True


class Webhooks:
    """All receivers. Thread-safe."""

    def __init__(self, clock: Callable[[], datetime], faults: FaultBoard) -> None:
        self._clock = clock
        self._faults = faults
        self._receivers: dict[str, Receiver] = {}
        self._calls: list[WebhookCall] = []
        self._lock = Lock()

    def configure(self, name: str, **rules: Any) -> Receiver:  # noqa: ANN401 - the fields of Receiver
        """Change rules of a receiver: ``api_key``, ``secret``, ``registered``. Raises ``TypeError`` for others."""
        with self._lock:
            self._receivers[name] = replace(self._receivers.get(name, Receiver()), **rules)
            return self._receivers[name]

    def calls(self, name: str = "") -> list[WebhookCall]:
        """The calls to one receiver, or to all, oldest first; those that a fault spoiled are among them."""
        with self._lock:
            return [call for call in self._calls if name in ("", call.name)]

    def forget(self) -> None:
        """Forget the calls; the rules stay."""
        with self._lock:
            self._calls.clear()

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to a request, faults included; ``headers`` are found by lower-case name."""
        name = path.removeprefix(ROOT)
        receiver = self._receivers.get(name, Receiver())
        faults = self._faults.take(path, (Scope.ANSWER, Scope.WEBHOOK))
        answer = _spoiled(faults) or _answer(receiver, method, name, headers, body)
        for fault in faults:
            answer = _delayed_or_cut(answer, fault)
        call = WebhookCall(
            name=name,
            path=path,
            headers={kept: headers[kept] for kept in HEADERS_KEPT if kept in headers},
            payload=_parsed(body),
            signature_held=_holds(receiver.secret, headers, body) if receiver.secret else None,
            at=self._clock(),
            status=0 if answer.hung_up else answer.status,
        )
        with self._lock:
            self._calls.append(call)
        return answer


def is_webhook(path: str) -> bool:
    """Whether a path is a receiver's."""
    return path.startswith(ROOT) and path != ROOT


def registry(root: str) -> bytes:
    """A registry of two KPIs whose workflows are received here; ``root`` is this simulator's own address."""
    kpis = [
        _kpi(
            root, "daily-market-brief", "aemo.dispatch_region", title="Daily market brief", category="market",
            description="A summary of the day's prices and demand, written by a workflow and sent round.",
        ),
        _kpi(
            root, "building-report", "ace.timeseries_raw", title="Building report", category="building",
            description="The day of each building, written by a workflow for those who run them.",
        ),
    ]  # fmt: skip
    metadata = {
        "lastUpdated": "2026-11-20T00:00:00Z",
        "version": "1.0.0",
        "totalKPIs": len(kpis),
        "activeKPIs": sum(kpi["active"] for kpi in kpis),
    }
    return json.dumps({"kpis": kpis, "metadata": metadata}, indent=2).encode()


def _kpi(root: str, name: str, table: str, *, title: str, category: str, description: str) -> dict[str, Any]:
    return {
        "id": name,
        "name": title,
        "description": description,
        "type": "report",
        "active": True,
        "webhookUrl": f"{root}{ROOT}{name}",
        "analysisConfig": {"chartType": "line", "alertThresholds": {"high": None, "low": None}},
        "metadata": {"source": table.partition(".")[0], "updateFrequency": "daily", "category": category},
        "dependsOn": [table],
        "reportsBack": False,
    }


def _spoiled(faults: tuple[Fault, ...]) -> Answer | None:
    """The answer of the first fault that leaves nothing of the receiver's own."""
    for fault in faults:
        match fault.name:
            case "failing_webhook":
                return _json(500, _FAILED)
            case "refusing_webhook":
                return Answer(0, hung_up=True)
            case "redirecting_webhook":
                return Answer(302, headers={"Location": f"{ROOT}elsewhere"})
    return spoiled(faults)


def _delayed_or_cut(answer: Answer, fault: Fault) -> Answer:
    if fault.name == "slow_webhook":
        return replace(answer, hold=fault.seconds)
    return replace(answer, cut=True) if fault.name == "cut_body" else answer


def _answer(receiver: Receiver, method: str, name: str, headers: Mapping[str, str], body: bytes) -> Answer:
    if not receiver.registered:
        message = f'The requested webhook "{method} {name}" is not registered.'
        return _json(404, {"code": 404, "message": message, "hint": _HINT})
    if method != "POST":
        message = f"This webhook is not registered for {method} requests. Did you mean to make a POST request?"
        return _json(404, {"code": 404, "message": message})
    is_known = hmac.compare_digest(headers.get("x-n8n-api-key", "").encode(), receiver.api_key.encode())
    if receiver.api_key and not is_known:
        return _FORBIDDEN
    if receiver.secret and not _holds(receiver.secret, headers, body):
        return _FORBIDDEN
    return _json(200, _STARTED)


def _holds(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(headers.get("x-signature-256", "").encode(), expected.encode())


def _parsed(body: bytes) -> Any:  # noqa: ANN401 - JSON is of any type
    try:
        return json.loads(body)
    except ValueError:
        return None


def _json(status: int, content: Mapping[str, object]) -> Answer:
    return Answer(status, json.dumps(content).encode(), "application/json")
