"""What a client may send, and how every answer is dressed: proved over the wire, against senders who mean harm."""

import asyncio
import gzip
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import StreamingResponse
from starlette_compress import CompressMiddleware

from etl_assets.api.guards import SECURITY_HEADERS, Answered, RequestFrame, RequestLimits
from etl_assets.api.problems import Problem, install_problem_handlers
from etl_assets.market_time import utc_now
from etl_assets_tests.api.serving import Served, said, served

BODY_BYTES = 1_000
TARGET_BYTES = 300
BODY_TIME_S = 0.3
PARTS = 40


class Notes:
    """Who is told of requests."""

    def __init__(self) -> None:
        self.began_count = 0
        self.answered: list[Answered] = []

    def began(self) -> None:
        self.began_count += 1

    def ended(self, answered: Answered) -> None:
        self.answered.append(answered)


def application(notes: Notes) -> FastAPI:
    app = FastAPI()
    install_problem_handlers(app)
    app.add_middleware(CompressMiddleware)
    app.add_middleware(RequestLimits, body_bytes=BODY_BYTES, target_bytes=TARGET_BYTES, body_time_s=BODY_TIME_S)
    app.add_middleware(RequestFrame, utc_now, (notes,))

    @app.post("/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    @app.post("/fields")
    def fields(body: dict[str, int]) -> int:
        return len(body)

    @app.get("/page/{name}")
    def page(name: str, request: Request, response: Response) -> str:
        response.headers["Cache-Control"] = "private, max-age=60"
        response.headers["Content-Security-Policy"] = "default-src 'self'"
        request.state.route_type, request.state.samples, request.state.cache_hit = "cached", 7, True
        return name * 400

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(_parts(), media_type="text/plain")

    app.add_api_route("/endless", endless)

    @app.get("/half")
    async def half() -> StreamingResponse:
        return StreamingResponse(_broken(), media_type="application/octet-stream")

    @app.get("/packed")
    def packed() -> Response:
        return Response(gzip.compress(b"x" * 9_000), headers={"Content-Encoding": "gzip"}, media_type="text/csv")

    @app.get("/parquet")
    def parquet() -> Response:
        return Response(b"PAR1" * 500, media_type="application/vnd.apache.parquet")

    return app


async def _parts() -> AsyncIterator[bytes]:
    for number in range(PARTS):
        yield f"part {number} ".encode() * 200


async def endless(request: Request) -> StreamingResponse:
    request.state.is_endless = True
    return StreamingResponse(_endless(), media_type="application/octet-stream")


async def _endless() -> AsyncIterator[bytes]:
    yield b"the first"
    await asyncio.Future()


async def _broken() -> AsyncIterator[bytes]:
    yield b"the beginning"
    raise RuntimeError("the rest cannot be had")


@pytest.fixture(scope="module")
def notes() -> Notes:
    return Notes()


@pytest.fixture(scope="module")
def service(notes: Notes) -> Iterator[Served]:
    with served(application(notes)) as found:
        yield found


@pytest.fixture
def client(service: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url) as http:
        yield http


def chunked(path: str, *chunks: bytes) -> bytes:
    """A request whose body does not say its length."""
    parts = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return f"POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + parts


def test_every_answer_has_an_id_and_the_headers_that_keep_browsers_safe(client: httpx.Client) -> None:
    answers = [client.post("/length", content=b"abc"), client.get("/nothing"), client.get("/length")]

    assert [answer.status_code for answer in answers] == [200, 404, 405]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
        assert "strict-transport-security" not in answer.headers
        assert "server" not in answer.headers
    assert len({answer.headers["x-request-id"] for answer in answers}) == 3


def test_a_client_cannot_choose_the_id_under_which_its_request_is_on_record(client: httpx.Client) -> None:
    answer = client.get("/nothing", headers={"X-Request-Id": "mine"})

    assert answer.headers["x-request-id"] != "mine"


def test_a_route_may_say_how_long_its_answer_keeps_and_what_its_page_needs(client: httpx.Client) -> None:
    answer = client.get("/page/a")

    assert answer.headers["cache-control"] == "private, max-age=60"
    assert answer.headers["content-security-policy"] == "default-src 'self'"


def test_watchers_learn_the_route_and_not_what_was_asked_for(client: httpx.Client, notes: Notes) -> None:
    answer = client.get("/page/secret", headers={"Accept-Encoding": "identity"})

    [found] = [a for a in notes.answered if a.request_id == answer.headers["x-request-id"]]
    assert (found.method, found.route, found.status) == ("GET", "/page/{name}", 200)
    assert found.response_bytes == len(answer.content) == 2_402
    assert (found.route_type, found.samples, found.cache_hit) == ("cached", 7, True)
    assert found.client_id is None
    assert notes.began_count >= len(notes.answered)


def test_a_method_that_nobody_knows_is_watched_under_one_name(client: httpx.Client, notes: Notes) -> None:
    answer = client.request("PROPFIND", "/page/a")

    [found] = [a for a in notes.answered if a.request_id == answer.headers["x-request-id"]]
    assert (answer.status_code, found.method) == (405, "other")


def test_an_answer_without_an_end_took_as_long_as_its_first_byte(client: httpx.Client, notes: Notes) -> None:
    began = time.perf_counter()
    with client.stream("GET", "/endless") as answer:
        next(answer.iter_raw())
        until_first = time.perf_counter() - began
        while time.perf_counter() - began < 3 * until_first:
            client.get("/page/x")
    while not (found := [each for each in notes.answered if each.route == "/endless"]):
        client.get("/page/x")

    assert 0 < found[0].duration_s <= until_first


@pytest.mark.parametrize("path", ["/length", "/fields"])
def test_a_body_that_says_that_it_is_too_large_is_refused_before_it_is_sent(service: Served, path: str) -> None:
    answer = service.send(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"type": "/problems/content-too-large"' in answer


@pytest.mark.parametrize("path", ["/length", "/fields"])
def test_a_body_that_does_not_say_its_length_is_refused_once_it_is_too_large(service: Served, path: str) -> None:
    answer = service.send(chunked(path, *[b"x" * 100] * 11))

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


def test_a_body_of_the_most_that_is_taken_is_taken(client: httpx.Client, service: Served) -> None:
    assert client.post("/length", content=b"x" * BODY_BYTES).json() == BODY_BYTES
    assert service.send(chunked("/length", *[b"x" * 100] * 10, b""), until=b"1000").endswith(b"1000")


@pytest.mark.parametrize("path", ["/length", "/fields"])
def test_a_body_that_drips_is_given_up(service: Served, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n".encode()

    answer = service.send(head, b"{")

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"The body did not arrive within 0.3 s." in answer


def test_a_path_with_a_query_that_is_too_long_is_refused(client: httpx.Client) -> None:
    fits = "x" * (TARGET_BYTES - len("/page/a?q="))

    assert client.get(f"/page/a?q={fits}").status_code == 200
    assert client.get(f"/page/a?q={fits}x").status_code == 414
    assert client.get(f"/{'y' * TARGET_BYTES}").status_code == 414


@pytest.mark.parametrize(("accepted", "sent"), [("zstd", "zstd"), ("gzip", "gzip"), ("gzip, zstd", "zstd")])
def test_an_answer_is_compressed_as_the_client_takes_it(client: httpx.Client, accepted: str, sent: str) -> None:
    answer = client.get("/page/abc", headers={"Accept-Encoding": accepted})

    assert answer.headers["content-encoding"] == sent
    assert answer.json() == "abc" * 400
    assert "accept-encoding" in answer.headers["vary"].lower()


@pytest.mark.parametrize("path", ["/packed", "/parquet"])
def test_what_is_compressed_already_is_sent_as_it_is(client: httpx.Client, path: str) -> None:
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    asked = client.get(path, headers={"Accept-Encoding": "zstd, gzip"})

    assert asked.headers.get("content-encoding") == plain.headers.get("content-encoding")
    assert asked.headers["content-length"] == plain.headers["content-length"]


@pytest.mark.parametrize("accepted", ["identity", "zstd", "gzip"])
def test_a_stream_comes_in_parts_and_whole(client: httpx.Client, accepted: str) -> None:
    with client.stream("GET", "/stream", headers={"Accept-Encoding": accepted}) as answer:
        assert "content-length" not in answer.headers
        found = answer.read()

    assert found == b"".join([f"part {number} ".encode() * 200 for number in range(PARTS)])


async def asgi(app: Any, *received: dict[str, Any], target: str = "/", **scope: Any) -> list[dict[str, Any]]:
    """What an ASGI application sends, in its own order."""
    messages, sent = iter(received or ({"type": "http.request", "body": b"", "more_body": False},)), []

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    whole = {"type": "http", "method": "GET", "path": target, "raw_path": target.encode(), "query_string": b"",
             "headers": [], "scheme": "http", "client": ("127.0.0.1", 1), "server": ("h", 80)}  # fmt: skip
    await app({**whole, **scope}, receive, send)
    return sent


def test_the_frame_holds_no_part_of_a_stream_back() -> None:
    import asyncio

    order: list[str] = []

    async def stream(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(3):
            order.append(f"made {number}")
            await send({"type": "http.response.body", "body": b"x", "more_body": number < 2})

    async def send(message: dict[str, Any]) -> None:
        order.append(message["type"].rpartition(".")[2])

    scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"", "headers": []}
    guarded = RequestFrame(RequestLimits(stream, body_bytes=1, target_bytes=100), utc_now)
    asyncio.run(guarded(scope, None, send))  # type: ignore[arg-type]

    assert order == ["start", "made 0", "body", "made 1", "body", "made 2", "body"]


def test_https_alone_tells_browsers_to_stay_with_it() -> None:
    import asyncio

    async def ok(scope: Any, receive: Any, send: Any) -> None:
        await Response("ok")(scope, receive, send)

    [start, _] = asyncio.run(asgi(RequestFrame(ok, utc_now), scheme="https"))

    assert (b"strict-transport-security", b"max-age=31536000") in start["headers"]


def test_an_answer_that_breaks_off_is_seen_to_be_broken(
    service: Served, caplog: pytest.LogCaptureFixture, notes: Notes
) -> None:
    with (
        caplog.at_level(logging.ERROR, "etl_assets"),
        httpx.Client(base_url=service.url) as http,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        http.get("/half")

    assert "/half, failed" in caplog.text
    assert notes.answered[-1].route == "/half"


def test_a_reader_that_goes_away_disturbs_nobody_else(service: Served) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
        assert said(connection, until=b"part 0")

    with httpx.Client(base_url=service.url) as http:
        assert http.get("/page/a").status_code == 200


def test_a_refusal_of_a_guard_carries_what_pages_of_other_origins_need() -> None:
    import asyncio

    async def refusing(_scope: Any, _receive: Any, _send: Any) -> None:
        raise Problem(429, "Too Many Requests", "Wait.")

    framed = RequestFrame(refusing, utc_now)
    app = CORSMiddleware(framed, allow_origins=["https://page.example"])
    [start, _] = asyncio.run(asgi(app, headers=[(b"origin", b"https://page.example")]))

    assert start["status"] == 429
    assert (b"access-control-allow-origin", b"https://page.example") in start["headers"]
