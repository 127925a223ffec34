"""Workflows triggered through their webhooks: the simulator's, and some written byte by byte."""

import hashlib
import hmac
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import httpx_retries.retry
import pytest

from etl_assets.http import LONGEST_PAUSE_S
from etl_assets.kpi.registry import Kpi
from etl_assets.kpi.webhook import Accepted, signature, trigger_payload
from etl_assets.simulator.app import SimulatorServer
from etl_assets_tests.kpi.sockets import receiver, say
from etl_assets_tests.kpi.triggering import DEMANDED, KEY, NAME, NOON, PAYLOAD, SECRETS, STARTED, refused, workflows

BITCOIN = Kpi(
    id="cmc-btc-price",
    name="Bitcoin Price (CMC)",
    description="Current Bitcoin price from CoinMarketCap",
    type="price",
    webhookUrl="https://n8n.example.com/webhook/btc-price",
)


@pytest.fixture
def simulator() -> Iterator[SimulatorServer]:
    with SimulatorServer(now=lambda: NOON) as server:
        yield server


def test_the_payload_is_the_schedulers() -> None:
    assert trigger_payload(BITCOIN, "trace_20250814_120000_abc12345", NOON, "development") == {
        "traceId": "trace_20250814_120000_abc12345",
        "kpiId": "cmc-btc-price",
        "timestamp": "2025-08-14T12:00:00Z",
        "kpiType": "price",
        "metadata": {
            "schedulerWorker": "scheduler-worker",
            "environment": "development",
            "kpiName": "Bitcoin Price (CMC)",
            "kpiDescription": "Current Bitcoin price from CoinMarketCap",
        },
    }


def test_the_payload_tells_its_moment_in_utc_to_seconds() -> None:
    brisbane = datetime(2025, 8, 15, 8, 30, 15, 999_999, tzinfo=timezone(timedelta(hours=10)))

    assert trigger_payload(BITCOIN, "t", brisbane, "production")["timestamp"] == "2025-08-14T22:30:15Z"


def test_a_signature_is_the_hmac_of_rfc_4231() -> None:
    # Test case 2 there: key "Jefe".
    assert signature("Jefe", b"what do ya want for nothing?") == (
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


def test_an_accepted_call_is_told_with_its_tries(simulator: SimulatorServer) -> None:
    with workflows() as opened:
        accepted = opened.trigger(f"{simulator.url}/webhook/{NAME}", PAYLOAD, key=KEY)

    assert accepted == Accepted(200, 1, accepted.seconds)
    assert accepted.seconds > 0


def test_a_call_is_compact_json_under_its_key(simulator: SimulatorServer) -> None:
    with workflows() as opened:
        opened.trigger(f"{simulator.url}/webhook/{NAME}", PAYLOAD, key=KEY)

    (call,) = simulator.webhooks.calls(NAME)
    assert call.payload == PAYLOAD
    assert call.headers == {"content-type": "application/json", "user-agent": "etl-assets", "idempotency-key": KEY}


def test_a_key_and_a_signature_of_the_very_bytes_go_along_where_they_are_set() -> None:
    requests: list[bytes] = []
    with receiver(say(STARTED), requests) as url, workflows(**SECRETS) as opened:
        opened.trigger(url, PAYLOAD, key=KEY)

    head, _, body = requests[0].partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().splitlines()[1:])
    assert body == '{"traceId":"trace_20250814_120000_abc12345","kpiId":"a","name":"Zähler"}'.encode()
    assert headers["X-N8N-API-KEY"] == "key-sesame"
    assert headers["X-Signature-256"] == "sha256=" + hmac.digest(b"sign-sesame", body, hashlib.sha256).hex()


def test_a_receiver_that_demands_key_and_signature_accepts_ours(simulator: SimulatorServer) -> None:
    simulator.webhooks.configure(NAME, **DEMANDED)

    with workflows(**SECRETS) as opened:
        assert opened.trigger(f"{simulator.url}/webhook/{NAME}", PAYLOAD, key=KEY).status == 200

    assert [call.signature_held for call in simulator.webhooks.calls()] == [True]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\nfine",
        b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<ok/>",
    ],
)
def test_any_success_is_accepted_whatever_its_body(answer: bytes) -> None:
    with receiver(say(answer)) as url, workflows() as opened:
        assert opened.trigger(url, PAYLOAD, key=KEY).tries == 1


@pytest.mark.parametrize("fault", ["server_error", "too_many_requests_silent", "failing_webhook"])
def test_what_may_pass_is_tried_again_under_the_same_key(simulator: SimulatorServer, fault: str) -> None:
    simulator.faults.switch_on(fault, f"/webhook/{NAME}", times=2)

    with workflows(kpi_webhook_retries=2) as opened:
        accepted = opened.trigger(f"{simulator.url}/webhook/{NAME}", PAYLOAD, key=KEY)

    calls = simulator.webhooks.calls(NAME)
    assert (accepted.status, accepted.tries) == (200, 3)
    assert [call.headers["idempotency-key"] for call in calls] == [KEY] * 3
    assert [call.payload for call in calls] == [PAYLOAD] * 3


def test_waits_double_from_the_setting_on_and_are_spread_a_little(
    simulator: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(httpx_retries.retry.time, "sleep", pauses.append)
    simulator.faults.switch_on("failing_webhook")

    with workflows(kpi_webhook_backoff=3, kpi_webhook_retries=3) as opened:
        refused(opened, f"{simulator.url}/webhook/{NAME}")

    assert all(0.9 * most <= pause <= most for pause, most in zip(pauses, (3, 6, 12), strict=True))


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("86400", LONGEST_PAUSE_S)])
def test_retry_after_is_honoured_within_bounds(monkeypatch: pytest.MonkeyPatch, asked: str, waited: float) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(httpx_retries.retry.time, "sleep", pauses.append)
    answer = f"HTTP/1.1 429 Too Many Requests\r\nRetry-After: {asked}\r\nContent-Length: 0\r\n\r\n".encode()

    with receiver(say(answer)) as url, workflows(kpi_webhook_retries=1) as opened:
        refused(opened, url)

    assert pauses == [waited]


def test_fifty_calls_to_one_host_are_on_their_way_at_once() -> None:
    together = threading.Barrier(50)

    def answer(connection: socket.socket) -> None:
        # Nobody is answered before all fifty have come.
        together.wait(60)
        connection.sendall(STARTED)

    with receiver(answer) as url, workflows(kpi_webhook_retries=0) as opened, ThreadPoolExecutor(50) as pool:
        calls = [pool.submit(opened.trigger, url, PAYLOAD, key=f"{KEY}{n}") for n in range(50)]

        assert {call.result().status for call in calls} == {200}
