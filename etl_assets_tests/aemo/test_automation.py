"""Schedules work for their scheduled time; the sensor asks for what heals, and not too often."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from etl_assets.aemo.automation import (
    HEAL_TAG,
    RECHECK_TAG,
    Ailing,
    days_of_tick,
    find_ailing,
    find_failed_rechecks,
    gap_sensor,
    market_heal,
    market_months_daily,
    market_recheck,
    market_tick,
    recheck_sensor,
)
from etl_assets.aemo.feeds import DISPATCH_IS, REPORTS
from etl_assets.lake.automation import publish_sensor
from etl_assets.lake.publish import publish
from etl_assets.lake.resource import Lake
from etl_assets.market_time import NEM_TIME, use_clock
from etl_assets.settings import settings as process_settings
from etl_assets_tests.aemo.conftest import DAY, DUE, NOW, World

RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def nem(hour: int, minute: int, day: int = 22) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=NEM_TIME)


def requested(schedule: dg.ScheduleDefinition, moment: datetime) -> dg.RunRequest:
    from etl_assets.definitions import defs

    with dg.instance_for_test() as instance:
        context = dg.build_schedule_context(
            instance, scheduled_execution_time=moment, repository_def=defs.get_repository_def()
        )
        [request] = defs.resolve_schedule_def(schedule.name).evaluate_tick(context).run_requests
    return request


def as_of(request: dg.RunRequest) -> set[str]:
    return {op["config"]["as_of"] for op in request.run_config["ops"].values()}


# --- schedules ------------------------------------------------------------------------------------------


def test_a_tick_asks_for_the_open_day_as_of_its_scheduled_time() -> None:
    request = requested(market_tick, nem(14, 41))

    assert request.tags["dagster/partition"] == "2026-11-22"
    assert not any(name in request.tags for name in RANGE)
    assert {datetime.fromisoformat(text) for text in as_of(request)} == {nem(14, 41)}


def test_a_tick_just_after_midnight_asks_for_both_days() -> None:
    request = requested(market_tick, nem(0, 1))

    assert [request.tags[name] for name in RANGE] == ["2026-11-21", "2026-11-22"]


@pytest.mark.parametrize(
    ("moment", "days"),
    [
        (nem(23, 56), [22]),
        (nem(23, 59), [22]),
        (nem(0, 0), [21, 22]),
        (nem(0, 1), [21, 22]),
        (nem(2, 0), [21, 22]),
        (nem(2, 1), [22]),
        (nem(14, 41), [22]),
    ],
)
def test_a_tick_never_asks_for_a_day_that_is_to_come(moment: datetime, days: list[int]) -> None:
    assert days_of_tick(moment) == [date(2026, 11, day) for day in days]


def test_a_late_tick_asks_for_the_same_as_a_punctual_one() -> None:
    first, second = requested(market_tick, nem(14, 41)), requested(market_tick, nem(14, 41).astimezone(UTC))

    assert first.tags == second.tags
    assert {datetime.fromisoformat(t) for t in as_of(first)} == {datetime.fromisoformat(t) for t in as_of(second)}


def test_a_tick_leaves_the_work_to_those_that_wait_already() -> None:
    with dg.instance_for_test() as instance:
        for _ in range(2):
            instance.add_run(dg.DagsterRun(job_name="market_live", status=dg.DagsterRunStatus.STARTED))

        tick = market_tick.evaluate_tick(dg.build_schedule_context(instance, scheduled_execution_time=nem(14, 41)))

    assert tick.run_requests == []
    assert tick.skip_message.startswith("2 ticks are at work or waiting")


def test_ticks_come_a_minute_after_each_file() -> None:
    times = market_tick.cron_schedule

    assert times == "1-59/5 * * * *"
    assert market_tick.execution_timezone == "Australia/Brisbane"


def test_the_recheck_reads_again_the_day_whose_archive_has_just_appeared() -> None:
    request = requested(market_recheck, nem(1, 30))

    assert request.partition_key == "2026-11-20"
    assert request.tags[RECHECK_TAG] == "2026-11-20"
    assert {op["config"]["reread"] for op in request.run_config["ops"].values()} == {True}


def test_on_the_first_two_days_there_is_nothing_to_recheck_before_the_market_starts() -> None:
    from etl_assets.definitions import defs

    first = process_settings().market_start
    moment = datetime(first.year, first.month, first.day + 1, 1, 30, tzinfo=NEM_TIME)
    with dg.instance_for_test() as instance:
        context = dg.build_schedule_context(
            instance, scheduled_execution_time=moment, repository_def=defs.get_repository_def()
        )
        found = market_recheck.evaluate_tick(context)

    assert not found.run_requests
    assert found.skip_message == f"2021-09-30 is before MARKET_START, {first}"


@pytest.mark.parametrize(("day", "month"), [(1, "2026-10-01"), (4, "2026-11-01"), (30, "2026-11-01")])
def test_the_aggregated_file_is_that_of_yesterdays_month(day: int, month: str) -> None:
    assert requested(market_months_daily, nem(6, 15, day)).tags["dagster/partition"] == month


@pytest.mark.parametrize("day", [2, 3])
def test_a_month_that_has_just_ended_is_asked_for_once_more(day: int) -> None:
    request = requested(market_months_daily, nem(6, 15, day))

    assert [request.tags[name] for name in RANGE] == ["2026-10-01", "2026-11-01"]


SICK = Ailing(DISPATCH_IS, DAY, 3)


# --- the sensor -----------------------------------------------------------------------------------------


def evaluated(instance: dg.DagsterInstance, sensor: dg.SensorDefinition, cursor: str | None = None) -> Any:
    from etl_assets.definitions import defs

    resources = {"lake": Lake()}
    context = dg.build_sensor_context(
        instance, cursor=cursor, definitions=defs, sensor_name=sensor.name, resources=resources
    )
    return defs.resolve_sensor_def(sensor.name).evaluate_tick(context)


def heal_run(instance: dg.DagsterInstance, tag: str, status: dg.DagsterRunStatus, *, key: str = HEAL_TAG) -> None:
    instance.add_run(dg.DagsterRun(job_name=market_heal.name, tags={key: tag}, status=status))


@pytest.mark.usefixtures("configured")
def test_the_sensor_asks_for_exactly_the_partition_and_report_of_each_gap(instance: dg.DagsterInstance) -> None:
    tick = evaluated(instance, gap_sensor)

    names = {request.tags[HEAL_TAG] for request in tick.run_requests}
    assert {name.partition("|")[0] for name in names} == {report.name for report in REPORTS}
    assert set(json.loads(tick.cursor)) == names
    [dispatch] = [r for r in tick.run_requests if r.tags[HEAL_TAG] == f"DispatchIS|{min(names).partition('|')[2]}"]
    assert dispatch.partition_key == dispatch.tags[HEAL_TAG].partition("|")[2]
    assert {key.to_user_string() for key in dispatch.asset_selection} == {
        "aemo/dispatch_region",
        "aemo/dispatch_interconnector",
        "warehouse_file",
    }
    assert dispatch.run_key is None
    assert set(dispatch.run_config["ops"]) == {"collect_dispatchis"}


@pytest.mark.usefixtures("configured")
def test_the_sensor_does_not_ask_twice_in_a_row(instance: dg.DagsterInstance) -> None:
    first = evaluated(instance, gap_sensor)

    second = evaluated(instance, gap_sensor, first.cursor)

    assert second.run_requests == []
    assert "days with gaps wait for their run or back-off in the last 36 hours" in second.skip_message
    assert second.cursor == first.cursor


@pytest.mark.usefixtures("configured")
def test_the_sensor_waits_for_a_run_that_is_at_work_and_not_for_one_that_ended(instance: dg.DagsterInstance) -> None:
    names = sorted(request.tags[HEAL_TAG] for request in evaluated(instance, gap_sensor).run_requests)
    heal_run(instance, names[0], dg.DagsterRunStatus.STARTED)
    heal_run(instance, names[1], dg.DagsterRunStatus.FAILURE)

    asked = {request.tags[HEAL_TAG] for request in evaluated(instance, gap_sensor).run_requests}

    assert asked == set(names) - {names[0]}


@pytest.mark.usefixtures("configured")
def test_without_a_gap_the_sensor_skips_and_says_how_far_it_looked(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAP_HORIZON", "PT0S")
    process_settings.cache_clear()
    old = json.dumps({SICK.name: {"count": 1, "asked_at": NOW.isoformat()}})

    tick = evaluated(instance, gap_sensor, old)

    assert tick.run_requests == []
    assert tick.skip_message == "no gap in the last 0 hours"
    assert tick.cursor == "{}"


def test_what_ails_is_counted_within_the_horizon(configured: World) -> None:
    configured.server.faults.switch_on("missing_interval", intervals=DUE[:2])
    configured.collect()
    lake = Lake()
    short = lake.settings.gap_horizon
    assert short == timedelta(hours=36)

    found = {ailing.name: ailing.intervals for ailing in find_ailing(lake, NOW)}

    assert found["DispatchIS|2026-11-22"] == 2
    assert found["DispatchIS|2026-11-21"] == 288
    assert (
        found["DispatchIS|2026-11-20"]
        == (datetime(2026, 11, 21, tzinfo=NEM_TIME) - (NOW - short)) // timedelta(minutes=5) + 1
    )


# --- rechecks that failed -------------------------------------------------------------------------------

RECHECKED = date(2026, 11, 20)
"""The day that the recheck of DAY, at 01:30, is for."""


@pytest.fixture
def noon(configured: World) -> Iterator[datetime]:
    """DAY at noon, in the world that is configured."""
    del configured
    now = nem(12, 0)
    use_clock(lambda: now)
    yield now
    use_clock()


def recheck_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> None:
    heal_run(instance, str(RECHECKED), status, key=RECHECK_TAG)


def asked_before(ago: timedelta, count: int, now: datetime) -> str:
    return json.dumps({str(RECHECKED): {"count": count, "asked_at": (now - ago).isoformat()}})


def test_a_recheck_that_failed_is_asked_for_again_after_a_while(instance: dg.DagsterInstance, noon: datetime) -> None:
    recheck_run(instance, dg.DagsterRunStatus.FAILURE)

    seen = evaluated(instance, recheck_sensor)
    later = evaluated(instance, recheck_sensor, asked_before(timedelta(minutes=5), 1, noon))

    assert seen.run_requests == []
    assert seen.skip_message == "rechecks of 2026-11-20 wait for their run or back-off in the last 36 hours"
    assert json.loads(seen.cursor) == {"2026-11-20": {"count": 1, "asked_at": noon.isoformat()}}
    [request] = later.run_requests
    assert (request.partition_key, request.tags[RECHECK_TAG]) == ("2026-11-20", "2026-11-20")
    assert {op["config"]["reread"] for op in request.run_config["ops"].values()} == {True}
    assert {datetime.fromisoformat(text) for text in as_of(request)} == {noon}
    assert json.loads(later.cursor)["2026-11-20"]["count"] == 2


@pytest.mark.parametrize(
    "statuses",
    [
        [dg.DagsterRunStatus.SUCCESS],
        [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS],
        [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED],
        [],
    ],
)
def test_a_day_that_was_read_again_or_never_asked_for_is_left_alone(
    instance: dg.DagsterInstance, noon: datetime, statuses: list[dg.DagsterRunStatus]
) -> None:
    for status in statuses:
        recheck_run(instance, status)

    tick = evaluated(instance, recheck_sensor, asked_before(timedelta(days=1), 1, noon))

    assert (tick.run_requests, tick.skip_message) == ([], "no recheck failed in the last 36 hours")
    assert tick.cursor == "{}"


def test_a_recheck_that_is_at_work_is_waited_for(instance: dg.DagsterInstance, noon: datetime) -> None:
    recheck_run(instance, dg.DagsterRunStatus.FAILURE)
    recheck_run(instance, dg.DagsterRunStatus.STARTED)

    assert evaluated(instance, recheck_sensor, asked_before(timedelta(days=1), 1, noon)).run_requests == []


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(("hours", "is_found"), [(0, True), (35, True), (37, False)])
def test_a_recheck_is_looked_after_for_36_hours(instance: dg.DagsterInstance, hours: int, is_found: bool) -> None:
    recheck_run(instance, dg.DagsterRunStatus.FAILURE)

    found = find_failed_rechecks(instance, process_settings(), nem(1, 31) + timedelta(hours=hours))

    assert [failed.day for failed in found] == [RECHECKED] * is_found


# --- publishing -----------------------------------------------------------------------------------------


def test_the_lake_is_published_once_it_is_ahead_and_nothing_is_at_work(
    configured: World, instance: dg.DagsterInstance
) -> None:
    configured.collect()

    ahead = evaluated(instance, publish_sensor)
    publish(configured.settings, now=NOW)
    published = evaluated(instance, publish_sensor)

    assert len(ahead.run_requests) == 1
    assert published.run_requests == []
    assert "shows the lake's newest snapshot" in published.skip_message


@pytest.mark.parametrize(("published", "asks"), [(timedelta(days=1), False), (timedelta(days=-1), True)])
def test_publishing_is_left_to_runs_that_are_at_work_but_not_for_long(
    configured: World, instance: dg.DagsterInstance, published: timedelta, asks: bool
) -> None:
    publish(configured.settings, now=datetime.now(UTC) + published)
    configured.collect()
    heal_run(instance, SICK.name, dg.DagsterRunStatus.STARTED)

    tick = evaluated(instance, publish_sensor)

    assert bool(tick.run_requests) is asks
    assert asks or tick.skip_message.startswith("1 runs are queued or at work")
