"""Runs that an operator asks for: which jobs there are to ask for, what each takes, and how Dagster is given one.

A run is written into Dagster's own storage and queue, as its webserver writes it, under a closed list of jobs and with
partitions that are checked here: a typing error is refused before there is a run. The record of who asked and why
is in ``ops/api_state.py``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from etl_assets.api.problems import Problem

if TYPE_CHECKING:
    import dagster as dg

MOST_DAYS = 31
"""Of one run that somebody waits for. A longer time is a backfill, which Dagster's pages start in pieces."""

TRIGGER_TAG = "etl_assets/trigger"
CLIENT_TAG = "etl_assets/client"
PRIORITY = {"dagster/priority": "5"}
"""Above backfills, below ticks."""


class Job(StrEnum):
    """The jobs that can be asked for, by Dagster's names."""

    MARKET_LIVE = "market_live"
    MARKET_HEAL = "market_heal"
    MARKET_MONTHS = "market_months"
    SITES_LIVE = "sites_live"
    SITES_DAILY = "sites_daily"
    SITES_SCORED = "sites_scored"
    SITES_HEAL = "sites_heal"
    KPI_DAILY = "kpi_daily"
    KPI_REFRESH = "kpi_refresh"
    LAKE_HOURLY = "lake_hourly"
    LAKE_DAILY = "lake_daily"
    LAKE_PUBLISH = "lake_publish"
    TRIM_HISTORY = "trim_history"


OF_DAYS = frozenset({Job.MARKET_HEAL, Job.SITES_HEAL, Job.KPI_DAILY})
OF_MONTHS = frozenset({Job.MARKET_MONTHS})
OF_SITES = frozenset({Job.SITES_HEAL})
WITHOUT_CONFIG = frozenset({Job.KPI_REFRESH, Job.LAKE_HOURLY, Job.LAKE_DAILY, Job.LAKE_PUBLISH, Job.TRIM_HISTORY})


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operator asks for: market days from ``first`` to ``last``, or first days of months; and sites."""

    job: Job
    first: date | None = None
    last: date | None = None
    sites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A run to start: its job, and the tags and configuration that say what it works on."""

    job: Job
    tags: Mapping[str, str]
    config: Mapping[str, Any]


def plan_run(wish: Wish, instance: "dg.DagsterInstance", *, now: datetime) -> Plan:
    """What Dagster is to be given for a wish, as of ``now``.

    Raises ``Problem`` 422 for days, months or sites that the job does not take, or that are no partitions.
    """
    _refuse_misplaced(wish)
    if wish.job in WITHOUT_CONFIG:
        return Plan(wish.job, {}, {})
    planner: Callable[[Wish, dg.DagsterInstance, datetime], tuple[Mapping[str, str], dg.RunConfig]]
    planner = _PLANNERS[wish.job]
    tags, config = planner(wish, instance, now)
    return Plan(wish.job, tags, config.to_config_dict())  # type: ignore[no-untyped-call]


def start_run(plan: Plan, instance: "dg.DagsterInstance", *, trigger_id: str, client_id: str) -> str:
    """Put a run into Dagster's queue; returns its id."""
    from dagster._core.storage.tags import REPOSITORY_LABEL_TAG

    from etl_assets.definitions import defs
    from etl_assets.exports.dagster_runs import code_origin, remote_origin

    name = str(plan.job)
    origin = remote_origin(name)
    asked_by = {TRIGGER_TAG: trigger_id, CLIENT_TAG: client_id}
    run = instance.create_run_for_job(
        defs.resolve_job_def(name),
        run_config=plan.config,
        tags={**PRIORITY, **plan.tags, **asked_by, REPOSITORY_LABEL_TAG: origin.repository_origin.get_label()},
        remote_job_origin=origin,
        job_code_origin=code_origin(name),
    )
    # The workspace is for coordinators that start a run themselves; ours (dagster.yaml) puts it into the queue.
    return instance.submit_run(run.run_id, workspace=None).run_id  # type: ignore[arg-type]


def _refuse_misplaced(wish: Wish) -> None:
    takes_days = wish.job in OF_DAYS | OF_MONTHS
    if takes_days and wish.first is None:
        raise _refused("partition", f"{wish.job} works on days: give partition, or from and to")
    if not takes_days and wish.first is not None:
        raise _refused("partition", f"{wish.job} works on what is due now: leave partition, from and to out")
    if wish.sites and wish.job not in OF_SITES:
        raise _refused("sites", f"{wish.job} takes no sites: leave them out")


def _market_live(_: Wish, _instance: "dg.DagsterInstance", now: datetime) -> "tuple[Mapping[str, str], dg.RunConfig]":
    from etl_assets.aemo.assets import LIVE_ASSETS
    from etl_assets.aemo.automation import collect_config, day_tags, days_of_tick

    return day_tags(days_of_tick(now)), collect_config(LIVE_ASSETS, now)


def _market_heal(wish: Wish, _: "dg.DagsterInstance", now: datetime) -> "tuple[Mapping[str, str], dg.RunConfig]":
    from etl_assets.aemo.assets import REPORT_ASSETS
    from etl_assets.aemo.automation import collect_config, day_tags

    return day_tags(_market_days(wish)), collect_config(REPORT_ASSETS, now)


