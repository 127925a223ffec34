"""The daily run works for its scheduled time; sensors ask for what failed, not too often, and for what was reported."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from etl_assets.kpi import automation
from etl_assets.kpi.assets import COMPUTE_KPIS, KPI_REGISTRY_KEY, LOADED_TAG
from etl_assets.kpi.automation import (
    KPI_HEAL_TAG,
    REPORTS_SETTLE,
    SCHEDULED,
    AilingKpiDay,
    find_ailing_kpis,
    kpi_daily,
    kpi_registry_schedule,
    kpi_reports_sensor,
    kpi_retry_sensor,
    kpi_schedule,
    last_complete_day,
    scheduled_keys,
)
from etl_assets.kpi.events import kpi_key
from etl_assets.kpi.loaded import REGISTRY
from etl_assets.kpi.registry import Registry, refresh
from etl_assets.lake.resource import Lake
from etl_assets.market_time import DAY as ONE_DAY
from etl_assets.market_time import NEM_TIME
from etl_assets.ops.kpi_reports import parse_report, report_back
from etl_assets.ops.kpi_state import accepted, claim, finish, newest_job, open_job, record_call, runs_of
from etl_assets.settings import Settings
from etl_assets.settings import settings as process_settings
from etl_assets_tests.kpi.conftest import DAY, TICK, as_process_settings, kpi

MINUTE = timedelta(minutes=1)
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
ALL = [each.id for each in SCHEDULED]


@pytest.fixture
def here(settings: Settings) -> Iterator[Settings]:
    """Settings that this process's environment names, on an empty folder."""
    with as_process_settings(settings) as chosen:
        yield chosen


class Clock:
    """What the sensors take for now."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = TICK + MINUTE
        monkeypatch.setattr(automation, "utc_now", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


# --- the daily run --------------------------------------------------------------------------------------


def tick(moment: datetime) -> Any:
    from etl_assets.definitions import defs

    with dg.instance_for_test() as instance:
        context = dg.build_schedule_context(
            instance, scheduled_execution_time=moment, repository_def=defs.get_repository_def()
        )
        return defs.resolve_schedule_def(kpi_schedule.name).evaluate_tick(context)


def config_of(request: dg.RunRequest) -> dict[str, Any]:
    assert list(request.run_config["ops"]) == [COMPUTE_KPIS]
    return dict(request.run_config["ops"][COMPUTE_KPIS]["config"])


def nem(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2025, 11, day, hour, minute, tzinfo=NEM_TIME)


@pytest.mark.parametrize(
    ("moment", "day"), [(nem(22, 22), 21), (nem(22, 0), 21), (nem(21, 23, 59), 20), (nem(22, 0).astimezone(UTC), 21)]
)
def test_the_last_complete_market_day_is_the_one_before_the_moments_own_in_nem_time(moment: datetime, day: int) -> None:
    assert last_complete_day(moment) == date(2025, 11, day)


def test_at_noon_utc_all_active_kpis_of_yesterday_are_asked_for_as_of_noon() -> None:
    daily, again = tick(TICK).run_requests

    assert daily.partition_key == "2025-11-21"
    assert set(daily.asset_selection) == set(scheduled_keys())
    assert config_of(daily) == {"as_of": "2025-11-22T12:00:00+00:00", "workflows": "call"}
    assert (again.tags[START], again.tags[END]) == ("2025-11-18", "2025-11-20")
    assert config_of(again)["workflows"] == "skip"
    assert int(daily.tags["dagster/priority"]) > int(again.tags.get("dagster/priority", 0))


def test_a_tick_that_comes_late_asks_for_the_same_since_its_time_is_the_scheduled_one() -> None:
    first, second = tick(TICK).run_requests, tick(TICK.astimezone(NEM_TIME)).run_requests

    assert [r.partition_key for r in first] == [r.partition_key for r in second]
    assert [r.tags for r in first] == [r.tags for r in second]
    moments = {datetime.fromisoformat(config_of(r)["as_of"]) for r in (*first, *second)}
    assert moments == {TICK}


@pytest.mark.parametrize(
    ("changes", "days"),
    [
        ({"kpi_recompute_days": 0}, None),
        ({"kpi_recompute_days": 1}, "2025-11-20"),
        ({"market_start": date(2025, 11, 20)}, "2025-11-20"),
        ({"market_start": date(2025, 11, 21)}, None),
    ],
)
def test_days_before_are_computed_again_as_far_as_the_settings_go_back(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], days: str | None
) -> None:
    chosen = process_settings().model_copy(update=changes)
    monkeypatch.setattr(automation, "settings", lambda: chosen)

    daily, *again = tick(TICK).run_requests

    assert daily.partition_key == "2025-11-21"
    assert [request.tags["dagster/partition"] for request in again] == ([days] if days else [])


def test_before_the_first_partition_a_tick_says_why_it_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = process_settings().model_copy(update={"market_start": date(2025, 11, 22)})
    monkeypatch.setattr(automation, "settings", lambda: chosen)

    found = tick(TICK)

    assert found.run_requests == []
    assert found.skip_message == "no KPI is active, or 2025-11-21 is before MARKET_START"


def test_what_a_tick_asks_for_can_be_launched() -> None:
    from etl_assets.definitions import defs

    job = defs.resolve_job_def(kpi_daily.name)

    for request in tick(TICK).run_requests:
        subset = job.get_subset(asset_selection=set(request.asset_selection))
        dg.validate_run_config(subset, request.run_config)
        assert {node.name for node in subset.nodes} == {COMPUTE_KPIS}


ASKED = """
import sys
from datetime import datetime
import dagster as dg
from etl_assets.definitions import defs
with dg.instance_for_test() as instance:
    context = dg.build_schedule_context(
        instance, scheduled_execution_time=datetime.fromisoformat(sys.argv[1]), repository_def=defs.get_repository_def()
    )
    schedule = defs.resolve_schedule_def("kpi_schedule")
    found = schedule.evaluate_tick(context)
