"""Buildings over HTTP: sites, points, readings, weather, KPIs, scores, gaps. Scope ``read:timeseries``.

What is asked of the tables is in ``site_queries.py`` and ``table_queries.py``, how rows become an answer in
``answers.py``; which way a request for readings goes, by its size, in ``etl_assets/exports/routing.py``.
"""

from functools import partial
from typing import Annotated
from urllib.parse import urlencode

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from etl_assets.api.answers import answer, conditions, declared, instant_text, readable, without_body
from etl_assets.api.asked import (
    SITE,
    Asked,
    GapsAsked,
    KpisAsked,
    PointsAsked,
    QualityAsked,
    TimeseriesAsked,
    WeatherAsked,
)
from etl_assets.api.examples import (
    GAP_ROW,
    KPI_ROW,
    POINT_ROW,
    QUALITY_ROW,
    QUEUED,
    READING_ROW,
    SITE_ROW,
    WEATHER_ROW,
)
from etl_assets.api.formats import Format, negotiate, render, with_meta
from etl_assets.api.parameters import day_range, listed, time_range
from etl_assets.api.principal import Principal, requires
from etl_assets.api.reading import Bounds, Reading, TooManyRowsError
from etl_assets.api.site_queries import TimeseriesQuery, timeseries_query
from etl_assets.api.table_queries import (
    MOST_DAYS,
    gaps_query,
    kpis_query,
    points_page,
    quality_query,
    sites_query,
    weather_query,
)
from etl_assets.api.warehouse import Warehouse
from etl_assets.exports.cache import Payload
from etl_assets.exports.routing import Exports, Meta, accepted_order, exports_of, order_of
from etl_assets.exports.routing import answer as answer_by_size
from etl_assets.market_time import DAY

router = APIRouter(tags=["Buildings"])

ESTIMATES_ARE_WITHIN = 2
"""Readings come in bursts: an answer of twice LARGE_THRESHOLD is still given, a larger one is a job's."""

Reader = Annotated[Principal, Depends(requires("read:timeseries"))]


@readable(router, "/sites", responses=declared(SITE_ROW), summary="Sites")
async def sites(request: Request, _: Reader, asked: Annotated[Asked, Query()]) -> Response:
    """The sites of the account: where they are, how many points they have, what of them was read."""
    return await answer(request, sites_query(), negotiate(request, asked.format))


@readable(router, "/sites/{site:path}/points", responses=declared(POINT_ROW, 404), summary="Points of a site")
async def points(
    request: Request,
    _: Reader,
    site: Annotated[str, Path(description=SITE, max_length=200)],
    asked: Annotated[PointsAsked, Query()],
) -> Response:
    """The points of a site by name, page by page, with how often they are read and what there is of each.

    `_meta.nextCursor`, and the header `Link`, lead to the next page; on the last there is none.
    """
    form = negotiate(request, asked.format)
    narrowed = {"pattern": asked.pattern, "point_type": asked.type, "cursor": asked.cursor}
    look = partial(points_page, request.app.state.warehouse, site, asked.limit, **narrowed)
    page = await to_thread.run_sync(look)
    response = await answer(request, page.query, form, {"total": page.total, "nextCursor": page.following})
    if page.following:
        same = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        response.headers["Link"] = f'<?{urlencode([*same, ("cursor", page.following)])}>; rel="next"'
    return response


TIMESERIES = {**declared(READING_ROW, 404), 202: QUEUED}


