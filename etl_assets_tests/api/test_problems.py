"""Every error is a problem document (RFC 9457): whatever goes wrong, in the same form, and without what was sent."""

import ast
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from uuid import UUID

import duckdb
import httpx
import pytest
from fastapi import FastAPI, Query
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from etl_assets.api import problems
from etl_assets.api.guards import RequestFrame
from etl_assets.api.problems import KINDS, OWN_KINDS, Problem, install_problem_handlers, problem_responses
from etl_assets.lake.connection import LakeBusyError
from etl_assets.lake.unreachable import LakeUnreachableError
from etl_assets.market_time import utc_now
from etl_assets_tests.api.serving import served

SECRET = "hunter2-and-more"  # noqa: S105 - for tests


def application() -> FastAPI:
    app = FastAPI()
    install_problem_handlers(app)
    app.add_middleware(RequestFrame, utc_now)

    @app.get("/refused")
    def refused() -> None:
        headers = {"Retry-After": "7"}
        raise Problem(409, "It is taken", "Another has it; wait.", kind="taken", headers=headers, holder="another")

    @app.get("/counted")
    def counted(days: Annotated[int, Query(ge=1, le=31)], limit: int) -> int:
        return days + limit

    @app.post("/counted")
    def sent(body: dict[str, int]) -> int:
        return len(body)

    @app.delete("/counted")
    def removed() -> None:
        """Nothing."""

    @app.get("/fails/{how}")
    def fails(how: str) -> None:
        raise {
            "lake": LakeBusyError(f"pid 4711 of /home/{SECRET} holds it"),
            "catalog": LakeUnreachableError(f"no answer of {SECRET}"),
            "state": OperationalError(f"SELECT {SECRET}", {}, Exception("database is locked")),
            "file": duckdb.IOException(f"cannot open /data/{SECRET}"),
            "fault": RuntimeError(SECRET),
            "http": HTTPException(415, "as starlette says"),
        }[how]

    return app


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with served(application()) as it, httpx.Client(base_url=it.url) as http:
        yield http


def document(answer: httpx.Response, status: int) -> dict:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == status
    return found


def test_a_problem_says_what_where_and_what_to_do(client: httpx.Client) -> None:
    answer = client.get("/refused")

    found = document(answer, 409)
    instance = found.pop("instance")
    assert found == {
        "type": "/problems/taken",
        "title": "It is taken",
        "status": 409,
        "detail": "Another has it; wait.",
        "holder": "another",
    }
    assert answer.headers["retry-after"] == "7"
    assert instance == f"urn:uuid:{UUID(answer.headers['x-request-id'])}"


def test_an_address_with_nothing_behind_it_is_404(client: httpx.Client) -> None:
    found = document(client.get(f"/nothing/{SECRET}"), 404)

    assert found["type"] == "/problems/not-found"
    assert SECRET not in str(found)


def test_a_method_that_is_not_allowed_is_405_with_every_method_that_is(client: httpx.Client) -> None:
    answer = client.put("/counted")

    document(answer, 405)
    assert answer.headers["allow"] == "DELETE, GET, POST"


def test_all_wrong_parameters_are_named_at_once_and_their_values_are_not_repeated(client: httpx.Client) -> None:
    found = document(client.get("/counted", params={"days": 32, "limit": SECRET}), 422)

    assert found["errors"] == [
        {"in": "query", "name": "days", "detail": "input should be less than or equal to 31"},
        {
            "in": "query",
            "name": "limit",
            "detail": "input should be a valid integer, unable to parse string as an integer",
        },
    ]
    assert found["detail"].startswith("days: input should be less than or equal to 31; limit: ")
    assert SECRET not in str(found)


@pytest.mark.parametrize("body", ["{", SECRET, '{"a": '])
def test_a_body_that_is_no_json_is_told_where_it_ends_to_be(client: httpx.Client, body: str) -> None:
    found = document(client.post("/counted", content=body, headers={"Content-Type": "application/json"}), 422)

    assert found["detail"].startswith("body: is no JSON, from character ")
    assert SECRET not in str(found)


@pytest.mark.parametrize(
    ("how", "detail"),
    [
        ("lake", "The lake is being written; try again in 5 s."),
        ("catalog", "The lake's catalog does not answer; try again in 5 s."),
        ("state", "The state database is locked, or does not answer; try again in 5 s."),
        ("file", "The published data cannot be read: it is being replaced, or not published yet; try again in 5 s."),
    ],
)
def test_what_is_busy_is_503_with_the_time_to_wait(client: httpx.Client, how: str, detail: str) -> None:
    answer = client.get(f"/fails/{how}")

    assert document(answer, 503)["detail"] == detail
    assert answer.headers["retry-after"] == "5"
    assert SECRET not in answer.text


def test_a_fault_of_ours_tells_the_client_its_id_and_the_log_the_cause(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "etl_assets"):
        answer = client.get("/fails/fault")

    found = document(answer, 500)
    assert found["type"] == "/problems/internal-error"
    assert SECRET not in answer.text
    [record] = caplog.records
    assert answer.headers["x-request-id"] in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], RuntimeError)


def test_what_the_framework_refuses_has_the_same_form(client: httpx.Client) -> None:
    found = document(client.get("/fails/http"), 415)

    assert found["title"] == "Unsupported Media Type"


def test_declarations_are_of_the_media_type_that_is_sent_with_an_example_that_fits() -> None:
    declared = problem_responses(401, 429)

    assert list(declared) == [401, 429]
    content = declared[429]["content"]["application/problem+json"]
    assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert content["example"]["type"] == "/problems/rate-limited"
    assert set(declared[429]["headers"]) == {"Retry-After"}
    assert set(declared[401]["headers"]) == {"WWW-Authenticate"}


def test_every_kind_has_a_slug_of_its_own_and_a_meaning_in_a_sentence() -> None:
    slugs = [slug for slug, _ in KINDS.values()]

    assert len(set(slugs)) == len(slugs)
    assert all(meaning.endswith(".") for _, meaning in KINDS.values())


def kinds_in(source: str) -> set[str]:
    """The kinds of the problems that a module makes."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    problems = (call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Problem")
    given = (keyword.value for call in problems for keyword in call.keywords if keyword.arg == "kind")
    # One that is no text of its own cannot be looked up here.
    return {value.value if isinstance(value, ast.Constant) else ast.unparse(value) for value in given}


def test_every_kind_that_a_route_gives_has_a_meaning() -> None:
    package = Path(problems.__file__).parents[1]
    modules = [path for folder in ("api", "exports") for path in (package / folder).rglob("*.py")]
    given = set[str]().union(*(kinds_in(path.read_text()) for path in modules))

    assert "job-ended" in given
    assert given <= {slug for slug, _ in KINDS.values()} | set(OWN_KINDS)
    assert not {slug for slug, _ in KINDS.values()} & set(OWN_KINDS)
    assert all(meaning.endswith(".") for _, meaning in OWN_KINDS.values())
