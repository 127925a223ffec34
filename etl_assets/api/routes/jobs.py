"""Export jobs over HTTP: ask for one, see how far it is, cancel it, fetch its result.

A client sees its own jobs and no other's: another's is 404, as if there were none. Scope ``operator`` sees all.
"""

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from etl_assets.api.formats import Format
from etl_assets.api.parameters import time_range
from etl_assets.api.principal import Principal, requires
from etl_assets.api.problems import Problem, problem_responses
from etl_assets.api.ranges import file_response
from etl_assets.api.site_queries import Interval, timeseries_query
from etl_assets.exports.jobs import job_record, visible_job
from etl_assets.exports.results import result_path
from etl_assets.exports.routing import accepted_order, order_of
from etl_assets.ops.job_records import JOBS_LISTED, dead_letters, list_jobs
from etl_assets.ops.job_state import ExportJob, JobStatus, OtherRequestError, request_cancel

router = APIRouter(tags=["jobs"])

READER = requires("read:timeseries")
OPERATOR = requires("operator")

LOCATION = {"Location": {"description": "Where the job is.", "schema": {"type": "string"}}}

MOST_POINTS = 10_000
"""In one request; a pattern takes any number."""

POLL_S = "1"
"""How long a client waits before it asks again for a job that has not ended."""


class JobRequest(BaseModel):
    """A request for time series that is answered by a job whatever its size."""

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        json_schema_extra={
            "example": {
                "site": "tower-one",
                "pattern": "*",
                "interval": "raw",
                "from": "2026-11-01T00:00:00+10:00",
                "to": "2026-11-08T00:00:00+10:00",
                "format": "parquet",
            }
        },
    )

    site: str = Field(max_length=200, description="Site, as GET /sites names it.")
    points: list[str] | None = Field(
        None, min_length=1, max_length=MOST_POINTS, description="Points, as GET /sites/{site}/points names them."
    )
    pattern: str | None = Field(None, description="A glob over the site's points; * are all.")
    interval: Interval = Field(Interval.RAW, description="Readings, or aggregates of so long.")
    start: str = Field(alias="from", max_length=64, description="ISO 8601; without an offset NEM time. Included.")
    end: str = Field(alias="to", max_length=64, description="The same. Not included.")
    format: Format = Field(Format.PARQUET, description="Of the result.")
    priority: int = Field(0, ge=0, le=9, description="Among jobs: the highest goes first.")


@router.post(
    "/timeseries/jobs",
    status_code=202,
    responses={
        202: {"description": "The job is on record.", "headers": LOCATION},
        **problem_responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
    },
)
def order(
    request: Request,
    body: JobRequest,
    principal: Annotated[Principal, Depends(READER)],
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
            description="The same key again, with the same request, gives the job that it made, and makes no other.",
        ),
    ] = None,
) -> Response:
    """Ask for time series as a file, however large. Accepted at once; Dagster does it as soon as it can.

    Without a key, an unfinished job that asks for the same is given back. 409 where the key came with another request
    before, 429 where the client has 20 unfinished jobs.
    """
    state = request.app.state
    wanted = time_range(body.start, body.end, None)
    query = timeseries_query(
        state.warehouse, body.site, body.points, pattern=body.pattern, interval=body.interval, wanted=wanted
    )
    estimated = query.count_estimate(state.warehouse)
    sent = hashlib.sha256(body.model_dump_json().encode()).hexdigest()
    asked = order_of(query, body.format.value, principal.client_id, estimated, priority=body.priority, sent=sent)
    try:
        return accepted_order(state.settings, asked, now=state.now(), key=key or "")
    except OtherRequestError as error:
        raise Problem(409, "The key was used before", f"{error}.", kind="idempotency-key-used") from None


@router.get("/jobs", responses=problem_responses(401, 403, 422, 429, 503))
def jobs(
    request: Request,
    principal: Annotated[Principal, Depends(READER)],
    status: Annotated[JobStatus | None, Query(description="Only jobs in this state.")] = None,
    limit: Annotated[int, Query(ge=1, le=JOBS_LISTED, description="At most so many.")] = 100,
) -> dict[str, Any]:
    """The client's jobs whose results have not expired, the newest first."""
    sees_all = _sees_all(principal)
    found = list_jobs(
        request.app.state.settings, client_id=None if sees_all else principal.client_id, status=status, limit=limit
    )
    return {"jobs": [job_record(job, with_client=sees_all, with_points=False) for job in found]}


