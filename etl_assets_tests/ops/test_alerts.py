"""Alerts: what raises one, that each is told once with its recovery, and that no webhook can lose one or fail a run."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import duckdb
import pytest
from pydantic import SecretStr

from etl_assets.lake.publish import publish
from etl_assets.ops import alerts
from etl_assets.ops.alerts import (
    CLAIM,
    SENT_AT_ONCE,
    Condition,
    ETLMetrics,
    alert_tags,
    evaluate,
    gap_conditions,
    kpi_conditions,
    open_alerts,
    quality_conditions,
    report_metrics,
    sync_conditions,
    webhook_client,
)
from etl_assets.ops.state import SyncRun, copies_for_analysts
from etl_assets.settings import Settings

STARTED = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
PATH = "services/T000/B000/secret-path"
RUN = SyncRun(
    run_id="run-1",
    attempt=1,
    dataset="ace.timeseries_raw",
    partition="2026-11-22|a",
    started_at=STARTED,
    finished_at=STARTED + timedelta(seconds=20),
    duration_seconds=20.0,
    fetched=1000,
    filtered=100,
    invalid=50,
    duplicate=10,
    unchanged=200,
    inserted=600,
    updated=40,
    missing_before=0,
    missing_after=0,
    files_read=0,
    files_refused=0,
    requests_by_status={"200": 99, "429": 1},
    retries=1,
    bytes_received=1,
    errors=("cut off",),
    sync_id="sync_1795312800_abc",
    site_name="a",
)
SLOW = Condition("duration:a", "duration", "ETL sync approaching timeout", {"duration_ms": 30_000}, firing=True)
OVER = replace(SLOW, firing=False)
EVALUATING = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pydantic import SecretStr
from etl_assets.ops.alerts import Condition, evaluate
from etl_assets.settings import Settings

settings = Settings(_env_file=None, etl_data=Path(sys.argv[1]), alert_webhook_url=SecretStr(sys.argv[2]))
conditions = [Condition(f"duration:{n}", "duration", "slow", {}, firing=True) for n in range(5)]
print("ready", flush=True)
sys.stdin.readline()
evaluate(settings, conditions, now=datetime(2026, 11, 22, tzinfo=UTC))
"""


@dataclass
class Hook:
    """A webhook on loopback: answers with a status and a body, and keeps what it was sent."""

    status: int = 200
    body: bytes = b"ok"
    received: list[dict] = field(default_factory=list)
    refused: list[dict] = field(default_factory=list)
    refuse_message: str = ""
    url: str = ""

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(message["status"], message["key"]) for message in self.received]


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = 400 if hook.refuse_message and sent.get("message") == hook.refuse_message else hook.status
            (hook.received if status < 300 else hook.refused).append(sent)
            self.send_response(status)
            self.send_header("Content-Length", str(len(hook.body)))
            self.end_headers()
            self.wfile.write(hook.body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        hook.url = f"http://127.0.0.1:{server.server_port}/{PATH}"
        yield hook
        server.shutdown()
        thread.join()


@pytest.fixture
def hooked(settings: Settings, hook: Hook) -> Settings:
    return with_webhook(settings, hook.url)


def with_webhook(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"alert_webhook_url": SecretStr(url)})


def with_metrics(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"metrics_webhook_url": SecretStr(url)})


def firing(settings: Settings, run: SyncRun, *, yesterday: bool = True) -> dict[str, bool]:
    return {c.kind: c.firing for c in sync_conditions(settings, "a", run, had_data_yesterday=yesterday)}


def test_a_sync_at_every_threshold_raises_nothing(settings):
    at_the_edge = replace(RUN, duration_seconds=25.0)

    assert firing(settings, at_the_edge) == {
        "duration": False,
        "requests": False,
        "error_rate": False,
        "no_data": False,
    }


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"duration_seconds": 25.001}, "duration", "ETL sync approaching timeout"),
        ({"invalid": 51}, "error_rate", "High error rate in ETL sync"),
        ({"requests_by_status": {"200": 100, "timeout": 1}}, "requests", "High number of API requests in ETL sync"),
        ({"fetched": 0}, "no_data", "Nothing fetched in ETL sync where there was data yesterday"),
    ],
)
def test_a_sync_beyond_one_threshold_raises_that_one_with_its_figures(settings, change, kind, message):
    conditions = sync_conditions(settings, "a", replace(RUN, **change), had_data_yesterday=True)

    [raised] = [c for c in conditions if c.firing]
    assert (raised.key, raised.kind, raised.message) == (f"{kind}:a", kind, message)
    assert raised.payload["sync_id"] == "sync_1795312800_abc"