print(schedule.cron_schedule)
print(*(request.partition_key for request in found.run_requests))
print(*sorted(key.path[-1] for key in found.run_requests[0].asset_selection or ()) if found.run_requests else "-")
print(*sorted(key.path[-1] for key in defs.resolve_all_asset_keys() if key.path[0] == "kpi"))
"""


def test_a_cron_of_the_settings_is_the_schedules_and_an_inactive_kpi_is_an_asset_that_is_never_asked_for(
    settings: Settings,
) -> None:
    kpis = (kpi("on", webhookUrl="http://127.0.0.1/x"), kpi("off", webhookUrl="http://127.0.0.1/x", active=False))
    copy = Registry(kpis=kpis).model_dump(mode="json", by_alias=True)
    copy |= {"copy_of": {"source": "a test", "fetched_at": TICK.isoformat()}}
    settings.kpi_folder.mkdir(parents=True)
    (settings.kpi_folder / "registry.json").write_text(json.dumps(copy))
    environment = {
        "ETL_DATA": str(settings.etl_data),
        "KPI_REGISTRY": "registry.json",
        "KPI_BUILT_IN": "false",
        "KPI_CRON": "30 14 * * 1-5",
    }

    said = subprocess.run(
        [sys.executable, "-c", ASKED, "2025-11-22T14:30:00+00:00"],
        capture_output=True, text=True, check=True, env=os.environ | environment,
    ).stdout.splitlines()  # fmt: skip

    # At 14:30 UTC it is 00:30 of the 23rd in NEM time: the 22nd is over.
    assert said == ["30 14 * * 1-5", "2025-11-22", "on", "off on"]


def test_the_runs_of_a_tick_have_keys_so_that_a_tick_that_is_evaluated_twice_starts_each_once() -> None:
    first, second = tick(TICK).run_requests, tick(TICK).run_requests

    assert [request.run_key for request in first] == [request.run_key for request in second] == ["daily", "again"]


def test_a_kpi_that_left_the_registry_since_the_definitions_were_loaded_is_not_asked_for(
    here: Settings, tmp_path: Path
) -> None:
    # A run loads the registry in force, and would refuse to be about an asset that is not there.
    path = tmp_path / "registry.json"
    path.write_text(json.dumps({"kpis": [{"id": ALL[0], "name": "Off", "active": False}]}))
    configured = here.model_copy(update={"kpi_registry": str(path)})
    configured.model_fields_set.add("kpi_registry")
    with as_process_settings(configured):
        assert refresh(configured, now=TICK).is_good
        daily, again = tick(TICK).run_requests

    gone = kpi_key(REGISTRY.kpi(ALL[0]))
    assert set(daily.asset_selection) == set(scheduled_keys()) - {gone}
    assert gone not in again.asset_selection


def test_the_registry_is_asked_for_hourly_and_told_which_one_the_code_server_has() -> None:
    from etl_assets.definitions import defs

    with dg.build_schedule_context(scheduled_execution_time=TICK, repository_def=defs.get_repository_def()) as context:
        (request,) = kpi_registry_schedule.evaluate_tick(context).run_requests

    assert request.tags[LOADED_TAG] == REGISTRY.digest
    assert kpi_registry_schedule.cron_schedule == "47 * * * *"
    assert kpi_registry_schedule.job.name == "kpi_refresh"


# --- another go at what failed --------------------------------------------------------------------------


def worked_off(settings: Settings, day: date, ids: Sequence[str], failed: Sequence[str] = (), *, waits: bool = False):
    """A day's job, as a run leaves it: some KPIs failed, the others completed or waiting for their report."""
    opened = open_job(settings, day, ids, moment=TICK, now=TICK)
    for name in ids:
        claim(settings, opened.trace_id, name, run_id="run-1", now=TICK, until=TICK + 5 * MINUTE)
        record_call(settings, opened.trace_id, name, payload={}, now=TICK)
        if name in failed:
            finish(settings, opened.trace_id, name, status="failed", now=TICK, error="status 503")
            continue
        accepted(settings, opened.trace_id, name, retries=0, now=TICK, waits=waits)
        finish(settings, opened.trace_id, name, status="completed", now=TICK)
    return opened.trace_id