@router.get("/jobs/dead-letters", responses=problem_responses(401, 403, 422, 429, 503))
def failed_jobs(
    request: Request,
    _: Annotated[Principal, Depends(OPERATOR)],
    limit: Annotated[int, Query(ge=1, le=JOBS_LISTED, description="At most so many.")] = 100,
) -> dict[str, Any]:
    """Jobs that failed for good, of all clients, with the error of their last try; the newest first."""
    found = dead_letters(request.app.state.settings, limit=limit)
    return {"jobs": [job_record(job, with_client=True, with_points=False) for job in found]}


@router.get("/jobs/{job_id}", responses=problem_responses(401, 403, 404, 422, 429, 503))
def job(
    request: Request, response: Response, job_id: str, principal: Annotated[Principal, Depends(READER)]
) -> dict[str, Any]:
    """How a job stands: its state, its progress, and where its result is. Also after the result has expired."""
    found = _job(request, job_id, principal)
    if not found.has_ended:
        response.headers["Retry-After"] = POLL_S
    return job_record(found, with_client=_sees_all(principal))


@router.delete("/jobs/{job_id}", responses=problem_responses(401, 403, 404, 409, 422, 429, 503))
def cancel(
    request: Request, response: Response, job_id: str, principal: Annotated[Principal, Depends(READER)]
) -> dict[str, Any]:
    """Cancel a job. One that is at work ends after the batch it is reading, and leaves no result.

    409 where it has ended by itself.
    """
    found = _job(request, job_id, principal)
    settings, now = request.app.state.settings, request.app.state.now()
    after = request_cancel(settings, found.job_id, now=now) or found
    if after.has_ended and after.status != "cancelled":
        raise Problem(409, "The job has ended", f"It is {after.status}; there is nothing to cancel.", kind="job-ended")
    response.status_code = 200 if after.has_ended else 202
    return job_record(after, with_client=_sees_all(principal))


@router.head("/jobs/{job_id}/result", include_in_schema=False)
@router.get(
    "/jobs/{job_id}/result",
    response_class=Response,
    responses={
        200: {"description": "The result.", "content": {form.media_type: {} for form in Format}},
        206: {"description": "The part that `Range` asks for.", "content": {form.media_type: {} for form in Format}},
        **problem_responses(401, 403, 404, 409, 410, 416, 422, 429, 503),
    },
)
async def result(request: Request, job_id: str, principal: Annotated[Principal, Depends(READER)]) -> Response:
    """The result of a completed job, in the format that was asked for; in parts, with `Range`.

    409 while there is none yet, or where there never will be; 410 after it has expired.
    """
    found = await run_in_threadpool(_job, request, job_id, principal)
    _refuse_without_result(request, found)
    name = f"{found.site_name or found.kind}-{found.job_id}.{found.result_format}"
    try:
        return file_response(
            request,
            result_path(request.app.state.settings, found),
            media_type=Format(found.result_format).media_type,
            tag=found.job_id,
            name="".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name),
        )
    except FileNotFoundError:
        raise _gone(found) from None


def _refuse_without_result(request: Request, found: ExportJob) -> None:
    if found.expires_at is not None and found.expires_at <= request.app.state.now():
        raise _gone(found)
    if not found.has_ended:
        detail = f"The job is {found.status}; ask for /jobs/{found.job_id} until it is completed."
        raise Problem(409, "No result yet", detail, kind="job-not-completed", headers={"Retry-After": POLL_S})
    if found.status != "completed":
        said = f": {found.error}" if found.error else ""
        raise Problem(409, "No result", f"The job is {found.status}{said}. Ask for it anew.", kind="job-not-completed")


def _gone(found: ExportJob) -> Problem:
    return Problem(410, "The result has expired", f"Results of {found.kind} jobs are kept for a time. Ask anew.",
                   kind="result-expired")  # fmt: skip


def _job(request: Request, job_id: str, principal: Principal) -> ExportJob:
    settings = request.app.state.settings
    found = visible_job(settings, job_id, principal.client_id, sees_all=_sees_all(principal))
    if found is None:
        raise Problem(404, "No such job", "This client has no job of this id; GET /jobs lists its jobs.", kind="no-job")
    return found


def _sees_all(principal: Principal) -> bool:
    return "operator" in principal.scopes
