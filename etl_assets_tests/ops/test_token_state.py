"""Refresh tokens, their families, and what was revoked."""

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

from etl_assets.market_time import NEM_TIME
from etl_assets.ops.database import begin
from etl_assets.ops.state import copies_for_analysts, forget_old
from etl_assets.ops.tables import REFRESH_TOKENS, REVOKED_TOKENS
from etl_assets.ops.token_state import (
    RefreshToken,
    exchange,
    find_refresh_token,
    forget_tokens,
    hash_of,
    record_refresh_token,
    revoke_access,
    revoke_family,
    revoked_ids,
)

HOUR = timedelta(hours=1)

EXCHANGING = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from etl_assets.ops.token_state import RefreshToken, exchange, find_refresh_token, hash_of
from etl_assets.settings import Settings

settings, number = Settings(_env_file=None, etl_data=Path(sys.argv[1])), sys.argv[2]
spent = find_refresh_token(settings, "first")
print("ready", flush=True)
sys.stdin.readline()
now = datetime(2026, 11, 22, 2, tzinfo=UTC)
successor = RefreshToken(hash_of(number), spent.family, "a", spent.scopes, now, now + timedelta(hours=1))
print(exchange(settings, spent, successor, now=now, access_until=now + timedelta(hours=1)))
"""


def token(text: str, now, family: str = "f", **more: object) -> RefreshToken:
    made = RefreshToken(hash_of(text), family, "a", frozenset({"read:data", "operator"}), now, now + HOUR)
    return replace(made, **more)


def spend(settings, old: str, new: str, now) -> bool:
    until = now + timedelta(minutes=15)
    return exchange(settings, find_refresh_token(settings, old), token(new, now), now=now, access_until=until)


def test_a_refresh_token_is_found_by_itself_and_by_nothing_that_is_stored(settings, now):
    record_refresh_token(settings, token("first", now.astimezone(NEM_TIME)))

    assert find_refresh_token(settings, "first") == token("first", now)
    assert find_refresh_token(settings, hash_of("first")) is None
    # FIPS 180-4's SHA-256 of "first", by another implementation.
    assert hash_of("first") == "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e"
    with begin(settings) as connection:
        stored = connection.execute(REFRESH_TOKENS.select()).all()
    assert "first" not in str(stored)


def test_an_exchange_spends_the_token_and_records_its_successor(settings, now):
    record_refresh_token(settings, token("first", now))

    assert spend(settings, "first", "second", now)

    assert find_refresh_token(settings, "first").spent_at == now
    assert find_refresh_token(settings, "second") == token("second", now)
    assert revoked_ids(settings) == set()


def test_a_token_that_comes_again_revokes_its_family_and_no_other(settings, now):
    for text, family in (("first", "f"), ("other", "g")):
        record_refresh_token(settings, token(text, now, family))
    spend(settings, "first", "second", now)

    assert not spend(settings, "first", "third", now + HOUR / 2)

    assert find_refresh_token(settings, "third") is None
    assert find_refresh_token(settings, "second").revoked_at == now + HOUR / 2
    assert not spend(settings, "second", "fourth", now + HOUR / 2)
    assert revoked_ids(settings) == {"f"}
    assert find_refresh_token(settings, "other").revoked_at is None


def test_of_processes_that_exchange_one_token_at_once_one_wins_and_the_family_is_revoked(settings, now):
    record_refresh_token(settings, token("first", now))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    line = [sys.executable, "-c", EXCHANGING, str(settings.etl_data)]
    started = [subprocess.Popen([*line, str(number)], text=True, **pipes) for number in range(3)]
    for each in started:
        assert each.stdout.readline() == "ready\n"
    for each in started:
        each.stdin.write("\n")
        each.stdin.flush()

    won = [each.communicate()[0] for each in started]

    assert sorted(won) == ["False\n", "False\n", "True\n"]
    successor = find_refresh_token(settings, str(won.index("True\n")))
    assert successor.revoked_at == now
    assert revoked_ids(settings) == {"f"}


def test_a_family_can_be_revoked_twice_and_keeps_the_time_of_the_first(settings, now):
    record_refresh_token(settings, token("first", now))

    for later in (timedelta(), HOUR / 2):
        revoke_family(settings, "f", now=now + later, access_until=now + HOUR + later)

    assert find_refresh_token(settings, "first").revoked_at == now
    with begin(settings) as connection:
        kept = connection.execute(REVOKED_TOKENS.select()).all()
    assert kept == [("f", now + HOUR / 2 + timedelta(days=30))]


def test_that_a_family_is_revoked_is_remembered_as_long_as_its_refresh_tokens_may_be_about(settings, now):
    revoke_family(settings, "f", now=now, access_until=now + HOUR)

    forget_tokens(settings, now=now + settings.refresh_token_life - timedelta(microseconds=1))
    assert revoked_ids(settings) == {"f"}
    forget_tokens(settings, now=now + settings.refresh_token_life)
    assert revoked_ids(settings) == set()


def test_what_has_expired_is_forgotten_and_nothing_before(settings, now):
    record_refresh_token(settings, token("first", now))
    revoke_access(settings, "j", until=now + HOUR)

    early = forget_tokens(settings, now=now + HOUR - timedelta(microseconds=1))
    assert (early, revoked_ids(settings)) == (0, {"j"})

    assert forget_old(settings, now=now + HOUR) == 2
    assert (find_refresh_token(settings, "first"), revoked_ids(settings)) == (None, set())


def test_nothing_of_tokens_is_among_what_analysts_are_given(settings, now):
    record_refresh_token(settings, token("first", now))
    revoke_access(settings, "j", until=now + HOUR)

    given = copies_for_analysts(settings)

    assert not {each.name for each in given} & {REFRESH_TOKENS.name, REVOKED_TOKENS.name}
    assert hash_of("first") not in str(given)