def evaluated(instance: dg.DagsterInstance, sensor: dg.SensorDefinition, cursor: str | None = None) -> Any:
    from etl_assets.definitions import defs

    context = dg.build_sensor_context(
        instance, cursor=cursor, definitions=defs, sensor_name=sensor.name, resources={"lake": Lake()}
    )
    return defs.resolve_sensor_def(sensor.name).evaluate_tick(context)


def asked_for(found: Any) -> list[tuple[str, set[str]]]:
    return [(r.partition_key, {key.path[-1] for key in r.asset_selection}) for r in found.run_requests]


def test_exactly_what_failed_is_asked_for_after_five_fifteen_and_sixty_minutes(
    here: Settings, instance: dg.DagsterInstance, clock: Clock
) -> None:
    worked_off(here, DAY, ALL[:4], failed=ALL[1:3])
    expected = [(str(DAY), {name.replace("-", "_") for name in ALL[1:3]})]
    cursor, asked_at = None, []

    for minute in range(150):
        clock.now = TICK + minute * MINUTE
        found = evaluated(instance, kpi_retry_sensor, cursor)
        cursor = found.cursor
        if found.run_requests:
            assert asked_for(found) == expected
            asked_at.append(minute)

    assert asked_at == [5, 20, 80, 140]


def test_what_the_retry_sensor_asks_for_calls_workflows_and_is_known_by_its_day(
    here: Settings, instance: dg.DagsterInstance, clock: Clock
) -> None:
    worked_off(here, DAY, ALL[:2], failed=ALL[:1])
    first = evaluated(instance, kpi_retry_sensor)
    clock.now += 5 * MINUTE

    [request] = evaluated(instance, kpi_retry_sensor, first.cursor).run_requests

    assert first.skip_message == "1 days wait for their run or back-off in the last 36 hours"
    assert config_of(request) == {"as_of": clock.now.isoformat(), "workflows": "call"}
    assert (request.tags[KPI_HEAL_TAG], request.run_key) == (str(DAY), None)