def test_a_rate_of_nothing_neither_raises_nor_clears(settings):
    nothing = replace(RUN, fetched=0, invalid=0)

    assert "error_rate" not in firing(settings, nothing)
    # On the second day of an outage there was nothing yesterday either: that is no recovery.
    assert "no_data" not in firing(settings, nothing, yesterday=False)
    assert firing(settings, RUN, yesterday=False)["no_data"] is False


def test_low_quality_is_one_alert_a_site_that_names_the_worst_points(settings):
    scores = [(f"p{n}", n / 4500) for n in range(4500)]

    [low] = quality_conditions(settings, "a", date(2026, 11, 21), scores)

    assert (low.key, low.message, low.firing) == ("quality:a", "Low data quality detected", True)
    assert {k: low.payload[k] for k in ("siteName", "pointName", "qualityScore")} == {
        "siteName": "a",
        "pointName": "p0",
        "qualityScore": 0.0,
    }
    assert (low.payload["pointsBelow"], low.payload["pointsScored"], low.payload["day"]) == (3600, 4500, "2026-11-21")
    assert [point["pointName"] for point in low.payload["worst"]] == [f"p{n}" for n in range(10)]


def test_a_score_at_the_threshold_is_good_and_no_score_says_nothing(settings):
    [good] = quality_conditions(settings, "a", date(2026, 11, 21), [("p", 0.8)])

    assert good.firing is False
    assert quality_conditions(settings, "a", date(2026, 11, 21), []) == []


def test_a_kpi_that_failed_is_named_with_its_error_and_says_nothing_of_its_thresholds():
    [failed] = kpi_conditions("price", "Price", error="status 500", breaches=[], day=date(2026, 11, 21))

    assert (failed.key, failed.kind, failed.message, failed.firing) == (
        "kpi_failed:price",
        "kpi_failed",
        "KPI failed",
        True,
    )
    assert failed.payload == {"kpiId": "price", "kpiName": "Price", "day": "2026-11-21", "error": "status 500"}


def test_values_beyond_their_thresholds_are_one_alert_a_kpi_that_names_the_first():
    beyond = [(f"unit {n}", 300.0 + n, "above 300 AUD/MWh") for n in range(400)]

    [failed, threshold] = kpi_conditions("price", "Price", error=None, breaches=beyond, day=date(2026, 11, 21))

    assert (failed.key, failed.firing) == ("kpi_failed:price", False)
    assert (threshold.key, threshold.kind, threshold.message, threshold.firing) == (
        "kpi_threshold:price",
        "kpi_threshold",
        "KPI beyond its threshold",
        True,
    )
    assert (threshold.payload["kpiName"], threshold.payload["day"], threshold.payload["breached"]) == (
        "Price",
        "2026-11-21",
        400,
    )
    assert len(threshold.payload["breaches"]) == 10
    assert threshold.payload["breaches"][1] == {"entity": "unit 1", "value": 301.0, "limit": "above 300 AUD/MWh"}


def test_a_kpi_that_is_well_clears_both_of_its_alerts_and_one_whose_workflow_alone_failed_has_both(settings, now):
    def told(error: str | None, breaches: list[tuple[str, float, str]]) -> list[tuple[str, str]]:
        found = kpi_conditions("price", "Price", error=error, breaches=breaches, day=date(2026, 11, 21))
        return [(alert.key, alert.status) for alert in evaluate(settings, found, now=now)]

    both = told("status 500", [("SA1", 301.0, "above 300")])
    worse = told("status 500", [])
    well = told(None, [])

    assert both == [("kpi_failed:price", "raised"), ("kpi_threshold:price", "raised")]
    assert worse == []
    assert well == [("kpi_failed:price", "resolved"), ("kpi_threshold:price", "resolved")]


