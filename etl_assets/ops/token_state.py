"""Refresh tokens and their families, and what was revoked before its time.

All refresh tokens that come of one log-in are a **family**; of them one is unspent. A refresh token is kept as its
SHA-256 alone: it has 256 random bits, so that nothing is gained by a slower hash.

Nothing here reads the clock; instants are aware.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update

from etl_assets.ops.database import begin, begin_alone, upsert_row
from etl_assets.ops.tables import REFRESH_TOKENS, REVOKED_TOKENS
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

_TOKEN = REFRESH_TOKENS.c


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """What is known of a refresh token; the token itself is not."""

    token_hash: str = field(repr=False)
    family: str
    client_id: str
    scopes: frozenset[str]
    issued_at: datetime
    expires_at: datetime
    spent_at: datetime | None = None
    revoked_at: datetime | None = None


def hash_of(token: str) -> str:
    """A token's SHA-256 in hexadecimal digits, by which it is found."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def record_refresh_token(settings: Settings, token: RefreshToken) -> None:
    """Put a refresh token on record: the first of its family."""
    with begin(settings) as connection:
        _insert(connection, token)


def find_refresh_token(settings: Settings, token: str) -> RefreshToken | None:
    """What is known of a refresh token; None where nothing is, or no more."""
    query = select(REFRESH_TOKENS).where(_TOKEN.token_hash == hash_of(token))
    with begin(settings) as connection:
        row = connection.execute(query).mappings().first()
    return None if row is None else RefreshToken(**{**row, "scopes": frozenset(row["scopes"].split())})


def exchange(
    settings: Settings, spent: RefreshToken, successor: RefreshToken, *, now: datetime, access_until: datetime
) -> bool:
    """Spend a refresh token and put its successor on record; False where it was spent or revoked before.

    Then somebody has it who should not, and who of the two cannot be told: the family is revoked (RFC 9700, 4.14.2),
    with its access tokens, which would have ended by ``access_until``. Of two at once exactly one wins. The
    revocation is remembered for REFRESH_TOKEN_LIFE.
    """
    with begin_alone(settings, f"tokens of {spent.family}") as connection:
        unspent = (_TOKEN.token_hash == spent.token_hash, _TOKEN.spent_at.is_(None), _TOKEN.revoked_at.is_(None))
        won = connection.execute(update(REFRESH_TOKENS).where(*unspent).values(spent_at=now)).rowcount == 1
        if won:
            _insert(connection, successor)
        else:
            _revoke(connection, spent.family, now, _kept_until(settings, now, access_until))
    return won


def revoke_family(settings: Settings, family: str, *, now: datetime, access_until: datetime) -> None:
    """End all refresh tokens of a family, and its access tokens, which would have ended by ``access_until``."""
    with begin_alone(settings, f"tokens of {family}") as connection:
        _revoke(connection, family, now, _kept_until(settings, now, access_until))


def revoke_access(settings: Settings, token_id: str, *, until: datetime) -> None:
    """End an access token, which would have ended by ``until``."""
    with begin(settings) as connection:
        upsert_row(connection, REVOKED_TOKENS, {"jti": token_id, "expires_at": until})


def revoked_ids(settings: Settings) -> frozenset[str]:
    """Ids of the access tokens, and of the families, that were revoked and would not yet have ended by themselves.

    Both are random, so that one set holds them.
    """
    with begin(settings) as connection:
        return frozenset(connection.execute(select(REVOKED_TOKENS.c.jti)).scalars())


def forget_tokens(settings: Settings, *, now: datetime) -> int:
    """Remove what has expired, and so is refused anyway; returns how many rows went."""
    expired = (
        delete(REFRESH_TOKENS).where(_TOKEN.expires_at <= now),
        delete(REVOKED_TOKENS).where(REVOKED_TOKENS.c.expires_at <= now),
    )
    with begin(settings) as connection:
        return sum(connection.execute(statement).rowcount for statement in expired)


def joined(scopes: Iterable[str]) -> str:
    """Scopes as OAuth writes them: sorted, with blanks between."""
    return " ".join(sorted(scopes))


def _insert(connection: "Connection", token: RefreshToken) -> None:
    connection.execute(
        insert(REFRESH_TOKENS).values(
            token_hash=token.token_hash,
            family=token.family,
            client_id=token.client_id,
            scopes=joined(token.scopes),
            issued_at=token.issued_at,
            expires_at=token.expires_at,
        )
    )


def _kept_until(settings: Settings, now: datetime, access_until: datetime) -> datetime:
    """As long as any token of the family may be about, not only the access tokens that are there now."""
    return max(access_until, now + settings.refresh_token_life)


def _revoke(connection: "Connection", family: str, now: datetime, until: datetime) -> None:
    alive = (_TOKEN.family == family, _TOKEN.revoked_at.is_(None))
    connection.execute(update(REFRESH_TOKENS).where(*alive).values(revoked_at=now))
    upsert_row(connection, REVOKED_TOKENS, {"jti": family, "expires_at": until})
