"""The OpenAPI document is true: whatever it allows to be asked is answered as it says, and nothing breaks.

Judged by schemathesis, which makes requests from the document: sensible ones, and ones that it forbids.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck
from hypothesis import settings as run_with
from schemathesis.specs.openapi.checks import positive_data_acceptance

from etl_assets.api.app import create_app
from etl_assets.settings import Settings
from etl_assets_tests.api.operating import Operating, copied, fill, operating

LAVISH = {f"rate_limit_{of}": "10000000/minute" for of in ("address", "client", "token")}

RULES_BETWEEN_FIELDS = [positive_data_acceptance]
"""Such as "from is before to", which a schema does not say: a request may fit it and be refused all the same."""

SOME = run_with(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operating]:
    folder = tmp_path_factory.mktemp("document")
    fill(Settings(_env_file=None, etl_data=folder / "published"))
    with operating(copied(folder / "published", folder / "data"), **LAVISH) as found:
        found.beat()
        yield found


DOCUMENT = create_app(Settings(_env_file=None, etl_data=Path("never-opened")), submits=False).openapi()
"""Made without starting the application, so that each of its operations is a test."""

schema = schemathesis.openapi.from_dict(DOCUMENT)


@schema.parametrize()
@SOME
def test_a_client_with_every_scope_gets_what_the_document_declares(case: schemathesis.Case, running: Operating) -> None:
    running.beat()

    response = case.call_and_validate(
        base_url=running.url, headers=running.bearer(), excluded_checks=RULES_BETWEEN_FIELDS
    )

    assert response.status_code < httpx.codes.INTERNAL_SERVER_ERROR


@schema.parametrize()
@SOME
def test_somebody_without_a_token_gets_what_the_document_declares(case: schemathesis.Case, running: Operating) -> None:
    response = case.call_and_validate(base_url=running.url, excluded_checks=RULES_BETWEEN_FIELDS)

    public = ("/health", "/api/health", "/.well-known", "/token", "/refresh", "/revoke", "/metrics", "/problems")
    assert case.path.startswith(public) or response.status_code not in range(200, 300)
