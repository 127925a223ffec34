"""Who may see the figures: an access token, a session, or, where the setting says so, whoever is at this machine.

DASHBOARD is ``loopback``: in development a browser on this machine needs nothing, all others a session or a token;
``token``: everybody needs one; or ``off``: there is no page.

A page of another site that is open in the same browser comes from this machine too. So without a token the request
must be meant for this machine by name (else an attacker's name could be made to point here) and must not say that it
comes from another origin; a session's cookie is never sent for another site's page.
"""

from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from etl_assets.api.clients import READING, Scope
from etl_assets.api.dashboard.sessions import COOKIE, NoSessionError, Sessions
from etl_assets.api.limits import count_client
from etl_assets.api.principal import REALM, Principal, requires
from etl_assets.api.problems import Problem

if TYPE_CHECKING:
    from etl_assets.api.tokens import Tokens
    from etl_assets.settings import Settings

LOOPBACK = frozenset({"127.0.0.1", "::1"})
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
WITHOUT_PROXY = "1.1"
"""The version of HTTP that browsers speak to this server. nginx that is told no more than where we are names us by our
own address, says nothing of whom it asks for, and speaks 1.0."""

OWN_ORIGIN = frozenset({"same-origin", "none"})
"""What a browser says of a request that its own page made, or that was typed into its address bar."""

READS = tuple(requires(scope) for scope in sorted(READING))


def is_there(request: Request) -> None:
    """Raises ``Problem`` 404 where the page is switched off."""
    if _settings(request).dashboard == "off":
        raise Problem(404, "Not Found", "The page is switched off: see DASHBOARD.")


async def may_see(request: Request) -> None:
    """Raises ``Problem`` where a request may not have figures: 401, 403 for a token that may not read, 404, 429."""
    is_there(request)
    if "authorization" in request.headers:
        for reads in READS:
            await reads(request, None)
    elif not is_at_this_machine(request):
        await _session(request)


def is_at_this_machine(request: Request) -> bool:
    """Whether a request needs no token: of a development machine's own browser, from the page itself."""
    settings = _settings(request)
    return (
        settings.dashboard == "loopback"
        and settings.environment == "development"
        and request.client is not None
        and request.client.host in LOOPBACK
        and request.scope["http_version"] == WITHOUT_PROXY
        and not any(name in request.headers for name in FORWARDED)
        and _names_this_machine(request)
        and is_from_own_origin(request)
    )


def is_from_own_origin(request: Request) -> bool:
    """Whether the browser says that its page is ours. What says nothing is no browser, or an old one."""
    said = request.headers.get("sec-fetch-site", "none")
    return said in OWN_ORIGIN


def _names_this_machine(request: Request) -> bool:
    hosts = request.headers.getlist("host")
    if len(hosts) != 1:
        return False
    try:
        return urlsplit(f"//{hosts[0]}").hostname in LOOPBACK_NAMES
    except ValueError:
        return False


async def _session(request: Request) -> None:
    sent = request.cookies.get(COOKIE)
    if sent is None:
        raise signed_out("Sign in at the page, or send an access token from POST /token.")
    if not is_from_own_origin(request):
        raise signed_out("Figures are for this page, and not for another site's.")
    tokens: Tokens = request.app.state.tokens
    now = request.app.state.now()
    if tokens.revocations.are_stale(now):
        await run_in_threadpool(tokens.revocations.renew, now)
    try:
        claims = Sessions(_settings(request), tokens).verified(sent, now=now)
    except NoSessionError as error:
        raise signed_out(f"{error}: sign in again.") from None
    request.state.principal = Principal(claims.sub, frozenset(Scope(name) for name in READING), claims.jti)
    count_client(request, claims.sub)


def signed_out(detail: str) -> Problem:
    """401. The challenge is for bearer tokens: for Basic a browser would open a window of its own."""
    status = HTTPStatus.UNAUTHORIZED
    return Problem(status, status.phrase, detail, headers={"WWW-Authenticate": REALM})


def _settings(request: Request) -> "Settings":
    settings: Settings = request.app.state.settings
    return settings
