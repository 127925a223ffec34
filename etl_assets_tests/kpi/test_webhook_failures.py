"""Webhooks that do not accept a call: each way to fail has its reason, and no secret is told."""

import json
import logging
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from etl_assets.kpi.webhook import Workflows
from etl_assets.settings import Settings
from etl_assets.simulator.app import SimulatorServer
from etl_assets_tests.kpi.sockets import drip, receiver, say
from etl_assets_tests.kpi.triggering import KEY, NAME, NOON, PAYLOAD, SECRETS, nobody, refused, workflows


@pytest.fixture
def simulator() -> Iterator[SimulatorServer]:
    with SimulatorServer(now=lambda: NOON) as server:
        yield server


@pytest.mark.parametrize(
    ("fault", "reason", "status", "is_unreachable"),
    [
        ("server_error", "status 503 (after 3 tries: 503, 503, 503)", 503, True),
        ("too_many_requests_silent", "status 429 (after 3 tries: 429, 429, 429)", 429, False),
        ("failing_webhook", "status 500: Error in workflow (after 3 tries: 500, 500, 500)", 500, False),
        (
            "refusing_webhook",
            "the connection ended without a whole answer; whether the workflow was started is not known",
            None,
            False,
        ),
        (
            "cut_body",
            "the connection ended without a whole answer; whether the workflow was started is not known",
            None,
            False,
        ),
        ("blocked", "status 403", 403, False),
        ("html_with_200", "status 200, but with an HTML page", 200, False),
        ("redirecting_webhook", "status 302: it leads elsewhere, which is not followed", 302, False),
    ],
)
def test_each_way_to_fail_has_its_own_reason(
    simulator: SimulatorServer, fault: str, reason: str, status: int | None, is_unreachable: bool
) -> None:
    simulator.faults.switch_on(fault, f"/webhook/{NAME}")

    with workflows(kpi_webhook_retries=2) as opened:
        error = refused(opened, f"{simulator.url}/webhook/{NAME}")

    tries = len(simulator.webhooks.calls(NAME))
    assert (error.reason, error.status, error.is_unreachable) == (reason, status, is_unreachable)
    assert error.tries == tries == (3 if "after 3 tries" in reason else 1)
    assert error.is_unanswered == ("is not known" in reason)


def test_no_redirect_carries_the_key_elsewhere(simulator: SimulatorServer) -> None:
    simulator.faults.switch_on("redirecting_webhook", f"/webhook/{NAME}")

    with workflows(n8n_api_key="sesame") as opened:
        refused(opened, f"{simulator.url}/webhook/{NAME}")

    assert [call.name for call in simulator.webhooks.calls()] == [NAME]


def test_a_wrong_key_is_told_and_not_tried_again(simulator: SimulatorServer) -> None:
    simulator.webhooks.configure(NAME, api_key="sesame")

    with workflows(n8n_api_key="another") as opened:
        error = refused(opened, f"{simulator.url}/webhook/{NAME}")

    assert (error.reason, error.tries) == ("status 403: Authorization data is wrong!", 1)


def test_a_webhook_that_is_not_registered_is_told_without_its_path(simulator: SimulatorServer) -> None:
    simulator.webhooks.configure(NAME, registered=False)

    with workflows() as opened:
        error = refused(opened, f"{simulator.url}/webhook/{NAME}")

    host = simulator.url.removeprefix("http://")
    assert str(error) == (
        f'Webhook at {host}: status 404: The requested webhook "POST … is not registered. '
        "See webhookUrl in the registry, and that the workflow is active."
    )


def test_a_workflow_that_is_slow_to_answer_is_started_once_and_told_with_its_setting(
    simulator: SimulatorServer,
) -> None:
    simulator.faults.switch_on("slow_webhook", f"/webhook/{NAME}", seconds=600)

    with workflows(kpi_webhook_timeout=timedelta(seconds=0.2), kpi_webhook_retries=2) as opened:
        error = refused(opened, f"{simulator.url}/webhook/{NAME}")

    assert len(simulator.webhooks.calls(NAME)) == error.tries == 1
    assert str(error) == (
        f"Webhook at {simulator.url.removeprefix('http://')}: no answer within 0.2 s; whether the workflow was started "
        "is not known. Raise KPI_WEBHOOK_TIMEOUT, or let it answer at once."
    )
    assert (error.is_unanswered, error.is_unreachable) == (True, False)


