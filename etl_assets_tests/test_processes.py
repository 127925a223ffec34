"""``etl-assets up``: Dagster's own webserver and daemon over the simulated market, watched from outside.

One ``up`` serves all tests of this file, in their order: what one waited for, the next builds on.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import httpx
import pytest

from etl_assets.definitions import defs
from etl_assets.lake.connection import write_lake
from etl_assets.market_time import DAY, ceil_interval, day_start, market_day
from etl_assets.processes import free_port
from etl_assets.settings import Settings
from etl_assets_tests import watching

pytestmark = pytest.mark.servers

ETL_ASSETS = Path(sys.executable).with_name("etl-assets")
MARK = "ETL_ASSETS_TEST"
PATIENCE_S = 600
START_PATIENCE_S = 120
OPERATOR = {"id": "operator", "secret": "open-sesame"}


def until(look: Callable[[], Any], what: str, patience: float = PATIENCE_S) -> Any:
    """As in ``watching``, with the patience that a daemon needs."""
    return watching.until(look, what, patience)


@dataclass
class Up:
    """A running ``etl-assets up``, and ways to look at it."""

    folder: Path
    port: int = field(default_factory=free_port)
    api_port: int = field(default_factory=free_port)
    mark: str = field(default_factory=lambda: uuid4().hex)

    def __post_init__(self) -> None:
        self.log = self.folder / "up.log"
        self.registry = self.folder / "registry.json"
        self.registry.write_text('{"kpis": []}')
        with self.log.open("w") as log:
            ports = ("--port", str(self.port), "--api-port", str(self.api_port))
            self.process = self._start("up", *ports, stdout=log, stderr=subprocess.STDOUT)

    @property
    def settings(self) -> Settings:
        return Settings(_env_file=None, etl_data=self.folder / "data")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "ETL_DATA": str(self.folder / "data"),
            "ETL_SOURCE": "demo",
            "CLIENT_IDS": json.dumps([OPERATOR | {"scopes": ["operator", "read:data"]}]),
            "KPI_REGISTRY": str(self.registry),
            MARK: self.mark,
        }

    def _start(self, *arguments: str, environment: dict[str, str] | None = None, **more: Any) -> subprocess.Popen[str]:
        environment = self.environment | (environment or {})
        return subprocess.Popen([ETL_ASSETS, *arguments], cwd=self.folder, env=environment, text=True, **more)

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Another command on the same folder: exit code and everything that it printed."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with self._start(*arguments, environment=environment, **options) as process:
            try:
                said, _ = process.communicate(timeout=PATIENCE_S)
            finally:
                process.kill()
        return process.returncode, said

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def simulator(self) -> str:
        found = re.search(r"Simulated AEMO at (http://127\.0\.0\.1:\d+)", self.said)
        assert found, self.said
        return found[1]

    def answers(self) -> bool:
        assert self.process.poll() is None, self.said
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/server_info").is_success
        except httpx.TransportError:
            return False

    @property
    def api(self) -> str:
        """The API's address, as it is printed."""
        found = re.search(r"API: (http://127\.0\.0\.1:\d+)", self.said)
        assert found, self.said
        return found[1]

    def bearer(self) -> dict[str, str]:
        """What an operator sends with a request to the API."""
        form = {"grant_type": "client_credentials"}
        answer = httpx.post(f"{self.api}/token", data=form, auth=(OPERATOR["id"], OPERATOR["secret"]), timeout=60)
        assert answer.is_success, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """What Dagster's GraphQL answers."""
        body = {"query": query, "variables": variables}
        answer = httpx.post(f"http://127.0.0.1:{self.port}/graphql", json=body, timeout=60).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def runs(self, **tags: str) -> list[dict[str, Any]]:
        """The runs with all these tags (``__`` is a slash)."""
        wanted = [{"key": name.replace("__", "/"), "value": value} for name, value in tags.items()]
        answer = self.ask(
            "query($f: RunsFilter){ runsOrError(filter: $f){ ... on Runs{ results{"
            " runId jobName status startTime endTime tags{ key value } } } } }",
            f={"tags": wanted},
        )
        return [
            {**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}}
            for run in answer["runsOrError"]["results"]
        ]

    def published(self, sql: str, *parameters: object) -> list[tuple]:
        """What an analyst sees now; nothing before the first publication."""
        if not self.settings.warehouse_path.exists():
            return []
        with duckdb.connect(self.settings.warehouse_path, read_only=True) as warehouse:
            return warehouse.execute(sql, list(parameters)).fetchall()

    def processes(self) -> list[int]:
        """Everything that was started by this ``up``, however remotely: children inherit the mark."""
        return watching.processes_with(MARK, self.mark)

    def end(self) -> None:
        """Leave nothing behind, whatever happened."""
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for process in self.processes():
            os.kill(process, signal.SIGKILL)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("up"))
    try:
        until(running.answers, "Dagster's pages", START_PATIENCE_S)
        yield running
    finally:
        running.end()


