"""The HTTP client against a real server on the loopback interface."""

import gzip
import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import httpx_retries.retry
import pytest

from etl_assets.http import (
    LONGEST_PAUSE_S,
    Blocked,
    Expect,
    HttpClient,
    HttpPolicy,
    NotThere,
    SourceError,
    Unavailable,
    Unintelligible,
    origin,
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


def asked(**changes: object) -> HttpClient:
    """A client whose policy differs from the market's in these."""
    policy = HttpPolicy(
        **{"retry": httpx_retries.Retry(total=0), "timeout": 30, "concurrency": 4, "headers": {}} | changes
    )
    return HttpClient(settings(), policy=policy)


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


def test_bytes_are_sent_as_they_are(server: Script, http: HttpClient) -> None:
    body = '{"name":"Zähler",  "n": 1}'.encode()

    http.post_bytes(server.url, body, headers={"Content-Type": "application/json"})

    command, _, headers, sent = server.seen[0]
    assert (command, headers["Content-Type"], sent) == ("POST", "application/json", body)


def test_bytes_are_repeated_only_where_that_is_safe(server: Script, http: HttpClient) -> None:
    server.answers = [(503, {}, b"")]

    with pytest.raises(Unavailable):
        http.post_bytes(server.url, b"x")
    with pytest.raises(Unavailable):
        http.post_bytes(server.url, b"x", repeatable=True)

    assert len(server.seen) == 1 + 3


@pytest.mark.parametrize(
    "body", [b"<!DOCTYPE html><html>", b"\n<HTML lang=en>", b"<!-- down --><html>", b'<?xml version="1.0"?><html>']
)
def test_where_no_page_is_expected_one_is_unintelligible(server: Script, http: HttpClient, body: bytes) -> None:
    server.answers = [(200, {}, body)]

    with pytest.raises(Unintelligible, match="Expected anything but an HTML page"):
        http.get(server.url, Expect.NO_PAGE)


@pytest.mark.parametrize("body", [b"", b"{}", b"started", b"<ok/>", b"see <html> for more"])
def test_where_no_page_is_expected_anything_else_will_do(server: Script, http: HttpClient, body: bytes) -> None:
    server.answers = [(200, {}, body)]

    assert http.get(server.url, Expect.NO_PAGE).body == body


def test_an_error_tells_what_its_tries_ended_with(server: Script, http: HttpClient) -> None:
    server.answers = [(503, {}, b""), (0, {}, b""), (500, {}, b"")]

    with pytest.raises(Unavailable) as caught:
        http.get(server.url)

    assert caught.value.outcomes == ("503", "network", "500")


def test_a_policy_may_follow_no_redirect(server: Script) -> None:
    server.answers = [(302, {"Location": "/there"}, b""), OK]

    with asked(follows_redirects=False) as http, pytest.raises(SourceError) as caught:
        http.get(f"{server.url}/here")

    assert (caught.value.status, len(server.seen)) == (302, 1)


def test_a_body_larger_than_the_policy_allows_is_not_read_to_its_end(server: Script) -> None:
    server.answers = [(200, {}, b"x" * 1001)]

    with asked(max_body_bytes=1000) as http, pytest.raises(Unintelligible):
        http.get(server.url)


def test_who_asks_for_no_encoding_gets_the_bytes_as_they_came(server: Script) -> None:
    packed = gzip.compress(b"0" * 100_000)
    server.answers = [(200, {"Content-Encoding": "gzip"}, packed)]

    with asked(headers={"Accept-Encoding": "identity"}) as http:
        assert http.get(server.url).body == packed


def test_a_secret_path_is_neither_in_errors_nor_in_logs(server: Script, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.answers = [(500, {}, b""), OK]

    with asked(path_is_secret=True) as http:
        with pytest.raises(Unavailable) as caught:
            http.post_bytes(f"{server.url}/sesame", b"")
        http.get(f"{server.url}/sesame")

    assert [seen[1] for seen in server.seen] == ["/sesame", "/sesame"]
    assert caught.value.url == server.url
    assert "sesame" not in str(caught.value) + caplog.text


def test_other_clients_are_logged_as_before(server: Script, http: HttpClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    with asked(path_is_secret=True) as secretive:
        secretive.get(server.url)
    http.get(f"{server.url}/plain")

    assert "/plain" in caplog.text


def test_a_header_that_is_not_ascii_is_not_quoted(server: Script, http: HttpClient) -> None:
    with pytest.raises(SourceError, match="headers cannot be sent") as caught:
        http.post_bytes(server.url, b"", headers={"Authorization": "sésame"})

    assert "sésame" not in str(caught.value)
    assert caught.value.outcomes == ()


def test_a_host_whose_name_is_none_is_said_so(http: HttpClient) -> None:
    with pytest.raises(SourceError, match="host's name cannot be looked up"):
        http.get(f"http://{'a' * 64}.example/")


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin("HTTPS://anna:secret@N8n.Example:8443/webhook/a?b=c#d") == "https://n8n.example:8443"
    assert origin("http://n8n.example:80/") == "http://n8n.example"
    with pytest.raises(httpx.InvalidURL):
        origin("http://[::1/")