@readable(router, "/timeseries", responses=TIMESERIES, summary="Readings and aggregates")
async def timeseries(request: Request, principal: Reader, asked: Annotated[TimeseriesAsked, Query()]) -> Response:
    """Readings of points in [from, to), or their mean, lowest, highest and count by interval; by point and time.

    Answered by size. Below SMALL_THRESHOLD (1,000) samples at once; up to LARGE_THRESHOLD (100,000) through the cache;
    above as a job: 202 with `statusUrl`. The size is what is known of the points' readings: their number where the
    range has all of them, else their share of the time. What proves to be more than twice LARGE_THRESHOLD is a job too.
    """
    form, warehouse = negotiate(request, asked.format), request.app.state.warehouse
    query = await to_thread.run_sync(_query, warehouse, asked)
    headers, is_known = await conditions(request, warehouse, query, form)
    if is_known:
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return without_body(headers, form)

    def respond(payload: Payload, meta: Meta) -> Response:
        request.state.route_type, request.state.cache_hit = meta.route, meta.cache_hit
        request.state.samples = payload.samples
        return _response(query, form, payload, meta, headers)

    exports = exports_of(request.app)
    try:
        return await answer_by_size(
            exports, query, form, principal.client_id,
            compute=partial(_payload, exports, query, form), respond=respond,
        )  # fmt: skip
    except TooManyRowsError as error:
        order = order_of(query, form, principal.client_id, error.rows)
        return await to_thread.run_sync(partial(accepted_order, exports.settings, order, now=exports.now()))


def _query(warehouse: Warehouse, asked: TimeseriesAsked) -> TimeseriesQuery:
    wanted = time_range(asked.start, asked.end, asked.day)
    return timeseries_query(
        warehouse, asked.site, asked.points, pattern=asked.pattern, interval=asked.interval, wanted=wanted
    )


def _payload(exports: Exports, query: TimeseriesQuery, form: Format) -> Payload:
    """The whole result, without its ``_meta``. ``TooManyRowsError`` where it is far larger than estimated."""
    most = ESTIMATES_ARE_WITHIN * exports.settings.large_threshold
    reading = Reading(exports.warehouse, query, Bounds(most))
    body = b"".join(render(reading, form))
    return Payload(body, len(query.points), reading.rows)


def _response(
    query: TimeseriesQuery, form: Format, payload: Payload, meta: Meta, headers: dict[str, str]
) -> Response:  # fmt: skip
    span = {"from": instant_text(query.range.start), "to": instant_text(query.range.end)}
    more = {"site": query.site, "points": payload.points, "interval": query.interval.value, **span, **meta.as_json()}
    body = with_meta(payload.body, more) if form is Format.JSON else payload.body
    told = {"X-Route": meta.route, "X-Cache": "hit" if meta.cache_hit else "miss"}
    return Response(body, headers={**headers, **told}, media_type=form.media_type)


@readable(router, "/weather", responses=declared(WEATHER_ROW, 404), summary="Weather at a site")
async def weather(request: Request, _: Reader, asked: Annotated[WeatherAsked, Query()]) -> Response:
    """Observations at a site in [from, to), up to 366 days: degrees Celsius, per cent, millimetres, metres a second."""
    form = negotiate(request, asked.format)
    wanted = time_range(asked.start, asked.end, asked.day, most=DAY * MOST_DAYS)
    query = await to_thread.run_sync(weather_query, request.app.state.warehouse, asked.site, wanted)
    return await answer(request, query, form)


@readable(router, "/kpis", responses=declared(KPI_ROW), summary="Values of KPIs")
async def kpis(request: Request, _: Reader, asked: Annotated[KpisAsked, Query()]) -> Response:
    """Values of KPIs by market day, up to 366 days, each in its unit."""
    query = kpis_query(day_range(asked.first, asked.last, most=MOST_DAYS), listed(asked.id), asked.entity)
    return await answer(request, query, negotiate(request, asked.format))


@readable(router, "/quality", responses=declared(QUALITY_ROW, 404), summary="Scores of points")
async def quality(request: Request, _: Reader, asked: Annotated[QualityAsked, Query()]) -> Response:
    """How good the points' market days are, up to 366 days: readings due, there, missing, doubtful; a score to 1."""
    days = day_range(asked.first, asked.last, most=MOST_DAYS)
    query = await to_thread.run_sync(quality_query, request.app.state.warehouse, days, asked.site, asked.point)
    return await answer(request, query, negotiate(request, asked.format))


@readable(router, "/gaps", responses=declared(GAP_ROW), summary="Missing intervals")
async def gaps(request: Request, _: Reader, asked: Annotated[GapsAsked, Query()]) -> Response:
    """Runs of expected intervals that are missing, or were: since when, how many, and when they were healed."""
    return await answer(request, gaps_query(asked.state, asked.dataset), negotiate(request, asked.format))