def test_the_code_location_loads_without_error(up: Up) -> None:
    answer = until(
        lambda: location(up) if location(up)["loadStatus"] == "LOADED" else None, "the code location", START_PATIENCE_S
    )

    assert answer["name"] == "etl_assets"
    assert answer["locationOrLoadError"]["__typename"] == "RepositoryLocation", answer["locationOrLoadError"]


def location(up: Up) -> dict[str, Any]:
    answer = up.ask(
        "{ workspaceOrError{ ... on Workspace{ locationEntries{ name loadStatus"
        " locationOrLoadError{ __typename ... on PythonError{ message } } } } } }"
    )
    [entry] = answer["workspaceOrError"]["locationEntries"]
    return entry


def test_every_schedule_and_sensor_of_the_definitions_runs_by_itself(up: Up) -> None:
    answer = up.ask(
        "{ repositoriesOrError{ ... on RepositoryConnection{ nodes{"
        " schedules{ name scheduleState{ status } } sensors{ name sensorState{ status } } } } } }"
    )

    [repository] = answer["repositoriesOrError"]["nodes"]
    schedules = {schedule["name"]: schedule["scheduleState"]["status"] for schedule in repository["schedules"]}
    sensors = {sensor["name"]: sensor["sensorState"]["status"] for sensor in repository["sensors"]}
    assert schedules == {schedule.name: "RUNNING" for schedule in defs.schedules or ()}
    assert sensors == {sensor.name: "RUNNING" for sensor in defs.sensors or ()}
    assert {"market_tick", "gap_sensor"} <= {*schedules, *sensors}


def test_the_assets_and_their_checks_are_there(up: Up) -> None:
    answer = up.ask("{ assetNodes{ assetKey{ path } assetChecksOrError{ ... on AssetChecks{ checks{ name } } } } }")

    checks = {
        "/".join(node["assetKey"]["path"]): {check["name"] for check in node["assetChecksOrError"]["checks"]}
        for node in answer["assetNodes"]
    }
    assert checks.keys() >= {
        "nemweb",
        "aemo/dispatch_region",
        "aemo/dispatch_interconnector",
        "aemo/unit_scada",
        "aemo/trading_price",
        "aemo/price_and_demand",
        "aemo/rooftop_pv",
        "aemo/region_forecast",
    }
    assert checks["aemo/dispatch_region"] == {
        "intervals_are_complete",
        "keys_are_unique",
        "nothing_is_quarantined",
        "entities_are_all_there",
        "price_is_within_cap",
        "energy_identity_holds",
    }


def test_a_second_up_on_the_same_folder_is_refused_with_a_sentence(up: Up) -> None:
    code, said = up.run("up", "--port", str(free_port()))

    assert code == 1
    assert "is up already: stop that one first, or set ETL_DATA" in " ".join(said.split())
    assert "Traceback" not in said


def test_the_api_answers_beside_it_and_sees_the_daemon_at_work(up: Up) -> None:
    until(lambda: "API: " in up.said, "the API's address", START_PATIENCE_S)

    def at_work() -> bool:
        return bool(httpx.get(f"{up.api}/health", timeout=60).json()["checks"]["dagsterDaemon"].get("isRunning"))

    until(at_work, "the daemon's heartbeat", START_PATIENCE_S)


