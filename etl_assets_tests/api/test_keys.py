"""What SIGNING_KEYS may hold, which key signs, what the world sees of them."""

import json
import stat
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from joserfc.errors import JoseError

from etl_assets.api.credentials import CredentialsError
from etl_assets.api.keys import KeyRing, KeysMissingError, load_keys, new_key, parse_keys
from etl_assets.settings import Settings
from etl_assets_tests.api.authority import jwk

ALGORITHMS = ("RS256", "ES256", "ES384", "EdDSA")
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "k"}

RFC_7638_KEY = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3"
    "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQ"
    "vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}
"""The example of RFC 7638, 3.1, and its thumbprint."""
RFC_7638_THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def pem(key) -> str:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()


def public_pem(key) -> str:
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, spki).decode()


def public(key: dict) -> dict:
    return {name: value for name, value in key.items() if name not in PRIVATE_MEMBERS}


def ring(*entries: object) -> KeyRing:
    return KeyRing(parse_keys(json.dumps(entries)))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_new_key_signs_with_the_algorithm_of_its_type(algorithm):
    keys = ring(new_key(algorithm))

    assert keys.signing.algorithm == algorithm
    assert keys.signing.verified(keys.signing.sign(b"what", kind="JWT")) == b"what"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_key_set_shows_public_parts_alone(algorithm):
    [shown] = ring(jwk(algorithm, x5c=["MIIB"], key_ops=["sign"])).jwks()["keys"]

    assert not shown.keys() & PRIVATE_MEMBERS
    assert shown == {**{name: jwk(algorithm)[name] for name in shown}, "use": "sig", "alg": algorithm}
    assert shown.keys() <= {"kty", "n", "e", "crv", "x", "y", "kid", "use", "alg"}


def test_a_key_without_an_id_is_known_by_its_thumbprint():
    given = {name: RFC_7638_KEY[name] for name in ("kty", "n", "e")}

    [key] = parse_keys(json.dumps([given]))

    assert key.kid == RFC_7638_THUMBPRINT


