"""Tokens that somebody else made, or that are good no more: each is refused, with its status and its challenge."""

import base64
import hashlib
import hmac
import json
from datetime import timedelta

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from etl_assets_tests.api.authority import NOW, Service, configured, jwk, token_service

MOMENT = 1_795_312_800
"""2026-11-22 02:00 UTC"""

MALFORMED = "The token is malformed"
NOT_OURS = "The token was not signed by this service for this use"
CLAIMS = "The token's claims are not those of this service"
EXPIRED = "The token has expired"
TOO_EARLY = "The token is not valid yet"

GOOD = {
    "iss": "etl-assets",
    "aud": "etl-assets-api",
    "sub": "reader",
    "client_id": "reader",
    "iat": MOMENT,
    "nbf": MOMENT,
    "exp": MOMENT + 900,
    "jti": "j",
    "fam": "f",
    "scope": "read:data",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service that signs with RSA, and verifies with EC as well."""
    with token_service(configured(tmp_path_factory.mktemp("forged"), jwk("ES256"), jwk("RS256"))) as service:
        yield service


def encoded(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def private(key: dict) -> object:
    return jwt.PyJWK({**key}).key


def signed(claims: object = None, key: dict | None = None, **header: object) -> str:
    """A token signed by PyJWT; by the service's own key unless another is given."""
    key = key or jwk("RS256")
    whole = {"typ": "at+jwt", "kid": "RS256-0", **header}
    payload = json.dumps(GOOD if claims is None else claims).encode()
    kept = {name: value for name, value in whole.items() if value is not None}
    return jwt.api_jws.encode(payload, private(key), algorithm=key["alg"], headers=kept)


def without(name: str) -> dict:
    return {key: value for key, value in GOOD.items() if key != name}


def by_hmac(secret: bytes, **header: object) -> str:
    signing = f"{encoded({'alg': 'HS256', 'typ': 'at+jwt', 'kid': 'RS256-0', **header})}.{encoded(GOOD)}"
    return f"{signing}.{encoded(hmac.new(secret, signing.encode(), hashlib.sha256).digest())}"


def public_pem(key: dict) -> bytes:
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return private(key).public_key().public_bytes(serialization.Encoding.PEM, spki)


def unsigned(alg: object, signature: str = "") -> str:
    return f"{encoded({'alg': alg, 'typ': 'at+jwt', 'kid': 'RS256-0'})}.{encoded(GOOD)}.{signature}"


def tampered(place: int, **changes: object) -> str:
    parts = signed().split(".")
    now = json.loads(base64.urlsafe_b64decode(parts[place] + "=="))
    parts[place] = encoded({**now, **changes})
    return ".".join(parts)


def public_jwk(key: dict) -> dict:
    return {name: key[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in key}


def named_twice() -> str:
    """A header that names two algorithms, of which a careless reader takes the first."""
    _, payload, signature = signed().split(".")
    header = encoded(b'{"alg":"none","alg":"RS256","kid":"RS256-0","typ":"at+jwt"}')
    return f"{header}.{payload}.{signature}"


STRANGER, STRANGER_EC = jwk("RS256", 9), jwk("ES256", 9)

FORGED = {
    "another key with the same kid": (lambda: signed(key=STRANGER), NOT_OURS),
    "a kid that there is not": (lambda: signed(key=STRANGER, kid="RS256-9"), NOT_OURS),
    "no kid": (lambda: signed(kid=None), MALFORMED),
    "a kid that is a path": (lambda: signed(key=STRANGER, kid="../../etc/passwd"), NOT_OURS),
    "a kid that is SQL": (lambda: signed(key=STRANGER, kid="x' UNION SELECT 'k"), NOT_OURS),
    "a kid that is a list": (
        lambda: f"{encoded({'alg': 'RS256', 'kid': ['RS256-0'], 'typ': 'at+jwt'})}.e30.e30",
        MALFORMED,
    ),
    "none": (lambda: unsigned("none"), MALFORMED),
    "none with a signature": (lambda: unsigned("none", "e30"), NOT_OURS),
    "None, as some readers miss it": (lambda: unsigned("nOnE", signed().split(".")[2]), NOT_OURS),
    "no algorithm": (lambda: unsigned(None, "e30"), MALFORMED),
    "the public key as an HMAC secret": (lambda: by_hmac(public_pem(jwk("RS256"))), NOT_OURS),
    "the same without its last line break": (lambda: by_hmac(public_pem(jwk("RS256")).strip()), NOT_OURS),
    "the public JWK as an HMAC secret": (lambda: by_hmac(json.dumps(public_jwk(jwk("RS256"))).encode()), NOT_OURS),
    "an empty HMAC secret": (lambda: by_hmac(b""), NOT_OURS),
    "the EC key under the RSA key's id": (lambda: signed(key=jwk("ES256")), NOT_OURS),
    "the RSA key under the EC key's id": (lambda: signed(kid="ES256-0"), NOT_OURS),
    "RS256 that says ES256": (lambda: tampered(0, alg="ES256"), NOT_OURS),
    "RS256 that says PS256": (lambda: tampered(0, alg="PS256"), NOT_OURS),
    "RS256 that says RS512": (lambda: tampered(0, alg="RS512"), NOT_OURS),
    "a signature of zeros for EC": (
        lambda: f"{encoded({'alg': 'ES256', 'typ': 'at+jwt', 'kid': 'ES256-0'})}.{encoded(GOOD)}.{encoded(bytes(64))}",
        NOT_OURS,
    ),
    "an empty signature": (lambda: signed().rpartition(".")[0] + ".", MALFORMED),
    "no signature": (lambda: signed().rpartition(".")[0], MALFORMED),
    "half a signature": (lambda: signed()[:-100], NOT_OURS),
    "a payload with more scopes": (lambda: tampered(1, scope="operator read:data"), NOT_OURS),
    "a payload with another client": (lambda: tampered(1, sub="operator", client_id="operator"), NOT_OURS),
    "a payload that ends later": (lambda: tampered(1, exp=MOMENT + 10**6), NOT_OURS),
    "an algorithm named twice": (named_twice, NOT_OURS),
    "a key that it brings along": (
        lambda: signed(key=STRANGER, kid="RS256-9", jwk=public_jwk(STRANGER)),
        MALFORMED,
    ),
    "the same under our id": (lambda: signed(key=STRANGER_EC, kid="ES256-0", jwk=public_jwk(STRANGER_EC)), MALFORMED),
    "an address of keys": (lambda: signed(key=STRANGER, jku="http://127.0.0.1:9/jwks.json"), MALFORMED),
    "an address of a certificate": (lambda: signed(key=STRANGER, x5u="http://127.0.0.1:9/c"), MALFORMED),
    "a certificate": (lambda: signed(key=STRANGER, x5c=["MIIB"]), MALFORMED),
    "an extension that must be understood": (lambda: signed(crit=["b64"], b64=True), MALFORMED),
    "a header that is no object": (lambda: f"{encoded(['RS256'])}.{encoded(GOOD)}.e30", MALFORMED),
    "a header nested deeply": (lambda: f"{encoded(b'[' * 3000)}.{encoded(GOOD)}.e30", MALFORMED),
    "an ID token": (lambda: signed(typ="JWT"), NOT_OURS),
    "no type": (lambda: signed(typ=None, cty="x"), MALFORMED),
    "a token in five parts": (lambda: f"{signed()}.e30.e30", MALFORMED),
    "words": (lambda: "let me in", MALFORMED),
    "more than 8 KB": (lambda: signed({**GOOD, "more": "x" * 8192}), MALFORMED),
    "padding": (lambda: signed() + "=", MALFORMED),
}
"""None of these was made with what only the service knows, or it is not for this use."""

NOT_FOR_US = {
    "another issuer": ({**GOOD, "iss": "etl-asset"}, CLAIMS),
    "another audience": ({**GOOD, "aud": "another-api"}, CLAIMS),
    "a list of audiences": ({**GOOD, "aud": ["etl-assets-api", "another-api"]}, CLAIMS),
    "another subject than client": ({**GOOD, "sub": "operator"}, CLAIMS),
    **{f"no {name}": (without(name), CLAIMS) for name in GOOD},
    **{f"{name} is null": ({**GOOD, name: None}, CLAIMS) for name in GOOD},
    "times as text": ({**GOOD, "exp": str(MOMENT + 900)}, CLAIMS),
    "an end that is true": ({**GOOD, "exp": True}, CLAIMS),
    "an end that is no number": ({**GOOD, "exp": float("nan")}, CLAIMS),
    "an end that never comes": ({**GOOD, "exp": float("inf")}, CLAIMS),
    "scopes as a list": ({**GOOD, "scope": ["read:data"]}, CLAIMS),
    "an id that is a number": ({**GOOD, "jti": 7}, CLAIMS),
    "claims that are no object": ([GOOD], CLAIMS),
    "expired": ({**GOOD, "exp": MOMENT - 30}, EXPIRED),
    "not valid yet": ({**GOOD, "nbf": MOMENT + 31}, TOO_EARLY),
    "issued in the future": ({**GOOD, "iat": MOMENT + 31}, TOO_EARLY),
    "a client that there is not": (
        {**GOOD, "sub": "nobody", "client_id": "nobody"},
        "The token's client may not use this service any more",
    ),
}
"""These are signed by the service's own key, as another service with the same keys might."""


def refused(answer: httpx.Response, description: str) -> None:
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == (
        f'Bearer realm="etl-assets", error="invalid_token", error_description="{description}"'
    )
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"] == f"{description}. Get a new one from POST /token."


def test_the_token_that_the_forgeries_are_made_of_is_good(service: Service) -> None:
    assert service.get(signed()).json() == {"client": "reader", "scopes": ["read:data"], "token": "j"}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_token_is_refused(service: Service, case: str) -> None:
    make, description = FORGED[case]

    refused(service.get(make()), description)


@pytest.mark.parametrize("case", NOT_FOR_US)
def test_a_token_that_is_signed_and_not_for_this_is_refused(service: Service, case: str) -> None:
    claims, description = NOT_FOR_US[case]

    refused(service.get(signed(claims)), description)


def test_a_token_that_was_good_is_refused_when_it_has_expired(service: Service) -> None:
    token = service.token()["access_token"]
    assert service.get(token).status_code == 200

    service.now = NOW + timedelta(seconds=930)
    answer = service.get(token)
    service.now = NOW

    refused(answer, EXPIRED)


def test_a_token_of_a_key_that_was_taken_out_is_refused(service: Service, tmp_path) -> None:
    with token_service(configured(tmp_path, jwk("ES256"))) as rotated:
        refused(rotated.get(service.token()["access_token"]), NOT_OURS)


def test_a_refresh_token_is_no_access_token(service: Service) -> None:
    refused(service.get(service.token()["refresh_token"]), MALFORMED)


def test_ten_thousand_bad_tokens_leave_nothing_behind(service: Service) -> None:
    header = encoded({"alg": "RS256", "kid": "RS256-0", "typ": "at+jwt"})
    known = service.tokens._known.cache_info().currsize

    for number in range(10_000):
        with pytest.raises(Exception, match="The token"):
            service.tokens.verified(f"{header}.{encoded({**GOOD, 'jti': number})}.e30", now=NOW)

    assert service.tokens._known.cache_info().currsize == known
    assert service.get(signed()).status_code == 200
