"""The drill: a backup of the middle of the week restored into another folder, and brought up to its end.

``python -m soak.recovery FOLDER TAKEN MOMENT`` does what the handbook has an operator do after a restore: ask for the
days since the backup, and let schedules and sensors do the rest. In a process of its own, whose settings name the data
in the folder, as they were restored.
"""

import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random

import dagster as dg

from etl_assets.ace.automation import site_range_tags, sites_heal, sync_config
from etl_assets.aemo.assets import REPORT_ASSETS, price_and_demand
from etl_assets.aemo.automation import collect_config, day_tags, market_heal, market_months
from etl_assets.dagster_home import dagster_instance
from etl_assets.kpi.automation import kpi_config, kpi_daily, scheduled_keys
from etl_assets.market_time import DAY, days_between, market_day, use_clock
from etl_assets.partitions import SITE_NAMES
from etl_assets.settings import settings
from soak.clock import SharedClock
from soak.queue import RunQueue
from soak.schedules import Automation

ROUNDS = 3
"""Of the sensors, at the end: what they still find, and what that brings to light."""
LOOKED_AFTER = 2 * DAY
"""Before the backup: so far back lie days that were still to be read again."""


def recover(folder: Path, taken: datetime, moment: datetime) -> None:
    """Bring the data folder that is set from when its backup was taken to ``moment`` (both aware)."""
    clock = SharedClock(folder / "clock")
    clock.set_time(moment, timedelta(hours=1))
    use_clock(clock)
    with dagster_instance(settings()) as instance:
        queue = RunQueue(instance, folder, Random(0))  # noqa: S311 (nothing is killed here)
        automation = Automation(instance, queue.request)
        try:
            _ask_for_days(queue, instance, taken, moment)
            queue.drain()
            automation.schedules_until(moment, moment - DAY)
            queue.drain()
            for _ in range(ROUNDS):
                automation.sensors(moment)
                queue.drain()
        finally:
            queue.close()


def _ask_for_days(queue: RunQueue, instance: dg.DagsterInstance, taken: datetime, moment: datetime) -> None:
    """The days since the backup of every source, as backfills ask for them."""
    first = max(market_day(taken - LOOKED_AFTER), settings().market_start)
    days = list(days_between(first, market_day(moment)))
    reread = collect_config(REPORT_ASSETS, moment, reread=True)
    queue.request(market_heal.name, _request(day_tags(days), reread))
    for month in sorted({day.replace(day=1) for day in days}):
        queue.request(market_months.name, _request(day_tags([month]), collect_config([price_and_demand], moment)))
    sites = instance.get_dynamic_partitions(str(SITE_NAMES.name))
    queue.request(sites_heal.name, _request(site_range_tags(days, sites), sync_config(moment, "reread")))
    queue.drain()
    for day in _closed(days, moment):
        asked = _request(day_tags([day]), kpi_config(moment, "call"))
        queue.request(kpi_daily.name, asked.with_replaced_attrs(asset_selection=scheduled_keys()))


def _closed(days: list[date], moment: datetime) -> list[date]:
    return [day for day in days if day < market_day(moment)]


def _request(tags: dict[str, str], config: dg.RunConfig) -> dg.RunRequest:
    return dg.RunRequest(tags=tags, run_config=config)


if __name__ == "__main__":
    recover(Path(sys.argv[1]), *map(datetime.fromisoformat, sys.argv[2:4]))
