"""A try ends in time whatever trickles in."""

from datetime import timedelta

import httpx
import pytest
from httpx_retries import Retry

from etl_assets.http import BrokenTransfer, HttpClient, HttpPolicy
from etl_assets.http_deadline import ended_after
from etl_assets.settings import Settings
from etl_assets_tests.kpi.sockets import Answer, drip, receiver, say

HEADERS_DRIP = drip(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"z")
BODY_DRIPS = drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"z")
CHUNKS_DRIP = drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nz\r\n")
ENDLESS_BODY_DRIPS = drip(b"HTTP/1.1 200 OK\r\n\r\n", b"z")


def client(longest_try: float | None) -> HttpClient:
    timeout = timedelta(seconds=30).total_seconds()
    policy = HttpPolicy(Retry(total=0), timeout, 4, {}, longest_try=longest_try)
    return HttpClient(Settings(_env_file=None), policy=policy)


@pytest.mark.parametrize("answer", [HEADERS_DRIP, BODY_DRIPS, CHUNKS_DRIP, ENDLESS_BODY_DRIPS])
def test_an_answer_that_drips_ends_as_a_time_out(answer: Answer) -> None:
    with receiver(answer) as url, client(0.2) as http:
        with pytest.raises(BrokenTransfer, match=r"ReadTimeout: no whole answer within 0\.2 s"):
            http.get(url)

        assert http.stats.requests_by_status == {"timeout": 1}


def test_an_answer_in_time_is_delivered() -> None:
    with receiver(say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as url, client(60) as http:
        answers = [http.get(url).body for _ in range(2)]

    assert answers == [b"ok", b"ok"]


def test_a_failure_before_the_deadline_is_told_as_it_is() -> None:
    request = httpx.Request("GET", "http://127.0.0.1/")

    with pytest.raises(httpx.ConnectError), ended_after(60, request):
        raise httpx.ConnectError("Connection refused", request=request)


def test_without_a_deadline_nothing_is_watched() -> None:
    request = httpx.Request("GET", "http://127.0.0.1/")

    with ended_after(None, request):
        assert "trace" not in request.extensions
