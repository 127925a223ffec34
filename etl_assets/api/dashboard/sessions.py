"""Sessions of people at the page: a signed token in a cookie that scripts cannot read.

It is signed by the keys of the access tokens and is none: its type and audience are its own, so that neither stands
for the other. It ends after eight hours, when the person signs out, and when its client is configured no more or may
no longer read.
"""

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from joserfc import jws
from joserfc.errors import JoseError

from etl_assets.api.clients import READING, Client
from etl_assets.api.tokens import COMPACT, LEEWAY, LONGEST_TOKEN
from etl_assets.ops.token_state import revoke_access

if TYPE_CHECKING:
    from etl_assets.api.tokens import Tokens
    from etl_assets.settings import Settings

COOKIE = "etl_assets_session"
TYPE = "session+jwt"
LIFE = timedelta(hours=8)
"""A working day."""


class NoSessionError(Exception):
    """What was sent is no session, or none that is good any more; the message says which."""


class SessionClaims(msgspec.Struct, frozen=True):
    """What a session says; times in epoch seconds."""

    iss: str
    aud: str
    sub: str
    iat: int
    exp: int
    jti: str


class Sessions:
    """Begins, verifies and ends sessions."""

    def __init__(self, settings: "Settings", tokens: "Tokens") -> None:
        self._settings = settings
        self._tokens = tokens
        self._audience = f"{settings.token_audience}/dashboard"

    def begin(self, client: Client, *, now: datetime) -> str:
        """The token of a new session of a client."""
        moment = int(now.timestamp())
        claims = SessionClaims(
            iss=self._settings.token_issuer,
            aud=self._audience,
            sub=client.id,
            iat=moment,
            exp=moment + int(LIFE.total_seconds()),
            jti=secrets.token_hex(16),
        )
        return self._tokens.keys.signing.sign(msgspec.json.encode(claims), kind=TYPE)

    def verified(self, text: str, *, now: datetime) -> SessionClaims:
        """What a session says, if it is good. Raises ``NoSessionError``.

        What was revoked is as of the last look of ``Tokens.revocations``, which its caller renews.
        """
        claims = self._signed(text)
        if not claims.iat - LEEWAY.total_seconds() <= now.timestamp() < claims.exp:
            raise NoSessionError("The session has ended")
        client = self._tokens.clients.get(claims.sub)
        if client is None or not client.scopes >= READING:
            raise NoSessionError("The session's client may not read any more")
        if self._tokens.revocations.include(claims.jti):
            raise NoSessionError("The session has ended")
        return claims

    def end(self, text: str) -> None:
        """End a session, on record, so that a copy of its cookie is no good either. What is none is no error."""
        try:
            claims = self._signed(text)
        except NoSessionError:
            return
        revoke_access(self._settings, claims.jti, until=datetime.fromtimestamp(claims.exp, UTC))
        self._tokens.revocations.have_changed()

    def _signed(self, text: str) -> SessionClaims:
        """The claims of a session that was begun here, good or not any more."""
        if len(text) > LONGEST_TOKEN or not COMPACT.fullmatch(text):
            raise NoSessionError("What was sent is no session")
        try:
            header = jws.extract_compact(text.encode()).headers()
            key = self._tokens.keys.get(str(header.get("kid")))
            if key is None or header != {"alg": key.algorithm, "kid": key.kid, "typ": TYPE}:
                raise NoSessionError("What was sent is no session")
            claims = msgspec.json.decode(key.verified(text), type=SessionClaims)
        except (JoseError, ValueError, json.JSONDecodeError, RecursionError, msgspec.MsgspecError):
            raise NoSessionError("What was sent is no session") from None
        if (claims.iss, claims.aud) != (self._settings.token_issuer, self._audience):
            raise NoSessionError("What was sent is no session")
        return claims
