"""Requests for time series by size: answered at once, through the cache, or as a job.

Fewer than SMALL_THRESHOLD samples are read directly. Up to LARGE_THRESHOLD, both thresholds included, they go through
the cache. What is larger becomes a job: 202, and a place to ask for it.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, Literal, Protocol

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from etl_assets.api.problems import Problem
from etl_assets.api.warehouse import Warehouse
from etl_assets.exports.cache import Payload, ResultCache, cache_key
from etl_assets.exports.coalescing import Coalescer, one_process
from etl_assets.ops.job_state import ExportJob, Order, TooManyJobsError, open_job
from etl_assets.settings import Settings

logger = logging.getLogger(__name__)

FULL_RETRY_S = 10
"""How long a client waits that has as many unfinished jobs as it may have: about as long as a small job takes."""

Route = Literal["direct", "cached", "queued"]


class SizedQuery(Protocol):
    """What routing has to know of a query; it is checked, and its client may read what it asks for."""

    @property
    def site(self) -> str:
        """Site that it is about."""

    @property
    def points(self) -> tuple[str, ...]:
        """Points that it reads."""

    @property
    def table(self) -> str:
        """Published table that it reads, schema.name."""

    @property
    def days(self) -> tuple[date, date]:
        """First and last market day that its range touches."""

    def request(self) -> dict[str, Any]:
        """What was asked, as JSON that makes the same query again; equal for equal queries."""

    def count_estimate(self, warehouse: Warehouse) -> int:
        """Samples to be expected: counted where it is known, else by points and days."""


@dataclass(frozen=True, slots=True)
class Meta:
    """How an answer was come by: the ``_meta`` of it."""

    route: Route
    cache_hit: bool
    estimated_samples: int
    samples: int | None = None
    job_id: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The members of ``_meta``; those that are not known are left out."""
        named = {"route": self.route, "cacheHit": self.cache_hit, "estimatedSamples": self.estimated_samples}
        rest = {"samples": self.samples, "jobId": self.job_id}
        return named | {name: value for name, value in rest.items() if value is not None}


@dataclass(slots=True)
class Exports:
    """What routing shares between the requests of one application."""

    settings: Settings
    warehouse: Warehouse
    now: Callable[[], datetime]
    cache: ResultCache = field(init=False)
    at_work: Coalescer[tuple[Payload, bool]] = field(init=False, default_factory=Coalescer)

    def __post_init__(self) -> None:
        """Opens nothing: the cache is a folder."""
        self.cache = ResultCache(self.settings, now=self.now)


def exports_of(app: FastAPI) -> Exports:
    """The application's ``Exports``, made at the first request."""
    if not hasattr(app.state, "exports"):
        app.state.exports = Exports(app.state.settings, app.state.warehouse, app.state.now)
    found: Exports = app.state.exports
    return found


def route_of(samples: int, settings: Settings) -> Route:
    """Where a request for so many samples goes. Exactly 1,000 and exactly 100,000 are cached."""
    if samples < settings.small_threshold:
        return "direct"
    return "cached" if samples <= settings.large_threshold else "queued"


async def answer(
    exports: Exports, query: SizedQuery, form: str, client_id: str, *,
    compute: Callable[[], Payload], respond: Callable[[Payload, Meta], Response],
) -> Response:  # fmt: skip
    """Answer a request for time series by its size.

    The client is known and may read what ``query`` asks for: the cache is the same for all who may. ``form`` is the
    result's format (json, csv, arrow, parquet). ``compute`` reads and renders the whole result, in a thread, and is
    called once for equal requests at the same time; ``respond`` makes an answer of it, adding ``Meta`` in the format's
    own way. What ``compute`` raises is raised to all who wait. A large request is answered here: 202.
    """
    estimated = await asyncio.to_thread(query.count_estimate, exports.warehouse)
    route = route_of(estimated, exports.settings)
    if route == "queued":
        order = order_of(query, form, client_id, estimated)
        return await asyncio.to_thread(accepted_order, exports.settings, order, now=exports.now())
    meta = Meta(route, cache_hit=False, estimated_samples=estimated)
    if route == "direct":
        payload = await asyncio.to_thread(compute)
        return respond(payload, replace(meta, samples=payload.samples))
    payload, hit = await _through_cache(exports, query, form, compute)
    return respond(payload, replace(meta, cache_hit=hit, samples=payload.samples))


def order_of(
    query: SizedQuery, form: str, client_id: str, estimated: int, *, priority: int = 0, sent: str = ""
) -> Order:
    """The job for a query of time series."""
    return Order(
        client_id=client_id,
        kind="timeseries",
        request=query.request(),
        result_format=form,
        estimated_samples=estimated,
        site_name=query.site,
        points_total=len(query.points),
        priority=priority,
        sent=sent,
    )


def accepted_order(settings: Settings, order: Order, *, now: datetime, key: str = "") -> JSONResponse:
    """202: the job of an order, which may have been on record before.

    Raises ``Problem`` 429 where the client has too many, ``OtherRequestError``.
    """
    try:
        return accepted(open_job(settings, order, now=now, key=key))
    except TooManyJobsError as error:
        raise Problem(
            429, "Too many jobs", f"{error} (DELETE /jobs/{{id}}).", headers={"Retry-After": str(FULL_RETRY_S)}
        ) from None


def accepted(job: ExportJob) -> JSONResponse:
    """202: the job is on record, and where to ask for it."""
    url = f"/jobs/{job.job_id}"
    meta = Meta("queued", cache_hit=False, estimated_samples=job.estimated_samples, job_id=job.job_id)
    body = {"jobId": job.job_id, "status": job.status, "statusUrl": url, "_meta": meta.as_json()}
    return JSONResponse(body, status_code=202, headers={"Location": url, "Cache-Control": "no-store"})


async def _through_cache(
    exports: Exports, query: SizedQuery, form: str, compute: Callable[[], Payload]
) -> tuple[Payload, bool]:
    """The result, and whether it was there already."""
    key = cache_key(query.site, query.request(), form)
    version = await asyncio.to_thread(exports.warehouse.version, query.table, days=query.days, site=query.site)
    look = asyncio.to_thread(exports.cache.get, key, version)
    try:
        found = await asyncio.wait_for(look, exports.settings.cache_timeout.total_seconds())
    except TimeoutError:
        logger.warning("The cache did not answer within %s; %s is read directly", exports.settings.cache_timeout, key)
        return await exports.at_work.once(f"{key} {version}", lambda: (compute(), False))
    if found is not None:
        return found, True
    return await exports.at_work.once(f"{key} {version}", lambda: _made(exports, query.site, key, version, compute))


def _made(
    exports: Exports, site: str, key: str, version: str, compute: Callable[[], Payload]
) -> tuple[Payload, bool]:  # fmt: skip
    """Compute and keep, unless another process has just done so."""
    with one_process(exports.cache.folder / "locks", key, exports.settings.cache_timeout):
        if found := exports.cache.get(key, version):
            return found, True
        payload = compute()
        try:
            exports.cache.put(key, version, payload, site=site)
        except (OSError, SQLAlchemyError):
            # A full disk, or a state database that is taken, must not keep a client from what was read for it.
            logger.exception("%s could not be put into the cache", key)
        return payload, False
