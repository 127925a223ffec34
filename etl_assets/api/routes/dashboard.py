"""The page for people, its files, the session of who looks at it, and the figures that it draws.

Not in the OpenAPI document: these serve our own page, and change with it. What they say programs ask elsewhere.
"""

from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from etl_assets.api.clients import READING, Client
from etl_assets.api.dashboard import access, files
from etl_assets.api.dashboard.access import is_there, may_see
from etl_assets.api.dashboard.curves import curve
from etl_assets.api.dashboard.events import Events, EventStream
from etl_assets.api.dashboard.kpis import kpis
from etl_assets.api.dashboard.market import flows, market
from etl_assets.api.dashboard.replies import of_now, of_publication
from etl_assets.api.dashboard.runs import runs_of
from etl_assets.api.dashboard.sessions import COOKIE, LIFE, Sessions
from etl_assets.api.dashboard.sites import heat, points, sites, weather
from etl_assets.api.dashboard.state import state_of
from etl_assets.api.grants import Credentials, Grants
from etl_assets.api.principal import Principal
from etl_assets.api.problems import Problem
from etl_assets.api.token_requests import TokenRequest, token_request

router = APIRouter(include_in_schema=False, dependencies=[Depends(is_there)])
figures = APIRouter(prefix="/dashboard", include_in_schema=False, dependencies=[Depends(may_see)])

COOKIE_PATH = "/dashboard"
"""Where figures are: no other service at this name is sent the session for its own addresses."""

From = Annotated[int | None, Query(alias="from")]
To = Annotated[int | None, Query()]
Site = Annotated[str, Path(max_length=200)]


@router.get("/")
async def page(request: Request) -> Response:
    """The page."""
    return files.index(request)


@router.get("/dashboard/static/{name:path}")
def static(request: Request, name: str) -> Response:
    """A file of the page."""
    return files.static(request, name)


@router.post("/dashboard/session", status_code=HTTPStatus.NO_CONTENT)
async def sign_in(request: Request, asked: Annotated[TokenRequest, Depends(token_request)]) -> Response:
    """A session for a client's id and secret, as JSON, in a cookie."""
    # A form of another site's page can be sent here, JSON cannot: nobody is signed in without wanting to be.
    if not asked.is_json or not access.is_from_own_origin(request):
        raise Problem(415, "Unsupported Media Type", "Sign in at the page: the body is JSON, and the page ours.")
    state = request.app.state
    grants = Grants(state.settings, state.tokens)
    client = await run_in_threadpool(_reader, grants, asked.credentials)
    token = Sessions(state.settings, state.tokens).begin(client, now=state.now())
    response = Response(status_code=HTTPStatus.NO_CONTENT)
    response.set_cookie(COOKIE, token, max_age=int(LIFE.total_seconds()), **_attributes(request))
    return response


@router.delete("/dashboard/session", status_code=HTTPStatus.NO_CONTENT)
async def sign_out(request: Request) -> Response:
    """End the session, if there is one."""
    state = request.app.state
    if (sent := request.cookies.get(COOKIE)) and access.is_from_own_origin(request):
        await run_in_threadpool(Sessions(state.settings, state.tokens).end, sent)
    response = Response(status_code=HTTPStatus.NO_CONTENT)
    response.delete_cookie(COOKIE, **_attributes(request))
    return response


@figures.get("/state")
async def state(request: Request) -> Response:
    """How everything stands."""
    return await of_now(request, partial(state_of, request.app.state))


@figures.get("/market")
async def market_figures(request: Request, start: From = None, to: To = None) -> Response:
    """Prices, demand and forecast."""
    make = partial(market, request.app.state.warehouse, start, to)
    return await of_publication(request, {"from": start, "to": to}, make)


@figures.get("/flows")
async def flow_figures(request: Request, start: From = None, to: To = None) -> Response:
    """Flows over interconnectors."""
    make = partial(flows, request.app.state.warehouse, start, to)
    return await of_publication(request, {"from": start, "to": to}, make)


@figures.get("/calendar")
async def calendar_figures(request: Request, month: str | None = None) -> Response:
    """A month of every dataset."""
    app = request.app.state
    return await of_now(request, lambda: app.calendar.month(month, now=app.now()))


@figures.get("/sites")
async def site_figures(request: Request) -> Response:
    """Every site at a glance."""
    return await of_publication(request, {}, partial(sites, request.app.state.warehouse))


@figures.get("/sites/{site:path}/points")
async def point_figures(request: Request, site: Site) -> Response:
    """The points of a site."""
    return await of_publication(request, {}, partial(points, request.app.state.warehouse, site))


@figures.get("/sites/{site:path}/curve")
async def curve_figures(
    request: Request, site: Site, point: Annotated[str, Query(max_length=600)], start: From = None, to: To = None
) -> Response:
    """A point over time."""
    make = partial(curve, request.app.state.warehouse, site, point, start, to)
    return await of_publication(request, {"point": point, "from": start, "to": to}, make)


@figures.get("/sites/{site:path}/heat")
async def heat_figures(request: Request, site: Site, day: str | None = None) -> Response:
    """A day's coverage by point and hour."""
    app = request.app.state
    return await of_publication(request, {"day": day}, partial(heat, app.warehouse, app.settings, site, day))


@figures.get("/sites/{site:path}/weather")
async def weather_figures(request: Request, site: Site, start: From = None, to: To = None) -> Response:
    """Observations at a site."""
    make = partial(weather, request.app.state.warehouse, site, start, to)
    return await of_publication(request, {"from": start, "to": to}, make)


@figures.get("/kpis")
async def kpi_figures(request: Request, day: str | None = None) -> Response:
    """KPIs of a market day. The registry in force may change without a publication."""
    app = request.app.state
    return await of_now(request, partial(kpis, app.warehouse, app.settings, day))


@figures.get("/runs")
async def run_figures(request: Request) -> Response:
    """Collections, runs and export jobs."""
    return await of_now(request, partial(runs_of, request.app.state))


@figures.get("/events")
async def events(request: Request) -> Response:
    """What happens, as it happens: server-sent events until the browser or the server ends it."""
    told: Events = request.app.state.events
    principal: Principal | None = getattr(request.state, "principal", None)
    listener = told.join(request.headers.get("last-event-id"), principal.client_id if principal else "")
    return EventStream(told, listener, may_listen=partial(may_see, request))


router.include_router(figures)


def _reader(grants: Grants, credentials: Credentials) -> Client:
    try:
        client = grants.client(credentials)
    except Problem as problem:
        if problem.status_code != HTTPStatus.UNAUTHORIZED:
            raise
        raise access.signed_out(str(problem.detail)) from None
    if not client.scopes >= READING:
        status = HTTPStatus.FORBIDDEN
        raise Problem(
            status, status.phrase, f"The page needs a client with the scopes {' and '.join(sorted(READING))}."
        )
    return client


def _attributes(request: Request) -> dict[str, Any]:
    is_https = request.url.scheme == "https"
    return {"path": COOKIE_PATH, "httponly": True, "samesite": "strict", "secure": is_https}
