"""Access tokens: what they say, how long they are good, what ends them."""

import base64
import json
from datetime import timedelta

import jwt
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from etl_assets.api.keys import KeyRing, parse_keys
from etl_assets.api.tokens import Fault, InvalidTokenError, Tokens, ends_at, new_family
from etl_assets.ops.token_state import revoke_access
from etl_assets_tests.api.authority import NOW, configured, jwk, jwk_text

SECOND = timedelta(seconds=1)
FOUR = [jwk_text(algorithm) for algorithm in ("RS256", "ES256", "ES384", "EdDSA")]


@pytest.fixture
def tokens(tmp_path) -> Tokens:
    return Tokens.configured(configured(tmp_path, jwk("ES256")))


@pytest.fixture
def issue(tokens):
    def issue(client_id: str = "reader", family: str = "f"):
        client = tokens.clients.get(client_id)
        return tokens.issue(client, client.scopes, now=NOW, family=family)

    return issue


def fault(tokens: Tokens, text: str, now=NOW) -> Fault | None:
    try:
        tokens.verified(text, now=now)
    except InvalidTokenError as error:
        return error.fault
    return None


def part(text: str, number: int) -> dict:
    encoded = text.split(".")[number]
    return json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))


def test_a_token_says_who_may_do_what_until_when(tokens, issue):
    token = issue("operator")

    assert part(token.text, 0) == {"alg": "ES256", "kid": "ES256-0", "typ": "at+jwt"}
    payload = part(token.text, 1)
    assert len(payload.pop("jti")) == 32
    assert payload == {
        "iss": "etl-assets",
        "aud": "etl-assets-api",
        "sub": "operator",
        "client_id": "operator",
        # 2026-11-22 02:00 UTC
        "iat": 1_795_312_800,
        "nbf": 1_795_312_800,
        "exp": 1_795_312_800 + 900,
        "fam": "f",
        "scope": "operator read:data read:timeseries",
    }
    assert tokens.verified(token.text, now=NOW).scopes == {"operator", "read:data", "read:timeseries"}


def test_no_two_tokens_or_families_have_the_same_id(issue):
    assert len({issue().claims.jti for _ in range(50)} | {new_family() for _ in range(50)}) == 100


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-31, Fault.TOO_EARLY),
        (-30, None),
        (0, None),
        (900, None),
        (929, None),
        (930, Fault.EXPIRED),
        (10**9, Fault.EXPIRED),
    ],
)
def test_a_token_is_good_for_its_life_give_or_take_thirty_seconds(tokens, issue, seconds, expected):
    token = issue()

    assert fault(tokens, token.text, NOW + seconds * SECOND) is expected
    # And again, now that its signature is known.
    assert fault(tokens, token.text, NOW + seconds * SECOND) is expected
    assert ends_at(token.claims) == NOW + 930 * SECOND == tokens.accepted_until(NOW)


def test_what_this_process_revokes_is_refused_at_once(tokens, issue):
    token, other = issue(), issue()
    assert fault(tokens, token.text) is None

    revoke_access(tokens._settings, token.claims.jti, until=ends_at(token.claims))
    tokens.revocations.have_changed()

    assert (fault(tokens, token.text), fault(tokens, other.text)) == (Fault.REVOKED, None)


def test_what_another_process_revokes_is_refused_within_a_second(tokens, issue):
    token = issue(family="stolen")
    assert fault(tokens, token.text) is None

    revoke_access(tokens._settings, "stolen", until=ends_at(token.claims))

    assert fault(tokens, token.text, NOW + 0.999 * SECOND) is None
    assert fault(tokens, token.text, NOW + SECOND) is Fault.REVOKED


def test_a_clock_that_was_set_back_does_not_keep_revocations_from_being_seen(tokens, issue):
    token = issue()
    assert fault(tokens, token.text, NOW + 600 * SECOND) is None

    revoke_access(tokens._settings, token.claims.jti, until=ends_at(token.claims))

    assert fault(tokens, token.text) is Fault.REVOKED