def test_a_gap_is_alerted_once_it_began_longer_ago_than_the_gap_sensor_looks(settings, now):
    edge = now - timedelta(hours=36)
    [young] = gap_conditions(settings, "a", [(edge, now)], now=now)
    [old] = gap_conditions(settings, "a", [(edge - timedelta(seconds=1), edge), (now, now)], now=now)

    assert (young.firing, old.firing) == (False, True)
    assert old.message == "Gap in readings older than 36 hours"
    assert (old.payload["gaps"], old.payload["oldestEnd"]) == (1, "2026-11-20T14:00:00+00:00")


def test_a_condition_is_told_once_while_it_holds_and_once_when_it_clears(hooked, hook, now):
    states = [OVER, SLOW, SLOW, SLOW, OVER, OVER, SLOW]
    changes = [
        [alert.status for alert in evaluate(hooked, [state], now=now + timedelta(minutes=5 * n))]
        for n, state in enumerate(states)
    ]

    assert changes == [[], ["raised"], [], [], ["resolved"], [], ["raised"]]
    assert hook.told == [("raised", "duration:a"), ("resolved", "duration:a"), ("raised", "duration:a")]


def test_the_webhook_gets_message_payload_status_and_time(hooked, hook, now):
    evaluate(hooked, [SLOW], now=now)
    evaluate(hooked, [OVER], now=now + timedelta(minutes=5))

    raised = {
        "message": "ETL sync approaching timeout",
        "payload": {"duration_ms": 30_000},
        "status": "raised",
        "time": "2026-11-22T02:00:00+00:00",
        "key": "duration:a",
        "kind": "duration",
    }
    assert hook.received == [raised, raised | {"status": "resolved", "time": "2026-11-22T02:05:00+00:00"}]


def test_an_open_alert_shows_the_newest_figures_and_when_it_began(settings, now):
    evaluate(settings, [SLOW, replace(SLOW, key="duration:b")], now=now)
    later = now + timedelta(minutes=5)
    evaluate(settings, [replace(SLOW, payload={"duration_ms": 40_000}), replace(OVER, key="duration:b")], now=later)

    [alert] = open_alerts(settings)

    assert (alert.key, alert.payload, alert.raised_at, alert.last_seen_at) == (
        "duration:a",
        {"duration_ms": 40_000},
        now,
        later,
    )


def test_a_condition_that_is_not_looked_at_stays_as_it_is(settings, now):
    evaluate(settings, [SLOW], now=now)

    assert evaluate(settings, [], now=now) == []
    assert len(open_alerts(settings)) == 1


@pytest.mark.parametrize("status", [500, 400, 404])
def test_what_the_webhook_does_not_take_is_sent_by_a_later_evaluation_in_order(hooked, hook, now, status):
    hook.status = status
    evaluate(hooked, [SLOW], now=now)
    evaluate(hooked, [OVER], now=now)
    assert hook.told == []

    hook.status = 200
    assert evaluate(hooked, [], now=now) == []
    evaluate(hooked, [], now=now)

    assert hook.told == [("raised", "duration:a"), ("resolved", "duration:a")]


def test_a_webhook_that_is_not_there_is_asked_once_an_evaluation_and_fails_nothing(hooked, hook, now):
    hook.status = 503
    conditions = [replace(SLOW, key=f"duration:{n}") for n in range(5)]

    changed = evaluate(hooked, conditions, now=now)
    nobody = evaluate(with_webhook(hooked, "http://127.0.0.1:1/x"), [], now=now)
    unreadable = evaluate(with_webhook(hooked, "http://[::/x"), [], now=now)

    assert (len(changed), nobody, unreadable, len(hook.refused)) == (5, [], [], 1)


def test_a_message_that_is_refused_does_not_hold_up_the_others(hooked, hook, now):
    hook.refuse_message = "poison"

    evaluate(hooked, [replace(SLOW, key="a", message="poison"), replace(SLOW, key="b")], now=now)

    assert hook.told == [("raised", "b")]


@pytest.mark.parametrize("body", [b"", b"ok", b"<html>thanks</html>", b'{"ok": true}'])
def test_whatever_a_webhook_says_with_a_good_status_is_a_receipt(hooked, hook, now, body):
    hook.body = body
    evaluate(hooked, [SLOW], now=now)
    evaluate(hooked, [SLOW], now=now)

    assert hook.told == [("raised", "duration:a")]


