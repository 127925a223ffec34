"""What a client gets for its credentials: tokens, others for a refresh token, and an end of both.

The grants are those of RFC 6749 (client credentials, refresh token), revocation that of RFC 7009. A refresh token is
good for one exchange, and each answer brings the next. One that comes a second time was stolen, by whoever used it
first or by whoever uses it now: its family is revoked, the access tokens included (RFC 9700, 4.14.2). That is so for a
client whose answer was lost too: it asks with its secret again.
"""

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus

from etl_assets.api.clients import Client, Clients, Scope
from etl_assets.api.problems import Problem
from etl_assets.api.tokens import InvalidTokenError, Tokens, ends_at, new_family
from etl_assets.ops.token_state import (
    RefreshToken,
    exchange,
    find_refresh_token,
    hash_of,
    joined,
    record_refresh_token,
    revoke_access,
    revoke_family,
)
from etl_assets.settings import Settings

logger = logging.getLogger(__name__)

REFRESH_TOKEN_BYTES = 32
BASIC_CHALLENGE = 'Basic realm="etl-assets", charset="UTF-8"'


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who a request says it is from; both None where it says nothing."""

    client_id: str | None = None
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Granted:
    """The answer to a request for tokens (RFC 6749, 5.1); ``expires_in`` is in seconds, of the access token."""

    access_token: str = field(repr=False)
    expires_in: int
    refresh_token: str = field(repr=False)
    scope: str


def oauth_problem(
    error: str, detail: str, status: int = HTTPStatus.BAD_REQUEST, headers: Mapping[str, str] | None = None
) -> Problem:
    """An error of RFC 6749, 5.2, that is a problem of RFC 9457 as well: clients of either kind understand it."""
    title = HTTPStatus(status).phrase
    return Problem(status, title, detail, headers=headers, error=error, error_description=detail)


def invalid_client() -> Problem:
    """The one answer to credentials that are missing, unknown or wrong."""
    detail = "The client's id and secret are not those of a client."
    challenge = {"WWW-Authenticate": BASIC_CHALLENGE}
    return oauth_problem("invalid_client", detail, HTTPStatus.UNAUTHORIZED, challenge)


class Grants:
    """Gives and takes tokens. Threads share one; a call hashes a secret, and so takes some 50 ms."""

    def __init__(self, settings: Settings, tokens: Tokens) -> None:
        self._settings = settings
        self._tokens = tokens

    @property
    def clients(self) -> Clients:
        """Who may ask."""
        return self._tokens.clients

    def client(self, credentials: Credentials) -> Client:
        """The client that the credentials are of. Raises ``Problem`` (401) where they are nobody's."""
        found = None
        if credentials.client_id is not None:
            found = self.clients.authenticated(credentials.client_id, credentials.secret)
        if found is None:
            # Not the id that was sent, which may be a secret in the wrong place.
            logger.warning("A client could not be authenticated")
            raise invalid_client()
        return found

    def issue(self, client: Client, asked: str | None, *, now: datetime) -> Granted:
        """Tokens of a new family. Raises ``Problem`` (400) for scopes that the client may not have."""
        scopes = _granted(asked, client.scopes)
        token, record = self._refresh_token(client, scopes, new_family(), now)
        record_refresh_token(self._settings, record)
        logger.info("Tokens for client %s: %s", client.id, joined(scopes))
        return self._answer(client, scopes, token, record, now)

    def refresh(self, credentials: Credentials, token: str, asked: str | None, *, now: datetime) -> Granted:
        """Other tokens of the same family, for a refresh token that is thereby spent.

        A client without a secret need not say who it is. The access token may have fewer scopes than the refresh
        token, never more; the next refresh token has the same. Raises ``Problem``: 401 where the client is not known,
        400 where the token is not good for it.
        """
        known = find_refresh_token(self._settings, token)
        client = self._refreshing(credentials, known)
        if known is None or known.client_id != client.id or known.expires_at <= now:
            raise oauth_problem("invalid_grant", "The refresh token is not one of this client's, or has expired.")
        scopes = _granted(asked, known.scopes & client.scopes)
        successor, record = self._refresh_token(client, known.scopes, known.family, now)
        until = self._tokens.accepted_until(now)
        if not exchange(self._settings, known, record, now=now, access_until=until):
            self._tokens.revocations.have_changed()
            logger.warning("A refresh token of client %s came again: all tokens of its family are revoked", client.id)
            raise oauth_problem("invalid_grant", "The refresh token was used before, or revoked: ask with the secret.")
        logger.info("Tokens refreshed for client %s: %s", client.id, joined(scopes))
        return self._answer(client, scopes, successor, record, now)

    def revoke(self, client: Client, token: str, *, now: datetime) -> None:
        """End a token: an access token alone, a refresh token with all of its family. One not known is no error.

        Raises ``Problem`` (400) for a token of another client.
        """
        if (known := find_refresh_token(self._settings, token)) is not None:
            _refuse_anothers(known.client_id, client)
            until = self._tokens.accepted_until(now)
            revoke_family(self._settings, known.family, now=now, access_until=until)
        else:
            try:
                claims = self._tokens.signed(token)
            except InvalidTokenError:
                return
            _refuse_anothers(claims.client_id, client)
            revoke_access(self._settings, claims.jti, until=ends_at(claims))
        self._tokens.revocations.have_changed()
        logger.info("Client %s revoked a token", client.id)

    def _refreshing(self, credentials: Credentials, known: RefreshToken | None) -> Client:
        if credentials.client_id is None and known is not None:
            client = self.clients.get(known.client_id)
            if client is not None and client.secret is None:
                return client
        return self.client(credentials)

    def _refresh_token(
        self, client: Client, scopes: frozenset[str], family: str, now: datetime
    ) -> tuple[str, RefreshToken]:
        token = secrets.token_urlsafe(REFRESH_TOKEN_BYTES)
        until = now + self._settings.refresh_token_life
        return token, RefreshToken(hash_of(token), family, client.id, scopes, now, until)

    def _answer(
        self, client: Client, scopes: frozenset[Scope], refresh_token: str, record: RefreshToken, now: datetime
    ) -> Granted:
        access = self._tokens.issue(client, scopes, now=now, family=record.family)
        return Granted(access.text, int(self._tokens.life.total_seconds()), refresh_token, joined(scopes))


def _granted(asked: str | None, allowed: frozenset[str]) -> frozenset[Scope]:
    """The scopes that were asked for; all where none were. Raises ``Problem`` for any that is not allowed."""
    names = frozenset((asked or "").split()) or allowed
    if not names or not names <= allowed:
        few = joined(allowed) or "none any more"
        raise oauth_problem("invalid_scope", f"The scopes that can be asked for here: {few}.")
    return frozenset(Scope(name) for name in names)


def _refuse_anothers(owner: str, client: Client) -> None:
    if owner != client.id:
        raise oauth_problem("invalid_grant", "The token was issued to another client.")
