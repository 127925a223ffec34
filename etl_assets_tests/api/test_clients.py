"""What CLIENT_IDS may hold, and whose secret is right."""

import base64
import hashlib
import json
import stat

import pytest

from etl_assets.api import clients as module
from etl_assets.api.clients import (
    READING,
    ClientsMissingError,
    Scope,
    SecretHash,
    load_clients,
    own_client,
    parse_clients,
)
from etl_assets.api.credentials import CredentialsError

SECRET = "s3cret"  # noqa: S105 - for tests
SALT = bytes(range(16))


def written(secret: str = SECRET) -> str:
    """The hash of a secret by Python's scrypt alone, in the form that is documented."""
    hashed = hashlib.scrypt(secret.encode(), salt=SALT, n=16_384, r=8, p=1, dklen=32)
    parts = [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (SALT, hashed)]
    return f"scrypt:14:8:1:{parts[0]}:{parts[1]}"


@pytest.fixture
def load(settings):
    def load(value: object, environment: str = "development"):
        text = value if isinstance(value, str) else json.dumps(value)
        changed = type(settings)(_env_file=None, etl_data=settings.etl_data, client_ids=text, environment=environment)
        return load_clients(changed)

    return load


@pytest.mark.parametrize("text", ["a, b", " a,b ,", '["a", "b"]', '[{"id": "a"}, {"id": "b"}]'])
def test_ids_are_listed_with_commas_or_as_json(text):
    found = parse_clients(text)

    assert [(client.id, client.scopes, client.secret) for client in found] == [
        ("a", READING, None),
        ("b", READING, None),
    ]


@pytest.mark.parametrize("scopes", [["operator", "read:data"], "operator read:data"])
def test_a_client_has_the_scopes_that_it_is_given(scopes):
    [client] = parse_clients(json.dumps([{"id": "a", "secret": SECRET, "scopes": scopes}]))

    assert client.scopes == {Scope.OPERATOR, Scope.READ_DATA}


@pytest.mark.parametrize("given", [{"secret": SECRET}, {"secret_hash": written()}])
def test_a_secret_is_known_in_plain_or_by_its_hash(load, given):
    clients = load([{"id": "a", **given}])

    assert clients.authenticated("a", SECRET).id == "a"
    for wrong in ("", None, SECRET.upper(), SECRET + "x", SECRET[:-1], "\ud800", "x" * 100_000):
        assert clients.authenticated("a", wrong) is None
    assert clients.authenticated("b", SECRET) is None


def test_a_hash_is_written_as_it_is_read():
    assert SecretHash.parse(written()).written() == written()
    assert SecretHash.parse(SecretHash.of(SECRET).written()).matches(SECRET)
    assert SecretHash.of(SECRET).written() != SecretHash.of(SECRET).written()


@pytest.mark.parametrize("client_id", ["known", "unknown"])
def test_a_wrong_secret_costs_as_much_work_whether_or_not_there_is_the_client(load, client_id, monkeypatch):
    clients = load([{"id": "known", "secret": SECRET}])
    derived, compared = [], []
    derive, compare = hashlib.scrypt, module.hmac.compare_digest
    monkeypatch.setattr(module.hashlib, "scrypt", lambda *a, **k: derived.append(k) or derive(*a, **k))
    monkeypatch.setattr(module.hmac, "compare_digest", lambda *a: compared.append(a) or compare(*a))

    assert clients.authenticated(client_id, "wrong") is None

    assert [{name: each[name] for name in ("n", "r", "p", "dklen")} for each in derived] == [
        {"n": 16_384, "r": 8, "p": 1, "dklen": 32}
    ]
    assert [[len(part) for part in each] for each in compared] == [[32, 32]]


def test_a_client_without_a_secret_is_known_by_its_id_and_by_no_secret(load):
    clients = load("page")

    assert clients.authenticated("page", None).scopes == READING
    assert clients.authenticated("page", "anything") is None


