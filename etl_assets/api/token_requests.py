"""Requests for tokens as clients send them: a form (RFC 6749), JSON with the same names or in camel case, HTTP Basic.

A parameter that is there twice is refused: of two values, two readers may take different ones. What is empty counts as
not sent, and what is not known is ignored, both by RFC 6749, 3.2. Nothing is taken from the address, which ends up in
logs.
"""

import base64
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote_plus

from fastapi import Request

from etl_assets.api.grants import Credentials, invalid_client, oauth_problem
from etl_assets.api.problems import Problem

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

LONGEST_BODY = 16_384
"""The longest that a request brings is an access token of 8 KB, to be revoked."""

PARAMETERS = frozenset(
    {"grant_type", "client_id", "client_secret", "refresh_token", "token", "token_type_hint", "scope"}
)
CAMEL_CASE = {
    "grantType": "grant_type",
    "clientId": "client_id",
    "clientSecret": "client_secret",
    "refreshToken": "refresh_token",
    "tokenTypeHint": "token_type_hint",
}
"""As clients written for the predecessor's Workers send them."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What was sent: parameters by their OAuth names, the client's credentials apart."""

    parameters: Mapping[str, str] = field(repr=False)
    credentials: Credentials
    is_json: bool

    def get(self, name: str) -> str | None:
        """A parameter; None where it was not sent, or is empty."""
        return self.parameters.get(name) or None

    def required(self, name: str) -> str:
        """A parameter. Raises ``Problem`` (400) where it was not sent."""
        value = self.get(name)
        if value is None:
            raise oauth_problem("invalid_request", f"The parameter {name} is missing.")
        return value


async def token_request(request: Request) -> TokenRequest:
    """What a request for tokens says.

    Raises ``Problem``: 400 where it cannot be understood, 413 where it is too long, 415 where it is neither form nor
    JSON, 401 for an ``Authorization`` that is not HTTP Basic.
    """
    if request.url.query:
        raise oauth_problem("invalid_request", "Parameters belong in the body, not in the address.")
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind not in {FORM, JSON}:
        raise _refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The body is neither {FORM} nor {JSON}.")
    body = await _body(request)
    parameters = _json(body) if kind == JSON else _form(body)
    return TokenRequest(parameters, _credentials(request, parameters), is_json=kind == JSON)


def _refusal(status: HTTPStatus, detail: str) -> Problem:
    return Problem(status, status.phrase, detail)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_BODY:
            detail = f"The body of a request for tokens has at most {LONGEST_BODY} bytes."
            raise _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    return bytes(body)


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    except ValueError:
        raise oauth_problem("invalid_request", "The body is no form in UTF-8.") from None
    return _each_once(pairs)


def _json(body: bytes) -> dict[str, str]:
    try:
        found = json.loads(body, object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        raise oauth_problem("invalid_request", "The body is not JSON.") from None
    if not isinstance(found, dict):
        raise oauth_problem("invalid_request", "The body is no JSON object.")
    given = {name: value for name, value in found.items() if value is not None}
    for name, value in given.items():
        if not isinstance(value, str):
            raise oauth_problem("invalid_request", f"The parameter {name} is not a text.")
    return given


def _each_once(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What is known of pairs, by OAuth names. Raises ``Problem`` for a name that is there twice, in either spelling."""
    named = [(CAMEL_CASE.get(name, name), value) for name, value in pairs]
    known = [(name, value) for name, value in named if name in PARAMETERS]
    for name, times in Counter(name for name, _ in known).items():
        if times > 1:
            raise oauth_problem("invalid_request", f"The parameter {name} is there twice.")
    return dict(known)


def _credentials(request: Request, parameters: Mapping[str, str]) -> Credentials:
    in_body = Credentials(parameters.get("client_id") or None, parameters.get("client_secret") or None)
    sent = request.headers.getlist("Authorization")
    if not sent:
        return in_body
    by_header = _basic(sent[0])
    if len(sent) > 1 or in_body.secret is not None or in_body.client_id not in {None, by_header.client_id}:
        raise oauth_problem("invalid_request", "The client says in two ways who it is; send HTTP Basic or the fields.")
    return by_header


def _basic(header: str) -> Credentials:
    """The credentials of an ``Authorization`` header; both parts are encoded as in forms (RFC 6749, 2.3.1)."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        raise invalid_client()
    try:
        client_id, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        parts = [unquote_plus(part, errors="strict") for part in (client_id, secret)]
    except ValueError:
        raise invalid_client() from None
    if not colon or not parts[0]:
        raise invalid_client()
    return Credentials(parts[0], parts[1] or None)
