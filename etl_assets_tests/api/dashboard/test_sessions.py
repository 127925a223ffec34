"""Sessions: signed by the keys of access tokens, and never one for the other."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from etl_assets.api.clients import Client, Scope
from etl_assets.api.dashboard.sessions import LIFE, NoSessionError, Sessions
from etl_assets.api.tokens import InvalidTokenError, Tokens
from etl_assets.settings import Settings
from etl_assets_tests.api.authority import NOW, configured, jwk

SECOND = timedelta(seconds=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return configured(tmp_path, jwk("ES256"))


@pytest.fixture
def tokens(settings: Settings) -> Tokens:
    return Tokens.configured(settings)


@pytest.fixture
def sessions(settings: Settings, tokens: Tokens) -> Sessions:
    return Sessions(settings, tokens)


def reader(tokens: Tokens) -> Client:
    found = tokens.clients.get("reader")
    assert found is not None
    return found


def test_a_session_is_good_for_eight_hours(sessions: Sessions, tokens: Tokens) -> None:
    token = sessions.begin(reader(tokens), now=NOW)

    assert sessions.verified(token, now=NOW + LIFE - SECOND).sub == "reader"
    with pytest.raises(NoSessionError, match="ended"):
        sessions.verified(token, now=NOW + LIFE)


def test_a_session_is_no_access_token(sessions: Sessions, tokens: Tokens) -> None:
    with pytest.raises(InvalidTokenError):
        tokens.verified(sessions.begin(reader(tokens), now=NOW), now=NOW)


def test_an_access_token_is_no_session(sessions: Sessions, tokens: Tokens) -> None:
    token = tokens.issue_alone(reader(tokens), frozenset(Scope), now=NOW).text

    with pytest.raises(NoSessionError):
        sessions.verified(token, now=NOW)


@pytest.mark.parametrize("change", [{"aud": "etl-assets-api"}, {"iss": "another"}, {"sub": 5}, {"exp": None}])
def test_a_token_of_the_right_type_with_other_claims_is_no_session(
    sessions: Sessions, tokens: Tokens, change: dict[str, object]
) -> None:
    moment = int(NOW.timestamp())
    claims = {"iss": "etl-assets", "aud": "etl-assets-api/dashboard", "sub": "reader", "iat": moment,
              "exp": moment + 60, "jti": "j"}  # fmt: skip
    sign = tokens.keys.signing.sign
    assert sessions.verified(sign(json.dumps(claims).encode(), kind="session+jwt"), now=NOW).jti == "j"

    with pytest.raises(NoSessionError):
        sessions.verified(sign(json.dumps(claims | change).encode(), kind="session+jwt"), now=NOW)


def test_a_session_of_other_keys_is_none(sessions: Sessions, tmp_path: Path) -> None:
    strange = configured(tmp_path / "other", jwk("ES256", 1))
    theirs = Tokens.configured(strange)

    with pytest.raises(NoSessionError):
        sessions.verified(Sessions(strange, theirs).begin(reader(theirs), now=NOW), now=NOW)


def test_a_session_ends_with_its_client(sessions: Sessions, tokens: Tokens, settings: Settings) -> None:
    token = sessions.begin(reader(tokens), now=NOW)
    without = settings.model_copy(update={"client_ids": type(settings.client_ids)("page")})

    with pytest.raises(NoSessionError, match="client"):
        Sessions(without, Tokens.configured(without)).verified(token, now=NOW)


def test_a_session_ends_when_its_client_may_read_no_more(
    sessions: Sessions, tokens: Tokens, settings: Settings
) -> None:
    token = sessions.begin(reader(tokens), now=NOW)
    less = json.dumps([{"id": "reader", "secret": "s", "scopes": ["read:data"]}])
    narrowed = settings.model_copy(update={"client_ids": type(settings.client_ids)(less)})

    with pytest.raises(NoSessionError, match="client"):
        Sessions(narrowed, Tokens.configured(narrowed)).verified(token, now=NOW)


def test_a_session_that_was_ended_is_over(sessions: Sessions, tokens: Tokens) -> None:
    token = sessions.begin(reader(tokens), now=NOW)

    sessions.end(token)
    tokens.revocations.renew(NOW)

    with pytest.raises(NoSessionError, match="ended"):
        sessions.verified(token, now=NOW)


@pytest.mark.parametrize("text", ["", "a.b.c", "..", "x" * 9000, "é.é.é", "eyJhbGciOiJub25lIn0.e30.", "e30.e30.e30"])
def test_nonsense_is_no_session_and_ends_none(sessions: Sessions, text: str) -> None:
    with pytest.raises(NoSessionError):
        sessions.verified(text, now=NOW)
    sessions.end(text)
