"""Reports of workflows over HTTP: who may send one, and what becomes of it.

A workflow proves itself in one of three ways: a token of scope ``kpi:report`` (or ``operator``), the signature of the
body by the secret that our own calls to it are signed with, or the key that our calls to it carry.
"""

import hmac
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fastapi import Request

from etl_assets.api.clients import Scope
from etl_assets.api.principal import requires
from etl_assets.api.problems import Problem
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from etl_assets.ops.kpi_state import KpiRun

SIGNATURE = "X-Signature-256"
KEY = "X-N8N-API-KEY"
FORBIDDEN = 403

_REPORTER = requires(Scope.KPI_REPORT)


async def may_report(request: Request) -> None:
    """Refuse a report of somebody else. Raises ``Problem`` 401 or 403."""
    settings: Settings = request.app.state.settings
    given, sent = request.headers.get(SIGNATURE, ""), request.headers.get(KEY, "")
    if given and _is_signed(await request.body(), given, settings.kpi_webhook_secret.get_secret_value()):
        return
    if sent and _is_same(sent, settings.n8n_api_key.get_secret_value()):
        return
    try:
        await _REPORTER(request, None)
    except Problem as problem:
        principal = getattr(request.state, "principal", None)
        # An operator lacks the scope and no more: whoever asks too often is refused whatever the token may do.
        if problem.status_code != FORBIDDEN or principal is None or Scope.OPERATOR not in principal.scopes:
            raise


def read_report(settings: Settings, body: bytes, *, now: datetime) -> "KpiRun":
    """Take in a report. Raises ``Problem`` 422 or 404; ``LakeBusyError`` where it is to be sent again."""
    from etl_assets.kpi.callback import take_report
    from etl_assets.ops.kpi_reports import ReportError
    from etl_assets.ops.kpi_state import UnknownRunError

    try:
        return take_report(settings, _object(body), now=now)
    except ReportError as error:
        detail = str(error)
        raise Problem(422, "The report cannot be accepted", f"{_sentence(detail)}.", kind="invalid-report") from None
    except UnknownRunError as error:
        raise Problem(404, "No such KPI job", f"{_sentence(str(error.args[0]))}.", kind="unknown-run") from None


def _object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises ``ReportError``."""
    from etl_assets.ops.kpi_reports import ReportError

    try:
        report = json.loads(body)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        report = None
    if not isinstance(report, dict):
        raise ReportError("the report cannot be accepted: it is no JSON object")
    return report


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _is_signed(body: bytes, given: str, secret: str) -> bool:
    from etl_assets.kpi.webhook import signature

    return bool(secret) and _is_same(given, signature(secret, body))


def _is_same(given: str, right: str) -> bool:
    """Whether a secret is right, in a time that does not tell how much of it is."""
    return bool(right) and hmac.compare_digest(given.encode(), right.encode())
