"""What runs KPIs without a hand: the daily run, another go at what failed, what workflows report, the registry.

The daily run works for its scheduled time, never the clock.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import dagster as dg

from etl_assets.automation_specs import schedule, sensor
from etl_assets.healing import asked_or_skipped, load_attempts, plan_healing, runs_healing, with_first_attempt
from etl_assets.kpi.assets import COMPUTE_KPIS, KPI_REGISTRY_KEY, LOADED_TAG
from etl_assets.kpi.events import kpi_key
from etl_assets.kpi.loaded import REGISTRY
from etl_assets.kpi.registry import Kpi, in_force
from etl_assets.lake.resource import Lake
from etl_assets.market_time import DAY, NEM_ZONE_NAME, days_between, instant_day, utc_now
from etl_assets.partitions import partition_tags
from etl_assets.settings import Settings, settings

KPI_HEAL_TAG = "etl_assets/kpi_heal"
REPORTS_SETTLE = timedelta(seconds=45)
"""A report's time is taken before it is on record, and it may wait for the database's lock for 30 seconds: of two at
once the earlier may be seen after the later."""

SCHEDULED = tuple(kpi for kpi in REGISTRY.kpis if kpi.active)

kpi_daily = dg.define_asset_job(
    "kpi_daily",
    # With the registry, so that it is a job also where there is no KPI at all.
    selection=dg.AssetSelection.assets(KPI_REGISTRY_KEY, *(kpi_key(kpi) for kpi in SCHEDULED)),
    executor_def=dg.in_process_executor,
    description="All active KPIs of a market day: values, and their workflows. Requested daily by `kpi_schedule`.",
)
kpi_refresh = dg.define_asset_job(
    "kpi_refresh",
    selection=dg.AssetSelection.assets(KPI_REGISTRY_KEY),
    executor_def=dg.in_process_executor,
    description="Fetches and validates the registry of KPIs. Requested hourly.",
)


def scheduled_keys() -> list[dg.AssetKey]:
    """The assets of the KPIs that are scheduled."""
    return [kpi_key(kpi) for kpi in SCHEDULED]


def kpi_config(moment: datetime, workflows: str = "") -> dg.RunConfig:
    """Run configuration that makes KPIs work for a moment; ``workflows`` as in ``KpiConfig``."""
    return dg.RunConfig(ops={COMPUTE_KPIS: {"config": {"as_of": moment.isoformat(), "workflows": workflows}}})


def last_complete_day(moment: datetime) -> date:
    """The market day that had ended by a moment (aware), and was the last to."""
    return instant_day(moment) - DAY


@schedule(
    job=kpi_daily,
    cron_schedule=settings().kpi_cron,
    execution_timezone="UTC",
)
def kpi_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
    """Daily (`KPI_CRON`, 12:00 UTC): all active KPIs of the last complete market day, and their workflows.

    And the values alone of the days before (`KPI_RECOMPUTE_DAYS`): what was healed or revised since shows in them.
    """
    moment = context.scheduled_execution_time
    last = last_complete_day(moment)
    before = _partitions_between(last - settings().kpi_recompute_days * DAY, last - DAY)
    scheduled = _scheduled_now()
    if not scheduled or not _partitions_between(last, last):
        return dg.SkipReason(f"no KPI is active, or {last} is before MARKET_START")
    # Of one tick: Dagster tells a schedule's requests apart by their keys.
    daily = _request(last, {kpi.id for kpi in scheduled}, moment, run_key="daily")
    if not before or not (with_sql := [kpi_key(kpi) for kpi in scheduled if kpi.sql]):
        return [daily]
    again = dg.RunRequest(
        run_key="again",
        run_config=kpi_config(moment, "skip"),
        tags=partition_tags(str(before[0]), str(before[-1])),
        asset_selection=with_sql,
    )
    return [daily, again]


def _scheduled_now() -> list[Kpi]:
    """The scheduled KPIs that the registry in force still has: a run loads that one, and knows no other assets."""
    still = {kpi.id for kpi in in_force(settings()).active}
    return [kpi for kpi in SCHEDULED if kpi.id in still]


def _partitions_between(first: date, last: date) -> list[date]:
    return [day for day in days_between(first, last) if day >= settings().market_start]


@schedule(
    job=kpi_refresh,
    cron_schedule="47 * * * *",
    execution_timezone=NEM_ZONE_NAME,
)
def kpi_registry_schedule() -> dg.RunRequest:
    """Hourly: the registry anew, and whether it is valid. A new KPI is there when the code location is reloaded."""
    return dg.RunRequest(tags={LOADED_TAG: REGISTRY.digest})


@dataclass(frozen=True, slots=True)
class AilingKpiDay:
    """A market day whose job has KPIs that failed, or that a run left behind when it was killed."""

    day: date
    kpi_ids: tuple[str, ...]

    @property
    def name(self) -> str:
        """How the cursor and the run's tag call it."""
        return str(self.day)


