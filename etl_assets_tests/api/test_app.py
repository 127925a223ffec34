"""The API as a whole: what its document says, what stands around every route, and what it leaves behind."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from etl_assets.api.app import create_app
from etl_assets.api.guards import SECURITY_HEADERS
from etl_assets.api.limits import RateLimitError
from etl_assets.ops.database import begin
from etl_assets.ops.tables import REQUEST_ANALYTICS
from etl_assets.settings import Settings
from etl_assets_tests.api.operating import DAY, Operating, copied, fill, operating

PAGE = "https://page.example"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "data"
    fill(Settings(_env_file=None, etl_data=folder))
    return folder


@pytest.fixture(scope="module")
def api(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operating]:
    folder = copied(published, tmp_path_factory.mktemp("app") / "data")
    with operating(folder, cors_origins=PAGE, rate_limit_address="20000/minute", max_query_bytes=4_000) as it:
        yield it


@pytest.fixture(scope="module")
def document(api: Operating) -> dict[str, Any]:
    return api.get("/openapi.json").json()


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, operation) for path, item in document["paths"].items() for method, operation in item.items()]


def test_the_document_is_openapi_3_1_with_the_two_ways_of_a_token(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]

    assert document["openapi"].startswith("3.1")
    assert schemes["oauth2"]["flows"]["clientCredentials"]["tokenUrl"] == "/token"
    assert (schemes["bearer"]["type"], schemes["bearer"]["scheme"]) == ("http", "bearer")


def test_every_route_is_described_and_in_a_group(document: dict[str, Any]) -> None:
    bare = [
        f"{method} {path}"
        for path, method, operation in operations(document)
        if not (operation.get("summary") and operation.get("description") and operation.get("tags"))
    ]

    assert bare == []


def test_every_route_declares_the_problems_that_any_may_answer_with(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for status in ("400", "408", "413", "414", "429", "500", "503"):
            content = operation["responses"][status].get("content", {})
            assert "application/problem+json" in content or status == "503", f"{method} {path} {status}"


def test_no_error_is_declared_in_the_frameworks_own_form(document: dict[str, Any]) -> None:
    assert "HTTPValidationError" not in str(document)
    assert document["components"]["schemas"]["Problem"]["required"] == ["type", "title", "status", "detail"]


def test_what_needs_a_token_says_so_in_both_ways(document: dict[str, Any]) -> None:
    needed = document["paths"]["/trigger"]["post"]["security"]

    assert {"oauth2": ["operator"]} in needed
    assert {"bearer": []} in needed
    assert "security" not in document["paths"]["/health/live"]["get"]


def test_no_page_is_served_that_loads_from_elsewhere(api: Operating) -> None:
    assert [api.get(path).status_code for path in ("/docs", "/redoc")] == [404, 404]


def test_every_address_is_guarded(api: Operating, document: dict[str, Any]) -> None:
    for path in document["paths"]:
        answer = api.get(path.replace("{", "").replace("}", ""))
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["ratelimit-limit"]
        assert answer.headers["x-request-id"]
        assert answer.status_code < 500 or answer.status_code == 503


def test_what_may_not_be_seen_without_a_token_is_401(api: Operating, document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        if any("oauth2" in way for way in operation.get("security", [])) and path != "/metrics":
            answer = api.http.request(method, path.replace("{", "").replace("}", ""), json={})
            assert answer.status_code == 401, f"{method} {path}"
            assert answer.headers["www-authenticate"] == 'Bearer realm="etl-assets"'


def test_a_page_that_is_listed_may_call_and_read_the_headers_it_needs(api: Operating) -> None:
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}

    before = api.http.options("/data", headers=asked)
    answer = api.get("/data", headers={"Origin": PAGE})

    assert before.status_code == 200
    assert before.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert {"ETag", "Retry-After"} <= set(answer.headers["access-control-expose-headers"].split(", "))


def test_another_page_may_not(api: Operating) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}

    assert api.http.options("/data", headers=asked).status_code == 400
    assert "access-control-allow-origin" not in api.get("/data", headers=asked).headers


def test_without_a_list_no_page_may_call(tmp_path: Path) -> None:
    with operating(tmp_path / "data") as bare:
        answer = bare.get("/health/live", headers={"Origin": PAGE})

    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["content-security-policy"] == SECURITY_HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/sites/..%2f..%2f..%2fetc%2fpasswd/points",
        "/jobs/..%2f..%2fstate.sqlite/result",
        "/problems/%00",
        "/%ff%fe",
        "//evil.example/data",
        "/data;DROP TABLE x",
    ],
)
def test_a_path_that_means_harm_finds_nothing(api: Operating, path: str) -> None:
    answer = api.http.get(f"{api.url}{path}", headers=api.bearer(), follow_redirects=False)

    assert answer.status_code in {400, 404, 422}
    assert "root:" not in answer.text


def test_a_query_that_is_too_long_is_414(api: Operating) -> None:
    assert api.get(f"/health/live?q={'x' * 5_000}").status_code == 414


def test_bad_tokens_by_the_thousand_are_refused_and_the_service_stays_up(published: Path, tmp_path: Path) -> None:
    with operating(copied(published, tmp_path / "data"), rate_limit_address="50/minute") as it:
        found = [
            it.http.get("/status", headers={"Authorization": f"Bearer {'e' * 20}.{number}.x"}).status_code
            for number in range(1_000)
        ]
        it.now += timedelta(minutes=1)
        again = it.get("/health/live")

    assert found == [401] * 50 + [429] * 950
    assert again.status_code == 200


@pytest.mark.parametrize("accepted", ["gzip", "zstd"])
def test_csv_is_compressed_as_the_client_takes_it(api: Operating, accepted: str) -> None:
    plain, coded = (
        api.get(f"/data?day={DAY}&format=csv", "reader", headers={"Accept-Encoding": encodings})
        for encodings in ("identity", accepted)
    )

    assert plain.headers["Content-Type"].startswith("text/csv")
    assert ("Content-Encoding" in plain.headers, coded.headers["Content-Encoding"]) == (False, accepted)
    assert coded.text == plain.text
    assert coded.num_bytes_downloaded < len(plain.content)
    assert "Accept-Encoding" in coded.headers["Vary"]


def test_a_client_is_counted_once_its_token_is_verified(published: Path, tmp_path: Path) -> None:
    with operating(copied(published, tmp_path / "data"), rate_limit_client="2/minute") as it:
        reader = [it.get("/stats", "reader").status_code for _ in range(3)]
        operator = it.get("/stats", "operator").status_code

    assert reader == [200, 200, 429]
    assert operator == 200


def test_when_it_ends_every_request_is_on_record_under_its_id(published: Path, tmp_path: Path) -> None:
    with operating(copied(published, tmp_path / "data")) as it:
        answers = [it.get("/stats", "reader"), it.get("/health/live"), it.get("/nothing")]

    with begin(it.settings) as connection:
        rows = {row["request_id"]: row for row in connection.execute(select(REQUEST_ANALYTICS)).mappings()}
    found = [rows[answer.headers["x-request-id"]] for answer in answers]
    assert [(row["client_id"], row["route"], row["status"]) for row in found] == [
        ("reader", "/stats", 200),
        (None, "/health/live", 200),
        (None, "", 404),
    ]


def test_a_limit_that_is_none_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, etl_data=tmp_path / "data", rate_limit_address="plenty")

    with pytest.raises(RateLimitError, match="RATE_LIMIT_ADDRESS is no rate limit"):
        create_app(settings)

    assert not settings.etl_data.exists()


def test_making_it_opens_nothing(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, etl_data=tmp_path / "data")

    create_app(settings).openapi()

    assert not settings.etl_data.exists()
