"""What runs the buildings' assets without a hand: the sync, the daily re-read, scoring, healing, and the list of sites.

Every schedule works for its scheduled time, never the clock: a late tick does what the punctual one would have done.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import dagster as dg

from etl_assets.ace.assets import COLLECTED, DERIVED, SCORED, collect_sites, keys_of
from etl_assets.asset_specs import LIVE_TAG
from etl_assets.automation_specs import schedule, sensor
from etl_assets.healing import (
    IN_PROGRESS,
    TICKS_AT_ONCE,
    asked_or_skipped,
    load_attempts,
    plan_healing,
    runs_healing,
)
from etl_assets.lake.resource import Lake
from etl_assets.market_time import (
    DAY,
    HOUR,
    NEM_ZONE_NAME,
    day_start,
    days_between,
    hour_start,
    instant_day,
    utc_now,
)
from etl_assets.partitions import SITE_NAMES, SITES_START, partition_tags, site_day_key
from etl_assets.settings import Settings, settings

TICK = 5
"""Minutes between syncs."""

LAGGING = timedelta(hours=2)
"""A site that was read up to less than so long ago has nothing that a tick at work would take long to bring."""

SETTLED_AFTER = timedelta(minutes=20)
"""An hour that three syncs could have completed since, and none did, needs healing."""

SITE_HEAL_TAG = "etl_assets/site_heal"
"""On runs that read site days again, one at a time: a night of them must not hold the market's healing back."""

SITE_SYNC_TAG = "etl_assets/site_sync"
"""On ticks, one at a time: a second one would take up what the first is reading, and a slot of the queue with it."""

sites_live = dg.define_asset_job(
    "sites_live",
    selection=dg.AssetSelection.assets(*keys_of((*COLLECTED, *DERIVED))),
    executor_def=dg.in_process_executor,
    tags={"dagster/priority": "10", LIVE_TAG: "true", SITE_SYNC_TAG: "true"},
    description="Brings in the newest readings and weather of all sites. Requested every five minutes by `sites_tick`.",
)
sites_daily = dg.define_asset_job(
    "sites_daily",
    selection=dg.AssetSelection.assets(collect_sites),
    executor_def=dg.in_process_executor,
    tags={SITE_HEAL_TAG: "daily"},
    description="Reads the last 24 hours again in windows of one hour, and scores them. Daily at 00:00 UTC.",
)
sites_scored = dg.define_asset_job(
    "sites_scored",
    selection=dg.AssetSelection.assets(*keys_of(SCORED)),
    executor_def=dg.in_process_executor,
    description="Scores the open market day of all sites. Hourly.",
)
sites_heal = dg.define_asset_job(
    "sites_heal",
    selection=dg.AssetSelection.assets(collect_sites),
    executor_def=dg.in_process_executor,
    description="Collects what is missing of a site's market day. Requested by `site_gap_sensor`.",
)


def site_range_tags(days: Iterable[date], sites: Sequence[str]) -> dict[str, str]:
    """The run tags that ask for some market days of all sites at once.

    ``sites`` in the order in which Dagster gives them, which is that of their addition: a range goes by it.
    """
    ordered = sorted(days)
    first, last = site_day_key(ordered[0], sites[0]), site_day_key(ordered[-1], sites[-1])
    return partition_tags(first, last)


def sync_config(as_of: datetime, mode: str = "missing", hours: int = 0) -> dg.RunConfig:
    """Run configuration that makes sites work, or be scored, for a moment."""
    return dg.RunConfig(
        ops={collect_sites.op.name: {"config": {"as_of": as_of.isoformat(), "mode": mode, "hours": hours}}}
    )


def days_of_sync(moment: datetime, back: timedelta) -> list[date]:
    """The market days that the time from ``back`` before a moment to the moment touches, and that are partitions."""
    return list(days_between(max(instant_day(moment - back), SITES_START), instant_day(moment)))


def _sites(instance: dg.DagsterInstance) -> Sequence[str]:
    return instance.get_dynamic_partitions(str(SITE_NAMES.name))


@schedule(
    job=sites_live,
    cron_schedule="*/5 * * * *",
    execution_timezone="UTC",
)
def sites_tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Every five minutes: what came since the last sync of each site, less ten minutes. All sites in one run.

    A sync asks for all that is new, so one that waits does the work of those behind it.
    """
    waiting = context.instance.get_runs_count(filters=dg.RunsFilter(job_name=sites_live.name, statuses=IN_PROGRESS))
    if waiting >= TICKS_AT_ONCE:
        return dg.SkipReason(f"{waiting} syncs are at work or waiting; they ask for the same readings")
    moment = context.scheduled_execution_time
    return _request(context, moment - _oldest_start(_sites(context.instance), moment), sync_config(moment, "live"))


def _oldest_start(sites: Iterable[str], moment: datetime) -> datetime:
    """Where the newest window of the site that is furthest behind begins; a window that failed is younger or healed."""
    from etl_assets.ace.plan import live_start

    reached = [live_start(settings(), site, moment) for site in sites]
    return min([moment - 3 * HOUR, *reached])


def _request(
    context: dg.ScheduleEvaluationContext, back: timedelta, config: dg.RunConfig
) -> dg.RunRequest | dg.SkipReason:
    """A run of all sites for the market days since ``back`` before the tick."""
    if not (sites := _sites(context.instance)):
        return dg.SkipReason("no site: set SITES, and ACE_API_KEY")
    if not (days := days_of_sync(context.scheduled_execution_time, back)):
        return dg.SkipReason(f"SITES_START, {SITES_START}, is still to come")
    return dg.RunRequest(tags=site_range_tags(days, sites), run_config=config)


@schedule(
    job=sites_daily,
    cron_schedule="0 0 * * *",
    execution_timezone="UTC",
)
def sites_reread(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Daily at 00:00 UTC: the last 24 hours again in windows of one hour, readings and weather, then their scores."""
    return _request(context, DAY, sync_config(context.scheduled_execution_time, "reread", hours=24))


