"""What goes wrong, as problem documents (RFC 9457): one form for every error that the API answers with.

A problem says what, where and what to do. ``type`` leads to a page that says what kind of problem it is, ``instance``
names the request, which the log names too. Nothing here shows what a client sent, a path of this machine, or a
traceback.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")

BUSY_RETRY_S = 5
"""A writer of the lake or of the state database holds it for less, most times."""

KINDS: Mapping[int, tuple[str, str]] = {
    400: ("bad-request", "The request cannot be understood."),
    401: ("unauthorized", "The request has no access token, or none that is good. POST /token gives one."),
    403: ("forbidden", "The access token is good, but not for this: its client lacks the scope that is named."),
    404: ("not-found", "There is nothing at this address. /openapi.json lists what there is."),
    405: ("method-not-allowed", "The address is right, the method is not; the header Allow lists those that are."),
    406: ("not-acceptable", "The answer cannot be given in a form that Accept or format allows."),
    408: ("request-timeout", "The request's body took too long to arrive. Send it again, at once."),
    409: ("conflict", "What is there already does not go with what is asked."),
    410: ("gone", "There was something at this address, and its time is over."),
    412: ("precondition-failed", "What is there is another version than the request expects."),
    413: ("content-too-large", "The request's body is larger than the API takes."),
    414: ("uri-too-long", "The request's path with its query is longer than the API takes."),
    415: ("unsupported-media-type", "The request's body is of a type that is not taken here."),
    416: ("range-not-satisfiable", "The file has no such range of bytes."),
    422: ("invalid-request", "Parameters or fields are missing or wrong; errors names each, and what it should be."),
    429: ("rate-limited", "Too many requests of this client or address. Wait for Retry-After seconds."),
    500: ("internal-error", "The API failed. Its log has the cause under the request's id."),
    501: ("not-implemented", "This method is not known."),
    503: ("unavailable", "Something that the API needs is busy or not there yet. Try again after Retry-After seconds."),
    504: ("timeout", "The answer would take longer than the API allows. Ask for less."),
}
"""By status: the last part of ``type`` where a problem names none of its own, and what it means."""

OWN_KINDS: Mapping[str, tuple[int, str]] = {
    "idempotency-key-used": (409, "The Idempotency-Key came before with another request. Choose a new key for it."),
    "invalid-report": (422, "A workflow's report cannot be accepted; detail says which of its fields is wrong."),
    "invalid-trigger": (422, "The run cannot be asked for like this; errors names the field, and what it should be."),
    "job-ended": (409, "The job has ended already, so that there is nothing to cancel."),
    "job-not-completed": (409, "The job has no result: not yet, or no more. GET /jobs/{id} says how it stands."),
    "no-job": (404, "The client has no job of this id. GET /jobs lists its jobs."),
    "result-expired": (410, "The job's result is past its time and was removed. Ask for it anew."),
    "unknown-run": (404, "There is no KPI job of this traceId and kpiId; a report names those the workflow was sent."),
}
"""Kinds of some routes alone: their status, and what they mean."""


class Problem(HTTPException):
    """An error to answer with. ``kind`` is a slug for the type, ``more`` are further members of the document.

    An ``HTTPException``, because FastAPI takes any other that is raised while a body is read for a body it cannot
    parse.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        kind: str = "",
        headers: Mapping[str, str] | None = None,
        **more: Any,  # noqa: ANN401 (whatever JSON can say)
    ) -> None:
        super().__init__(status, detail, dict(headers) if headers else None)
        self.title = title
        self.kind = kind or kind_of(status)
        self.more = more

    def document(self, request_id: str = "") -> dict[str, Any]:
        """The members of the problem document."""
        instance = {"instance": f"urn:uuid:{request_id}"} if request_id else {}
        shown = {"type": f"/problems/{self.kind}", "title": self.title, "status": self.status_code}
        return {**shown, "detail": self.detail, **instance, **self.more}


class ProblemDocument(BaseModel):
    """A problem as RFC 9457 writes it; further members depend on its type."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: str = Field(description="What kind of problem it is: an address, relative to the API's.")
    title: str = Field(description="The kind of problem in words.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What is wrong here, and what to do.")
    instance: str = Field("", description="The request, as the log names it.")


def kind_of(status: int) -> str:
    """The slug of a status."""
    return KINDS[status][0] if status in KINDS else f"status-{status}"


def problem_response(problem: Problem, request_id: str = "") -> Response:
    """The answer that says it."""
    body = json.dumps(problem.document(request_id), ensure_ascii=False, default=str).encode()
    return Response(body, problem.status_code, problem.headers, MEDIA_TYPE)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Declarations of these problems for ``responses=`` of a route."""
    return {status: _declared(status) for status in statuses}


