"""What runs the market's assets without a hand: the tick, the daily re-reading, and the healing of gaps.

Every schedule works for its scheduled time, never the clock: a late tick does what the punctual one would have done.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import dagster as dg

from etl_assets.aemo.assets import LIVE_ASSETS, REPORT_ASSETS, price_and_demand
from etl_assets.aemo.completeness import State, day_statuses
from etl_assets.aemo.feeds import REPORTS, Report, feeds_of
from etl_assets.asset_specs import LIVE_TAG, asset_key
from etl_assets.automation_specs import schedule, sensor
from etl_assets.healing import (
    IN_PROGRESS,
    TICKS_AT_ONCE,
    asked_or_skipped,
    load_attempts,
    plan_healing,
    runs_healing,
    with_first_attempt,
)
from etl_assets.lake.assets import warehouse_file
from etl_assets.lake.connection import read_lake
from etl_assets.lake.resource import Lake
from etl_assets.market_time import (
    DAY,
    NEM_ZONE_NAME,
    ceil_interval,
    day_start,
    days_between,
    instant_day,
    market_day,
    utc_now,
)
from etl_assets.partitions import partition_tags
from etl_assets.settings import Settings, settings

LIVE_PRIORITY = {"dagster/priority": "10", LIVE_TAG: "true"}
"""Above backfills (0): a queued tick is the next to run."""

TICK_LOOKS_BACK = timedelta(hours=2)
"""The slowest feed (rooftop) is overdue two hours after an interval's end; a tick asks for every day in between."""

HEAL_TAG = "etl_assets/heal"
RECHECK_TAG = "etl_assets/recheck"
"""The market day that a run reads again."""
RECHECKED_AFTER = 2 * DAY
RECHECKED_AT = timedelta(hours=1, minutes=30)
"""After midnight; archives of the day before yesterday appear at 01:01."""
MONTH_SETTLES = 3 * DAY
"""For so long a month that has ended is asked for, too: its last day is in its file on the first of the next."""

market_live = dg.define_asset_job(
    "market_live",
    selection=dg.AssetSelection.assets(*LIVE_ASSETS, warehouse_file),
    executor_def=dg.in_process_executor,
    tags=LIVE_PRIORITY,
    description="Brings in the newest intervals and publishes them. Requested every five minutes by `market_tick`.",
)
market_heal = dg.define_asset_job(
    "market_heal",
    selection=dg.AssetSelection.assets(*REPORT_ASSETS, warehouse_file),
    executor_def=dg.in_process_executor,
    description="Makes a market day complete and publishes it. Requested by `gap_sensor` for days with gaps, and daily "
    "by `market_recheck` to read a day again.",
)
market_months = dg.define_asset_job(
    "market_months",
    selection=dg.AssetSelection.assets(price_and_demand),
    executor_def=dg.in_process_executor,
    description="Brings in the open month's aggregated price and demand, and in a month's first days that of the month "
    "before. Requested daily.",
)


def collect_config(assets: Iterable[dg.AssetsDefinition], as_of: datetime, *, reread: bool = False) -> dg.RunConfig:
    """Run configuration that makes some assets work for a moment."""
    config = {"config": {"as_of": as_of.isoformat(), "reread": reread}}
    return dg.RunConfig(ops={asset.op.name: config for asset in assets})


def day_tags(days: Iterable[date]) -> dict[str, str]:
    """The run tags that ask for a partition, or for a range where there are several days."""
    ordered = sorted(days)
    return partition_tags(str(ordered[0]), str(ordered[-1]))


def days_of_tick(moment: datetime) -> list[date]:
    """The market days that a tick's window touches: one, and after midnight two.

    It ends with the interval that contains ``moment``: at 23:56 that is 24:00 of the same day, whose successor is no
    partition yet.
    """
    newest = ceil_interval(moment + timedelta(microseconds=1))
    return _since_market_start(market_day(moment - TICK_LOOKS_BACK), market_day(newest))


def _since_market_start(first: date, last: date) -> list[date]:
    """The market days of a span that are partitions: none before MARKET_START."""
    return list(days_between(max(first, settings().market_start), last))


@schedule(
    job=market_live,
    cron_schedule="1-59/5 * * * *",
    execution_timezone=NEM_ZONE_NAME,
)
def market_tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """At minutes 1, 6, 11 …: the interval whose file appeared a minute before.

    A tick asks for all that is missing, so one that waits does the work of those behind it: in an outage, when a
    source keeps each tick waiting, they do not pile up.
    """
    waiting = context.instance.get_runs_count(filters=dg.RunsFilter(job_name=market_live.name, statuses=IN_PROGRESS))
    if waiting >= TICKS_AT_ONCE:
        return dg.SkipReason(f"{waiting} ticks are at work or waiting; they ask for the same intervals")
    moment = context.scheduled_execution_time
    return dg.RunRequest(
        tags=day_tags(days_of_tick(moment)),
        run_config=collect_config(LIVE_ASSETS, moment),
    )


