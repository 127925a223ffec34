"""Tokens over HTTP: ``/token``, ``/refresh``, ``/revoke``, and the keys that verify them.

How a request is read is in ``token_requests.py``, what it grants in ``grants.py``.
"""

from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.security.http import HTTPBase
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from etl_assets.api.clients import Scope
from etl_assets.api.grants import Granted, Grants, oauth_problem
from etl_assets.api.problems import problem_responses
from etl_assets.api.token_requests import FORM, JSON, TokenRequest, token_request

router = APIRouter(tags=["Tokens"])

CLIENT_CREDENTIALS = "client_credentials"
REFRESH_TOKEN = "refresh_token"  # noqa: S105 - the name of a grant

NOT_KEPT = {"Cache-Control": "no-store", "Pragma": "no-cache"}
KEPT_FIVE_MINUTES = {"Cache-Control": "public, max-age=300"}
"""A new key signs as soon as it is there; verifiers that meet an id they do not know ask again anyway."""

BASIC = HTTPBase(scheme="basic", scheme_name="client", description="A client's id and secret.", auto_error=False)
REFUSALS = problem_responses(400, 401, 413, 415, 429, 503)
EXAMPLE_ID = "dashboard"

CLIENT_FIELDS = {
    "client_id": {"type": "string", "description": "The client, where it is not in HTTP Basic.", "example": EXAMPLE_ID},
    "client_secret": {"type": "string", "format": "password", "description": "Its secret, likewise."},
}
SCOPE_FIELD = {
    "scope": {
        "type": "string",
        "description": f"Scopes with blanks between, of {', '.join(Scope)}; all that the client may have by default.",
        "example": "read:data read:timeseries",
    }
}
REFRESH_FIELD = {
    "refresh_token": {"type": "string", "minLength": 1, "description": "The refresh token of the last answer."}
}


class TokenAnswer(BaseModel):
    """Tokens for a client (RFC 6749, 5.1)."""

    access_token: str = Field(description="A JSON Web Token, to be sent as `Authorization: Bearer …`.")
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - its type
    expires_in: int = Field(description="Seconds until the access token ends.", examples=[900])
    refresh_token: str = Field(description="Good for one exchange at `/refresh`.")
    scope: str = Field(description="What the access token is good for.", examples=["read:data read:timeseries"])


class KeySet(BaseModel):
    """The public keys that verify access tokens (RFC 7517)."""

    keys: list[dict[str, Any]]


def _body(fields: Mapping[str, Any], *required: str, form_requires: tuple[str, ...] = ()) -> dict[str, Any]:
    """The description of a body that may be a form or JSON."""
    whole = {**fields, **CLIENT_FIELDS}

    def schema(*needed: str) -> dict[str, Any]:
        return {"schema": {"type": "object", "properties": whole, **({"required": list(needed)} if needed else {})}}

    content = {FORM: schema(*required, *form_requires), JSON: schema(*required)}
    # The client may say in the body who it is: HTTP Basic is declared, and not needed.
    return {"requestBody": {"required": True, "content": content}, "security": [{}]}


def _grants(request: Request) -> Grants:
    return Grants(request.app.state.settings, request.app.state.tokens)


Asked = Annotated[TokenRequest, Depends(token_request)]
Granting = Annotated[Grants, Depends(_grants)]


@router.post(
    "/token",
    summary="Tokens for a client",
    responses=REFUSALS,
    dependencies=[Security(BASIC)],
    openapi_extra=_body(
        {
            "grant_type": {"type": "string", "enum": [CLIENT_CREDENTIALS, REFRESH_TOKEN]},
            **SCOPE_FIELD,
            **REFRESH_FIELD,
        },
        form_requires=("grant_type",),
    ),
)
async def token(request: Request, response: Response, asked: Asked, grants: Granting) -> TokenAnswer:
    """A short access token and a longer refresh token, for a client's id and secret (form, JSON or HTTP Basic).

    In JSON `grant_type` may be left out, and names may be in camel case. With `grant_type=refresh_token` this is
    `/refresh`.
    """
    kind = asked.get("grant_type") or (CLIENT_CREDENTIALS if asked.is_json else None)
    if kind == REFRESH_TOKEN:
        return await _refreshed(request, response, asked, grants)
    granted = await run_in_threadpool(_issued, request, asked, grants, kind)
    return _answer(response, granted)


@router.post(
    "/refresh",
    summary="Other tokens for a refresh token",
    responses=REFUSALS,
    dependencies=[Security(BASIC)],
    openapi_extra=_body(
        {"grant_type": {"type": "string", "enum": [REFRESH_TOKEN]}, **REFRESH_FIELD, **SCOPE_FIELD}, "refresh_token"
    ),
)
async def refresh(request: Request, response: Response, asked: Asked, grants: Granting) -> TokenAnswer:
    """New tokens for a refresh token, which is thereby spent: the answer has the next.

    A refresh token that comes again ends all tokens that came of the same log-in.
    """
    if asked.get("grant_type") not in {None, REFRESH_TOKEN}:
        raise oauth_problem("unsupported_grant_type", f"Here grant_type is {REFRESH_TOKEN}, or left out.")
    return await _refreshed(request, response, asked, grants)


@router.post(
    "/revoke",
    summary="End a token",
    responses=REFUSALS,
    dependencies=[Security(BASIC)],
    response_class=Response,
    openapi_extra=_body(
        {
            "token": {"type": "string", "minLength": 1, "description": "An access or a refresh token."},
            "token_type_hint": {"type": "string", "description": "What it is; not needed.", "example": REFRESH_TOKEN},
        },
        "token",
    ),
)
async def revoke(request: Request, asked: Asked, grants: Granting) -> Response:
    """End an access token, or a refresh token with all that came of the same log-in. Also 200 for one not known."""
    now = request.app.state.now()

    def revoked() -> None:
        client = grants.client(asked.credentials)
        grants.revoke(client, asked.required("token"), now=now)

    await run_in_threadpool(revoked)
    return Response(status_code=HTTPStatus.OK, headers=NOT_KEPT)


@router.get("/.well-known/jwks.json", summary="The keys that verify access tokens")
async def jwks(request: Request, response: Response) -> KeySet:
    """The public keys as a JWK Set; an access token's header names its key's `kid`."""
    response.headers.update(KEPT_FIVE_MINUTES)
    return KeySet(**request.app.state.tokens.keys.jwks())


def _issued(request: Request, asked: TokenRequest, grants: Grants, kind: str | None) -> Granted:
    # First who asks: what is wrong with a request is the business of clients.
    client = grants.client(asked.credentials)
    if kind is None:
        raise oauth_problem("invalid_request", f"The parameter grant_type is missing: {CLIENT_CREDENTIALS}.")
    if kind != CLIENT_CREDENTIALS:
        raise oauth_problem("unsupported_grant_type", f"grant_type is {CLIENT_CREDENTIALS} or {REFRESH_TOKEN}.")
    return grants.issue(client, asked.get("scope"), now=request.app.state.now())


async def _refreshed(request: Request, response: Response, asked: TokenRequest, grants: Grants) -> TokenAnswer:
    spent, now = asked.required("refresh_token"), request.app.state.now()
    granted = await run_in_threadpool(grants.refresh, asked.credentials, spent, asked.get("scope"), now=now)
    return _answer(response, granted)


def _answer(response: Response, granted: Granted) -> TokenAnswer:
    response.headers.update(NOT_KEPT)
    return TokenAnswer(**asdict(granted))