@schedule(
    job=sites_scored,
    cron_schedule="7 * * * *",
    execution_timezone=NEM_ZONE_NAME,
)
def sites_scored_hourly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Hourly: the scores and gaps of the open market day; in the first hours the closed one's, too."""
    moment = context.scheduled_execution_time
    # As of the tick before: what came due since is read by the next one.
    return _request(context, 2 * HOUR, sync_config(moment.replace(minute=moment.minute // TICK * TICK)))


@sensor(minimum_interval_seconds=30)
def sites_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Keeps the sites that Dagster knows in step with `SITES`, read anew each time: add a site, and it is collected.

    A site that is no longer named is collected no more; its readings stay.
    """
    wanted = [site.name for site in Settings().sites]
    known = set(_sites(context.instance))
    added = [name for name in wanted if name not in known]
    gone = sorted(known - set(wanted))
    if not added and not gone:
        return dg.SkipReason(f"{len(known)} sites, as SITES says")
    changes: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
    if added:
        changes.append(SITE_NAMES.build_add_request(added))
    if gone:
        changes.append(SITE_NAMES.build_delete_request(gone))
    return dg.SensorResult(dynamic_partitions_requests=changes)


@dataclass(frozen=True, slots=True)
class AilingSiteDay:
    """A site's market day with hours that should be complete and are not."""

    site: str
    day: date
    hours: int

    @property
    def name(self) -> str:
        """How the cursor and the run's tag call it: its partition key."""
        return site_day_key(self.day, self.site)


def find_ailing_sites(
    chosen: Settings, sites: Iterable[str], now: datetime, *, syncing: bool = False
) -> list[AilingSiteDay]:
    """The site days of the gap horizon (36 hours) with hours that were never read to their end, or failed.

    And those of any age with a window on record that failed, or that an outage of this pipeline left out. A site that
    a tick has not reached yet has none; while a tick is at work (``syncing``) neither has one that lags behind, as at
    its first sync: what the tick is reading need not be asked for by another run.
    """
    from etl_assets.ace.plan import split_by_day
    from etl_assets.ops.site_state import complete_hours, deferred_windows, failed_windows, last_sync

    start = max(now - chosen.gap_horizon, day_start(SITES_START))
    start, end = hour_start(start), hour_start(now - SETTLED_AFTER)
    found: dict[tuple[str, date], int] = {}
    for site in sites:
        reached = last_sync(chosen, site)
        if reached is None or (syncing and reached < now - LAGGING):
            continue
        done = complete_hours(chosen, site, start, end)
        for n in range((end - start) // HOUR):
            hour = start + n * HOUR
            if hour not in done:
                found[site, instant_day(hour)] = found.get((site, instant_day(hour)), 0) + 1
        for left in (*failed_windows(chosen, site), *deferred_windows(chosen, site)):
            for part in split_by_day(left.start, min(left.end, start)):
                found.setdefault((site, part.day), -((part.start - part.end) // HOUR))
    return [AilingSiteDay(site, day, hours) for (site, day), hours in sorted(found.items())]


@sensor(job=sites_heal, minimum_interval_seconds=60)
def site_gap_sensor(context: dg.SensorEvaluationContext, lake: Lake) -> dg.SensorResult | dg.SkipReason:
    """Looks for hours of the last 36 that are not complete and asks for the site days that heal them.

    The same one is asked for again only when its last run has ended and 5, 15, then 60 minutes have passed.
    """
    now = utc_now()
    attempts = load_attempts(context.cursor)
    syncing = _is_syncing(context.instance, now)
    ailing = find_ailing_sites(lake.settings, _sites(context.instance), now, syncing=syncing)
    asked, kept = plan_healing(ailing, attempts, runs_healing(context.instance, sites_heal.name, SITE_HEAL_TAG), now)
    if syncing:
        # What was passed over because a tick is at work is not whole for that: its back-off goes on.
        kept = {**attempts, **kept}
    requests = [_heal_request(day, now) for day in asked]
    waiting = f"{len(ailing)} site days wait for their run or back-off" if ailing else "every hour is complete"
    return asked_or_skipped(context, requests, kept, waiting=waiting, horizon=lake.settings.gap_horizon)


def _is_syncing(instance: dg.DagsterInstance, now: datetime) -> bool:
    """Whether a tick began to work lately; one that hangs for hours keeps nothing from being healed."""
    recent = dg.RunsFilter(job_name=sites_live.name, statuses=IN_PROGRESS, created_after=now - LAGGING)
    return instance.get_runs_count(filters=recent) > 0


def _heal_request(ailing: AilingSiteDay, now: datetime) -> dg.RunRequest:
    return dg.RunRequest(
        partition_key=ailing.name,
        run_config=sync_config(now),
        tags={SITE_HEAL_TAG: ailing.name, "dagster/priority": "5"},
    )


SITE_JOBS = [sites_live, sites_daily, sites_scored, sites_heal]
SITE_SCHEDULES = [sites_tick, sites_reread, sites_scored_hourly]
SITE_SENSORS = [sites_sensor, site_gap_sensor]