def _market_months(wish: Wish, _: "dg.DagsterInstance", now: datetime) -> "tuple[Mapping[str, str], dg.RunConfig]":
    from etl_assets.aemo.assets import price_and_demand
    from etl_assets.aemo.automation import collect_config
    from etl_assets.partitions import MARKET_MONTH, partition_tags

    first, last = _ends(wish)
    for month in (first, last):
        if not MARKET_MONTH.has_partition_key(str(month)):
            known = f"the first day of a month from {MARKET_MONTH.get_first_partition_key()} on"
            raise _refused("partition", f"{month} is no month: give {known}, such as 2025-11-01")
    return partition_tags(str(first), str(last)), collect_config([price_and_demand], now)


def _sites_live(_: Wish, instance: "dg.DagsterInstance", now: datetime) -> "tuple[Mapping[str, str], dg.RunConfig]":
    from etl_assets.ace.automation import days_of_sync, sync_config
    from etl_assets.market_time import HOUR

    return _all_sites(days_of_sync(now, 3 * HOUR), instance), sync_config(now, "live")


def _sites_daily(_: Wish, instance: "dg.DagsterInstance", now: datetime) -> "tuple[Mapping[str, str], dg.RunConfig]":
    from etl_assets.ace.automation import days_of_sync, sync_config
    from etl_assets.market_time import DAY

    return _all_sites(days_of_sync(now, DAY), instance), sync_config(now, "reread", hours=24)


def _sites_scored(_: Wish, instance: "dg.DagsterInstance", now: datetime) -> "tuple[Mapping[str, str], dg.RunConfig]":
    from etl_assets.ace.automation import days_of_sync, sync_config
    from etl_assets.market_time import HOUR

    return _all_sites(days_of_sync(now, 2 * HOUR), instance), sync_config(now)


def _sites_heal(wish: Wish, instance: "dg.DagsterInstance", now: datetime) -> "tuple[Mapping[str, str], dg.RunConfig]":
    from etl_assets.ace.automation import site_range_tags, sync_config
    from etl_assets.partitions import SITES_START

    first, last = _ends(wish)
    if first < SITES_START:
        raise _refused("partition", f"sites have no days before {SITES_START} (SITES_START)")
    known = _known_sites(instance)
    sites = [site for site in known if site in wish.sites] if wish.sites else list(known)
    if unknown := sorted(set(wish.sites) - set(known)):
        raise _refused("sites", f"no site {', '.join(unknown)}; there are {', '.join(known)}")
    start = known.index(sites[0])
    if sites != list(known[start : start + len(sites)]):
        raise _refused("sites", f"one run takes neighbours of {', '.join(known)}: ask for one site, or all")
    return site_range_tags(_days(first, last), sites), sync_config(now)


def _kpi_daily(wish: Wish, _: "dg.DagsterInstance", now: datetime) -> "tuple[Mapping[str, str], dg.RunConfig]":
    from etl_assets.aemo.automation import day_tags
    from etl_assets.kpi.automation import kpi_config

    return day_tags(_market_days(wish)), kpi_config(now)


_PLANNERS: Mapping[Job, Any] = {
    Job.MARKET_LIVE: _market_live,
    Job.MARKET_HEAL: _market_heal,
    Job.MARKET_MONTHS: _market_months,
    Job.SITES_LIVE: _sites_live,
    Job.SITES_DAILY: _sites_daily,
    Job.SITES_SCORED: _sites_scored,
    Job.SITES_HEAL: _sites_heal,
    Job.KPI_DAILY: _kpi_daily,
}


def _all_sites(days: Sequence[date], instance: "dg.DagsterInstance") -> Mapping[str, str]:
    from etl_assets.ace.automation import site_range_tags

    if not days:
        raise _refused("job", "sites have no day yet: SITES_START is still to come")
    return site_range_tags(days, _known_sites(instance))


def _known_sites(instance: "dg.DagsterInstance") -> Sequence[str]:
    """The sites that Dagster knows, in its order."""
    from etl_assets.partitions import SITE_NAMES

    if known := instance.get_dynamic_partitions(str(SITE_NAMES.name)):
        return known
    raise _refused("sites", "there is no site: set SITES and ACE_API_KEY, and wait for sites_sensor")


def _market_days(wish: Wish) -> list[date]:
    from etl_assets.partitions import MARKET_DAY

    first, last = _ends(wish)
    for day in (first, last):
        if not MARKET_DAY.has_partition_key(str(day)):
            known = (
                f"from {MARKET_DAY.get_first_partition_key()} (MARKET_START) to {MARKET_DAY.get_last_partition_key()}"
            )
            raise _refused("partition", f"{day} is no market day: give one {known}")
    return _days(first, last)


def _ends(wish: Wish) -> tuple[date, date]:
    assert wish.first is not None  # noqa: S101 (jobs of days have one by now)
    last = wish.last or wish.first
    if last < wish.first:
        raise _refused("to", f"{last} is before {wish.first}")
    return wish.first, last


def _days(first: date, last: date) -> list[date]:
    if (last - first) / timedelta(days=1) >= MOST_DAYS:
        raise _refused("to", f"more than {MOST_DAYS} days: start a backfill in Dagster's pages")
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _refused(name: str, detail: str) -> Problem:
    wrong = {"in": "body", "name": name, "detail": detail}
    return Problem(422, "The run cannot be asked for", f"{detail}.", kind="invalid-trigger", errors=[wrong])