@pytest.mark.parametrize(
    ("made", "algorithm"),
    [
        (lambda: rsa.generate_private_key(65537, 2048), "RS256"),
        (lambda: ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (lambda: ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ed25519.Ed25519PrivateKey.generate, "EdDSA"),
    ],
)
def test_pem_text_and_the_pairs_of_the_seeds_are_the_same_key(made, algorithm):
    key = made()
    forms = [
        pem(key),
        {"privateKey": pem(key), "publicKey": public_pem(key), "alg": algorithm},
        {"private": pem(key), "public": public_pem(key)},
        {"privateKey": pem(key)},
    ]

    found = [parse_keys(json.dumps([form]))[0] for form in forms]
    [verifying] = parse_keys(json.dumps([public_pem(key)]))

    assert {(each.kid, each.algorithm, each.is_private) for each in found} == {(verifying.kid, algorithm, True)}
    assert not verifying.is_private
    assert verifying.verified(found[0].sign(b"what", kind="JWT")) == b"what"


def test_a_pair_of_jwks_has_the_id_that_it_is_given():
    key = jwk("ES256")

    [found] = parse_keys(json.dumps([{"kid": "2026-11", "privateKey": key, "publicKey": public(key)}]))

    assert (found.kid, found.is_private) == ("2026-11", True)


def test_a_jwk_set_is_taken_as_well():
    assert [key.kid for key in parse_keys(json.dumps({"keys": [jwk("ES256")]}))] == ["ES256-0"]


@pytest.mark.parametrize(
    ("dates", "newest"),
    [
        (({}, {}, {}), 2),
        (({"iat": 300}, {"iat": 100}, {"iat": 200}), 0),
        (({"iat": 100}, {"iat": 100}, {}), 1),
        (({"created": "2026-11-22T00:00:00Z"}, {"created": "2026-11-22T09:00:00+10:00"}, {}), 0),
        (({"created": "2026-11-21"}, {"created": "2026-11-22"}, {"created": "2026-11-20"}), 1),
    ],
)
def test_the_newest_key_signs_and_the_last_of_equals(dates, newest):
    keys = ring(*(jwk("ES256", number, **dated) for number, dated in enumerate(dates)))

    assert keys.signing.kid == f"ES256-{newest}"
    assert [key["kid"] for key in keys.jwks()["keys"]] == ["ES256-0", "ES256-1", "ES256-2"]


def test_a_public_key_verifies_and_never_signs_however_new_it_is():
    keys = ring(jwk("ES256", iat=1), public(jwk("ES256", 1, iat=2)))

    assert keys.signing.kid == "ES256-0"
    assert ring(jwk("ES256", 1)).signing.kid == "ES256-1"
    assert keys.get("ES256-1").verified(ring(jwk("ES256", 1)).signing.sign(b"x", kind="JWT")) == b"x"


def test_a_new_key_is_dated_and_so_takes_over():
    keys = ring(new_key("ES256", now=datetime(2026, 11, 22, tzinfo=UTC)), jwk("ES256"))

    assert keys.signing.created == 1_795_305_600


def broken(**changes: object) -> dict:
    return {**jwk("RS256"), **changes}


REFUSED = {
    "symmetric": ({"kty": "oct", "k": "c2VjcmV0LXNlY3JldA"}, "symmetric keys cannot be used"),
    "short RSA": (lambda: pem(rsa.generate_private_key(65537, 1024)), "less than 2048 bits"),  # noqa: S505 - to be refused
    "P-521": (lambda: pem(ec.generate_private_key(ec.SECP521R1())), "curve that is not"),
    "secp256k1": (lambda: pem(ec.generate_private_key(ec.SECP256K1())), "curve that is not"),
    "Ed448": (lambda: pem(ed448.Ed448PrivateKey.generate()), "curve that is not"),
    "X25519": (lambda: pem(x25519.X25519PrivateKey.generate()), "curve that is not"),
    "DSA": (lambda: pem(dsa.generate_private_key(2048)), "cannot be read"),
    "another curve": ({"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"}, "cannot be read"),
    "half a key": ({"kty": "RSA", "e": "AQAB"}, "cannot be read"),
    "numbers for text": ({"kty": "RSA", "n": 5, "e": "AQAB"}, "cannot be read"),
    "an unhashable type": ({"kty": ["RSA"]}, "symmetric keys cannot be used"),
    "private and public of two keys": (lambda: broken(n=jwk("RS256", 1)["n"]), "cannot be read"),
    "for encryption": (lambda: broken(use="enc"), "not for signatures"),
    "another algorithm": (lambda: broken(alg="PS256"), "not its key's, RS256"),
    "HS256": (lambda: broken(alg="HS256"), "not its key's, RS256"),
    "no text": ("s3cret", "cannot be read"),
    "cut PEM": ("-----BEGIN PRIVATE KEY-----\ns3cret\n-----END PRIVATE KEY-----", "cannot be read"),
    "a number": (7, "neither a JWK object"),
    "nothing in it": ({"kid": "s3cret"}, "holds no key"),
    "a list for a key": ({"privateKey": ["s3cret"]}, "neither a JWK object nor PEM text"),
    "public for private": (lambda: {"privateKey": public(jwk("ES256"))}, "a public key as its private one"),
    "private for public": (lambda: {"publicKey": jwk("ES256")}, "a private key as its public one"),
    "a wrong pair": (lambda: {"private": jwk("ES256"), "public": public(jwk("ES256", 1))}, "does not belong"),
    "an empty id": (lambda: broken(kid=""), "has a kid that is not"),
    "a long id": (lambda: broken(kid="s" * 129), "has a kid that is not"),
    "a numeric id": (lambda: broken(kid=7), "has a kid that is not"),
    "a date in words": (lambda: broken(created="s3cret"), "not ISO 8601"),
    "a date that is true": (lambda: broken(iat=True), "neither epoch seconds"),
    "a date that is not finite": (lambda: broken(iat=float("nan")), "neither epoch seconds"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_key_that_cannot_be_used_is_named_by_its_number_and_not_shown(case):
    entry, reason = REFUSED[case]
    entry = entry() if callable(entry) else entry

    with pytest.raises(CredentialsError) as refused:
        parse_keys(json.dumps([jwk("ES256"), entry]))

    assert str(refused.value).startswith("SIGNING_KEYS: entry 2 ")
    assert reason in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize("text", ["s3cret", '{"kty": "s3cret"}', '"s3cret"', "[" * 100_000])
def test_what_is_no_array_of_keys_is_refused_and_not_shown(text):
    with pytest.raises(CredentialsError, match="SIGNING_KEYS is not") as refused:
        parse_keys(text)

    assert "s3cret" not in str(refused.value)


def test_two_keys_of_one_id_are_refused():
    with pytest.raises(CredentialsError, match="entry 2 has the kid of an entry before it"):
        ring(jwk("ES256"), jwk("ES256", 1, kid="ES256-0"))


@pytest.mark.parametrize("entries", [[], [RFC_7638_KEY]])
def test_without_a_private_key_there_is_no_signing(entries):
    with pytest.raises(KeysMissingError, match="etl-assets keys new"):
        ring(*entries)


def test_a_key_takes_no_algorithm_but_its_own():
    [rsa_key] = parse_keys(json.dumps([jwk("RS256")]))
    [ec_key] = parse_keys(json.dumps([jwk("ES256")]))

    with pytest.raises(JoseError):
        rsa_key.verified(ec_key.sign(b"what", kind="JWT"))


def test_nothing_secret_is_in_what_keys_and_settings_show_of_themselves(settings):
    entry = jwk("ES256")
    shown = settings.model_copy(update={"signing_keys": Settings(_env_file=None, signing_keys="s3cret").signing_keys})
    keys = ring(entry)

    text = f"{shown!r} {shown} {keys.signing!r} {keys!r} {parse_keys(json.dumps([entry]))}"

    assert "s3cret" not in text
    assert entry["d"] not in text


# --- where none is configured


def test_production_does_not_start_without_keys(settings):
    production = settings.model_copy(update={"environment": "production"})

    with pytest.raises(KeysMissingError, match=r"SIGNING_KEYS is not set.*etl-assets keys new"):
        load_keys(production)

    assert not production.api_folder.exists()


def test_production_on_simulated_data_does_not_start_without_keys_either(settings):
    simulated = settings.model_copy(update={"environment": "production", "etl_source": "demo"})
    assert simulated.is_demo

    with pytest.raises(KeysMissingError, match="SIGNING_KEYS is not set"):
        load_keys(simulated)

    assert not simulated.api_folder.exists()


def test_development_keeps_the_key_that_it_made_where_only_its_owner_reads(settings):
    first, second = load_keys(settings), load_keys(settings)

    path = settings.api_folder / "keys.json"
    assert first.jwks() == second.jwks()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_kept_key_that_is_broken_is_named_with_what_to_do(settings):
    settings.api_folder.mkdir(parents=True)
    (settings.api_folder / "keys.json").write_text("[")

    with pytest.raises(CredentialsError, match=r"keys\.json \(remove it to have a new one made\) is not JSON"):
        load_keys(settings)


def test_processes_that_start_at_once_make_one_key(settings):
    program = (
        "import sys; from pathlib import Path; from etl_assets.api.keys import load_keys\n"
        "from etl_assets.settings import Settings\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(load_keys(Settings(_env_file=None, etl_data=Path(sys.argv[1]))).signing.kid)"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    line = [sys.executable, "-c", program, str(settings.etl_data)]
    started = [subprocess.Popen(line, text=True, **pipes) for _ in range(3)]
    for each in started:
        assert each.stdout.readline() == "ready\n"

    kids = {each.communicate("\n")[0].strip() for each in started}

    assert kids == {load_keys(settings).signing.kid}
