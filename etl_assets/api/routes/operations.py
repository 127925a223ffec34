"""For operators and workflows: how collections stand, what there is, metrics, runs by hand, what workflows report."""

import logging
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.concurrency import run_in_threadpool

from etl_assets.api.clients import Scope
from etl_assets.api.health import Health
from etl_assets.api.principal import Principal, requires
from etl_assets.api.problems import KINDS, OWN_KINDS, Problem, busy, problem_responses
from etl_assets.api.standing import stats_of, status_of
from etl_assets.api.triggers import Job, Plan, Wish, plan_run, start_run
from etl_assets.api.workflows import may_report, read_report
from etl_assets.ops.api_state import record_trigger, settle_trigger
from etl_assets.ops.kpi_reports import Report

logger = logging.getLogger(__name__)

router = APIRouter(tags=["Operation"])

OPERATOR = requires(Scope.OPERATOR)
LOOPBACK = ("127.0.0.1", "::1")
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Trigger(BaseModel):
    """A run to start: a job, the days or months that it is to work on, and why."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"job": "market_heal", "partition": "2026-11-20", "reason": "AEMO re-published"}]
        },
    )

    job: Job = Field(description="The job, by Dagster's name.")
    partition: date | None = Field(None, description="A market day, or the first day of a month.")
    first: date | None = Field(None, alias="from", description="First market day of several; with `to`.")
    to: date | None = Field(None, description="Last market day of several.")
    sites: list[str] = Field([], max_length=100, description="Of `sites_heal`: its sites; all by default.")
    reason: str = Field(min_length=3, max_length=500, description="Why: it is put on record with the client.")

    @model_validator(mode="after")
    def _names_its_days_once(self) -> Self:
        if (self.first is None) != (self.to is None):
            raise ValueError("from and to: give both, or partition alone")
        if self.partition and self.first:
            raise ValueError("partition, from and to: give partition alone, or from and to")
        return self

    @property
    def wish(self) -> Wish:
        """What is asked for."""
        return Wish(self.job, self.partition or self.first, self.to, tuple(self.sites))


class Started(BaseModel):
    """A run that is in Dagster's queue."""

    runId: str = Field(description="Dagster's run.")  # noqa: N815 (JSON's name)
    triggerId: str = Field(description="The record of who asked for it, and why.")  # noqa: N815 (the same)


class Reported(BaseModel):
    """How a KPI of a job stands after its workflow's report."""

    traceId: str  # noqa: N815 (JSON's name)
    kpiId: str  # noqa: N815 (the same)
    status: str
    value: float | None


@router.get("/status", summary="How collections stand", responses=problem_responses(401, 403))
def status(request: Request, _: Annotated[Principal, Depends(requires(Scope.READ_DATA))]) -> dict[str, Any]:
    """By dataset and site: the last collection and how current the data is; open gaps and alerts; runs at work."""
    return status_of(request.app.state)


@router.get("/stats", summary="What there is", responses=problem_responses(401, 403))
def stats(request: Request, _: Annotated[Principal, Depends(requires(Scope.READ_DATA))]) -> dict[str, Any]:
    """By table: rows, files and bytes of the published snapshot; counts of export jobs and of the cache."""
    return stats_of(request.app.state)


async def _may_scrape(request: Request) -> None:
    """In development a scraper on this machine needs no token; one that comes through a proxy is not on this machine.

    In production everybody does: what a proxy does not tell of looks like this machine.
    """
    is_development = request.app.state.settings.environment == "development"
    is_forwarded = any(name in request.headers for name in ("forwarded", "x-forwarded-for"))
    if not is_development or is_forwarded or request.client is None or request.client.host not in LOOPBACK:
        await OPERATOR(request, None)


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    dependencies=[Depends(_may_scrape)],
    response_class=Response,
    responses={200: {"description": "Prometheus's text.", "content": {PROMETHEUS: {}}}, **problem_responses(401, 403)},
)
def metrics(request: Request) -> Response:
    """Requests, collections, gaps, quality, cache, jobs. In development without a token from this machine."""
    return Response(request.app.state.metrics.text(), headers={"Content-Type": PROMETHEUS})


@router.post(
    "/trigger", status_code=202, summary="Start a run by hand", responses=problem_responses(401, 403, 409, 415, 422)
)
def trigger(request: Request, asked: Trigger, principal: Annotated[Principal, Depends(OPERATOR)]) -> Started:
    """Start a run of Dagster. Who asks and why is put on record first. 503 where Dagster's daemon is not running."""
    state = request.app.state
    health: Health = state.health
    now = state.now()
    what = asked.model_dump(mode="json", by_alias=True, exclude={"reason"}, exclude_defaults=True)
    trigger_id = record_trigger(state.settings, client_id=principal.client_id, reason=asked.reason, what=what, now=now)
    logger.info("%s: %s asks for %s, because: %r", trigger_id, principal.client_id, what, asked.reason)
    try:
        run_id = _started(health, plan_run(asked.wish, health.instance(), now=now), trigger_id, principal)
    except Exception as error:
        settle_trigger(
            state.settings, trigger_id, error=error.detail if isinstance(error, Problem) else type(error).__name__
        )
        raise
    settle_trigger(state.settings, trigger_id, run_id=run_id)
    logger.info("%s: run %s is in Dagster's queue", trigger_id, run_id)
    return Started(runId=run_id, triggerId=trigger_id)


def _started(health: Health, plan: Plan, trigger_id: str, principal: Principal) -> str:
    if not health.daemon().facts.get("isRunning"):
        raise busy(
            "Dagster's daemon is not running, so that no run would start (`etl-assets up` starts it)", retry_after_s=60
        )
    return start_run(plan, health.instance(), trigger_id=trigger_id, client_id=principal.client_id)


@router.post(
    "/kpi/callback",
    summary="What a workflow reports of its KPI",
    dependencies=[Depends(may_report)],
    responses=problem_responses(401, 403, 404, 422),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": Report.model_json_schema(),
                    "example": {"traceId": "trace_20261120_120000_abc12345", "kpiId": "peak-demand",
                                "status": "completed", "completedAt": "2026-11-20T12:03:00Z", "value": 41.5},
                }
            },
        }
    },
)  # fmt: skip
async def callback(request: Request) -> Reported:
    """Take in a report. The same one again changes nothing, so a workflow that got no answer may repeat it.

    Allowed to a token of scope `kpi:report` or `operator`, to who signs the body (`X-Signature-256`), and to who sends
    the workflow's key (`X-N8N-API-KEY`).
    """
    state = request.app.state
    run = await run_in_threadpool(read_report, state.settings, await request.body(), now=state.now())
    return Reported(traceId=run.trace_id, kpiId=run.kpi_id, status=run.status, value=run.value)


@router.get("/problems/{kind}", summary="What a kind of problem means", responses=problem_responses(404))
async def problem_kind(kind: str) -> Mapping[str, Any]:
    """The page that a problem's `type` leads to."""
    meant = {**OWN_KINDS, **{slug: (status_code, meaning) for status_code, (slug, meaning) in KINDS.items()}}
    if kind not in meant:
        raise Problem(404, "Not Found", "There is no such kind of problem; the detail of a problem says what to do.")
    status_code, meaning = meant[kind]
    return {"type": f"/problems/{kind}", "status": status_code, "meaning": meaning}