def test_a_run_that_an_operator_asks_the_api_for_is_done_by_dagster(up: Up) -> None:
    body = {"job": "kpi_refresh", "reason": "a test asks"}

    answer = httpx.post(f"{up.api}/trigger", json=body, headers=up.bearer(), timeout=60)

    assert answer.status_code == 202, answer.text
    tags = {"etl_assets__trigger": answer.json()["triggerId"]}
    until(lambda: [run["status"] for run in up.runs(**tags)] == ["SUCCESS"], "the run that was asked for")
    assert [run["runId"] for run in up.runs(**tags)] == [answer.json()["runId"]]


def intervals(first: datetime, last: datetime) -> set[datetime]:
    """The ends of all 5-minute intervals from the one after ``first`` to ``last``."""
    start = ceil_interval(first)
    return {start + timedelta(minutes=5 * n) for n in range(1, int((last - start) / timedelta(minutes=5)) + 1)}


def test_the_last_36_hours_come_in_by_themselves(up: Up) -> None:
    now = datetime.now(UTC)
    expected = intervals(now - timedelta(hours=35, minutes=50), now - timedelta(minutes=15))

    def whole() -> bool:
        rows = up.published("SELECT interval_end, count(*) FROM aemo.dispatch_region GROUP BY 1")
        return expected <= {end for end, regions in rows if regions == 5}

    assert len(expected) > 420
    until(whole, "the last 36 hours")


