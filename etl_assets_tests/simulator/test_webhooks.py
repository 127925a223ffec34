"""The simulated receivers of KPIs' webhooks."""

import hashlib
import hmac
from collections.abc import Iterator
from threading import Thread

import httpx
import pytest

from etl_assets.simulator.app import LoggedRequest, SimulatorServer
from etl_assets_tests.simulator.reading import NOW

DEMANDED = {"secret": "s"}


@pytest.fixture
def running() -> Iterator[SimulatorServer]:
    """One a test: calls are remembered."""
    with SimulatorServer(now=lambda: NOW) as server:
        yield server


def call(running: SimulatorServer, name: str = "brief", **more: object) -> httpx.Response:
    return httpx.post(f"{running.url}/webhook/{name}", **({"json": {"kpiId": name}} | more), timeout=60)


def test_a_webhook_answers_that_the_workflow_was_started(running: SimulatorServer) -> None:
    answer = call(running)

    assert (answer.status_code, answer.json()) == (200, {"message": "Workflow was started"})


def test_calls_are_remembered_by_name(running: SimulatorServer) -> None:
    call(running, "brief", headers={"Idempotency-Key": "a:brief", "X-Other": "1"})
    call(running, "report", content=b"no json")

    (brief,) = running.webhooks.calls("brief")
    assert (brief.path, brief.payload, brief.at, brief.status) == ("/webhook/brief", {"kpiId": "brief"}, NOW, 200)
    assert brief.headers["idempotency-key"] == "a:brief"
    assert "x-other" not in brief.headers
    assert [(seen.name, seen.payload) for seen in running.webhooks.calls()] == [
        ("brief", {"kpiId": "brief"}), ("report", None),
    ]  # fmt: skip


def test_a_webhook_that_is_not_registered_says_so_as_n8n_does(running: SimulatorServer) -> None:
    running.webhooks.configure("brief", registered=False)

    answer = call(running)

    assert answer.status_code == 404
    assert answer.json()["code"] == 404
    assert answer.json()["message"] == 'The requested webhook "POST brief" is not registered.'
    assert answer.json()["hint"].startswith("The workflow must be active")


def test_a_webhook_takes_no_get(running: SimulatorServer) -> None:
    answer = httpx.get(f"{running.url}/webhook/brief")

    assert answer.status_code == 404
    assert answer.json()["message"].endswith("Did you mean to make a POST request?")


@pytest.mark.parametrize(("key", "status"), [({}, 403), ({"X-N8N-API-KEY": "no"}, 403), ({"X-N8N-API-KEY": "k"}, 200)])
def test_a_key_is_demanded_where_one_is_set(running: SimulatorServer, key: dict[str, str], status: int) -> None:
    running.webhooks.configure("brief", api_key="k")

    answer = call(running, headers=key)

    assert answer.status_code == status
    assert (answer.text == "Authorization data is wrong!") == (status == 403)
    assert call(running, "report").status_code == 200


@pytest.mark.parametrize(("secret", "status"), [(b"s", 200), (b"another", 403)])
def test_a_signature_is_checked_where_a_secret_is_set(running: SimulatorServer, secret: bytes, status: int) -> None:
    running.webhooks.configure("brief", **DEMANDED)
    signature = "sha256=" + hmac.digest(secret, b"{}", hashlib.sha256).hex()

    answer = call(running, json=None, content=b"{}", headers={"X-Signature-256": signature})

    assert answer.status_code == status
    assert [seen.signature_held for seen in running.webhooks.calls()] == [status == 200]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("server_error", 503),
        ("too_many_requests", 429),
        ("blocked", 403),
        ("html_with_200", 200),
        ("no_content", 204),
        ("failing_webhook", 500),
        ("redirecting_webhook", 302),
    ],
)
def test_a_fault_spoils_the_webhook_that_it_names_and_no_other(
    running: SimulatorServer, fault: str, status: int
) -> None:
    running.faults.switch_on(fault, "/webhook/brief", times=1)

    answers = [call(running, name).status_code for name in ("report", "brief", "brief")]

    assert answers == [200, status, 200]
    assert [seen.status for seen in running.webhooks.calls()] == answers


def test_a_failing_workflow_says_so_as_n8n_does(running: SimulatorServer) -> None:
    running.faults.switch_on("failing_webhook")

    assert call(running).json() == {"message": "Error in workflow"}


def test_a_redirect_leads_to_another_webhook(running: SimulatorServer) -> None:
    running.faults.switch_on("redirecting_webhook")

    assert call(running).headers["location"] == "/webhook/elsewhere"


def test_a_refusing_webhook_closes_without_an_answer(running: SimulatorServer) -> None:
    running.faults.switch_on("refusing_webhook", times=1)

    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        call(running)

    assert call(running).status_code == 200
    assert [seen.status for seen in running.webhooks.calls()] == [0, 200]
    assert running.requests[0] == LoggedRequest("POST", "/webhook/brief", 0)


def test_a_cut_body_ends_before_its_announced_length(running: SimulatorServer) -> None:
    running.faults.switch_on("cut_body", "/webhook/brief")

    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        call(running)


@pytest.mark.parametrize(("fault", "status"), [("slow_webhook", 200), ("time_out", 504)])
def test_a_held_answer_holds_up_no_other_and_comes_in_the_end(fault: str, status: int) -> None:
    answers: list[int] = []
    with SimulatorServer(now=lambda: NOW) as running:
        running.faults.switch_on(fault, "/webhook/slow", seconds=600)
        waiting = [Thread(target=lambda: answers.append(call(running, "slow").status_code)) for _ in range(60)]
        for thread in waiting:
            thread.start()
        while running.held < 60:
            waiting[0].join(0.01)

        assert call(running, "quick").status_code == 200
        assert answers == []
    for thread in waiting:
        thread.join()

    assert answers == [status] * 60


def test_webhooks_are_set_and_read_through_the_control_endpoint(running: SimulatorServer) -> None:
    control = f"{running.url}/_control/webhooks"
    httpx.post(control, json={"name": "brief", "registered": False})
    call(running)

    listed = httpx.get(control).json()

    assert [(seen["name"], seen["status"], seen["at"]) for seen in listed] == [("brief", 404, NOW.isoformat())]
    assert httpx.delete(control).json() == []
    assert httpx.post(control, json={"name": "brief", "unknown": 1}).status_code == 400
    assert httpx.post(control, json={"registered": True}).status_code == 400
    assert call(running).status_code == 404


def test_the_registry_lists_two_kpis_whose_workflows_are_here(running: SimulatorServer) -> None:
    served = httpx.get(f"{running.url}/kpi/registry.json").json()

    assert [(kpi["id"], kpi["webhookUrl"], kpi["dependsOn"], kpi["reportsBack"]) for kpi in served["kpis"]] == [
        ("daily-market-brief", f"{running.url}/webhook/daily-market-brief", ["aemo.dispatch_region"], False),
        ("building-report", f"{running.url}/webhook/building-report", ["ace.timeseries_raw"], False),
    ]
    assert (served["metadata"]["totalKPIs"], served["metadata"]["activeKPIs"]) == (2, 2)
    assert {httpx.post(kpi["webhookUrl"], json={}).status_code for kpi in served["kpis"]} == {200}


def test_the_registry_can_be_spoiled_like_any_file(running: SimulatorServer) -> None:
    running.faults.switch_on("server_error", "/kpi/registry.json", times=1)

    assert httpx.get(f"{running.url}/kpi/registry.json").status_code == 503
