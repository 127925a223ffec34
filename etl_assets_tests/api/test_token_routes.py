"""``/token``, ``/refresh``, ``/revoke`` and the key set, as clients of every kind ask."""

import base64
import json
import logging
import threading
from contextlib import AbstractContextManager
from datetime import timedelta
from urllib.parse import quote_plus

import httpx
import pytest

from etl_assets.api.token_requests import LONGEST_BODY
from etl_assets_tests.api.authority import (
    CLIENTS,
    NOW,
    OPERATOR_SECRET,
    SECRET,
    Service,
    configured,
    jwk,
    token_service,
)

FORM = {"grant_type": "client_credentials", "client_id": "reader", "client_secret": SECRET}
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    with token_service(configured(tmp_path_factory.mktemp("tokens"), jwk("ES256"))) as service:
        yield service


@pytest.fixture
def service(started):
    """One service for all tests, at the same moment: what one does to its tokens is nothing to another's."""
    started.now = NOW
    return started


def basic(client_id: str, secret: str) -> dict[str, str]:
    sent = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return {"Authorization": f"Basic {base64.b64encode(sent.encode()).decode()}"}


def restarted(service: Service, clients: list) -> AbstractContextManager[Service]:
    """The same service with other clients."""
    folder = service.settings.etl_data.parent
    return token_service(configured(folder, jwk("ES256"), client_ids=json.dumps(clients)))


def refused(answer: httpx.Response, status: int, error: str, said: str = "") -> None:
    """Refused as RFC 6749 has it and as RFC 9457 has it."""
    assert (answer.status_code, answer.json()["error"]) == (status, error), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.json()["error_description"] == answer.json()["detail"]
    assert said in answer.json()["detail"]


# --- POST /token


@pytest.mark.parametrize(
    "sent",
    [
        {"data": FORM},
        {"json": FORM},
        {"json": {"clientId": "reader", "clientSecret": SECRET, "grantType": "client_credentials"}},
        {"json": {"clientId": "reader", "clientSecret": SECRET}},
        {"data": {"grant_type": "client_credentials"}, "headers": basic("reader", SECRET)},
        {"data": {"grant_type": "client_credentials", "client_id": "reader"}, "headers": basic("reader", SECRET)},
        {"json": {}, "headers": basic("reader", SECRET)},
        {"data": {**FORM, "scope": "", "resource": ["ignored", "twice"]}},
        {"json": {**FORM, "scope": None, "resource": {"ignored": [1]}}},
        {
            "content": b"grant_type=client_credentials&client_id=reader&client_secret=" + SECRET.encode(),
            "headers": {"Content-Type": "Application/X-WWW-Form-Urlencoded; charset=UTF-8"},
        },
    ],
    ids=[
        "form",
        "JSON",
        "camel case",
        "seeds",
        "Basic",
        "Basic and id",
        "Basic and JSON",
        "empty scope",
        "null scope",
        "raw",
    ],
)
def test_a_client_gets_tokens_however_it_says_who_it_is(service: Service, sent: dict) -> None:
    answer = service.http.post("/token", **sent)

    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Pragma"] == "no-cache"
    granted = answer.json()
    assert granted.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert (granted["token_type"], granted["expires_in"]) == ("Bearer", 900)
    assert granted["scope"] == "read:data read:timeseries"
    assert len(granted["refresh_token"]) == 43
    assert service.get(granted["access_token"]).status_code == 200


def test_a_client_without_a_secret_gets_tokens_by_its_id(service: Service) -> None:
    granted = service.http.post("/token", json={"client_id": "page"}).json()

    assert service.get(granted["access_token"]).json()["client"] == "page"


def test_basic_credentials_are_encoded_as_in_forms(tmp_path) -> None:
    strange = {"id": "a:b&c", "secret": "ü%3A:+ &="}
    with token_service(configured(tmp_path, jwk("ES256"), client_ids=json.dumps([strange]))) as service:
        answer = service.http.post("/token", json={}, headers=basic(*strange.values()))

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        {"data": {**FORM, "client_secret": "wrong"}},
        {"data": {**FORM, "client_id": "nobody"}},
        {"data": {**FORM, "client_secret": ""}},
        {"data": {"grant_type": "client_credentials"}},
        {"json": {"client_id": "page", "client_secret": "anything"}},
        {
            "content": b'{"client_id": "\\ud800", "client_secret": "\\ud800\\u0000"}',
            "headers": {"Content-Type": "application/json"},
        },
        {"json": {}, "headers": basic("reader", "wrong")},
        {"json": {}, "headers": {"Authorization": "Basic not base64!"}},
        {"json": {}, "headers": {"Authorization": "Basic cmVhZGVy"}},
        {"json": {}, "headers": {"Authorization": f"Bearer {SECRET}"}},
    ],
)
def test_whoever_is_not_a_client_gets_one_and_the_same_answer(service: Service, sent: dict) -> None:
    answer = service.http.post("/token", **sent)

    refused(answer, 401, "invalid_client", "The client's id and secret are not those of a client.")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="etl-assets", charset="UTF-8"'


