"""The HTTP client against a real server on the loopback interface."""

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx_retries.retry
import pytest

from etl_assets.http import (
    LONGEST_PAUSE_S,
    Blocked,
    Expect,
    HttpClient,
    NotThere,
    SourceError,
    Unavailable,
    Unintelligible,
)
from etl_assets.settings import Settings

OK = (200, {}, b"fine")


class Script(ThreadingHTTPServer):
    """Gives its answers one after another, the last one for ever, and remembers the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, dict[str, str], bytes]] = [OK]
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.lock = threading.Lock()

    def handle_error(self, *_: object) -> None:
        """A client that gave up is not this server's error."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Script

    def answer(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        with self.server.lock:
            seen = (self.command, self.path, dict(self.headers), self.rfile.read(size))
            self.server.seen.append(seen)
            answers = self.server.answers
            status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    do_GET = do_POST = answer  # noqa: N815 - the names that the standard library calls

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Script]:
    script = Script()
    thread = threading.Thread(target=script.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield script
    script.shutdown()
    thread.join()
    script.server_close()


@pytest.fixture
def http() -> Iterator[HttpClient]:
    with HttpClient(settings()) as client:
        yield client


def settings(**changes: object) -> Settings:
    return Settings(_env_file=None, **{"http_backoff": 0, "http_retries": 2} | changes)


def test_an_answer_comes_with_its_body_and_is_counted(server: Script, http: HttpClient) -> None:
    answer = http.get(f"{server.url}/a")

    assert (answer.status, answer.body) == (200, b"fine")
    assert (http.stats.requests_by_status, http.stats.retries, http.stats.bytes) == ({"200": 1}, 0, 4)


def test_a_browser_user_agent_is_sent(server: Script, http: HttpClient) -> None:
    http.get(server.url)

    assert server.seen[0][2]["User-Agent"].startswith("Mozilla/5.0")


@pytest.mark.parametrize("status", [403, 408, 429, 500, 502, 503, 504])
def test_a_passing_refusal_is_retried(server: Script, http: HttpClient, status: int) -> None:
    server.answers = [(status, {}, b"no"), OK]

    assert http.get(server.url).body == b"fine"
    assert http.stats.requests_by_status == {str(status): 1, "200": 1}
    assert http.stats.retries == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [(403, Blocked), (429, Unavailable), (500, Unavailable), (503, Unavailable)],
)
def test_a_lasting_refusal_ends_after_the_retries(
    server: Script, http: HttpClient, status: int, error: type[SourceError]
) -> None:
    server.answers = [(status, {}, b"no")]

    with pytest.raises(error) as caught:
        http.get(f"{server.url}/file.zip")

    assert (caught.value.status, caught.value.url) == (status, f"{server.url}/file.zip")
    assert f"Status {status}: {server.url}/file.zip. {caught.value.hint}" == str(caught.value)
    assert len(server.seen) == 3


@pytest.mark.parametrize("status", [404, 410])
def test_a_missing_file_is_not_asked_for_again(server: Script, http: HttpClient, status: int) -> None:
    server.answers = [(status, {}, b"")]

    with pytest.raises(NotThere):
        http.get(server.url)

    assert len(server.seen) == 1


def test_a_wrong_request_is_neither_retried_nor_called_unavailable(server: Script, http: HttpClient) -> None:
    server.answers = [(401, {}, b"")]

    with pytest.raises(SourceError) as caught:
        http.get(server.url)

    assert type(caught.value) is SourceError
    assert caught.value.status == 401
    assert len(server.seen) == 1


def test_a_cut_body_is_fetched_again(server: Script, http: HttpClient) -> None:
    server.answers = [(200, {"Content-Length": "100"}, b"half"), (200, {}, b"whole")]

    assert http.get(server.url).body == b"whole"
    assert http.stats.requests_by_status == {"network": 1, "200": 1}


def test_a_body_that_is_always_cut_is_never_delivered(server: Script, http: HttpClient) -> None:
    server.answers = [(200, {"Content-Length": "100"}, b"half")]

    with pytest.raises(Unavailable):
        http.get(server.url)

    assert len(server.seen) == 3


def test_a_dropped_connection_is_retried(server: Script, http: HttpClient) -> None:
    server.answers = [(0, {}, b""), OK]

    assert http.get(server.url).body == b"fine"


def test_a_server_that_is_not_there_is_unavailable(http: HttpClient) -> None:
    with pytest.raises(Unavailable) as caught:
        http.get("http://127.0.0.1:9/")

    assert caught.value.status is None
    assert http.stats.requests_by_status == {"network": 3}


