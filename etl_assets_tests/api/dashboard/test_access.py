"""Who may see the figures: this machine's own browser, people who signed in, programs with a token; nobody else."""

import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from etl_assets.api.dashboard.access import FORWARDED
from etl_assets.api.dashboard.sessions import COOKIE
from etl_assets_tests.api.authority import jwk_text
from etl_assets_tests.api.dashboard.conftest import UNLIMITED
from etl_assets_tests.api.dashboard.filled import NOW
from etl_assets_tests.api.operating import Operating, copied, operating
from etl_assets_tests.api.serving import PATIENCE_S

FIGURES = ("state", "market", "flows", "calendar", "sites", "sites/a/points", "sites/a/curve?point=p", "sites/a/heat",
           "sites/a/weather", "kpis", "runs", "events")  # fmt: skip
READER = {"client_id": "reader", "client_secret": "r"}


def status(api: Operating, client: str = "", **headers: str) -> int:
    return api.get("/dashboard/sites", client, headers=headers).status_code


@pytest.fixture(scope="module")
def closed(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operating]:
    """Where everybody needs a token."""
    folder = copied(published, tmp_path_factory.mktemp("closed") / "data")
    with operating(folder, dashboard="token", **UNLIMITED) as it:
        it.now = NOW
        yield it


def test_a_browser_on_this_machine_needs_nothing(api: Operating) -> None:
    assert status(api) == 200
    assert status(api, Host="localhost:8000") == 200
    assert status(api, Host="[::1]:8000") == 200
    assert status(api, **{"Sec-Fetch-Site": "same-origin"}) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "[::1", "", "2130706433"],
)
def test_a_name_that_was_made_to_point_here_is_not_this_machine(api: Operating, host: str) -> None:
    assert status(api, Host=host) in {400, 401}


def test_two_names_are_not_this_machine(api: Operating) -> None:
    connection = HTTPConnection(api.url.removeprefix("http://"), timeout=PATIENCE_S)
    connection.putrequest("GET", "/dashboard/sites", skip_host=True)
    for host in ("localhost", "evil.example"):
        connection.putheader("Host", host)
    connection.endheaders()

    assert connection.getresponse().status in {400, 401}
    connection.close()


@pytest.mark.parametrize("site", ["cross-site", "same-site", "x"])
def test_another_origins_page_in_the_same_browser_is_given_nothing(api: Operating, site: str) -> None:
    assert status(api, **{"Sec-Fetch-Site": site}) == 401


@pytest.mark.parametrize("name", FORWARDED)
def test_what_comes_through_a_proxy_is_not_this_machine(api: Operating, name: str) -> None:
    assert status(api, **{name: "127.0.0.1"}) == 401


def test_a_proxy_that_says_nothing_of_itself_is_known_by_its_http_1_0(api: Operating) -> None:
    # As nginx forwards with a bare ``proxy_pass http://127.0.0.1:8000``.
    with socket.create_connection(("127.0.0.1", httpx.URL(api.url).port), timeout=PATIENCE_S) as connection:
        connection.sendall(b"GET /dashboard/sites HTTP/1.0\r\nHost: 127.0.0.1:8000\r\nConnection: close\r\n\r\n")
        first = connection.makefile("rb").readline()

    assert first.split()[1] == b"401"


def test_in_production_this_machine_needs_a_session_too(published: Path, tmp_path: Path) -> None:
    keys = f"[{jwk_text('ES256')}]"
    with operating(copied(published, tmp_path / "d"), environment="production", signing_keys=keys) as production:
        production.now = NOW
        assert status(production) == 401
        assert status(production, "reader") == 200


def test_switched_off_there_is_neither_page_nor_figure(published: Path, tmp_path: Path) -> None:
    with operating(copied(published, tmp_path / "d"), dashboard="off") as off:
        paths = ["/", "/dashboard/static/index.html", *(f"/dashboard/{figure}" for figure in FIGURES)]
        answers = [off.get(path, "operator").status_code for path in paths]
        signed_in = off.post("/dashboard/session", json=READER).status_code

    assert answers == [404] * len(paths)
    assert signed_in == 404


@pytest.mark.parametrize("figure", FIGURES)
def test_without_a_token_every_figure_is_refused_and_the_page_is_not(closed: Operating, figure: str) -> None:
    answer = closed.get(f"/dashboard/{figure}")

    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    # For Basic a browser would open a window of its own.
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert closed.get("/").status_code == 200


