"""Access tokens: JSON Web Tokens (RFC 9068) that this service signs, and verifies at each request.

A token is refused unless it is a compact JWS of at most 8 KB whose header has ``alg``, ``kid`` and ``typ`` and nothing
else (no key, address or extension that a token brings along is looked at), signed by a key of the ring with that key's
own algorithm; for this issuer and audience; within its times, give or take 30 seconds; of a client that is configured;
and not revoked, neither itself (``jti``) nor the family that it came of (``fam``).

What a revocation ends is refused at once by the process that took it, and by others within a second.
How a client comes by a token is in ``grants.py``.
"""

import re
import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from threading import Lock
from typing import Self

import msgspec
from joserfc.errors import JoseError
from joserfc.util import urlsafe_b64decode

from etl_assets.api.clients import Client, Clients, Scope, load_clients
from etl_assets.api.keys import KeyRing, load_keys
from etl_assets.ops.token_state import joined, revoked_ids
from etl_assets.settings import Settings

TYPE = "at+jwt"
LONGEST_TOKEN = 8192
LEEWAY = timedelta(seconds=30)
"""Clocks of machines that share keys differ."""

REVOCATIONS_AGE = timedelta(seconds=1)
"""A look into the database costs a request more than the rest of its verification."""

KNOWN_TOKENS = 4096
"""Tokens whose signature was verified are known again: a program sends the same one for a quarter of an hour."""

COMPACT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)


class Fault(StrEnum):
    """Why a token is refused, as its sender is told."""

    MALFORMED = "The token is malformed"
    NOT_OURS = "The token was not signed by this service for this use"
    CLAIMS = "The token's claims are not those of this service"
    EXPIRED = "The token has expired"
    TOO_EARLY = "The token is not valid yet"
    REVOKED = "The token has been revoked"
    CLIENT = "The token's client may not use this service any more"


class InvalidTokenError(Exception):
    """A token is refused; ``fault`` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


class AccessClaims(msgspec.Struct, frozen=True):
    """What an access token says; times in epoch seconds, scopes with blanks between."""

    iss: str
    aud: str
    sub: str
    client_id: str
    iat: int
    nbf: int
    exp: int
    jti: str
    fam: str
    scope: str

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes, each by itself."""
        return frozenset(self.scope.split())


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    kid: str
    typ: str


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed token and what it says."""

    text: str
    claims: AccessClaims

    def __repr__(self) -> str:
        """Which token it is, and not the token."""
        return f"AccessToken(jti={self.claims.jti!r}, client_id={self.claims.client_id!r})"


class Revocations:
    """What was revoked, as of a second ago at most. Threads share one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ids: frozenset[str] = frozenset()
        self._read_at: datetime | None = None
        self._turn = Lock()

    def are_stale(self, now: datetime) -> bool:
        """Whether the database has to be asked again."""
        return self._read_at is None or abs(now - self._read_at) >= REVOCATIONS_AGE

    def renew(self, now: datetime) -> None:
        """Ask the database, if nobody has meanwhile."""
        with self._turn:
            if self.are_stale(now):
                self._ids = revoked_ids(self._settings)
                self._read_at = now

    def have_changed(self) -> None:
        """Something was revoked here: the next look asks the database."""
        # In turn, because a renewal at work may have read before that.
        with self._turn:
            self._read_at = None

    def include(self, *ids: str) -> bool:
        """Whether one of these is revoked."""
        return not self._ids.isdisjoint(ids)


