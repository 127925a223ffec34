"""The market over HTTP: ``/data``, ``/data/latest``, ``/regions``. Scope ``read:data``.

How parameters are checked and what is asked of the tables is in ``data_queries.py``, how rows become an answer in
``answers.py``.
"""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from etl_assets.api.answers import CACHE_CONTROL, VARY, answer, declared, instant_text, readable
from etl_assets.api.asked import FORMAT, Asked, IntervalsAsked
from etl_assets.api.data_queries import MOST_DAYS, intervals_query
from etl_assets.api.etags import has_it
from etl_assets.api.examples import FLOW, INTERVAL
from etl_assets.api.formats import Format, negotiate
from etl_assets.api.latest import ReadyResponse, latest
from etl_assets.api.parameters import time_range
from etl_assets.api.principal import OAUTH2, Principal, requires
from etl_assets.api.problems import problem_responses
from etl_assets.api.regions import REGIONS, links_of

router = APIRouter(tags=["Market"])

reads_data = requires("read:data")
Reader = Annotated[Principal, Depends(reads_data)]


@readable(router, "/data", responses=declared(INTERVAL), summary="Dispatch intervals")
async def intervals(request: Request, _: Reader, asked: Annotated[IntervalsAsked, Query()]) -> Response:
    """Price, demand and more of up to 31 days of dispatch intervals, by interval and region.

    Intervals are stamped by their end, and those that end in (from, to] are in the answer: a market day has 288, of
    which the last ends at midnight. Prices are those that settle. `interval_end` is an instant in UTC,
    `settlement_date` the same in NEM time (UTC+10) as AEMO writes it. With a `resolution` of 30min, hour or day the
    `intervals` says how many of the intervals that end in (start, end] of each are there, and a value is the mean over
    time of those that have it.
    Prices in AUD/MWh, power in MW.
    """
    form, wanted = negotiate(request, asked.format), time_range(asked.start, asked.end, asked.day, most=MOST_DAYS)
    query = intervals_query(wanted, asked.region, asked.fields, asked.resolution)
    span = {"from": instant_text(query.range.start), "to": instant_text(query.range.end)}
    return await answer(request, query, form, {**span, "resolution": query.resolution.value})


LATEST_DECLARED = {
    "security": [{OAUTH2.scheme_name: ["read:data"]}],
    "parameters": [
        {"name": "format", "in": "query", "description": FORMAT, "schema": {"type": "string", "enum": list(Format)}}
    ],
}
"""What FastAPI would declare of ``Reader`` and ``Asked``."""


@readable(
    router,
    "/data/latest",
    responses=declared({**INTERVAL, "interconnectors": [FLOW]}),
    summary="Newest interval",
    openapi_extra=LATEST_DECLARED,
)
async def newest(request: Request) -> Response:
    """The newest dispatch interval of each region, with the flows of its interconnectors (JSON alone has those).

    Positive flow runs in the order of `GET /regions`. Made once for each publication: ask as often as you like.
    """
    # By hand, and not as dependencies, which take FastAPI a third of the time of the whole request to find out.
    await reads_data(request, None)
    form = negotiate(request, _format(request))
    found = await latest(request.app.state.warehouse, form)
    request.state.route_type, request.state.cache_hit, request.state.samples = "direct", True, found.rows
    if has_it(request, found.tag):
        return Response(status_code=304, headers={"ETag": found.tag, "Cache-Control": CACHE_CONTROL, "Vary": VARY})
    return ReadyResponse(found)


def _format(request: Request) -> Format | None:
    """The format that a parameter asks for. Raises ``RequestValidationError`` for any other parameter or value."""
    if not request.scope["query_string"]:
        return None
    try:
        return Asked.model_validate(dict(request.query_params)).format
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False)
        raise RequestValidationError([{**each, "loc": ("query", *each["loc"])} for each in wrong]) from None


@router.get("/regions", responses=problem_responses(401, 403, 429, 503), summary="Regions of the market")
async def regions(response: Response, _: Reader) -> dict[str, list[dict[str, Any]]]:
    """The five regions, the zone of their clocks, and the interconnectors between them.

    The market itself runs on NEM time (UTC+10) everywhere and all year.
    """
    response.headers["Cache-Control"] = "private, max-age=3600"
    links = {region.region_id: [asdict(link) for link in links_of(region.region_id)] for region in REGIONS}
    return {"data": [{**asdict(region), "interconnectors": links[region.region_id]} for region in REGIONS]}