def test_the_database_is_asked_once_a_second_and_not_at_each_request(tokens, issue, monkeypatch):
    asked = []
    monkeypatch.setattr("etl_assets.api.tokens.revoked_ids", lambda settings: asked.append(settings) or frozenset())

    for n in range(100):
        tokens.verified(issue().text, now=NOW + n * SECOND / 50)

    assert len(asked) == 2


def test_a_token_of_a_client_that_was_removed_is_refused(tmp_path, issue):
    without = Tokens.configured(configured(tmp_path, jwk("ES256"), client_ids="page"))

    assert fault(without, issue().text) is Fault.CLIENT


def test_an_old_key_verifies_a_new_one_signs_and_a_removed_one_does_neither(tmp_path, issue):
    old = issue()
    both = Tokens.configured(configured(tmp_path, jwk("ES256"), jwk("RS256", 1)))
    only_new = Tokens.configured(configured(tmp_path, jwk("RS256", 1)))
    new = both.issue_alone(both.clients.get("reader"), frozenset(), now=NOW)

    assert part(new.text, 0)["kid"] == "RS256-1"
    assert (fault(both, old.text), fault(both, new.text)) == (None, None)
    assert (fault(only_new, old.text), fault(only_new, new.text)) == (Fault.NOT_OURS, None)


def test_outcomes_of_verifications_are_counted(tokens, issue):
    text = issue().text
    for each, now in ((text, NOW), (text, NOW), (text, NOW + timedelta(days=1)), ("x.y.z", NOW), ("x", NOW)):
        fault(tokens, each, now)

    assert tokens.outcomes == {"accepted": 2, "expired": 1, "malformed": 2}


def test_a_token_is_not_in_what_it_shows_of_itself(issue):
    token = issue()

    assert token.text not in f"{token!r} {token}"


@pytest.mark.parametrize("entry", FOUR)
def test_every_kind_of_key_makes_tokens_that_another_library_verifies(tmp_path, entry):
    key = json.loads(entry)
    tokens = Tokens.configured(configured(tmp_path, key))
    issued = tokens.issue_alone(tokens.clients.get("reader"), frozenset(), now=NOW)

    [shown] = KeyRing(parse_keys(f"[{entry}]")).jwks()["keys"]
    found = jwt.decode(
        issued.text,
        jwt.PyJWK(shown),
        algorithms=[key["alg"]],
        audience="etl-assets-api",
        issuer="etl-assets",
        options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
    )

    assert found["jti"] == issued.claims.jti


@pytest.fixture(scope="module")
def module_tokens(tmp_path_factory) -> Tokens:
    return Tokens.configured(configured(tmp_path_factory.mktemp("tokens"), jwk("ES256")))


SEGMENT = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", max_size=40)
HEADERS = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "jwk", "crit", "b64"]),
    st.none() | st.sampled_from(["ES256", "none", "HS256", "ES256-0", "at+jwt", "AT+JWT"]) | st.integers() | st.text(),
)


@hypothesis_settings(deadline=None, max_examples=300)
@given(
    st.text()
    | st.binary().map(lambda raw: raw.decode("latin-1"))
    | st.lists(SEGMENT, min_size=2, max_size=4).map(".".join)
    | st.tuples(
        HEADERS.map(lambda h: base64.urlsafe_b64encode(json.dumps(h).encode()).decode().rstrip("=")), SEGMENT, SEGMENT
    ).map(".".join)
)
def test_whatever_is_sent_for_a_token_is_refused_and_no_other_error(module_tokens, text):
    assert fault(module_tokens, text) in {Fault.MALFORMED, Fault.NOT_OURS}


@hypothesis_settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_token_of_which_one_character_is_another_is_refused(module_tokens, data):
    text = module_tokens.issue_alone(module_tokens.clients.get("reader"), frozenset(), now=NOW).text
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda c: c != text[place]))

    assert fault(module_tokens, text[:place] + other + text[place + 1 :]) in {Fault.MALFORMED, Fault.NOT_OURS}