def backfill_of(up: Up, assets: list[list[str]], partitions: list[str]) -> str:
    """Launched as the pages do it; returns its id."""
    answer = up.ask(
        "mutation($p: LaunchBackfillParams!){ launchPartitionBackfill(backfillParams: $p){ __typename"
        " ... on LaunchBackfillSuccess{ backfillId } ... on PythonError{ message } } }",
        p={
            "assetSelection": [{"path": path} for path in assets],
            "partitionNames": partitions,
            "title": f"{len(partitions)} days",
        },
    )["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    return answer["backfillId"]


def backfill_of_thirty_days(up: Up) -> str:
    last = market_day(datetime.now(UTC)) - 5 * DAY
    assets = [["aemo", name] for name in ("dispatch_region", "dispatch_interconnector")]
    return backfill_of(up, assets, [str(last - n * DAY) for n in range(30)])


def status_of(up: Up, backfill: str) -> str:
    query = "query($id: String!){ partitionBackfillOrError(backfillId: $id){ ... on PartitionBackfill{ status } } }"
    return up.ask(query, id=backfill)["partitionBackfillOrError"]["status"]


def test_a_deleted_interval_comes_back_and_a_backfill_of_30_days_completes_while_a_tick_runs(up: Up) -> None:
    # A day that only the gap sensor looks at: no tick reaches back so far.
    lost = day_start(market_day(datetime.now(UTC))) - timedelta(hours=3)
    until(lambda: not heals(up, under_way=True), "the first healing")
    before = {run["runId"] for run in heals(up)}
    with write_lake(up.settings, "a test deletes an interval") as lake:
        lake.execute("DELETE FROM lake.aemo.dispatch_region WHERE interval_end = ?", [lost])
    deleted_at = datetime.now(UTC)

    backfill = backfill_of_thirty_days(up)
    until(lambda: [run for run in up.runs(dagster__backfill=backfill) if run["status"] == "STARTED"], "a backfill run")
    code, said = up.run("tick", NEMWEB_URL=up.simulator, AEMO_API_URL=f"{up.simulator}/aemo/apps/api/report/5MIN")
    assert code == 0, said
    assert "aemo.dispatch_region: " in said
    assert "Traceback" not in said
    assert status_of(up, backfill) in {"REQUESTED", "COMPLETED_SUCCESS"}

    until(lambda: status_of(up, backfill) not in {"REQUESTED", "COMPLETING"}, "the backfill")
    assert status_of(up, backfill) == "COMPLETED_SUCCESS"
    assert_three_runs_of_ten_days(up.runs(dagster__backfill=backfill))
    until(lambda: came_back(up, lost, deleted_at), "the deleted interval")
    healed = [run for run in heals(up) if run["runId"] not in before and run["status"] == "SUCCESS"]
    assert f"DispatchIS|{market_day(lost)}" in {run["tags"]["etl_assets/heal"] for run in healed}

    until(lambda: backfilled_days(up) >= 30, "the publication after the backfill")
    assert "database is locked" not in up.said


def heals(up: Up, *, under_way: bool = False) -> list[dict[str, Any]]:
    runs = [run for run in up.runs() if run["jobName"] == "market_heal"]
    ended = {"SUCCESS", "FAILURE", "CANCELED"}
    return [run for run in runs if run["status"] not in ended] if under_way else runs


def came_back(up: Up, lost: datetime, deleted_at: datetime) -> bool:
    sql = "SELECT count(*) FROM aemo.dispatch_region WHERE interval_end = ? AND collected_at >= ?"
    return up.published(sql, lost, deleted_at) == [(5,)]


def backfilled_days(up: Up) -> int:
    [(days,)] = up.published(
        "SELECT count(*) FROM (SELECT market_day FROM aemo.dispatch_region WHERE market_day <= ?"
        " GROUP BY 1 HAVING count(*) = 5 * 288 AND count(DISTINCT (interval_end, region_id)) = 5 * 288)",
        market_day(datetime.now(UTC)) - 5 * DAY,
    )
    return days


def assert_three_runs_of_ten_days(runs: list[dict[str, Any]]) -> None:
    last = market_day(datetime.now(UTC)) - 5 * DAY
    ranges = {
        (run["tags"]["dagster/asset_partition_range_start"], run["tags"]["dagster/asset_partition_range_end"])
        for run in runs
    }
    assert [run["status"] for run in runs] == ["SUCCESS"] * 3
    assert ranges == {(str(last - (n + 9) * DAY), str(last - n * DAY)) for n in (0, 10, 20)}
    first, second, _ = sorted(runs, key=lambda run: run["startTime"])
    assert second["startTime"] < first["endTime"], "no two runs were at work at once"


SITES = ("building-a", "building-b")


def materialized(up: Up, *path: str) -> set[str]:
    """The partitions of a site asset that Dagster shows as materialised, as ``day|site``."""
    query = (
        "query($k: AssetKeyInput!){ assetNodeOrError(assetKey: $k){ ... on AssetNode{ assetPartitionStatuses{"
        " ... on MultiPartitionStatuses{ ranges{ primaryDimStartKey primaryDimEndKey secondaryDim{"
        " ... on DefaultPartitionStatuses{ materializedPartitions } } } } } } } }"
    )
    found = up.ask(query, k={"path": list(path)})["assetNodeOrError"]["assetPartitionStatuses"]
    shown = set()
    for stretch in found["ranges"]:
        first, last = (datetime.fromisoformat(stretch[f"primaryDim{end}Key"]).date() for end in ("Start", "End"))
        for n in range((last - first).days + 1):
            shown |= {f"{first + n * DAY}|{site}" for site in stretch["secondaryDim"]["materializedPartitions"]}
    return shown


def test_sites_come_in_by_themselves_and_a_backfill_of_days_and_sites_records_each(up: Up) -> None:
    until(
        lambda: {s for (s,) in up.published("SELECT DISTINCT site_name FROM ace.timeseries_raw")} == {*SITES}, "sites"
    )
    days = [market_day(datetime.now(UTC)) - n * DAY for n in (4, 5, 6)]
    asked = {f"{day}|{site}" for day in days for site in SITES}
    backfill = backfill_of(
        up, [["ace", name] for name in ("points", "timeseries_raw", "timeseries_agg")], sorted(asked)
    )

    until(lambda: status_of(up, backfill) not in {"REQUESTED", "COMPLETING"}, "the backfill of sites")

    assert status_of(up, backfill) == "COMPLETED_SUCCESS"
    assert [run["status"] for run in up.runs(dagster__backfill=backfill)] == ["SUCCESS"] * 2
    assert asked <= materialized(up, "ace", "timeseries_raw")
    rows = "SELECT market_day || '|' || site_name, count(*) FROM ace.timeseries_raw WHERE market_day <= ? GROUP BY 1"
    until(lambda: dict(up.published(rows, days[0])).keys() >= asked, "the publication after the backfill of sites")
    # A point that is read each minute of a day, of a hundred and of fifty: the account's own sizes.
    assert min(dict(up.published(rows, days[0])).values()) > 50_000


EVENING_PEAK = {
    "id": "evening-peak",
    "name": "Evening peak price",
    "entity": "region",
    "unit": "AUD/MWh",
    "dependsOn": ["aemo.dispatch_region"],
    "sql": "SELECT region_id, max(rrp) FROM aemo.price WHERE market_day = $market_day "
    "AND hour(settlement_date) BETWEEN 17 AND 20 GROUP BY region_id",
}


def kpi_assets_of(up: Up) -> set[str]:
    return {
        node["assetKey"]["path"][-1] for node in up.ask("{ assetNodes{ assetKey{ path } groupName } }")["assetNodes"]
    }


def test_a_kpi_that_is_added_to_the_registry_is_an_asset_after_a_reload_and_its_backfill_is_one_run(up: Up) -> None:
    assert "evening_peak" not in kpi_assets_of(up)
    up.registry.write_text(json.dumps({"kpis": [EVENING_PEAK]}))

    code, said = up.run("kpi", "refresh")
    reloaded = up.ask(
        "mutation($l: String!){ reloadRepositoryLocation(repositoryLocationName: $l){ __typename } }", l="etl_assets"
    )

    assert code == 0, said
    assert reloaded["reloadRepositoryLocation"]["__typename"] == "WorkspaceLocationEntry"
    until(lambda: "evening_peak" in kpi_assets_of(up), "the new KPI", START_PATIENCE_S)
    days = [market_day(datetime.now(UTC)) - n * DAY for n in range(1, 9)]
    backfill = backfill_of(up, [["kpi", "evening_peak"]], sorted(map(str, days)))
    until(lambda: status_of(up, backfill) not in {"REQUESTED", "COMPLETING"}, "the backfill of a KPI")
    assert status_of(up, backfill) == "COMPLETED_SUCCESS"
    [run] = up.runs(dagster__backfill=backfill)
    assert run["status"] == "SUCCESS"
    # Worked out anew from the prices that the same file shows.
    expected = up.published(
        "SELECT market_day, region_id, max(rrp) FROM aemo.price WHERE market_day = ANY($1) "
        "AND hour(settlement_date) BETWEEN 17 AND 20 GROUP BY ALL ORDER BY ALL",
        days,
    )
    stored = "SELECT date, entity, value FROM kpi.kpi_values WHERE kpi_id = 'evening-peak' ORDER BY ALL"
    assert expected
    assert up.published(stored) == expected


def test_a_terminated_up_ends_all_its_processes(up: Up) -> None:
    until(lambda: not [run for run in up.runs() if run["status"] in {"STARTING", "STARTED", "QUEUED"}], "quiet")
    assert len(up.processes()) >= 4

    up.process.send_signal(signal.SIGTERM)

    assert up.process.wait(90) == 0
    until(lambda: not up.processes(), "the end of all processes", 30)
    assert "Stopping" in up.said
    assert "Traceback" not in up.said


def test_an_api_that_crashes_ends_the_rest_with_a_sentence(tmp_path: Path) -> None:
    running = Up(tmp_path)
    try:
        until(lambda: "API: " in running.said or running.process.poll() is not None, "the API", START_PATIENCE_S)
        [api] = [pid for pid in running.processes() if b"etl_assets.api.server" in command_of(pid)]

        os.kill(api, signal.SIGKILL)

        assert running.process.wait(90) == 1
        assert "One of the processes ended; its message is above" in running.said
        until(lambda: not running.processes(), "the end of all processes", 30)
    finally:
        running.end()


def command_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:  # ended meanwhile
        return b""