def test_a_day_whose_retry_is_under_way_is_not_asked_for_again(
    here: Settings, instance: dg.DagsterInstance, clock: Clock
) -> None:
    worked_off(here, DAY, ALL[:1], failed=ALL[:1])
    cursor = evaluated(instance, kpi_retry_sensor).cursor
    clock.now += 10 * MINUTE
    running = dg.DagsterRun(job_name=kpi_daily.name, tags={KPI_HEAL_TAG: str(DAY)}, status=dg.DagsterRunStatus.STARTED)
    instance.add_run(running)

    assert evaluated(instance, kpi_retry_sensor, cursor).run_requests == []


def test_a_day_that_is_whole_again_is_forgotten(here: Settings, instance: dg.DagsterInstance, clock: Clock) -> None:
    trace_id = worked_off(here, DAY, ALL[:1], failed=ALL[:1])
    cursor = evaluated(instance, kpi_retry_sensor).cursor
    finish(here, trace_id, ALL[0], status="completed", now=clock.now)
    claim(here, trace_id, ALL[0], run_id="run-2", now=clock.now, until=clock.now + MINUTE)
    accepted(here, trace_id, ALL[0], retries=0, now=clock.now, waits=False)
    finish(here, trace_id, ALL[0], status="completed", now=clock.now)

    found = evaluated(instance, kpi_retry_sensor, cursor)

    assert (found.skip_message, found.cursor) == ("no KPI failed in the last 36 hours", "{}")


def test_only_scheduled_kpis_of_the_last_days_are_asked_for(here: Settings) -> None:
    for day, names in ((DAY, [ALL[0], "gone"]), (DAY - ONE_DAY, ["gone"]), (DAY - 5 * ONE_DAY, [ALL[0]])):
        worked_off(here, day, names, failed=names)

    assert find_ailing_kpis(here, TICK) == [AilingKpiDay(DAY, (ALL[0],))]


def test_a_workflow_that_did_not_report_in_time_has_failed_and_is_asked_for(
    here: Settings, instance: dg.DagsterInstance, clock: Clock
) -> None:
    trace_id = worked_off(here, DAY, ALL[:1], waits=True)
    before = evaluated(instance, kpi_retry_sensor)
    clock.now = TICK + here.kpi_report_timeout
    noticed = evaluated(instance, kpi_retry_sensor, before.cursor)
    clock.now += 5 * MINUTE

    found = evaluated(instance, kpi_retry_sensor, noticed.cursor)

    assert before.skip_message == "no KPI failed in the last 36 hours"
    assert "did not report back within 6 hours" in runs_of(here, trace_id)[0].error
    assert asked_for(found) == [(str(DAY), {ALL[0].replace("-", "_")})]


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        # At 22:01 NEM time of the 22nd the run for the 21st is under way; that for the 20th should be on record.
        ([19], [20]),
        ([19, 20], []),
        ([19, 21], [20]),
        ([18, 21], []),
        ([], []),
    ],
)
def test_a_day_whose_daily_run_left_no_job_is_asked_for_a_day_later(
    here: Settings, jobs: list[int], expected: list[int]
) -> None:
    for day in jobs:
        worked_off(here, date(2025, 11, day), ALL)

    found = find_ailing_kpis(here, TICK + MINUTE)

    assert [(each.day, set(each.kpi_ids)) for each in found] == [(date(2025, 11, day), set(ALL)) for day in expected]


