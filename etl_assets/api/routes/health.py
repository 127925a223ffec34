"""Whether the service is well, for whoever asks: without a token, and so without what a stranger may not know."""

from importlib.metadata import version
from time import perf_counter
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from etl_assets.api.health import Health, worst

router = APIRouter(tags=["Health"])

VERSION = version("etl-assets")
UNHEALTHY = 503


class Part(BaseModel):
    """One thing that the service needs, and how it is; further members depend on what it is."""

    model_config = ConfigDict(extra="allow")

    status: Literal["healthy", "degraded", "unhealthy"]
    detail: str = Field(examples=["Published lately."])
    responseTimeMs: float = Field(description="How long the look took.", examples=[1.4])  # noqa: N815 (JSON's name)


class HealthAnswer(BaseModel):
    """The service as a whole, and each thing that it needs. Times are UTC."""

    status: Literal["healthy", "degraded", "unhealthy"]
    worker: dict[str, str] = Field(examples=[{"status": "running", "version": VERSION}])
    stateDatabase: dict[str, bool] = Field(  # noqa: N815 (JSON's name)
        description="Connectivity of what the predecessor kept in KV.", examples=[{"connected": True}]
    )
    lastJob: dict[str, Any] | None = Field(description="The last KPI job; null before the first.")  # noqa: N815 (the same)
    responseTimeMs: float = Field(description="How long all looks took.", examples=[12.5])  # noqa: N815 (the same)
    checks: dict[str, Part]


def _health(request: Request) -> Health:
    found: Health = request.app.state.health
    return found


Looking = Annotated[Health, Depends(_health)]


@router.get("/health", summary="How the service is", responses={503: {"model": HealthAnswer}})
@router.get("/api/health", summary="How the service is, at the predecessor's address", include_in_schema=True,
            responses={503: {"model": HealthAnswer}})  # fmt: skip
def health(health: Looking, response: Response) -> HealthAnswer:
    """Every part with its status and response time. 503 where one is unhealthy; `degraded` still answers 200.

    Without Dagster's daemon the service is degraded: what is published is served, and nothing new comes.
    """
    began = perf_counter()
    looks = health.looks()
    status = worst(looks)
    if status == "unhealthy":
        response.status_code = UNHEALTHY
    return HealthAnswer(
        status=status,
        worker={"status": "running", "version": VERSION},
        stateDatabase={"connected": looks["stateDatabase"].status == "healthy"},
        lastJob=looks["lastKpiJob"].facts.get("job"),
        responseTimeMs=round((perf_counter() - began) * 1000, 1),
        checks={name: Part(**look.as_json()) for name, look in looks.items()},
    )


@router.get("/health/live", summary="Whether the process answers")
async def live() -> dict[str, str]:
    """Always 200: to restart a process that does not answer, and no other."""
    return {"status": "alive"}


@router.get(
    "/health/ready", summary="Whether requests for data can be answered", responses={503: {"model": dict[str, str]}}
)
def ready(health: Looking, response: Response) -> dict[str, str]:
    """200 where there is a published file and the state database answers, else 503: to send requests elsewhere."""
    if health.is_ready():
        return {"status": "ready"}
    response.status_code = UNHEALTHY
    return {"status": "not ready"}
