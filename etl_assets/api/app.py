"""The API as a whole: what is in it, what stands around it, and its OpenAPI document.

No request leaves the machine for it: FastAPI's pages, which load their scripts from elsewhere, are off, and
``/openapi.json`` is for whatever tool shows it.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette_compress import add_compress_type, remove_compress_type
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from etl_assets.api.analytics import Analytics
from etl_assets.api.dashboard.days import Calendar
from etl_assets.api.dashboard.events import Events, EventStream
from etl_assets.api.guards import RequestFrame, RequestLimits
from etl_assets.api.health import Health
from etl_assets.api.limits import AddressLimit, RateLimits
from etl_assets.api.metrics import Metrics, StateCollector
from etl_assets.api.problems import MEDIA_TYPE, ProblemDocument, install_problem_handlers, problem_responses
from etl_assets.api.ranges import CompressAllButFiles
from etl_assets.api.routes import dashboard, data, health, jobs, operations, sites, tokens
from etl_assets.api.server import AT_END
from etl_assets.api.tokens import Tokens
from etl_assets.api.warehouse import Warehouse
from etl_assets.exports.submitter import Submitter
from etl_assets.market_time import utc_now
from etl_assets.settings import Settings

DESCRIPTION = """\
Australian electricity-market intervals, building readings and KPIs, as last published.

Get a token with `POST /token`, and send it as `Authorization: Bearer …`. Times are ISO 8601; an interval is named by
its end, NEM time is UTC+10 all year. Errors are problem documents (RFC 9457). Large requests become jobs.
"""

EVERYWHERE = (400, 408, 413, 414, 429, 500, 503)
"""Problems that any address may answer with: they come of the guards, or of what is around every route."""

EXPOSED = ["ETag", "Retry-After", "Location", "Content-Disposition", "X-Request-Id", "RateLimit-Limit",
           "RateLimit-Remaining", "RateLimit-Reset"]  # fmt: skip
"""Headers that pages of other origins may read."""

ALLOWED = ["Authorization", "Content-Type", "Accept", "If-None-Match", "If-Range", "Range", "Idempotency-Key"]

COMPRESSED = (MEDIA_TYPE, "text/csv", "application/vnd.apache.arrow.stream", "application/x-ndjson")
"""Beside JSON. Parquet is compressed as it is; results of jobs are sent as they are: see ``ranges.py``."""

ROUTERS = (data.router, sites.router, tokens.router, health.router, jobs.router, operations.router,
           dashboard.router)  # fmt: skip
"""What is asked for the most first: a request is compared with one route after the other."""


class Api(FastAPI):
    """FastAPI, with the problems that every route may answer with in its OpenAPI document."""

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            _complete(super().openapi())
        return super().openapi()


def create_app(settings: Settings, *, now: Callable[[], datetime] = utc_now, submits: bool = True) -> FastAPI:
    """The application. ``now`` is its clock; without ``submits`` jobs are left to another process to start.

    Raises ``RateLimitError`` for a setting that is no rate limit; starting it raises ``CredentialsError`` where keys or
    clients cannot be used.
    """
    app = Api(
        title="etl-assets",
        version=version("etl-assets"),
        summary="Electricity-market intervals and building readings",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    _furnish(app, settings, now, submits=submits)
    install_problem_handlers(app)
    for router in ROUTERS:
        app.include_router(router, responses=problem_responses(*EVERYWHERE))
    for guard in reversed(_guards(app, settings, now)):
        app.add_middleware(guard.cls, *guard.args, **guard.kwargs)
    return app


def _furnish(app: FastAPI, settings: Settings, now: Callable[[], datetime], *, submits: bool) -> None:
    """What routes find in ``app.state``. Nothing is opened before the application starts."""
    state = app.state
    state.settings = settings
    state.now = now
    state.rate_limits = RateLimits(settings, now)
    state.warehouse = Warehouse(settings)
    state.health = Health(settings, state.warehouse, now=now)
    state.calendar = Calendar(settings, state.warehouse)
    state.analytics = Analytics(settings)
    state.submitter = Submitter(settings, now=now) if submits else None
    state.metrics = Metrics()
    state.metrics.registry.register(
        StateCollector(
            settings, state.warehouse, state.analytics, tokens=lambda: getattr(state, "tokens", None), now=now
        )
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Open what the routes need; when the last request has ended, close it in the reverse order."""
    state = app.state
    state.tokens = await run_in_threadpool(Tokens.configured, state.settings)
    state.keys = state.tokens.keys
    state.events = Events(state.settings, state.warehouse, state.health, now=state.now)
    async with AsyncExitStack() as opened:
        opened.callback(state.warehouse.close)
        opened.callback(state.health.close)
        state.analytics.start()
        opened.push_async_callback(run_in_threadpool, state.analytics.stop)
        if state.submitter:
            state.submitter.start()
            opened.push_async_callback(run_in_threadpool, state.submitter.stop)
        opened.callback(state.events.end)
        yield {AT_END: state.events.end}


def _guards(app: FastAPI, settings: Settings, now: Callable[[], datetime]) -> list[Middleware]:
    """From the outside in: who it is, whether a page may ask, the frame, and then what may refuse."""
    state = app.state
    watchers = (state.metrics, state.analytics)
    limits = {"body_bytes": settings.max_body_bytes, "target_bytes": settings.max_query_bytes}
    for media_type in COMPRESSED:
        add_compress_type(media_type)
    # Events are short, and each is to arrive by itself.
    remove_compress_type(EventStream.media_type)
    guards = [
        Middleware(RequestFrame, now, watchers),
        Middleware(AddressLimit, state.rate_limits),
        Middleware(RequestLimits, **limits),
        Middleware(CompressAllButFiles),
    ]
    if settings.cors_origins:
        origins, methods = list(settings.cors_origins), ["GET", "POST", "DELETE"]
        cors = Middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=methods, allow_headers=ALLOWED, expose_headers=EXPOSED
        )
        guards.insert(0, cors)
    if settings.trusted_proxies:
        guards.insert(0, Middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies)))
    return guards


def _complete(document: dict[str, Any]) -> None:
    """Our form of problems in place of FastAPI's, and bearer tokens beside OAuth 2.0, which is how to get one."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = ProblemDocument.model_json_schema()
    schemes = components.setdefault("securitySchemes", {})
    schemes["bearer"] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    for path in document["paths"].values():
        for operation in path.values():
            if "HTTPValidationError" in str(operation["responses"].get("422", "")):
                operation["responses"]["422"] = problem_responses(422)[422]
            needed = operation.get("security", [])
            operation.get("security", []).extend([{"bearer": []} for each in needed if "oauth2" in each][:1])