def test_a_kpi_that_a_killed_run_left_behind_is_asked_for_when_its_claim_has_ended(here: Settings) -> None:
    opened = open_job(here, DAY, ALL[:1], moment=TICK, now=TICK)
    claim(here, opened.trace_id, ALL[0], run_id="killed", now=TICK, until=TICK + 10 * MINUTE)

    assert find_ailing_kpis(here, TICK + 9 * MINUTE) == []
    assert find_ailing_kpis(here, TICK + 10 * MINUTE) == [AilingKpiDay(DAY, (ALL[0],))]


# --- what was reported ----------------------------------------------------------------------------------


def reported(settings: Settings, trace_id: str, name: str, at: datetime, status: str = "completed") -> None:
    body = {"traceId": trace_id, "kpiId": name, "status": status}
    report_back(settings, parse_report(body), now=at)


def test_reports_are_asked_for_by_day_and_once(here: Settings, instance: dg.DagsterInstance, clock: Clock) -> None:
    first = worked_off(here, DAY, ALL[:3], waits=True)
    second = worked_off(here, DAY - ONE_DAY, ALL[:1], waits=True)
    for name in ALL[:2]:
        reported(here, first, name, TICK + MINUTE / 2)
    reported(here, second, ALL[0], TICK + MINUTE / 3)
    clock.now = TICK + 2 * MINUTE

    found = evaluated(instance, kpi_reports_sensor)
    again = evaluated(instance, kpi_reports_sensor, found.cursor)
    reported(here, first, ALL[2], TICK + 2 * MINUTE)
    clock.now = TICK + 3 * MINUTE
    last = evaluated(instance, kpi_reports_sensor, found.cursor)

    names = [name.replace("-", "_") for name in ALL]
    assert asked_for(found) == [(str(DAY - ONE_DAY), {names[0]}), (str(DAY), set(names[:2]))]
    assert again.skip_message == "no workflow has reported since the last look"
    assert asked_for(last) == [(str(DAY), {names[2]})]
    assert datetime.fromisoformat(last.cursor) == TICK + 2 * MINUTE


def test_a_report_of_this_moment_waits_for_those_that_are_older_and_not_on_record_yet(
    here: Settings, instance: dg.DagsterInstance, clock: Clock
) -> None:
    trace_id = worked_off(here, DAY, ALL[:2], waits=True)
    reported(here, trace_id, ALL[0], clock.now)
    early = evaluated(instance, kpi_reports_sensor)
    reported(here, trace_id, ALL[1], clock.now - timedelta(seconds=1))
    clock.now += REPORTS_SETTLE

    found = evaluated(instance, kpi_reports_sensor, early.cursor)

    assert early.run_requests == []
    assert asked_for(found) == [(str(DAY), {name.replace("-", "_") for name in ALL[:2]})]


def test_a_failed_report_and_one_of_a_kpi_that_is_gone_ask_for_nothing_and_move_the_cursor(
    here: Settings, instance: dg.DagsterInstance, clock: Clock
) -> None:
    trace_id = worked_off(here, DAY, [ALL[0], "gone"], waits=True)
    reported(here, trace_id, ALL[0], TICK, "failed")
    reported(here, trace_id, "gone", TICK)

    found = evaluated(instance, kpi_reports_sensor)
    cursor = evaluated(instance, kpi_retry_sensor).cursor
    clock.now += 5 * MINUTE

    assert found.run_requests == []
    assert datetime.fromisoformat(found.cursor) == TICK
    assert asked_for(evaluated(instance, kpi_retry_sensor, cursor)) == [(str(DAY), {ALL[0].replace("-", "_")})]
    assert newest_job(here, DAY).status == "partial"


def test_the_daily_job_has_the_registry_and_the_scheduled_kpis() -> None:
    from etl_assets.definitions import defs

    selected = defs.resolve_job_def(kpi_daily.name).asset_layer.executable_asset_keys

    assert set(selected) == {KPI_REGISTRY_KEY, *scheduled_keys()}