def test_a_silent_server_times_out(server: Script) -> None:
    server.lock.acquire()
    try:
        with HttpClient(settings(http_timeout=timedelta(milliseconds=50), http_retries=1)) as http:
            with pytest.raises(Unavailable, match="Timeout"):
                http.get(server.url)
            assert http.stats.requests_by_status == {"timeout": 2}
    finally:
        server.lock.release()


@pytest.mark.parametrize(("asked", "slept"), [("7", 7.0), ("86400", LONGEST_PAUSE_S)])
def test_retry_after_is_honoured_within_bounds(
    server: Script, http: HttpClient, monkeypatch: pytest.MonkeyPatch, asked: str, slept: float
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(httpx_retries.retry.time, "sleep", pauses.append)
    server.answers = [(429, {"Retry-After": asked}, b""), OK]

    http.get(server.url)

    assert pauses == [slept]


def test_pauses_grow_and_are_spread(server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(httpx_retries.retry.time, "sleep", pauses.append)
    server.answers = [(503, {}, b"")]

    with HttpClient(settings(http_backoff=1, http_retries=3)) as http, pytest.raises(Unavailable):
        http.get(server.url)

    bounds = zip(pauses, (2, 4, 8), strict=True)
    assert all(top / 2 <= pause <= top for pause, top in bounds)


def test_a_post_is_repeated_only_where_that_is_safe(server: Script, http: HttpClient) -> None:
    server.answers = [(503, {}, b"")]

    with pytest.raises(Unavailable):
        http.post(server.url, {"a": 1})
    once = len(server.seen)
    with pytest.raises(Unavailable):
        http.post(server.url, {"a": 1}, repeatable=True)

    assert (once, len(server.seen)) == (1, 4)
    assert {seen[3] for seen in server.seen} == {b'{"a":1}'}


@pytest.mark.parametrize("kind", [Expect.ZIP, Expect.CSV, Expect.JSON])
def test_a_page_in_place_of_data_is_unintelligible(server: Script, http: HttpClient, kind: Expect) -> None:
    server.answers = [(200, {}, b"\r\n<!DOCTYPE html><html>We are down for maintenance</html>")]

    with pytest.raises(Unintelligible, match=f"Expected {kind}"):
        http.get(server.url, kind)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Expect.ZIP, b"PK\x03\x04"),
        (Expect.CSV, b"C,a"),
        (Expect.JSON, b"{}"),
        (Expect.JSON, b""),
        (Expect.HTML, b"<html>"),
    ],
)
def test_what_was_expected_is_delivered(server: Script, http: HttpClient, kind: Expect, body: bytes) -> None:
    server.answers = [(200, {}, body)]

    assert http.get(server.url, kind).body == body


@pytest.mark.parametrize("kind", [Expect.ZIP, Expect.CSV, Expect.HTML])
def test_nothing_is_not_data(server: Script, http: HttpClient, kind: Expect) -> None:
    server.answers = [(200, {}, b"")]

    with pytest.raises(Unintelligible):
        http.get(server.url, kind)


def test_secrets_are_neither_in_errors_nor_in_logs(
    server: Script, http: HttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.answers = [(500, {}, b"")]
    address = server.url.replace("http://", "http://user:sesame@")

    with pytest.raises(Unavailable) as caught:
        http.get(f"{address}/data", params={"token": "sesame"}, headers={"X-Key": "sesame"})

    assert caught.value.url == f"{server.url}/data?…"
    assert "sesame" in server.seen[0][1]
    assert "sesame" not in str(caught.value) + caplog.text


def test_a_header_that_cannot_be_sent_is_not_quoted(server: Script, http: HttpClient) -> None:
    with pytest.raises(SourceError) as caught:
        http.get(server.url, headers={"Authorization": "sesame\n"})

    assert "sesame" not in str(caught.value)
    assert server.seen == []


def test_a_redirect_is_followed_and_is_no_retry(server: Script, http: HttpClient) -> None:
    server.answers = [(301, {"Location": "/there"}, b""), OK]

    assert http.get(f"{server.url}/here").body == b"fine"
    assert http.stats.retries == 0


def test_threads_share_a_client_and_its_counters(server: Script, http: HttpClient) -> None:
    threads = [threading.Thread(target=http.get, args=(server.url,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert http.stats.snapshot().requests_by_status == {"200": 16}
    assert http.stats.snapshot().bytes == 64