@pytest.mark.parametrize(
    ("sent", "error", "said"),
    [
        ({"data": {**FORM, "grant_type": "password"}}, "unsupported_grant_type", "client_credentials or refresh_token"),
        ({"data": {**FORM, "grant_type": ""}}, "invalid_request", "grant_type is missing"),
        ({"data": {**FORM, "grant_type": "refresh_token"}}, "invalid_request", "refresh_token is missing"),
        ({"data": {**FORM, "scope": "operator"}}, "invalid_scope", "read:data read:timeseries"),
        ({"data": {**FORM, "scope": "read:data read:all"}}, "invalid_scope", ""),
        ({"json": {**FORM, "scope": ["read:data"]}}, "invalid_request", "scope is not a text"),
        ({"json": {**FORM, "client_secret": 7}}, "invalid_request", "client_secret is not a text"),
        ({"json": {**FORM, "clientId": "reader"}}, "invalid_request", "there twice"),
        ({"data": FORM, "headers": basic("reader", SECRET)}, "invalid_request", "in two ways"),
        ({"json": {"client_id": "page"}, "headers": basic("reader", SECRET)}, "invalid_request", "in two ways"),
        ({"data": FORM, "params": {"scope": "read:data"}}, "invalid_request", "not in the address"),
        ({"json": [FORM]}, "invalid_request", "no JSON object"),
        ({"json": None, "content": b"{"}, "invalid_request", "not JSON"),
        ({"content": b'{"scope": "a", "scope": "b"}'}, "invalid_request", "there twice"),
        ({"content": b"[" * 10_000}, "invalid_request", "not JSON"),
        ({"content": b'"\xff"'}, "invalid_request", "not JSON"),
    ],
)
def test_a_request_that_is_wrong_is_told_what_and_what_to_do(
    service: Service, sent: dict, error: str, said: str
) -> None:
    if "content" in sent:
        sent = {"content": sent["content"], "headers": {"Content-Type": "application/json"}}

    refused(service.http.post("/token", **sent), 400, error, said)