REFUSED = {
    "an unknown field": ({"id": "a", "password": SECRET}, "has fields beside"),
    "no id": ({"secret": SECRET}, "has no id"),
    "a blank in the id": ("a b", "has no id"),
    "a line break in the id": ("a\nINFO", "has no id"),
    "an empty id": ("", "has no id"),
    "a long id": ("a" * 129, "has no id"),
    "a number": (7, "neither an id nor an object"),
    "an unknown scope": ({"id": "a", "secret": SECRET, "scopes": ["admin"]}, "scopes that are not some of"),
    "no scope": ({"id": "a", "secret": SECRET, "scopes": []}, "scopes that are not some of"),
    "scopes in a number": ({"id": "a", "secret": SECRET, "scopes": 7}, "scopes that are not some of"),
    "scopes in objects": ({"id": "a", "secret": SECRET, "scopes": [{}]}, "scopes that are not some of"),
    "an empty secret": ({"id": "a", "secret": ""}, "a secret that is not a text"),
    "a long secret": ({"id": "a", "secret": SECRET * 200}, "a secret that is not a text"),
    "a number for a secret": ({"id": "a", "secret": 7}, "a secret that is not a text"),
    "a secret twice": ({"id": "a", "secret": SECRET, "secret_hash": written()}, "both a secret and a secret_hash"),
    "a hash of another cost": ({"id": "a", "secret_hash": written().replace(":14:", ":4:")}, "has a secret_hash that"),
    "a secret for a hash": ({"id": "a", "secret_hash": SECRET}, "has a secret_hash that"),
    "a number for a hash": ({"id": "a", "secret_hash": 7}, "has a secret_hash that"),
    "an operator without a secret": ({"id": "a", "scopes": ["operator"]}, "may only read:data and read:timeseries"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_client_that_cannot_be_used_is_named_by_its_number_and_its_secret_not_shown(case):
    entry, reason = REFUSED[case]

    with pytest.raises(CredentialsError) as refused:
        parse_clients(json.dumps(["first", entry]))

    assert str(refused.value).startswith("CLIENT_IDS: entry 2 ")
    assert reason in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("text", ['["s3cret"', '{"id": "s3cret"}', "[" * 100_000])
def test_what_is_no_list_of_clients_is_refused_and_not_shown(text):
    with pytest.raises(CredentialsError, match="CLIENT_IDS is n") as refused:
        parse_clients(text)

    assert SECRET not in str(refused.value)


def test_two_clients_of_one_id_are_refused(load):
    with pytest.raises(CredentialsError, match="entry 2 has the id of an entry before it"):
        load("a, a")


def test_nothing_secret_is_in_what_clients_show_of_themselves(load):
    clients = load([{"id": "a", "secret": SECRET}, {"id": "b", "secret_hash": written()}])

    text = f"{clients!r} {list(clients)} {[str(client.secret) for client in clients]}"

    assert SECRET not in text
    assert written().rpartition(":")[2] not in text
    assert repr(SecretHash.parse(written()).hashed) not in text


# --- where none is configured, or one without a secret


@pytest.mark.parametrize("text", ["", "  "])
def test_production_does_not_start_without_clients(load, text, settings):
    with pytest.raises(ClientsMissingError, match=r"CLIENT_IDS is not set.*etl-assets keys hash-secret"):
        load(text, "production")

    assert not settings.api_folder.exists()


def test_production_does_not_start_with_a_client_that_anyone_could_be(load):
    with pytest.raises(CredentialsError, match=r"entry 2 \(page\) has no secret, and in production anyone could be it"):
        load([{"id": "a", "secret": SECRET}, "page"], "production")


def test_development_makes_one_client_that_may_do_everything_and_keeps_its_secret(load, settings):
    entry = json.loads(own_client(settings))
    [client] = load("")

    path = settings.api_folder / "client.json"
    assert (client.id, client.scopes) == ("demo", set(Scope))
    assert load("").authenticated("demo", entry["secret"]) is not None
    assert load("").authenticated("demo", None) is None
    assert len(entry["secret"]) == 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
