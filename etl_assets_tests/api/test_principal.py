"""Who asks, and what a request without a good token for it is told."""

import pytest

from etl_assets.api.principal import requires
from etl_assets_tests.api.authority import OPERATOR_SECRET, application, configured, jwk, token_service

BEARER = 'Bearer realm="etl-assets"'


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with token_service(configured(tmp_path_factory.mktemp("tokens"), jwk("ES256"))) as service:
        yield service


def test_a_good_token_gives_the_client_its_scopes_and_the_tokens_id(service):
    answer = service.get(service.token()["access_token"])

    assert answer.status_code == 200
    assert answer.json()["client"] == "reader"
    assert answer.json()["scopes"] == ["read:data", "read:timeseries"]
    assert len(answer.json()["token"]) == 32


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(service, scheme):
    headers = {"Authorization": f"{scheme} {service.token()['access_token']}"}

    assert service.http.get("/read", headers=headers).status_code == 200


@pytest.mark.parametrize("sent", [None, "", "Bearer", "Basic cmVhZGVyOng=", "Digest x"])
def test_without_a_token_the_challenge_names_no_error(service, sent):
    answer = service.http.get("/read", headers={} if sent is None else {"Authorization": sent})

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == BEARER
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "POST /token" in answer.json()["detail"]


def test_a_token_in_the_address_is_no_token(service):
    token = service.token()["access_token"]

    assert service.http.get("/read", params={"access_token": token}).status_code == 401


def test_a_token_without_the_scope_is_told_which_one_it_lacks(service):
    answer = service.get(service.token()["access_token"], "/operate")

    assert answer.status_code == 403
    assert answer.headers["WWW-Authenticate"] == (
        f'{BEARER}, error="insufficient_scope", error_description="This needs the scope operator", scope="operator"'
    )
    assert "the scope operator" in answer.json()["detail"]


def test_a_token_that_asked_for_less_than_its_client_may_have_is_good_for_no_more(service):
    less = service.token("operator", OPERATOR_SECRET, scope="read:data")["access_token"]
    all_of_it = service.token("operator", OPERATOR_SECRET)["access_token"]

    assert (service.get(less).status_code, service.get(less, "/operate").status_code) == (200, 403)
    assert service.get(all_of_it, "/operate").status_code == 200


def test_two_authorization_headers_are_refused_even_with_a_good_token(service):
    good = f"Bearer {service.token()['access_token']}"

    answer = service.http.get("/read", headers=[("Authorization", good), ("Authorization", good)])

    assert answer.status_code == 400
    assert answer.headers["WWW-Authenticate"] == (
        f'{BEARER}, error="invalid_request", error_description="There is more than one Authorization header"'
    )


def test_the_document_of_the_api_says_which_scope_a_route_wants(service):
    document = application(service.settings, service.tokens, lambda: service.now).openapi()

    assert document["paths"]["/operate"]["get"]["security"] == [{"oauth2": ["operator"]}]
    flow = document["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"]
    assert (flow["tokenUrl"], flow["refreshUrl"]) == ("/token", "/refresh")
    assert set(flow["scopes"]) == {"read:data", "read:timeseries", "operator", "kpi:report"}


def test_a_scope_that_there_is_not_cannot_be_required():
    with pytest.raises(ValueError, match="read:everything"):
        requires("read:everything")