@schedule(
    job=market_heal,
    cron_schedule="30 1 * * *",
    execution_timezone=NEM_ZONE_NAME,
)
def market_recheck(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Daily at 01:30: reads the day before yesterday again, when its archive is out, to notice revisions."""
    moment = context.scheduled_execution_time
    day = market_day(moment) - RECHECKED_AFTER
    if not _since_market_start(day, day):
        return dg.SkipReason(f"{day} is before MARKET_START, {settings().market_start}")
    return _recheck_request(day, moment)


def _recheck_request(day: date, moment: datetime, **tags: str) -> dg.RunRequest:
    return dg.RunRequest(
        partition_key=str(day),
        run_config=collect_config(REPORT_ASSETS, moment, reread=True),
        tags={RECHECK_TAG: str(day), **tags},
    )


@schedule(
    job=market_months,
    cron_schedule="15 6 * * *",
    execution_timezone=NEM_ZONE_NAME,
)
def market_months_daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Daily at 06:15: the aggregated file of yesterday's month, which grew at midnight.

    In a month's first days that of the month before, too, if it still lacks something.
    """
    moment = context.scheduled_execution_time
    months = {market_day(moment - ago).replace(day=1) for ago in (DAY, MONTH_SETTLES)}
    return dg.RunRequest(tags=day_tags(months), run_config=collect_config([price_and_demand], moment))


@dataclass(frozen=True, slots=True)
class Ailing:
    """A report's market day with overdue intervals that are missing or provisional."""

    report: Report
    day: date
    intervals: int

    @property
    def name(self) -> str:
        """How the cursor and the run's tag call it."""
        return f"{self.report.name}|{self.day}"


def find_ailing(lake: Lake, now: datetime) -> list[Ailing]:
    """The market days of the gap horizon (36 hours) that need healing, by report."""
    days = _since_market_start(market_day(now - lake.settings.gap_horizon), market_day(now))
    found = []
    with read_lake(lake.settings) as connection:
        for report in REPORTS:
            for day in days:
                ends: set[datetime] = set()
                for feed in feeds_of(report):
                    status = day_statuses(connection, feed, [day], now)[0]
                    sick = (State.MISSING, State.PARTIAL, State.PROVISIONAL)
                    ends |= {e for e, s in status.states.items() if s in sick and feed.is_overdue(e, now)}
                ends = {end for end in ends if end > now - lake.settings.gap_horizon}
                if ends:
                    found.append(Ailing(report, day, len(ends)))
    return found


@sensor(
    job=market_heal,
    minimum_interval_seconds=60,
)
def gap_sensor(context: dg.SensorEvaluationContext, lake: Lake) -> dg.SensorResult | dg.SkipReason:
    """Looks for intervals missing in the last 36 hours and asks for the market days that heal them.

    The same day is asked for again only when its last healing run has ended and 5, 15, then 60 minutes have passed.
    """
    now = utc_now()
    attempts = load_attempts(context.cursor)
    ailing = find_ailing(lake, now)
    asked, kept = plan_healing(ailing, attempts, runs_healing(context.instance, market_heal.name, HEAL_TAG), now)
    requests = [_heal_request(day, now) for day in asked]
    waiting = f"{len(ailing)} days with gaps wait for their run or back-off" if ailing else "no gap"
    return asked_or_skipped(context, requests, kept, waiting=waiting, horizon=lake.settings.gap_horizon)


def _heal_request(day: Ailing, now: datetime) -> dg.RunRequest:
    keys = [asset_key(feed.table) for feed in feeds_of(day.report)]
    assets = [a for a in REPORT_ASSETS if set(a.keys) & set(keys)]
    return dg.RunRequest(
        partition_key=str(day.day),
        asset_selection=[*keys, warehouse_file.key],
        run_config=collect_config(assets, now),
        tags={HEAL_TAG: day.name, "dagster/priority": "5"},
    )


@dataclass(frozen=True, slots=True)
class FailedRecheck:
    """A market day that was to be read again, and was not."""

    day: date

    @property
    def name(self) -> str:
        """How the cursor and the run's tag call it."""
        return str(self.day)


def find_failed_rechecks(instance: dg.DagsterInstance, chosen: Settings, now: datetime) -> list[FailedRecheck]:
    """The days whose recheck was asked for within the gap horizon (36 hours), and has not succeeded.

    One of which an operator cancelled a run is over.
    """
    since = now - chosen.gap_horizon
    days = _since_market_start(instant_day(since) - RECHECKED_AFTER, instant_day(now) - RECHECKED_AFTER)
    recent = [day for day in days if day_start(day) + RECHECKED_AFTER + RECHECKED_AT > since]
    return [FailedRecheck(day) for day in recent if _is_left_failed(instance, day)]


def _is_left_failed(instance: dg.DagsterInstance, day: date) -> bool:
    filters = dg.RunsFilter(job_name=market_heal.name, tags={RECHECK_TAG: str(day)})
    statuses = {run.status for run in instance.get_runs(filters=filters)}
    return bool(statuses) and not statuses & {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED}


@sensor(
    job=market_heal,
    minimum_interval_seconds=60,
)
def recheck_sensor(context: dg.SensorEvaluationContext, lake: Lake) -> dg.SensorResult | dg.SkipReason:
    """Asks again for a day that `market_recheck` could not read: after 5, 15, then 60 minutes, for 36 hours.

    A complete day has no gap to have it asked for, and what was revised in it would go unnoticed.
    """
    now = utc_now()
    failed = find_failed_rechecks(context.instance, lake.settings, now)
    # The schedule's own run was the first attempt.
    attempts = with_first_attempt(load_attempts(context.cursor), failed, now)
    running = runs_healing(context.instance, market_heal.name, RECHECK_TAG)
    asked, kept = plan_healing(failed, attempts, running, now)
    requests = [_recheck_request(day.day, now, **{"dagster/priority": "5"}) for day in asked]
    days = ", ".join(day.name for day in failed)
    waiting = f"rechecks of {days} wait for their run or back-off" if failed else "no recheck failed"
    return asked_or_skipped(context, requests, kept, waiting=waiting, horizon=lake.settings.gap_horizon)


MARKET_JOBS = [market_live, market_heal, market_months]
MARKET_SCHEDULES = [market_tick, market_recheck, market_months_daily]
MARKET_SENSORS = [gap_sensor, recheck_sensor]