@pytest.mark.parametrize("body", [b"scope=a&scope=b", b"client_id=a&clientId=b", b"a=%ff", b"\xff=a"])
def test_a_form_that_two_readers_would_read_in_two_ways_is_refused(service: Service, body: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    refused(service.http.post("/token", content=body, headers=headers), 400, "invalid_request")


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/xml", None])
def test_a_body_of_another_type_is_refused(service: Service, kind: str | None) -> None:
    answer = service.http.post("/token", content=b"x", headers={} if kind is None else {"Content-Type": kind})

    assert answer.status_code == 415
    assert "application/x-www-form-urlencoded" in answer.json()["detail"]


@pytest.mark.parametrize("in_parts", [False, True])
def test_a_body_that_is_too_long_is_refused_with_and_without_a_length(service: Service, in_parts: bool) -> None:
    parts = [b"a" * 1000] * (LONGEST_BODY // 1000 + 1)

    answer = service.http.post(
        "/token",
        content=iter(parts) if in_parts else b"".join(parts),
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 413
    assert str(LONGEST_BODY) in answer.json()["detail"]


# --- POST /refresh


def test_a_refresh_token_gives_other_tokens_of_the_same_scopes(service: Service) -> None:
    first = service.token("operator", OPERATOR_SECRET, scope="operator")

    second = service.refresh(first["refresh_token"], "operator", OPERATOR_SECRET).json()

    assert second["scope"] == "operator"
    assert service.get(second["access_token"], "/operate").status_code == 200
    # The former access token stays good for its time.
    assert service.get(first["access_token"], "/operate").status_code == 200
    assert len({first["refresh_token"], second["refresh_token"], first["access_token"], second["access_token"]}) == 4


@pytest.mark.parametrize("path", ["/token", "/refresh"])
@pytest.mark.parametrize("how", ["data", "json"])
def test_both_addresses_take_a_refresh_token_in_a_form_and_as_json(service: Service, path: str, how: str) -> None:
    sent = {**FORM, "grant_type": "refresh_token", "refresh_token": service.token()["refresh_token"]}

    assert service.http.post(path, **{how: sent}).status_code == 200


def test_a_client_without_a_secret_need_not_say_who_it_is(service: Service) -> None:
    first = service.http.post("/token", json={"clientId": "page"}).json()

    second = service.http.post("/refresh", json={"refreshToken": first["refresh_token"]})

    assert service.get(second.json()["access_token"]).json()["client"] == "page"


def test_an_access_token_may_get_fewer_scopes_and_the_next_refresh_token_keeps_them_all(service: Service) -> None:
    first = service.token()

    fewer = service.refresh(first["refresh_token"], scope="read:timeseries").json()
    again = service.refresh(fewer["refresh_token"]).json()

    assert fewer["scope"] == "read:timeseries"
    assert service.get(fewer["access_token"]).status_code == 403
    assert again["scope"] == "read:data read:timeseries"


def test_scopes_never_grow_and_asking_does_not_spend_the_token(service: Service) -> None:
    first = service.token("operator", OPERATOR_SECRET, scope="read:data")

    grown = service.refresh(first["refresh_token"], "operator", OPERATOR_SECRET, scope="read:data operator")

    refused(grown, 400, "invalid_scope", "read:data")
    assert service.refresh(first["refresh_token"], "operator", OPERATOR_SECRET).status_code == 200


def test_a_refresh_token_that_comes_again_ends_all_tokens_of_its_family(service: Service) -> None:
    first, other = service.token(), service.token()
    second = service.refresh(first["refresh_token"]).json()

    refused(service.refresh(first["refresh_token"]), 400, "invalid_grant", "used before")

    refused(service.refresh(second["refresh_token"]), 400, "invalid_grant", "revoked")
    assert [service.get(each["access_token"]).status_code for each in (first, second)] == [401, 401]
    assert (
        'error_description="The token has been revoked"'
        in service.get(second["access_token"]).headers["WWW-Authenticate"]
    )
    assert service.get(other["access_token"]).status_code == 200
    assert service.refresh(other["refresh_token"]).status_code == 200


def test_of_two_refreshes_at_once_one_wins_and_the_family_is_revoked(service: Service) -> None:
    first = service.token()
    together = threading.Barrier(2)
    answers: list[httpx.Response] = []

    def refresh() -> None:
        together.wait()
        with httpx.Client(base_url=service.url) as http:
            answers.append(http.post("/refresh", data={**FORM, "grant_type": "refresh_token", **spent}))

    spent = {"refresh_token": first["refresh_token"]}
    threads = [threading.Thread(target=refresh) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    won, lost = sorted(answers, key=lambda answer: answer.status_code)
    assert won.status_code == 200
    refused(lost, 400, "invalid_grant")
    refused(service.refresh(won.json()["refresh_token"]), 400, "invalid_grant")
    assert service.get(won.json()["access_token"]).status_code == 401


def test_a_refresh_token_of_another_client_is_refused_and_stays_good(service: Service) -> None:
    first = service.token()

    refused(service.refresh(first["refresh_token"], "operator", OPERATOR_SECRET), 400, "invalid_grant")

    assert service.refresh(first["refresh_token"]).status_code == 200


@pytest.mark.parametrize("who", [{}, {"client_id": "reader"}, {"client_id": "reader", "client_secret": "wrong"}])
def test_a_client_with_a_secret_has_to_prove_who_it_is(service: Service, who: dict[str, str]) -> None:
    token = service.token()["refresh_token"]

    refused(service.http.post("/refresh", data={"refresh_token": token, **who}), 401, "invalid_client")

    assert service.refresh(token).status_code == 200


@pytest.mark.parametrize("token", ["unknown", "x" * 8000, "' OR 1=1 --", "\x00"])
def test_a_refresh_token_that_is_not_known_is_refused(service: Service, token: str) -> None:
    refused(service.refresh(token), 400, "invalid_grant")


def test_a_refresh_token_ends_with_its_life(service: Service) -> None:
    early, late = service.token()["refresh_token"], service.token()["refresh_token"]

    service.now = NOW + timedelta(days=30) - MINUTE
    assert service.refresh(early).status_code == 200
    service.now = NOW + timedelta(days=30)
    refused(service.refresh(late), 400, "invalid_grant", "expired")


def test_a_client_that_was_removed_refreshes_no_more(service: Service) -> None:
    token = service.token()["refresh_token"]

    with restarted(service, CLIENTS[1:]) as changed:
        refused(changed.refresh(token), 401, "invalid_client")
        refused(changed.http.post("/refresh", data={"refresh_token": token}), 401, "invalid_client")


def test_a_scope_that_was_taken_from_a_client_is_gone_at_the_next_refresh(service: Service) -> None:
    token = service.token("operator", OPERATOR_SECRET)["refresh_token"]
    lesser = [{**CLIENTS[1], "scopes": ["read:data"]}]

    with restarted(service, lesser) as changed:
        assert changed.refresh(token, "operator", OPERATOR_SECRET).json()["scope"] == "read:data"


def test_refresh_takes_no_other_grant(service: Service) -> None:
    answer = service.http.post("/refresh", data={**FORM, "refresh_token": "x"})

    refused(answer, 400, "unsupported_grant_type")


# --- POST /revoke


def test_a_revoked_access_token_ends_alone(service: Service) -> None:
    granted = service.token()

    answer = service.revoke(granted["access_token"])

    assert (answer.status_code, answer.content) == (200, b"")
    assert service.get(granted["access_token"]).status_code == 401
    assert service.refresh(granted["refresh_token"]).status_code == 200


def test_a_revoked_refresh_token_ends_all_of_its_family(service: Service) -> None:
    first = service.token()
    second = service.refresh(first["refresh_token"]).json()

    assert service.revoke(second["refresh_token"]).status_code == 200

    assert [service.get(each["access_token"]).status_code for each in (first, second)] == [401, 401]
    refused(service.refresh(second["refresh_token"]), 400, "invalid_grant")


@pytest.mark.parametrize("token", ["unknown", "a.b.c", "x" * 9000])
def test_to_revoke_what_is_not_known_is_no_error(service: Service, token: str) -> None:
    assert service.revoke(token).status_code == 200


def test_a_token_can_be_revoked_twice_and_after_its_end(service: Service) -> None:
    granted = service.token()
    service.now = NOW + timedelta(days=1)

    answers = [service.revoke(granted[name]) for name in ("access_token", "refresh_token") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200] * 4


@pytest.mark.parametrize("name", ["access_token", "refresh_token"])
def test_a_client_revokes_its_own_tokens_alone(service: Service, name: str) -> None:
    granted = service.token()

    refused(service.revoke(granted[name], "operator", OPERATOR_SECRET), 400, "invalid_grant", "another client")

    assert service.get(granted["access_token"]).status_code == 200
    assert service.refresh(granted["refresh_token"]).status_code == 200


def test_only_clients_revoke_and_they_say_what(service: Service) -> None:
    refused(service.revoke(service.token()["access_token"], secret=SECRET[1:]), 401, "invalid_client")
    refused(service.http.post("/revoke", data=FORM), 400, "invalid_request", "token is missing")


# --- the whole


def test_the_key_set_is_open_and_may_be_kept_for_a_while(service: Service) -> None:
    answer = service.http.get("/.well-known/jwks.json")

    assert answer.json() == service.tokens.keys.jwks()
    assert answer.headers["Cache-Control"] == "public, max-age=300"


def test_no_secret_and_no_token_is_in_any_log_line(tmp_path, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = [SECRET, OPERATOR_SECRET, "wr0ng-secret", jwk("ES256")["d"]]

    with token_service(configured(tmp_path, jwk("ES256"))) as service:
        first = service.token()
        service.http.post("/token", json={}, headers=basic("reader", SECRET))
        second = service.refresh(first["refresh_token"]).json()
        service.refresh(first["refresh_token"])
        third = service.token("operator", OPERATOR_SECRET)
        for answer in (first, second, third):
            service.get(answer["access_token"])
            secrets += [answer["access_token"], answer["refresh_token"]]
        service.revoke(third["access_token"], "operator", OPERATOR_SECRET)
        service.revoke(third["refresh_token"], "operator", OPERATOR_SECRET)
        service.http.post("/token", data={**FORM, "client_id": "wr0ng-secret", "client_secret": "wr0ng-secret"})
        service.get("wr0ng-secret.wr0ng-secret.wr0ng-secret")

    said = "\n".join(f"{record.getMessage()} {record.args} {record.exc_info}" for record in caplog.records)
    assert "Tokens for client reader: read:data read:timeseries" in said
    assert "A refresh token of client reader came again" in said
    assert [secret for secret in secrets if secret in said] == []


def test_the_document_describes_the_bodies_that_are_taken(service: Service) -> None:
    paths = service.http.get("/openapi.json").json()["paths"]

    for path, form_needs in (("/token", ["grant_type"]), ("/refresh", ["refresh_token"]), ("/revoke", ["token"])):
        post = paths[path]["post"]
        content = post["requestBody"]["content"]
        assert content.keys() == {"application/x-www-form-urlencoded", "application/json"}
        assert content["application/x-www-form-urlencoded"]["schema"]["required"] == form_needs
        assert post["security"] == [{"client": []}, {}]
        assert {"200", "400", "401", "413", "415", "429", "503"} <= post["responses"].keys()
