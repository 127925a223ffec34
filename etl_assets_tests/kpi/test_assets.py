"""KPIs through real Dagster runs: what is materialised, what a failure says, whom a run calls, what is shown."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from etl_assets.kpi.assets import (
    BACKFILL_TAG,
    KPI_REGISTRY_KEY,
    LOADED_TAG,
    REGISTRY_IS_GOOD,
    REGISTRY_IS_LOADED,
    KpiConfig,
    calls_of,
    kpi_assets,
    kpi_registry,
)
from etl_assets.kpi.automation import kpi_config
from etl_assets.kpi.callback import take_report
from etl_assets.kpi.events import kpi_key
from etl_assets.kpi.registry import Kpi, in_force
from etl_assets.lake.resource import Lake
from etl_assets.ops.alerts import TAG, open_alerts
from etl_assets.ops.kpi_records import job_record
from etl_assets.ops.kpi_state import newest_job
from etl_assets.partitions import MARKET_DAY, partition_tags
from etl_assets.settings import Settings
from etl_assets_tests.kpi.conftest import (
    BY_REGION,
    DAY,
    FORTY,
    PRICE,
    STARTED,
    TICK,
    Answer,
    Receivers,
    as_process_settings,
    hangs_up,
    kpi,
    running_receivers,
    says,
    settle_in,
    with_workflows,
)
from etl_assets_tests.kpi.triggering import nobody

WRONG = "SELECT no_such_column FROM aemo.price WHERE market_day = $market_day"


def run(
    instance: dg.DagsterInstance,
    kpis: Sequence[Kpi],
    first: date = DAY,
    last: date | None = None,
    *,
    workflows: str = "",
    moment: datetime = TICK,
    **tags: str,
) -> dg.ExecuteInProcessResult:
    asked = partition_tags(str(first), str(last or first))
    return dg.materialize(
        [kpi_assets(kpis)],
        instance=instance,
        resources={"lake": Lake()},
        run_config=kpi_config(moment, workflows),
        partition_key=asked.get("dagster/partition"),
        tags=asked | {name.replace("__", "/"): value for name, value in tags.items()},
        raise_on_error=False,
    )


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.path[-1] for event in result.get_asset_materialization_events()}


def metadata_of(result: dg.ExecuteInProcessResult, name: str) -> dict[str, Any]:
    [event] = result.asset_materializations_for_node("compute_kpis")
    assert event.asset_key.path == ["kpi", name]
    return {key: value.value for key, value in event.metadata.items()}


def failure(result: dg.ExecuteInProcessResult) -> Any:
    [data] = [event.step_failure_data.user_failure_data for event in result.all_events if event.is_step_failure]
    return data


# --- fifty KPIs, ten of which fail, each in its way -----------------------------------------------------

WELL = [f"well-{n:02}" for n in range(40)]
ILL: dict[str, str] = {
    "internal-error": "status 500",
    "unavailable": "status 503",
    "not-found": "status 404",
    "forbidden": "status 403",
    "too-many": "status 429",
    "silent": "no answer within",
    "refused": "no connection",
    "hung-up": "the connection ended without a whole answer",
    "html": "with an HTML page",
    "cut": "the connection ended without a whole answer",
}
"""Ways to fail, and what tells them apart in the error."""


def answers_of(receivers: Receivers) -> dict[str, Answer]:
    page = says(200, b"<!DOCTYPE html><html><body>Sign in</body></html>", Content_Type="text/html")
    return {
        "internal-error": says(500),
        "unavailable": says(503),
        "not-found": says(404),
        "forbidden": says(403),
        "too-many": says(429),
        "silent": receivers.never,
        "hung-up": hangs_up,
        "html": page,
        "cut": says(200, Content_Length="1000"),
    }


@dataclass
class Fifty:
    """Two runs of the same day over fifty KPIs; before the second all workflows are well."""

    settings: Settings
    first: dg.ExecuteInProcessResult
    record: dict[str, Any]
    called: dict[str, int]
    second: dg.ExecuteInProcessResult
    record_after: dict[str, Any]
    called_after: dict[str, int]


@pytest.fixture(scope="module")
def fifty(published_market: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fifty]:
    """The forty are answered when all forty calls are there: one after the other they would wait for ever."""
    folder = tmp_path_factory.mktemp("fifty") / "data"
    chosen = settle_in(published_market, folder, kpi_webhook_timeout=timedelta(seconds=8))
    together = threading.Barrier(len(WELL))

    def with_all_others(handler: Any) -> None:
        together.wait(60)
        STARTED(handler)

    with (
        running_receivers() as receivers,
        as_process_settings(chosen) as settings,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        receivers.answers = {**dict.fromkeys(WELL, with_all_others), **answers_of(receivers)}
        kpis = with_workflows(receivers, [*WELL, *ILL])
        elsewhere = [kpi("refused", webhookUrl=f"{nobody()}/webhook/refused")]
        first = run(instance, [each for each in kpis if each.id != "refused"] + elsewhere, workflows="call")
        trace_id = newest_job(settings, DAY).trace_id
        record, called = job_record(settings, trace_id), dict(receivers.called)
        receivers.answers.clear()
        second = run(instance, kpis, workflows="call")
        assert newest_job(settings, DAY).trace_id == trace_id
        yield Fifty(settings, first, record, called, second, job_record(settings, trace_id), dict(receivers.called))


def test_forty_of_fifty_are_completed_side_by_side_and_ten_fail_with_their_own_errors(fifty: Fifty) -> None:
    kpis = fifty.record["kpis"]

    assert {name for name, each in kpis.items() if each["status"] == "completed"} == {*WELL}
    assert {name for name, each in kpis.items() if each["status"] == "failed"} == ILL.keys()
    assert [name for name, told in ILL.items() if told not in kpis[name]["error"]] == []
    assert fifty.called == dict.fromkeys([*WELL, *ILL.keys() - {"refused"}], 1)


def test_the_job_record_is_the_predecessors(fifty: Fifty) -> None:
    record = fifty.record

    stamp = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
    assert list(record) == ["traceId", "status", "createdAt", "updatedAt", "kpis", "metadata"]
    assert re.fullmatch(r"trace_20251122_120000_[0-9a-z]{8}", record["traceId"])
    assert (record["status"], fifty.record_after["status"]) == ("partial", "completed")
    assert stamp.fullmatch(record["createdAt"])
    assert stamp.fullmatch(record["updatedAt"])
    counts = {"totalKPIs": 50, "completedKPIs": 40, "failedKPIs": 10, "environment": "development"}
    assert record["metadata"] == counts
    well = record["kpis"]["well-00"]
    assert {**well, "completedAt": ""} == {
        "kpiId": "well-00",
        "status": "completed",
        "completedAt": "",
        "error": None,
        "retryCount": 0,
    }
    assert stamp.fullmatch(well["completedAt"])
    json.dumps(record)


def test_the_run_fails_at_its_end_and_names_those_that_failed(fifty: Fifty) -> None:
    said = failure(fifty.first)

    assert not fifty.first.success
    assert said.description.startswith("10 of 50 KPIs failed: ")
    assert said.description.endswith("; and 5 more")
    assert {text.split()[0] for text in said.metadata["failed"].value} == ILL.keys()
    # The sensor asks again: a step that were tried again would call nobody anew.
    assert not [event for event in fifty.first.all_events if event.is_step_up_for_retry]


def test_exactly_the_forty_are_materialised(fifty: Fifty) -> None:
    assert materialized(fifty.first) == {name.replace("-", "_") for name in WELL}


def test_a_second_run_calls_the_ten_and_no_other(fifty: Fifty) -> None:
    assert fifty.second.success
    assert fifty.called_after == {**dict.fromkeys(WELL, 1), **dict.fromkeys(ILL, 2), "refused": 1}
    assert fifty.record_after["metadata"]["completedKPIs"] == 50
    assert fifty.record_after["kpis"]["too-many"] | {"completedAt": ""} == {
        "kpiId": "too-many",
        "status": "completed",
        "completedAt": "",
        "error": None,
        "retryCount": 1,
    }


def test_each_that_failed_raises_an_alert_that_clears_when_it_is_well(fifty: Fifty) -> None:
    raised = fifty.first.dagster_run.tags[TAG]

    assert set(re.findall(r"kpi_failed:([a-z-]+)", raised)) == ILL.keys()
    assert TAG not in fifty.second.dagster_run.tags
    assert open_alerts(fifty.settings) == []


# --- whom a run calls -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workflows", "days", "tags", "expected"),
    [
        ("", [DAY], {}, "call"),
        # The run of the 21st is at noon of the 22nd UTC; what is older than 36 hours and a day is of long ago.
        ("", [DAY - timedelta(days=1)], {}, "call"),
        ("", [DAY - timedelta(days=2)], {}, "skip"),
        ("call", [DAY - timedelta(days=2)], {}, "call"),
        ("", [DAY, FORTY[0]], {}, "skip"),
        ("", [DAY], {BACKFILL_TAG: "abc"}, "skip"),
        ("call", [DAY, FORTY[0]], {BACKFILL_TAG: "abc"}, "call"),
        ("skip", [DAY], {}, "skip"),
        ("force", [DAY], {}, "force"),
    ],
)
def test_a_day_of_the_last_calls_workflows_and_neither_an_older_one_nor_a_backfill_unless_told_to(
    workflows: Any, days: list[date], tags: dict[str, str], expected: str
) -> None:
    config = KpiConfig(workflows=workflows, as_of=TICK.isoformat())

    assert calls_of(config, days, tags, timedelta(hours=36)) == expected


@pytest.mark.usefixtures("here")
def test_the_same_day_again_calls_nobody_unless_forced(instance: dg.DagsterInstance, receivers: Receivers) -> None:
    kpis = with_workflows(receivers, ["report"])

    counts = []
    for workflows in ("", "", "skip", "force", ""):
        assert run(instance, kpis, workflows=workflows).success
        counts.append(receivers.called["report"])

    assert counts == [1, 1, 1, 2, 2]


@pytest.mark.usefixtures("here")
def test_a_backfill_of_days_calls_nobody_and_opens_no_job(
    here: Settings, instance: dg.DagsterInstance, receivers: Receivers
) -> None:
    kpis = with_workflows(receivers, ["price"], sql=PRICE)

    ranged = run(instance, kpis, FORTY[-3], DAY)
    single = run(instance, kpis, FORTY[0], dagster__backfill="abc")

    assert ranged.success
    assert single.success
    assert not receivers.calls
    assert newest_job(here, DAY) is newest_job(here, FORTY[0]) is None


@pytest.mark.usefixtures("here")
def test_a_backfill_leaves_kpis_that_are_workflows_alone_as_they_are(
    instance: dg.DagsterInstance, receivers: Receivers
) -> None:
    kpis = [*with_workflows(receivers, ["report"]), kpi("price", sql=PRICE)]

    result = run(instance, kpis, FORTY[-2], DAY)

    assert result.success
    assert materialized(result) == {"price"}


@pytest.mark.usefixtures("here")
def test_an_inactive_kpi_that_is_selected_by_hand_is_computed_and_its_workflow_left_alone(
    here: Settings, instance: dg.DagsterInstance, receivers: Receivers
) -> None:
    kpis = with_workflows(receivers, ["off"], sql=PRICE, active=False) + with_workflows(receivers, ["on"])

    result = run(instance, kpis)

    assert materialized(result) == {"off", "on"}
    assert receivers.called == {"on": 1}
    assert job_record(here, newest_job(here, DAY).trace_id)["kpis"].keys() == {"on"}


# --- what is recorded -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_a_materialisation_shows_each_value_as_a_number_and_what_the_workflow_did(
    instance: dg.DagsterInstance, receivers: Receivers
) -> None:
    result = run(instance, with_workflows(receivers, ["price"], sql=BY_REGION))

    found = metadata_of(result, "price")
    assert (found["NSW1 (AUD/MWh)"], found["SA1 (AUD/MWh)"], found["workflow"]) == (139.0, 278.0, "triggered")
    assert "| SA1 | 278 AUD/MWh |" in found["values"]


@pytest.mark.usefixtures("here")
def test_the_published_file_has_the_values_and_the_runs_when_the_run_ends(
    here: Settings, instance: dg.DagsterInstance
) -> None:
    import duckdb

    assert not run(instance, [kpi("price", sql=PRICE), kpi("wrong", sql=WRONG)]).success

    with duckdb.connect(here.warehouse_path, read_only=True) as warehouse:
        values = warehouse.execute("SELECT kpi_id, date, value, threshold_status FROM kpi.kpi_values").fetchall()
        runs = warehouse.execute("SELECT kpi_id, status FROM kpi.kpi_runs ORDER BY 1").fetchall()
    assert values == [("price", DAY, 139.0, "none")]
    assert runs == [("price", "completed"), ("wrong", "failed")]


@pytest.mark.usefixtures("here")
def test_what_the_lake_has_beyond_the_published_file_is_published_before_it_is_asked(
    here: Settings, instance: dg.DagsterInstance, region_rows: Callable[..., Any]
) -> None:
    from etl_assets.lake.connection import write_lake
    from etl_assets.lake.tables import DISPATCH_REGION
    from etl_assets.lake.upsert import transaction, upsert

    next_day = DAY + timedelta(days=1)
    with write_lake(here, "a test") as lake, transaction(lake):
        upsert(lake, DISPATCH_REGION, region_rows(next_day, price=7.0), now=TICK)

    result = run(instance, [kpi("price", sql=PRICE)], next_day)

    assert metadata_of(result, "price")["value (AUD/MWh)"] == 7.0


# --- alerts ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_a_kpi_that_fails_raises_an_alert_on_the_run_and_clears_it_when_it_is_well(
    here: Settings, instance: dg.DagsterInstance, receivers: Receivers
) -> None:
    kpis = with_workflows(receivers, ["report"])
    receivers.answers["report"] = says(404)

    ill = run(instance, kpis)
    raised = [(alert.key, alert.payload["day"]) for alert in open_alerts(here)]
    receivers.answers.clear()
    well = run(instance, kpis)

    assert raised == [("kpi_failed:report", str(DAY))]
    assert instance.get_run_by_id(ill.run_id).tags[TAG] == "KPI failed (kpi_failed:report)"
    assert TAG not in instance.get_run_by_id(well.run_id).tags
    assert open_alerts(here) == []


@pytest.mark.usefixtures("here")
def test_a_value_beyond_its_threshold_raises_an_alert_that_the_next_days_value_clears(
    here: Settings, instance: dg.DagsterInstance
) -> None:
    kpis = [kpi("price", sql=BY_REGION, high=277.0)]

    run(instance, kpis, DAY)
    [raised] = open_alerts(here)
    run(instance, kpis, DAY + timedelta(days=1), moment=TICK + timedelta(days=1))

    assert raised.key == "kpi_threshold:price"
    assert raised.payload["breaches"] == [{"entity": "SA1", "value": 278.0, "limit": "above 277 AUD/MWh"}]
    assert open_alerts(here) == []


@pytest.mark.usefixtures("here")
def test_a_day_of_long_ago_and_one_that_is_overtaken_raise_no_alert(
    here: Settings, instance: dg.DagsterInstance
) -> None:
    kpis = [kpi("price", sql=PRICE, high=50.0)]

    run(instance, kpis, FORTY[0])
    of_long_ago = open_alerts(here)
    run(instance, [kpi("price", sql=PRICE)], DAY)
    run(instance, kpis, DAY - timedelta(days=1))

    assert of_long_ago == open_alerts(here) == []


# --- what an asset says of itself -----------------------------------------------------------------------

PATH = "hook-4f1c"
SAID = kpi(
    "evening-peak",
    sql=PRICE,
    high=1000.0,
    webhookUrl=f"https://user:pass@n8n.example.com/webhook/{PATH}?key={PATH}",
    description="Highest price of the evening.",
    dependsOn=["aemo.dispatch_region", "ace.sites", "ace.points"],
    type="price level",
    metadata={"category": "Märkte"},
)


def spec_of(each: Kpi) -> dg.AssetSpec:
    [spec] = kpi_assets([each]).specs
    return spec


def test_a_kpis_asset_says_what_it_is_whose_it_is_and_what_it_is_made_of() -> None:
    spec = spec_of(SAID)

    assert spec.key == dg.AssetKey(["kpi", "evening_peak"])
    assert spec.description.startswith("Evening-Peak. Highest price of the evening.")
    assert "in AUD/MWh" in spec.description
    assert (spec.group_name, spec.kinds, list(spec.owners)) == (
        "kpi",
        {"sql", "duckdb", "webhook"},
        ["team:market-data"],
    )
    assert spec.partitions_def == MARKET_DAY
    # The list of sites comes with the points, and has no asset of its own.
    assert {dep.asset_key.to_user_string() for dep in spec.deps} == {"aemo/dispatch_region", "ace/points"}
    assert (spec.tags["kpi/type"], spec.tags["kpi/category"]) == ("price_level", "M_rkte")
    assert spec.metadata["kpi_id"] == "evening-peak"
    assert spec.metadata["workflow_at"] == "n8n.example.com"


def test_nothing_that_dagster_shows_has_more_of_a_webhook_than_its_host() -> None:
    definition = kpi_assets([SAID])

    shown = repr(list(definition.specs)) + repr([*definition.check_specs]) + repr(definition.op)
    assert PATH not in shown
    assert "user:pass" not in shown


def test_a_kpi_that_depends_on_nothing_hangs_on_the_registry() -> None:
    assert [dep.asset_key for dep in spec_of(kpi(webhookUrl="http://127.0.0.1/x")).deps] == [KPI_REGISTRY_KEY]


def test_an_inactive_kpi_is_an_asset_that_says_so() -> None:
    spec = spec_of(kpi(active=False))

    assert spec.description.startswith("**Inactive: shown, never scheduled; its workflow is never triggered.**")
    assert spec.tags["kpi/active"] == "false"
    assert spec.kinds


def test_another_query_is_another_code_version() -> None:
    versions = {spec_of(kpi(sql=sql)).code_version for sql in (PRICE, PRICE, BY_REGION)}

    assert len(versions) == 2


# --- the registry ---------------------------------------------------------------------------------------


def checked(settings: Settings, instance: dg.DagsterInstance, **tags: str) -> dict[str, dg.AssetCheckEvaluation]:
    with as_process_settings(settings):
        result = dg.materialize([kpi_registry], instance=instance, resources={"lake": Lake()}, tags=tags)
    assert result.success
    return {each.check_name: each for each in result.get_asset_check_evaluations()}


def test_the_built_in_kpis_alone_are_a_good_registry_that_is_loaded(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    found = checked(settings, instance)

    assert {name: each.passed for name, each in found.items()} == {REGISTRY_IS_GOOD: True, REGISTRY_IS_LOADED: True}


def test_a_new_kpi_asks_for_a_reload_and_a_broken_registry_leaves_the_last_good_copy_in_force(
    settings: Settings, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    path = tmp_path / "registry.json"
    path.write_text(json.dumps({"kpis": [{"id": "mine", "name": "Mine", "webhookUrl": "http://127.0.0.1/x"}]}))
    configured = settings.model_copy(update={"kpi_registry": str(path)})
    configured.model_fields_set.add("kpi_registry")

    good = checked(configured, instance)
    path.write_text('{"kpis": [{"id": "mine"}]}')
    broken = checked(configured, instance)

    assert (good[REGISTRY_IS_GOOD].passed, good[REGISTRY_IS_LOADED].passed) == (True, False)
    assert "reload the code location" in good[REGISTRY_IS_LOADED].description
    assert good[REGISTRY_IS_LOADED].severity is dg.AssetCheckSeverity.WARN
    assert (broken[REGISTRY_IS_GOOD].passed, broken[REGISTRY_IS_GOOD].severity) == (
        False,
        dg.AssetCheckSeverity.ERROR,
    )
    assert "mine" in broken[REGISTRY_IS_GOOD].description
    assert "name" in broken[REGISTRY_IS_GOOD].description
    assert in_force(configured).kpi("mine").name == "Mine"


# --- a report -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_a_reported_value_is_materialised_and_judged_by_the_run_after_the_report(
    here: Settings, instance: dg.DagsterInstance, receivers: Receivers
) -> None:
    kpis = with_workflows(receivers, ["report"], reportsBack=True, high=5.0)
    before = run(instance, kpis)
    trace_id = newest_job(here, DAY).trace_id
    report = {"traceId": trace_id, "kpiId": "report", "status": "completed", "value": 7.5}
    take_report(here, report, now=datetime.now(UTC))

    after = run(instance, kpis)

    assert before.success
    assert materialized(before) == set()
    assert (metadata_of(after, "report")["value (AUD/MWh)"], metadata_of(after, "report")["workflow"]) == (
        7.5,
        "has reported back",
    )
    [check] = after.get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.partition) == ("is_not_above_high", False, str(DAY))
    assert receivers.called == {"report": 1}
    assert kpi_key(kpis[0]) == dg.AssetKey(["kpi", "report"])


def test_the_registry_is_loaded_where_the_code_server_has_it_whatever_the_run_itself_has(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    digest = in_force(settings).digest

    behind = checked(settings, instance, **{LOADED_TAG: "another"})
    current = checked(settings, instance, **{LOADED_TAG: digest})

    assert not behind[REGISTRY_IS_LOADED].passed
    assert current[REGISTRY_IS_LOADED].passed


def test_kpis_that_no_assets_can_be_made_of_leave_the_built_in_ones_and_all_other_definitions(tmp_path: Path) -> None:
    sql = "SELECT count(*) FROM aemo.price WHERE market_day = $market_day"
    kpis = [{"id": name, "name": name, "sql": sql} for name in ("peak", "peak-has-a-value")]
    copy = {"kpis": kpis, "copy_of": {"source": "registry.json", "fetched_at": "2025-11-22T00:00:00Z"}}
    (tmp_path / "data" / "kpi").mkdir(parents=True)
    (tmp_path / "data" / "kpi" / "registry.json").write_text(json.dumps(copy))
    names = "sorted(key.to_user_string() for key in defs.resolve_all_asset_keys())"
    code = f"from etl_assets.definitions import defs; print({names})"
    clean = {"PATH": os.environ["PATH"], "KPI_REGISTRY": "registry.json"}

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=clean, capture_output=True, text=True, check=True
    )

    assert "'kpi/average_price'" in done.stdout
    assert "'aemo/dispatch_region'" in done.stdout
    assert "peak_has_a_value" not in done.stdout
    assert "the built-in ones alone are there" in done.stderr