def test_one_evaluation_sends_so_many_and_the_next_the_rest(hooked, hook, now):
    evaluate(hooked, [replace(SLOW, key=f"{n:02}") for n in range(SENT_AT_ONCE + 2)], now=now)
    assert len(hook.told) == SENT_AT_ONCE

    evaluate(hooked, [], now=now)

    assert [key for _, key in hook.told] == [f"{n:02}" for n in range(SENT_AT_ONCE + 2)]


def test_an_alert_in_the_hands_of_a_process_that_died_is_sent_when_its_time_is_over(settings, now, monkeypatch):
    told = []

    def die(_message: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(alerts, "_release", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            evaluate(settings, [SLOW], now=now, send=die)

    evaluate(settings, [], now=now + CLAIM - timedelta(seconds=1), send=told.append)
    assert told == []
    evaluate(settings, [], now=now + CLAIM, send=told.append)
    assert len(told) == 1


def test_processes_that_see_the_same_conditions_at_once_tell_each_once(settings, hook):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    line = [sys.executable, "-c", EVALUATING, str(settings.etl_data), hook.url]
    processes = [subprocess.Popen(line, text=True, **pipes) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0

    assert sorted(key for _, key in hook.told) == [f"duration:{n}" for n in range(5)]


@pytest.mark.parametrize("status", [200, 500])
def test_no_log_names_the_address_of_the_webhook(hooked, hook, now, caplog, status):
    hook.status = status
    with caplog.at_level(logging.DEBUG):
        evaluate(hooked, [SLOW], now=now)
        with webhook_client(hooked) as http:
            report_metrics(hooked, http, ETLMetrics.of(RUN))

    assert "secret-path" not in caplog.text
    assert ("stays due: Unavailable (status 500)" in caplog.text) is (status == 500)


def test_without_a_webhook_alerts_go_to_the_log_and_count_as_sent(settings, hook, now, caplog):
    with caplog.at_level(logging.INFO):
        evaluate(settings, [SLOW], now=now)
        evaluate(settings, [OVER], now=now)
    evaluate(with_webhook(settings, hook.url), [], now=now)

    assert [r.levelname for r in caplog.records if "duration:a" in r.getMessage()] == ["WARNING", "INFO"]
    assert hook.told == []


def test_a_run_is_tagged_with_what_was_raised_in_it(settings, now):
    raised = evaluate(settings, [SLOW, replace(SLOW, key="no_data:a", message="Nothing")], now=now)
    resolved = evaluate(settings, [OVER], now=now)

    assert alert_tags(raised) == {"etl_assets/alerts": "ETL sync approaching timeout (duration:a); Nothing (no_data:a)"}
    assert alert_tags(resolved) == {}


def test_metrics_are_posted_by_the_names_of_the_documents(settings, hook):
    reported = with_metrics(settings, hook.url)
    with webhook_client(reported) as http:
        assert report_metrics(reported, http, ETLMetrics.of(RUN)) is True

    assert hook.received == [
        {
            "sync_id": "sync_1795312800_abc",
            "site_name": "a",
            "dataset": "ace.timeseries_raw",
            "timestamp": "2026-11-22T02:00:20+00:00",
            "status": "partial",
            "api_requests": 100,
            "records_fetched": 1000,
            "records_filtered": 900,
            "records_inserted": 640,
            "records_failed": 50,
            "errors": ["cut off"],
            "duration_ms": 20_000,
        }
    ]


def test_metrics_are_not_posted_without_an_address_and_lost_without_harm_where_nobody_takes_them(settings, hook):
    hook.status = 500
    with webhook_client(settings) as http:
        assert report_metrics(settings, http, ETLMetrics.of(RUN)) is False
        assert report_metrics(with_metrics(settings, hook.url), http, ETLMetrics.of(RUN)) is False

    assert len(hook.refused) == 1


def test_analysts_see_alerts_and_no_address(hooked, now):
    evaluate(hooked, [SLOW], now=now)
    evaluate(hooked, [OVER], now=now + timedelta(minutes=5))

    publish(hooked, now=now, extra=copies_for_analysts(hooked))

    with duckdb.connect(str(hooked.warehouse_path), read_only=True) as connection:
        rows = connection.execute(
            "SELECT key, payload->>'duration_ms', raised_at, sent_at, resolved_at FROM ops.alerts"
        ).fetchall()
    assert rows == [("duration:a", "30000", now, now, now + timedelta(minutes=5))]
    assert b"secret-path" not in hooked.warehouse_path.read_bytes()
