"""Tokens under the eyes of others: libraries that know the service by the address of its key set alone."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest

from etl_assets.market_time import utc_now
from etl_assets_tests.api.authority import configured, jwk, token_service

ALGORITHMS = ("RS256", "ES256", "ES384", "EdDSA")

VERIFYING = """
import { createRemoteJWKSet, jwtVerify } from "jose";

const keys = createRemoteJWKSet(new URL(process.argv[2]));
for (const token of process.argv.slice(3)) {
  try {
    const found = await jwtVerify(token, keys, {
      issuer: "etl-assets", audience: "etl-assets-api", typ: "at+jwt", requiredClaims: ["jti", "client_id", "scope"],
    });
    console.log(JSON.stringify([found.protectedHeader.alg, found.payload.client_id]));
  } catch (error) {
    console.log(JSON.stringify([error.code]));
  }
}
"""


@pytest.fixture(scope="module")
def jose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``jose`` from npm and the program that verifies with it."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not at hand")
    folder = tmp_path_factory.mktemp("jose")
    once = ["--fetch-retries=0", "--fetch-timeout=20000"]
    line = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *once, "jose@6"]
    installed = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip("jose could not be installed: no registry of npm answers")
    (folder / "verify.mjs").write_text(VERIFYING)
    return folder


@pytest.fixture(params=ALGORITHMS)
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator:
    """A service of the present that signs with a key of this kind, and has two more."""
    keys = [jwk("RS256", 7), jwk("ES256", 7), jwk(request.param)]
    with token_service(configured(tmp_path, *keys), utc_now()) as service:
        yield service


def tampered(token: str) -> str:
    head, _, signature = token.rpartition(".")
    return f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def test_pyjwt_verifies_from_the_key_set_alone(service) -> None:
    token = service.token()["access_token"]
    keys = jwt.PyJWKClient(f"{service.url}/.well-known/jwks.json")
    key = keys.get_signing_key_from_jwt(token)
    expected = {"algorithms": [key.algorithm_name], "audience": "etl-assets-api", "issuer": "etl-assets"}

    found = jwt.decode(token, key, **expected)

    assert (found["client_id"], found["scope"]) == ("reader", "read:data read:timeseries")
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(tampered(token), key, **expected)


@pytest.mark.node
def test_jose_verifies_from_the_key_set_alone(service, jose: Path) -> None:
    token = service.token()["access_token"]
    algorithm = jwt.get_unverified_header(token)["alg"]

    line = ["node", "verify.mjs", f"{service.url}/.well-known/jwks.json", token, tampered(token)]
    done = subprocess.run(line, cwd=jose, capture_output=True, text=True, check=True)

    assert [json.loads(each) for each in done.stdout.splitlines()] == [
        [algorithm, "reader"],
        ["ERR_JWS_SIGNATURE_VERIFICATION_FAILED"],
    ]