def test_a_token_needs_both_scopes_of_reading(closed: Operating) -> None:
    assert status(closed, "reader") == 200
    assert status(closed, "workflow") == 403
    assert status(closed, Authorization="Bearer nonsense") == 401


def test_a_bad_token_is_refused_also_on_this_machine(api: Operating) -> None:
    assert status(api, Authorization="Bearer nonsense") == 401


def test_who_signs_in_gets_a_cookie_that_scripts_and_other_sites_cannot_use(closed: Operating) -> None:
    with httpx.Client(base_url=closed.url) as browser:
        answer = browser.post("/dashboard/session", json=READER)
        seen = browser.get("/dashboard/sites").status_code

    name, *attributes = answer.headers["Set-Cookie"].split("; ")
    assert (answer.status_code, answer.content, seen) == (204, b"", 200)
    assert name.startswith(f"{COOKIE}=")
    assert {each.lower() for each in attributes} == {"httponly", "max-age=28800", "path=/dashboard", "samesite=strict"}
    assert answer.headers["Cache-Control"] == "no-store"


def test_behind_https_the_cookie_travels_by_https_alone(published: Path, tmp_path: Path) -> None:
    with operating(copied(published, tmp_path / "d"), trusted_proxies="127.0.0.1") as proxied:
        answer = proxied.post("/dashboard/session", json=READER, headers={"X-Forwarded-Proto": "https"})

    assert "secure" in answer.headers["Set-Cookie"].lower().split("; ")


def test_a_session_is_no_good_to_another_sites_page(closed: Operating) -> None:
    with httpx.Client(base_url=closed.url) as browser:
        browser.post("/dashboard/session", json=READER)
        answer = browser.get("/dashboard/sites", headers={"Sec-Fetch-Site": "cross-site"})

    assert answer.status_code == 401


def test_who_signs_out_is_out_and_a_copy_of_the_cookie_too(closed: Operating) -> None:
    with httpx.Client(base_url=closed.url) as browser:
        browser.post("/dashboard/session", json=READER)
        copy = {"Cookie": f"{COOKIE}={browser.cookies[COOKIE]}"}
        assert status(closed, **copy) == 200
        ended = browser.delete("/dashboard/session").status_code

        assert (ended, browser.get("/dashboard/sites").status_code) == (204, 401)
    assert status(closed, **copy) == 401


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"client_id": "reader", "client_secret": "wrong"}, 401),
        ({"client_id": "nobody", "client_secret": "r"}, 401),
        ({}, 401),
        ({"client_id": "workflow", "client_secret": "w"}, 403),
        ({"client_id": 5}, 400),
        ([], 400),
    ],
)
def test_who_may_not_sign_in_is_told_and_gets_no_cookie(closed: Operating, body: object, expected: int) -> None:
    answer = closed.post("/dashboard/session", json=body)

    assert answer.status_code == expected
    assert "Set-Cookie" not in answer.headers
    assert "Basic" not in answer.headers.get("WWW-Authenticate", "")


def test_an_address_that_is_asked_wrongly_names_the_methods_of_all_its_routes(closed: Operating) -> None:
    answer = closed.get("/dashboard/session")

    assert (answer.status_code, answer.headers["Allow"]) == (405, "DELETE, POST")


def test_another_sites_form_signs_nobody_in(closed: Operating) -> None:
    assert closed.post("/dashboard/session", data=READER).status_code == 415
    crossing = closed.post("/dashboard/session", json=READER, headers={"Sec-Fetch-Site": "cross-site"})
    assert crossing.status_code == 415


def test_guesses_are_limited_like_those_at_the_token_endpoint(published: Path, tmp_path: Path) -> None:
    with operating(copied(published, tmp_path / "d"), rate_limit_token="2/minute") as limited:  # noqa: S106 (a rate)
        guess = {"client_id": "reader", "client_secret": "guess"}
        answers = [limited.post("/dashboard/session", json=guess).status_code for _ in range(3)]

    assert answers == [401, 401, 429]


def test_the_figures_are_no_part_of_the_documented_api(api: Operating) -> None:
    paths = api.get("/openapi.json").json()["paths"]

    assert not [path for path in paths if path == "/" or path.startswith("/dashboard")]