def _declared(status: int) -> dict[str, Any]:
    kind, meaning = KINDS[status]
    shown = Problem(status, _title(status), meaning).document("3f0c5a52-6d3c-4b35-9f52-0d8e6e0f2c11")
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": shown}}
    return {"description": f"{meaning} (`/problems/{kind}`)", "content": content, **_headers(status)}


def _headers(status: int) -> dict[str, Any]:
    names = {401: ("WWW-Authenticate",), 403: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}
    if status not in names:
        return {}
    return {"headers": {name: {"schema": {"type": "string"}} for name in names[status]}}


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def busy(what: str, *, retry_after_s: int = BUSY_RETRY_S) -> Problem:
    """The problem of something that is there, and taken at the moment."""
    headers = {"Retry-After": str(retry_after_s)}
    return Problem(503, "Service Unavailable", f"{what}; try again in {retry_after_s} s.", headers=headers)


def internal_error() -> Problem:
    """The problem of a fault of ours: its cause is in the log alone."""
    return Problem(500, _title(500), "The API failed; its log has the cause under this request's id.")


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error of an application's routes a problem document.

    What is left over, a fault of ours, is for ``guards.RequestFrame``, which is around everything.
    """
    import duckdb
    from sqlalchemy.exc import OperationalError

    from etl_assets.lake.connection import LakeBusyError
    from etl_assets.lake.unreachable import LakeUnreachableError

    @app.exception_handler(Problem)
    def _problem(request: Request, error: Problem) -> Response:
        return problem_response(error, request_id(request))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> Response:
        return problem_response(_of_http(request, error), request_id(request))

    @app.exception_handler(RequestValidationError)
    def _validation(request: Request, error: RequestValidationError) -> Response:
        return problem_response(_of_validation(error.errors()), request_id(request))

    def _unavailable(request: Request, error: Exception) -> Response:
        logger.warning("Request %s: %s: %s", request_id(request), type(error).__name__, error)
        return problem_response(busy(_BUSY[type(error)]), request_id(request))

    _BUSY = {  # noqa: N806 (a constant of this application)
        LakeBusyError: "The lake is being written",
        LakeUnreachableError: "The lake's catalog does not answer",
        OperationalError: "The state database is locked, or does not answer",
        duckdb.IOException: "The published data cannot be read: it is being replaced, or not published yet",
    }
    for kind in _BUSY:
        app.add_exception_handler(kind, _unavailable)


def request_id(request: Request) -> str:
    """The id of a request, empty where nothing has given it one."""
    return str(getattr(request.state, "request_id", ""))


def _of_http(request: Request, error: HTTPException) -> Problem:
    status = error.status_code
    detail = KINDS[status][1] if status in KINDS else str(error.detail)
    headers = dict(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
        detail = f"Not {request.method}, but {headers['Allow']}."
    elif status == HTTPStatus.BAD_REQUEST:
        detail = str(error.detail)
    return Problem(status, _title(status), detail, headers=headers)


def _methods(request: Request) -> set[str]:
    """The methods of this address: starlette names those of the first of its routes alone."""
    routes = request.app.routes
    scopes = {method: {**request.scope, "method": method} for method in METHODS}
    return {name for name, scope in scopes.items() if any(each.matches(scope)[0] is Match.FULL for each in routes)}


def _of_validation(errors: Iterable[Mapping[str, Any]]) -> Problem:
    """Everything that is wrong with a request at once, without what was sent."""
    wrong = [_wrong(each) for each in errors]
    detail = "; ".join(f"{each['name'] or each['in']}: {each['detail']}" for each in wrong)
    return Problem(422, _title(422), detail, errors=wrong)


def _wrong(error: Mapping[str, Any]) -> dict[str, str]:
    place, *path = [str(part) for part in error["loc"]]
    if error["type"] == "json_invalid":
        return {"in": place, "name": "", "detail": f"is no JSON, from character {'.'.join(path)} on"}
    said = str(error["msg"]).removeprefix("Value error, ")
    return {"in": place, "name": ".".join(path), "detail": said[:1].lower() + said[1:]}
