"""``etl-assets keys`` and ``etl-assets token``: what is printed, where, and with which exit code."""

import json
import subprocess
from pathlib import Path

import pytest

from etl_assets.api.clients import Clients, SecretHash, parse_clients
from etl_assets.api.keys import parse_keys
from etl_assets.api.tokens import Tokens
from etl_assets.market_time import utc_now
from etl_assets.settings import Settings
from etl_assets_tests.test_cli import ETL_ASSETS, Done, Run, run, run_process

__all__ = ["run"]


@pytest.mark.parametrize(
    ("options", "algorithm"), [((), "RS256"), (("--alg", "es256"), "ES256"), (("--alg", "EdDSA"), "EdDSA")]
)
def test_a_new_key_is_one_line_that_goes_into_the_array(run: Run, options: tuple[str, ...], algorithm: str) -> None:
    done = run("keys", "new", *options)

    [key] = parse_keys(f"[{done.out}]")
    assert (done.code, key.algorithm, key.is_private, done.out.count("\n")) == (0, algorithm, True, 1)
    assert abs(key.created - utc_now().timestamp()) < 60
    assert "SIGNING_KEYS" in done.err
    assert json.loads(done.out)["d"] not in done.err


def test_no_file_is_left_by_a_new_key(tmp_path: Path) -> None:
    run_process(tmp_path, "keys", "new", "--alg", "ES256")

    assert list(tmp_path.iterdir()) == []


def test_the_hash_of_a_secret_that_is_piped_in_lets_its_client_in(tmp_path: Path) -> None:
    line = [ETL_ASSETS, "keys", "hash-secret"]
    done = subprocess.run(line, input="pässword 1\n", capture_output=True, text=True, cwd=tmp_path, check=True)

    entry = json.dumps([{"id": "a", "secret_hash": done.stdout.strip()}])
    assert SecretHash.parse(done.stdout.strip()).matches("pässword 1")
    assert Clients(parse_clients(entry)).authenticated("a", "pässword 1") is not None
    assert done.stderr == ""


def test_an_empty_secret_has_no_hash(tmp_path: Path) -> None:
    line = [ETL_ASSETS, "keys", "hash-secret"]
    done = subprocess.run(line, input="\n", capture_output=True, text=True, cwd=tmp_path, check=False)

    assert (done.returncode, done.stdout) == (2, "")


def test_a_token_of_the_made_client_is_good_and_alone_on_standard_output(run: Run, tmp_path: Path) -> None:
    done = run("token")

    tokens = Tokens.configured(Settings(_env_file=None, etl_data=tmp_path / "data"))
    claims = tokens.verified(done.out.strip(), now=utc_now())
    assert claims.client_id == "demo"
    assert claims.scopes == {"read:data", "read:timeseries", "operator", "kpi:report"}
    assert "client.json" in done.err
    assert json.loads((tmp_path / "data/api/client.json").read_text())["secret"] not in done.text


def test_a_token_has_the_client_and_the_scopes_that_are_asked_for(run: Run, tmp_path: Path) -> None:
    done = run("token", "--client", "b", "--scope", "read:data", CLIENT_IDS="a, b")

    tokens = Tokens.configured(Settings(_env_file=None, etl_data=tmp_path / "data", client_ids="a, b"))
    claims = tokens.verified(done.out.strip(), now=utc_now())
    assert (claims.client_id, claims.scope) == ("b", "read:data")
    assert "client.json" not in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--client", "c"), "no such client; there are: a, b"),
        (("--scope", "operator"), "a may have read:data, read:timeseries; not operator"),
    ],
)
def test_what_cannot_be_had_is_an_error_that_says_what_can(run: Run, options: tuple[str, ...], said: str) -> None:
    done = run("token", *options, CLIENT_IDS="a, b")

    assert (done.code, done.out) == (2, "")
    assert said in done.words


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"ENVIRONMENT": "production"}, "SIGNING_KEYS is not set"),
        ({"SIGNING_KEYS": '[{"kty": "oct", "k": "s3cret"}]'}, "SIGNING_KEYS: entry 1 is no RSA, EC or OKP key"),
        ({"CLIENT_IDS": '["a", {"id": "b", "secret": ""}]'}, "CLIENT_IDS: entry 2 has a secret that is not"),
    ],
)
def test_keys_and_clients_that_cannot_be_used_are_one_sentence(
    run: Run, environment: dict[str, str], said: str
) -> None:
    done: Done = run("token", **environment)

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"etl-assets: {said}")
    assert "s3cret" not in done.err