def test_the_tries_before_a_call_without_an_answer_are_told() -> None:
    answers = iter([b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", b""])

    with (
        receiver(lambda connection: connection.sendall(next(answers))) as url,
        workflows(kpi_webhook_retries=2) as opened,
    ):
        error = refused(opened, url)

    assert error.reason.endswith("is not known (after 2 tries: 503, network)")


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_an_answer_that_drips_ends(start: bytes) -> None:
    with (
        receiver(drip(start, b"z")) as url,
        workflows(kpi_webhook_timeout=timedelta(seconds=0.2), kpi_webhook_retries=1) as opened,
    ):
        error = refused(opened, url)

    assert error.reason == "no answer within 0.2 s; whether the workflow was started is not known"
    assert error.tries == 1


@pytest.mark.parametrize(("size", "accepted"), [(1 << 20, True), ((1 << 20) + 1, False)])
def test_an_answer_of_more_than_a_megabyte_is_not_read(size: int, accepted: bool) -> None:
    with (
        receiver(say(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * size)) as url,
        workflows() as opened,
    ):
        if accepted:
            assert opened.trigger(url, PAYLOAD, key=KEY).status == 200
        else:
            error = refused(opened, url)
            assert error.reason == "an answer of more than 1 MB; whether the workflow was started is not known"


def test_nobody_there_is_a_host_that_does_not_answer() -> None:
    with workflows(kpi_webhook_retries=1) as opened:
        error = refused(opened, f"{nobody()}/webhook/{NAME}")

    assert error.reason == "no connection (Connection refused) (after 2 tries: network, network)"
    assert (error.status, error.tries, error.is_unreachable, error.is_unanswered) == (None, 2, True, False)


def test_a_host_that_speaks_no_tls_does_not_answer(simulator: SimulatorServer) -> None:
    with workflows(kpi_webhook_retries=0) as opened:
        error = refused(opened, simulator.url.replace("http://", "https://"))

    assert error.reason.startswith("no TLS connection (")
    assert error.is_unreachable


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_a_certificate_that_nobody_vouches_for_is_not_trusted(tmp_path: Path) -> None:
    pair = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "certificate.pem")]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*make, *pair], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")

    def shake_hands(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, pytest.raises(ssl.SSLError), context.wrap_socket(connection, server_side=True) as encrypted:
            encrypted.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listening, workflows(kpi_webhook_retries=0) as opened:
        listener = threading.Thread(target=shake_hands, args=(listening,))
        listener.start()
        error = refused(opened, f"https://127.0.0.1:{listening.getsockname()[1]}/{NAME}")
        listener.join()

    assert error.reason.startswith("its certificate is not trusted (self")
    assert error.is_unreachable


@pytest.mark.parametrize(
    "url", ["", "n8n.example/webhook", "ftp://n8n.example/", "http://", "http://[::1/", "http://h:99999/"]
)
def test_what_is_no_address_is_called_so(url: str) -> None:
    with workflows() as opened:
        error = refused(opened, url)

    assert error.reason == "webhookUrl is not an address that can be called"
    assert error.tries == 0


@pytest.mark.parametrize("secret", ["sésame", "ses\name"])
def test_a_key_that_no_header_can_hold_is_told_and_not_quoted(simulator: SimulatorServer, secret: str) -> None:
    with workflows(n8n_api_key=secret) as opened:
        error = refused(opened, simulator.url)

    assert error.reason == "the request's headers cannot be sent"
    assert secret not in str(error)
    assert simulator.webhooks.calls() == []


def test_a_host_whose_name_cannot_be_one_is_told_so_and_not_blamed_on_the_key() -> None:
    with workflows(kpi_webhook_retries=0) as opened:
        error = refused(opened, f"http://{'n' * 64}.example/webhook/{NAME}")

    assert error.reason == "the host's name cannot be looked up"
    assert "63 characters" in str(error)
    assert "N8N_API_KEY" not in str(error)


def test_neither_errors_nor_logs_hold_path_query_credentials_or_keys(
    caplog: pytest.LogCaptureFixture, simulator: SimulatorServer
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = ["path-sesame", "sesame-name", "sesame-query", "user-sesame", "word-sesame", "key-sesame", "sign-sesame"]
    echo = json.dumps({"message": f"wrong: {' '.join(secrets)}"}).encode()
    answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s" % (len(echo), echo)

    with receiver(say(answer)) as url, workflows(**SECRETS) as opened:
        host = url.removeprefix("http://")
        error = refused(opened, f"http://user-sesame:word-sesame@{host}/webhook/path-sesame?sesame-name=sesame-query")
        opened.trigger(f"{simulator.url}/webhook/path-sesame?sesame-name=sesame-query", PAYLOAD, key=KEY)

    assert error.reason == "status 400: wrong: … … … … … … …"
    assert "sesame" not in str(error) + caplog.text
    assert error.__cause__ is error.__context__ is None


def test_a_host_that_does_not_answer_is_left_alone_with_the_last_reason() -> None:
    settings = Settings(_env_file=None, kpi_breaker_failures=2, kpi_webhook_retries=0)
    url = f"{nobody()}/webhook/{NAME}"

    with Workflows(settings, now=lambda: NOON) as opened:
        tried = [refused(opened, url) for _ in range(2)]
        error = refused(opened, url)

    assert [failed.reason for failed in tried] == ["no connection (Connection refused)"] * 2
    assert error.reason == (
        "not called: left alone until 2025-08-14 12:01:00Z after 2 calls in a row without an answer "
        "(the last: no connection (Connection refused))"
    )
    assert (error.is_unreachable, error.status, error.tries) == (True, None, 0)


def test_a_host_left_alone_is_not_called_until_its_rest_is_over(simulator: SimulatorServer) -> None:
    times = [NOON]
    settings = Settings(_env_file=None, kpi_breaker_failures=2, kpi_webhook_retries=0, kpi_webhook_backoff=0)
    simulator.faults.switch_on("server_error", "/webhook/*", times=2)
    with Workflows(settings, now=lambda: times[0]) as opened:
        for name in ("a", "b", "c"):
            refused(opened, f"{simulator.url}/webhook/{name}")
        times[0] += timedelta(minutes=1)
        opened.trigger(f"{simulator.url}/webhook/d", PAYLOAD, key=KEY)

    assert [call.name for call in simulator.webhooks.calls()] == ["a", "b", "d"]


@pytest.mark.parametrize(
    "fault", ["failing_webhook", "blocked", "refusing_webhook", "redirecting_webhook", "html_with_200"]
)
def test_a_workflows_own_failure_is_not_its_hosts(simulator: SimulatorServer, fault: str) -> None:
    simulator.faults.switch_on(fault, f"/webhook/{NAME}")

    with workflows(kpi_breaker_failures=1, kpi_webhook_retries=0) as opened:
        refused(opened, f"{simulator.url}/webhook/{NAME}")

        assert opened.trigger(f"{simulator.url}/webhook/sound", PAYLOAD, key=KEY).status == 200


def test_a_slow_workflow_is_not_its_hosts_failure(simulator: SimulatorServer) -> None:
    simulator.faults.switch_on("slow_webhook", f"/webhook/{NAME}", seconds=600)
    impatient = {"kpi_webhook_timeout": timedelta(seconds=0.2), "kpi_webhook_retries": 0, "kpi_breaker_failures": 1}

    with workflows(**impatient) as opened:
        reasons = {refused(opened, f"{simulator.url}/webhook/{NAME}").reason for _ in range(2)}

    assert reasons == {"no answer within 0.2 s; whether the workflow was started is not known"}