class Tokens:
    """Signs and verifies access tokens. Threads share one.

    ``outcomes`` counts verifications: ``accepted``, and each fault by its name in lower case.
    """

    def __init__(self, settings: Settings, keys: KeyRing, clients: Clients) -> None:
        self._settings = settings
        self.keys = keys
        self.clients = clients
        self.revocations = Revocations(settings)
        self.outcomes: Counter[str] = Counter()
        self._known = lru_cache(maxsize=KNOWN_TOKENS)(self._claims_of)

    @classmethod
    def configured(cls, settings: Settings) -> Self:
        """With the keys and clients of the settings. Raises ``CredentialsError`` where they cannot be used."""
        return cls(settings, load_keys(settings), load_clients(settings))

    @property
    def life(self) -> timedelta:
        """How long an access token is good."""
        return self._settings.access_token_life

    def accepted_until(self, now: datetime) -> datetime:
        """By when every access token that there is now has ended."""
        return now + self.life + LEEWAY

    def issue(self, client: Client, scopes: frozenset[Scope], *, now: datetime, family: str) -> AccessToken:
        """A new access token, of a family."""
        moment = int(now.timestamp())
        claims = AccessClaims(
            iss=self._settings.token_issuer,
            aud=self._settings.token_audience,
            sub=client.id,
            client_id=client.id,
            iat=moment,
            nbf=moment,
            exp=moment + int(self.life.total_seconds()),
            jti=secrets.token_hex(16),
            fam=family,
            scope=joined(scopes),
        )
        return AccessToken(self.keys.signing.sign(msgspec.json.encode(claims), kind=TYPE), claims)

    def issue_alone(self, client: Client, scopes: frozenset[Scope], *, now: datetime) -> AccessToken:
        """A new access token that comes with no refresh token: of a family of its own."""
        return self.issue(client, scopes, now=now, family=new_family())

    def verified(self, text: str, *, now: datetime) -> AccessClaims:
        """What a token says, if it is good. Raises ``InvalidTokenError`` where it is not."""
        try:
            claims = self.signed(text)
            self._refuse_out_of_time(claims, now)
            self._refuse_revoked(claims, now)
        except InvalidTokenError as error:
            self.outcomes[error.fault.name.lower()] += 1
            raise
        self.outcomes["accepted"] += 1
        return claims

    def signed(self, text: str) -> AccessClaims:
        """What a token of ours says, good or not any more. Raises ``InvalidTokenError`` for one that is not ours."""
        if len(text) > LONGEST_TOKEN or not COMPACT.fullmatch(text):
            raise InvalidTokenError(Fault.MALFORMED)
        return self._known(text)

    def _claims_of(self, text: str) -> AccessClaims:
        header = _header_of(text)
        key = self.keys.get(header.kid)
        if key is None or header.alg != key.algorithm or header.typ.lower() != TYPE:
            raise InvalidTokenError(Fault.NOT_OURS)
        try:
            payload = key.verified(text)
        except (JoseError, ValueError):
            raise InvalidTokenError(Fault.NOT_OURS) from None
        try:
            claims = msgspec.json.decode(payload, type=AccessClaims)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise InvalidTokenError(Fault.CLAIMS) from None
        expected = (self._settings.token_issuer, self._settings.token_audience, claims.sub)
        if (claims.iss, claims.aud, claims.client_id) != expected:
            raise InvalidTokenError(Fault.CLAIMS)
        return claims

    def _refuse_out_of_time(self, claims: AccessClaims, now: datetime) -> None:
        moment, leeway = now.timestamp(), LEEWAY.total_seconds()
        if moment >= claims.exp + leeway:
            raise InvalidTokenError(Fault.EXPIRED)
        if moment < max(claims.nbf, claims.iat) - leeway:
            raise InvalidTokenError(Fault.TOO_EARLY)

    def _refuse_revoked(self, claims: AccessClaims, now: datetime) -> None:
        if self.clients.get(claims.client_id) is None:
            raise InvalidTokenError(Fault.CLIENT)
        if self.revocations.are_stale(now):
            self.revocations.renew(now)
        if self.revocations.include(claims.jti, claims.fam):
            raise InvalidTokenError(Fault.REVOKED)


def new_family() -> str:
    """The id of all tokens that are to come of one log-in: random, as a token's own."""
    return secrets.token_hex(16)


def ends_at(claims: AccessClaims) -> datetime:
    """When a token is accepted no more."""
    return datetime.fromtimestamp(claims.exp, UTC) + LEEWAY


def _header_of(text: str) -> _Header:
    try:
        return msgspec.json.decode(urlsafe_b64decode(text.partition(".")[0].encode()), type=_Header)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise InvalidTokenError(Fault.MALFORMED) from None