def find_ailing_kpis(chosen: Settings, now: datetime) -> list[AilingKpiDay]:
    """The market days of the gap horizon (36 hours, and the day that the run is for) with KPIs to be run again.

    And one whose daily run never got as far as its job, while the days before had theirs.
    """
    from etl_assets.ops.kpi_records import failed_days

    known = {kpi.id for kpi in _scheduled_now()}
    since = instant_day(now - chosen.gap_horizon) - DAY
    found = failed_days(chosen, since=since, now=now)
    if (left_out := _left_out(chosen, now)) is not None:
        found[left_out] = sorted(known)
    days = ((day, tuple(name for name in names if name in known)) for day, names in sorted(found.items()))
    return [AilingKpiDay(day, names) for day, names in days if names]


def _left_out(chosen: Settings, now: datetime) -> date | None:
    """The market day whose run was due before the last midnight and left no job, while the day before has one."""
    from etl_assets.ops.kpi_state import newest_job

    due = last_complete_day(now) - DAY
    is_daily = settings().kpi_cron.split()[2:] == ["*", "*", "*"]
    is_missing = newest_job(chosen, due) is None and newest_job(chosen, due - DAY) is not None
    return due if is_daily and is_missing else None


@sensor(job=kpi_daily, minimum_interval_seconds=60)
def kpi_retry_sensor(context: dg.SensorEvaluationContext, lake: Lake) -> dg.SensorResult | dg.SkipReason:
    """Asks again for KPIs that failed, and for no other: after 5, 15, then 60 minutes, for 36 hours.

    A workflow that was to report back and did not within `KPI_REPORT_TIMEOUT` has failed, too.
    """
    from etl_assets.ops.kpi_reports import expire_reports

    now = utc_now()
    late = expire_reports(lake.settings, now=now)
    for run in late:
        context.log.warning("KPI %s of %s: %s", run.kpi_id, run.date, run.error)
    ailing = find_ailing_kpis(lake.settings, now)
    # The run that failed was the first attempt.
    attempts = with_first_attempt(load_attempts(context.cursor), ailing, now)
    asked, kept = plan_healing(ailing, attempts, runs_healing(context.instance, kpi_daily.name, KPI_HEAL_TAG), now)
    requests = [_request(day.day, day.kpi_ids, now, **{KPI_HEAL_TAG: day.name}) for day in asked]
    waiting = f"{len(ailing)} days wait for their run or back-off" if ailing else "no KPI failed"
    return asked_or_skipped(context, requests, kept, waiting=waiting, horizon=lake.settings.gap_horizon)


@sensor(job=kpi_daily, minimum_interval_seconds=30)
def kpi_reports_sensor(context: dg.SensorEvaluationContext, lake: Lake) -> dg.SensorResult | dg.SkipReason:
    """Notices what workflows reported, and asks for the KPIs' market days: their values and checks become seen."""
    from etl_assets.ops.kpi_records import reported_since

    now = utc_now()
    since = datetime.fromisoformat(context.cursor) if context.cursor else now - lake.settings.gap_horizon
    settled = [
        (run, run.reported_at)
        for run in reported_since(lake.settings, since)
        if run.reported_at and run.reported_at <= now - REPORTS_SETTLE
    ]
    if not settled:
        return dg.SkipReason("no workflow has reported since the last look")
    completed: dict[date, set[str]] = {}
    for run, _ in settled:
        if run.status == "completed":
            completed.setdefault(run.date, set()).add(run.kpi_id)
    requests = [_request(day, names, now) for day, names in sorted(completed.items())]
    return dg.SensorResult(
        run_requests=[request for request in requests if request.asset_selection],
        cursor=max(at for _, at in settled).isoformat(),
    )


def _request(
    day: date, kpi_ids: Collection[str], now: datetime, *, run_key: str | None = None, **tags: str
) -> dg.RunRequest:
    """A run of some KPIs of a market day; their workflows are triggered where they were not."""
    return dg.RunRequest(
        run_key=run_key,
        partition_key=str(day),
        asset_selection=[kpi_key(kpi) for kpi in _scheduled_now() if kpi.id in kpi_ids],
        run_config=kpi_config(now, "call"),
        tags={"dagster/priority": "5", **tags},
    )


KPI_JOBS = [kpi_daily, kpi_refresh]
KPI_SCHEDULES = [kpi_schedule, kpi_registry_schedule]
KPI_SENSORS = [kpi_retry_sensor, kpi_reports_sensor]
