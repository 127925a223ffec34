"""Who asks: the dependency by which a route says which scope it wants.

An answer to a request without a good token is 401 with a ``WWW-Authenticate`` as RFC 6750 has it; 403 where the token
is good, and not for this. The principal is left in ``request.state.principal`` for what counts and records requests.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Request, Security
from fastapi.openapi.models import OAuthFlowClientCredentials, OAuthFlows
from fastapi.security import OAuth2
from starlette.concurrency import run_in_threadpool

from etl_assets.api.clients import MEANINGS, Scope
from etl_assets.api.limits import count_client
from etl_assets.api.problems import Problem
from etl_assets.api.tokens import AccessClaims, InvalidTokenError, Tokens

REALM = 'Bearer realm="etl-assets"'
"""Begins every challenge."""

OAUTH2 = OAuth2(
    scheme_name="oauth2",
    description="An access token from `POST /token`, sent as `Authorization: Bearer …`.",
    flows=OAuthFlows(
        clientCredentials=OAuthFlowClientCredentials(
            tokenUrl="/token", refreshUrl="/refresh", scopes={str(scope): text for scope, text in MEANINGS.items()}
        )
    ),
    auto_error=False,
)


@dataclass(frozen=True, slots=True)
class Principal:
    """The client that a request's token was issued to, and what it may do."""

    client_id: str
    scopes: frozenset[str]
    token_id: str


def requires(scope: str) -> Callable[..., Awaitable[Principal]]:
    """A dependency that gives the principal of a request whose token has a scope.

    Its ``Problem`` is 401 where there is no good token, 403 where the token lacks the scope, 400 where there are two.
    Raises ``ValueError`` for a scope that there is not.
    """
    wanted = Scope(scope)

    async def principal(
        request: Request, _: Annotated[str | None, Security(OAUTH2, scopes=[str(wanted)])]
    ) -> Principal:
        claims = await _claims(request, _sent_token(request))
        found = Principal(claims.client_id, claims.scopes, claims.jti)
        request.state.principal = found
        count_client(request, found.client_id)
        if wanted not in found.scopes:
            raise _insufficient(wanted)
        return found

    return principal


async def _claims(request: Request, token: str) -> AccessClaims:
    tokens: Tokens = request.app.state.tokens
    now = request.app.state.now()
    if tokens.revocations.are_stale(now):
        # Here and not in the verification: the database must not hold up the other requests.
        await run_in_threadpool(tokens.revocations.renew, now)
    try:
        return tokens.verified(token, now=now)
    except InvalidTokenError as error:
        detail = f"{error.fault}. Get a new one from POST /token."
        raise _refusal(HTTPStatus.UNAUTHORIZED, detail, "invalid_token", error.fault) from None


def _sent_token(request: Request) -> str:
    sent = request.headers.getlist("Authorization")
    if len(sent) > 1:
        fault = "There is more than one Authorization header"
        raise _refusal(HTTPStatus.BAD_REQUEST, f"{fault}. Send one.", "invalid_request", fault)
    scheme, _, token = (sent[0] if sent else "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _refusal(HTTPStatus.UNAUTHORIZED, "Send an access token from POST /token as `Authorization: Bearer …`.")
    return token.strip()


def _insufficient(wanted: Scope) -> Problem:
    fault = f"This needs the scope {wanted}"
    detail = f"{fault}: ask for it at POST /token, if the client may have it."
    return _refusal(HTTPStatus.FORBIDDEN, detail, "insufficient_scope", fault, scope=wanted)


def _refusal(status: HTTPStatus, detail: str, error: str = "", fault: str = "", **more: str) -> Problem:
    """A problem with its challenge (RFC 6750, 3); no ``error`` where nothing was sent that could be wrong."""
    told = {"error": error, "error_description": fault, **more} if error else {}
    challenge = ", ".join((REALM, *(f'{name}="{value}"' for name, value in told.items())))
    return Problem(status, status.phrase, detail, headers={"WWW-Authenticate": challenge})
