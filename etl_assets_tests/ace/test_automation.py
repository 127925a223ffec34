"""Schedules of sites work for their scheduled time; sensors keep the sites in step and ask for what heals."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from etl_assets.ace import automation
from etl_assets.ace.assets import collect_sites
from etl_assets.ace.automation import (
    SITE_HEAL_TAG,
    AilingSiteDay,
    days_of_sync,
    find_ailing_sites,
    site_gap_sensor,
    site_range_tags,
    sites_heal,
    sites_live,
    sites_reread,
    sites_scored_hourly,
    sites_sensor,
    sites_tick,
)
from etl_assets.lake.resource import Lake
from etl_assets.market_time import NEM_TIME, day_start, utc_now
from etl_assets.ops.site_state import SiteWindow, advance_last_sync, record_window
from etl_assets.partitions import SITE_DAY, SITES_START, site_days
from etl_assets.settings import Settings
from etl_assets.settings import settings as process_settings

pytestmark = pytest.mark.filterwarnings("ignore:Non-compliant tag keys")  # dagster's own, of two dimensions

DAY = date(2026, 11, 22)
HOUR = timedelta(hours=1)
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def nem(hour: int, minute: int = 0, day: int = 22) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=NEM_TIME)


@pytest.fixture(scope="module")
def _storage() -> Iterator[dg.DagsterInstance]:
    # On disk: where it is not, Dagster resolves no dynamic partition of a sensor's request.
    with dg.instance_for_test() as storage:
        yield storage


@pytest.fixture
def instance(_storage: dg.DagsterInstance) -> Iterator[dg.DagsterInstance]:
    """An instance without runs and sites."""
    yield _storage
    for name in _storage.get_dynamic_partitions("site"):
        _storage.delete_dynamic_partition("site", name)
    for run in _storage.get_runs():
        _storage.delete_run(run.run_id)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings that this process's environment names, on an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ETL_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("SITES", raising=False)
    process_settings.cache_clear()
    yield process_settings()
    process_settings.cache_clear()


def tick(instance: dg.DagsterInstance, schedule: dg.ScheduleDefinition, moment: datetime) -> Any:
    from etl_assets.definitions import defs

    context = dg.build_schedule_context(
        instance, scheduled_execution_time=moment, repository_def=defs.get_repository_def()
    )
    return defs.resolve_schedule_def(schedule.name).evaluate_tick(context)


def config_of(request: dg.RunRequest) -> dict[str, Any]:
    [op] = request.run_config["ops"].values()
    return {**op["config"], "as_of": datetime.fromisoformat(op["config"]["as_of"])}


# --- schedules ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "moment", "days", "config"),
    [
        (sites_tick, nem(14, 40), (21, 22), (nem(14, 40), "live", 0)),
        (sites_tick, nem(2, 55), (21, 22), (nem(2, 55), "live", 0)),
        (sites_tick, nem(3), (21, 22), (nem(3), "live", 0)),
        (sites_reread, nem(10), (21, 22), (nem(10), "reread", 24)),
        (sites_scored_hourly, nem(14, 7), (22, 22), (nem(14, 5), "missing", 0)),
        (sites_scored_hourly, nem(0, 7), (21, 22), (nem(0, 5), "missing", 0)),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_schedule_asks_for_all_sites_of_its_days_as_of_its_time(
    instance: dg.DagsterInstance,
    schedule: dg.ScheduleDefinition,
    moment: datetime,
    days: tuple[int, int],
    config: tuple[datetime, str, int],
) -> None:
    instance.add_dynamic_partitions("site", ["building-b", "building-a"])

    [request] = tick(instance, schedule, moment).run_requests

    assert request.tags[START] == f"2026-11-{days[0]}|building-b"
    assert request.tags[END] == f"2026-11-{days[1]}|building-a"
    assert tuple(config_of(request).values()) == config


@pytest.mark.parametrize(("behind", "first"), [(timedelta(minutes=5), 22), (20 * HOUR, 21)])
def test_a_tick_asks_for_the_days_since_the_site_that_is_furthest_behind(
    here: Settings, instance: dg.DagsterInstance, behind: timedelta, first: int
) -> None:
    instance.add_dynamic_partitions("site", ["b", "a"])
    for site, read in (("b", nem(14, 35)), ("a", nem(14, 40) - behind)):
        advance_last_sync(here, site, read, now=read, sync_id="s")

    [request] = tick(instance, sites_tick, nem(14, 40)).run_requests

    assert request.tags[START] == f"2026-11-{first}|b"


@pytest.mark.parametrize("schedule", [sites_tick, sites_reread, sites_scored_hourly])
def test_without_a_site_a_schedule_says_what_to_set(
    instance: dg.DagsterInstance, schedule: dg.ScheduleDefinition
) -> None:
    found = tick(instance, schedule, nem(14, 40))

    assert found.run_requests == []
    assert found.skip_message == "no site: set SITES, and ACE_API_KEY"


def test_a_tick_leaves_the_work_to_those_that_wait_already(instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("site", ["b"])
    for _ in range(2):
        instance.add_run(dg.DagsterRun(job_name=sites_live.name, status=dg.DagsterRunStatus.STARTED))

    found = tick(instance, sites_tick, nem(14, 40))

    assert found.run_requests == []
    assert found.skip_message.startswith("2 syncs are at work or waiting")


def test_one_site_and_one_day_are_one_partition_and_more_are_a_range() -> None:
    assert site_range_tags([DAY], ["b"]) == {"dagster/partition": "2026-11-22|b"}
    assert site_range_tags([DAY], ["b", "a"]) == {START: "2026-11-22|b", END: "2026-11-22|a"}


def test_a_range_in_the_order_of_addition_holds_every_site_of_every_day(instance: dg.DagsterInstance) -> None:
    names = ["site-b", "site-a", "site-d", "site-c"]
    instance.add_dynamic_partitions("site", names[:2])
    instance.add_dynamic_partitions("site", names[2:])

    tags = site_range_tags([DAY, date(2026, 11, 21)], instance.get_dynamic_partitions("site"))

    with dg.partition_loading_context(effective_dt=nem(14), dynamic_partitions_store=instance):
        keys = SITE_DAY.get_partition_keys_in_range(dg.PartitionKeyRange(tags[START], tags[END]))
    assert site_days(list(keys)) == {name: [date(2026, 11, 21), DAY] for name in names}


def test_no_day_is_asked_for_before_the_first_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automation, "SITES_START", DAY)

    assert days_of_sync(nem(1), timedelta(hours=3)) == [DAY]
    assert days_of_sync(nem(1, day=21), timedelta(hours=3)) == []


def test_sites_that_begin_in_future_are_not_asked_for_yet(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.add_dynamic_partitions("site", ["b"])
    monkeypatch.setattr(automation, "SITES_START", date(2026, 11, 23))

    assert tick(instance, sites_tick, nem(14)).skip_message == "SITES_START, 2026-11-23, is still to come"


# --- the list of sites ----------------------------------------------------------------------------------


def evaluated(instance: dg.DagsterInstance, sensor: dg.SensorDefinition, cursor: str | None = None) -> Any:
    from etl_assets.definitions import defs

    context = dg.build_sensor_context(
        instance, cursor=cursor, definitions=defs, sensor_name=sensor.name, resources={"lake": Lake()}
    )
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        return defs.resolve_sensor_def(sensor.name).evaluate_tick(context)


def changes(found: Any) -> dict[str, list[str]]:
    return {type(each).__name__: list(each.partition_keys) for each in found.dynamic_partitions_requests}


@pytest.mark.usefixtures("here")
def test_sites_are_added_and_removed_as_the_setting_says(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITES", "building-b,building-a")
    first = evaluated(instance, sites_sensor)
    instance.add_dynamic_partitions("site", ["building-b", "building-a"])
    same = evaluated(instance, sites_sensor)
    monkeypatch.setenv("SITES", "building-b,building-c")
    second = evaluated(instance, sites_sensor)

    assert changes(first) == {"AddDynamicPartitionsRequest": ["building-b", "building-a"]}
    assert same.skip_message == "2 sites, as SITES says"
    assert changes(second) == {
        "AddDynamicPartitionsRequest": ["building-c"],
        "DeleteDynamicPartitionsRequest": ["building-a"],
    }


def test_a_site_that_is_written_into_the_env_file_is_found_by_a_process_that_runs(
    here: Settings, instance: dg.DagsterInstance
) -> None:
    assert here.sites == ()
    Path(".env").write_text("SITES=building-a\n")

    assert changes(evaluated(instance, sites_sensor)) == {"AddDynamicPartitionsRequest": ["building-a"]}


# --- what ails ------------------------------------------------------------------------------------------


def read(chosen: Settings, site: str, start: datetime, end: datetime, status: str = "complete") -> None:
    record_window(chosen, SiteWindow(site, start, end, status, end))  # type: ignore[arg-type]


def synced(chosen: Settings, site: str, to: datetime) -> None:
    advance_last_sync(chosen, site, to, now=to, sync_id="a-sync")


def test_exactly_the_site_days_with_hours_that_are_not_complete_ail(settings: Settings) -> None:
    now = nem(14, 41)
    for site in ("whole", "holed"):
        synced(settings, site, nem(14, 40))
    read(settings, "whole", nem(2, 0, day=21), nem(14, 40))
    read(settings, "holed", nem(2, 0, day=21), nem(22, 0, day=21))
    read(settings, "holed", nem(23, 0, day=21), nem(9))
    read(settings, "holed", nem(9), nem(11), status="failed")
    read(settings, "holed", nem(11), nem(14, 40))

    found = find_ailing_sites(settings, ["whole", "holed", "never-synced"], now)

    assert found == [
        AilingSiteDay("holed", date(2026, 11, 21), 1),
        AilingSiteDay("holed", DAY, 2),
    ]
    assert [each.name for each in found] == ["2026-11-21|holed", "2026-11-22|holed"]


@pytest.mark.parametrize(("minute", "hours"), [(19, 0), (20, 1)])
def test_an_hour_is_given_twenty_minutes(settings: Settings, minute: int, hours: int) -> None:
    synced(settings, "b", nem(14))
    read(settings, "b", nem(0, day=21), nem(14))

    found = find_ailing_sites(settings, ["b"], nem(15, minute))

    assert sum(each.hours for each in found) == hours


def test_nothing_ails_before_the_first_partition(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automation, "SITES_START", DAY)
    synced(settings, "b", nem(14))

    assert find_ailing_sites(settings, ["b"], nem(14, 41)) == [AilingSiteDay("b", DAY, 14)]


def test_a_first_sync_that_is_at_work_is_not_overtaken(settings: Settings) -> None:
    synced(settings, "new", nem(14, day=21))
    synced(settings, "old", nem(14, 35))

    found = find_ailing_sites(settings, ["new", "old"], nem(14, 41), syncing=True)

    assert {each.site for each in found} == {"old"}
    assert {each.site for each in find_ailing_sites(settings, ["new"], nem(14, 41))} == {"new"}


@pytest.fixture
def holed(here: Settings, instance: dg.DagsterInstance) -> list[str]:
    """Two sites that lack what was two hours ago; returns their site days."""
    now = utc_now()
    instance.add_dynamic_partitions("site", ["b", "a"])
    hour = now.replace(minute=0, second=0, microsecond=0) - 2 * HOUR
    for site in ("b", "a"):
        synced(here, site, now)
        read(here, site, hour - 40 * HOUR, hour)
        read(here, site, hour + HOUR, now)
    return [f"{hour.astimezone(NEM_TIME).date()}|{site}" for site in ("a", "b")]


def test_the_sensor_asks_for_exactly_the_site_days_that_ail(instance: dg.DagsterInstance, holed: list[str]) -> None:
    found = evaluated(instance, site_gap_sensor)

    assert sorted(request.partition_key for request in found.run_requests) == holed
    assert {request.tags[SITE_HEAL_TAG] for request in found.run_requests} == set(holed)
    assert all(request.run_key is None for request in found.run_requests)
    assert {config_of(request)["mode"] for request in found.run_requests} == {"missing"}
    assert set(json.loads(found.cursor)) == set(holed)


def test_the_sensor_does_not_ask_twice_in_a_row(instance: dg.DagsterInstance, holed: list[str]) -> None:
    first = evaluated(instance, site_gap_sensor)

    second = evaluated(instance, site_gap_sensor, first.cursor)

    assert second.run_requests == []
    assert second.skip_message == f"{len(holed)} site days wait for their run or back-off in the last 36 hours"
    assert second.cursor == first.cursor


def test_the_sensor_asks_again_after_its_back_off(instance: dg.DagsterInstance, holed: list[str]) -> None:
    now = utc_now()
    asked = {
        holed[0]: {"count": 1, "asked_at": (now - timedelta(minutes=5)).isoformat()},
        holed[1]: {"count": 2, "asked_at": (now - timedelta(minutes=5)).isoformat()},
    }

    found = evaluated(instance, site_gap_sensor, json.dumps(asked))

    assert [request.partition_key for request in found.run_requests] == holed[:1]


def test_the_sensor_waits_for_a_run_that_is_at_work_and_not_for_one_that_ended(
    instance: dg.DagsterInstance, holed: list[str]
) -> None:
    for key, status in zip(holed, (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE), strict=True):
        instance.add_run(dg.DagsterRun(job_name=sites_heal.name, tags={SITE_HEAL_TAG: key}, status=status))

    found = evaluated(instance, site_gap_sensor)

    assert [request.partition_key for request in found.run_requests] == holed[1:]


@pytest.mark.usefixtures("here")
def test_without_a_gap_the_sensor_says_how_far_it_looked(instance: dg.DagsterInstance) -> None:
    found = evaluated(instance, site_gap_sensor, json.dumps({"x|b": {"count": 1, "asked_at": utc_now().isoformat()}}))

    assert found.skip_message == "every hour is complete in the last 36 hours"
    assert found.cursor == "{}"


@pytest.mark.parametrize("status", ["failed", "deferred"])
def test_a_window_that_was_left_out_long_ago_is_asked_for_too(here: Settings, status: str) -> None:
    now = nem(14, 40)
    advance_last_sync(here, "b", nem(14, day=12), now=now, sync_id="s")
    for start, end, kind in ((nem(20, day=12), nem(3, day=13), status), (nem(0, day=20), now, "complete")):
        record_window(here, SiteWindow("b", start, end, kind, now))  # type: ignore[arg-type]

    found = find_ailing_sites(here, ["b"], now)

    assert [(each.day.day, each.hours) for each in found] == [(12, 4), (13, 3)]


def test_what_the_sensor_asks_for_can_be_launched(instance: dg.DagsterInstance, holed: list[str]) -> None:
    from etl_assets.definitions import defs

    job = defs.resolve_job_def(sites_heal.name)
    [request] = [r for r in evaluated(instance, site_gap_sensor).run_requests if r.partition_key == holed[0]]

    with dg.partition_loading_context(dynamic_partitions_store=instance):
        assert job.partitions_def.has_partition_key(request.partition_key)
    assert set(request.run_config["ops"]) == {collect_sites.op.name}


def test_partitions_begin_with_the_setting() -> None:
    assert Settings(_env_file=None).sites_start == SITES_START
    assert day_start(SITES_START).astimezone(UTC) == datetime(2023, 12, 31, 14, tzinfo=UTC)
