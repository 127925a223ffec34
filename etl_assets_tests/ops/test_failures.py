"""Runs and checks that fail are told once, and once when that is over; nothing else is told."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import dagster as dg
import pytest

from etl_assets.asset_specs import LIVE_TAG
from etl_assets.exports.dagster_runs import EXPORT_TAG
from etl_assets.lake.resource import Lake
from etl_assets.ops.alerts import Alert, Condition, evaluate, open_alerts
from etl_assets.ops.failures import ERROR_LENGTH, failure_sensor, unasked_conditions
from etl_assets.settings import Settings
from etl_assets.settings import settings as process_settings

DAYS = dg.StaticPartitionsDefinition(["monday", "tuesday"])
LATER = timedelta(hours=37)
"""Longer than GAP_HORIZON."""


class Wanted(dg.Config):
    """How a run of a test ends."""

    error: str = ""
    passes: bool = True
    severity: str = "ERROR"


@dg.asset(
    partitions_def=DAYS,
    check_specs=[dg.AssetCheckSpec("is_good", asset="by_day")],
)
def by_day(config: Wanted) -> Iterator[dg.MaterializeResult]:
    if config.error:
        raise dg.Failure(config.error)
    severity = dg.AssetCheckSeverity(config.severity)
    yield dg.MaterializeResult(
        check_results=[dg.AssetCheckResult(passed=config.passes, severity=severity, description="2 are wrong")]
    )


@dataclass
class Watched:
    """An instance with runs in it, and the sensor that looks at them."""

    instance: dg.DagsterInstance
    settings: Settings
    cursor: str = ""

    def run(self, day: str = "monday", tags: dict[str, str] | None = None, **wanted: Any) -> str:
        return dg.materialize(
            [by_day],
            instance=self.instance,
            partition_key=day,
            tags=tags,
            run_config=dg.RunConfig(ops={"by_day": Wanted(**wanted)}),
            raise_on_error=False,
        ).run_id

    def look(self) -> str:
        """One evaluation of the sensor: what it says."""
        context = dg.build_sensor_context(
            self.instance, cursor=self.cursor, resources={"lake": Lake(database=str(self.settings.etl_data))}
        )
        said = failure_sensor.evaluate_tick(context)
        self.cursor = said.cursor
        assert not said.run_requests
        return said.skip_message

    @property
    def alerts(self) -> dict[str, Alert]:
        return {alert.key: alert for alert in open_alerts(self.settings)}


@pytest.fixture
def watched(settings: Settings) -> Iterator[Watched]:
    with dg.instance_for_test() as instance:
        watched = Watched(instance, settings)
        watched.look()
        yield watched


WORK = "run:materialisation monday"


def test_the_first_look_tells_nothing_of_runs_of_long_ago(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etl_assets.ops.failures.utc_now", lambda: datetime.now(UTC) + timedelta(hours=1))
    with dg.instance_for_test() as instance:
        watched = Watched(instance, settings)
        watched.run(error="the source is away")

        said = watched.look()

    assert said == "0 runs ended lately; 0 alerts began, 0 cleared"


def test_a_run_that_failed_is_told_with_its_partition_and_its_reason(watched: Watched) -> None:
    run_id = watched.run(error="the source is away")

    said = watched.look()

    assert said.endswith("1 alerts began, 0 cleared")
    assert watched.alerts[WORK].payload == {
        "job": "__ephemeral_asset_job__",
        "partition": "monday",
        "runId": run_id,
        "error": "the source is away",
    }


def test_it_is_told_once_however_often_it_fails(watched: Watched) -> None:
    watched.run(error="the source is away")
    watched.look()
    watched.run(error="the source is still away")

    assert watched.look().endswith("0 alerts began, 0 cleared")
    assert watched.alerts[WORK].payload["error"] == "the source is still away"


def test_it_is_over_when_the_same_partition_has_succeeded_and_not_by_another(watched: Watched) -> None:
    watched.run(error="the source is away")
    watched.look()

    watched.run("tuesday")
    watched.look()
    assert WORK in watched.alerts

    watched.run("monday")
    assert watched.look().endswith("0 alerts began, 1 cleared")
    assert not watched.alerts


def test_a_tick_that_failed_is_over_with_the_next_whatever_its_day(watched: Watched) -> None:
    live = {LIVE_TAG: "true"}
    watched.run("monday", live, error="the source is away")
    watched.look()
    assert list(watched.alerts) == ["run:__ephemeral_asset_job__"]

    watched.run("tuesday", live)
    watched.look()

    assert not watched.alerts


def test_of_runs_that_ended_between_two_looks_the_last_one_counts(watched: Watched) -> None:
    watched.run(error="the source is away")
    watched.run()

    assert watched.look() == "2 runs ended lately; 0 alerts began, 0 cleared"


def test_what_was_read_already_and_is_read_again_undoes_nothing(watched: Watched) -> None:
    watched.run(error="the source is away")
    watched.look()
    watched.run()

    watched.look()
    watched.look()

    assert not watched.alerts


def test_a_check_that_failed_as_an_error_is_told_by_its_partition_until_it_passes(watched: Watched) -> None:
    watched.run("tuesday", passes=False)
    watched.look()

    alert = watched.alerts["check:by_day is_good:tuesday"]
    assert (alert.payload["partition"], alert.payload["found"]) == ("tuesday", "2 are wrong")

    watched.run("tuesday")
    watched.look()

    assert not watched.alerts


def test_a_check_that_warns_is_not_told(watched: Watched) -> None:
    watched.run(passes=False, severity="WARN")
    watched.look()

    assert not watched.alerts


def test_a_clients_request_that_failed_is_not_told(watched: Watched) -> None:
    watched.run(tags={EXPORT_TAG: "job_1"}, error="the client asked for too much")
    watched.look()

    assert not watched.alerts


def test_an_error_is_cut_to_what_a_message_bears(watched: Watched) -> None:
    watched.run(error="x" * 10_000)
    watched.look()

    assert len(watched.alerts[WORK].payload["error"]) == ERROR_LENGTH


def test_what_nothing_asks_for_any_more_is_over_and_alerts_of_others_are_left_alone(watched: Watched) -> None:
    watched.run(error="the source is away")
    watched.look()
    now = datetime.now(UTC)
    evaluate(watched.settings, [Condition("gap:tower", "gap", "a gap", {}, firing=True)], now=now)

    alerts = open_alerts(watched.settings)

    assert unasked_conditions(alerts, now - LATER) == []
    cleared = unasked_conditions(alerts, now + LATER)
    assert [(condition.key, condition.firing) for condition in cleared] == [(WORK, False)]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What reaches the address that alerts go to."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("ALERT_WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/alerts")
        process_settings.cache_clear()
        yield received
        server.shutdown()
    process_settings.cache_clear()


@pytest.mark.parametrize(
    ("ended", "message"),
    [
        ({"error": "the source is away"}, "Run failed: materialisation monday"),
        ({"passes": False}, "Check failed: by_day is_good"),
    ],
)
def test_what_failed_and_that_it_is_over_reach_whoever_is_to_be_told(
    told: list[dict[str, Any]], watched: Watched, ended: dict[str, Any], message: str
) -> None:
    watched.run(**ended)
    watched.look()
    watched.run()
    watched.look()

    assert [(each["message"], each["status"]) for each in told] == [(message, "raised"), (message, "resolved")]
