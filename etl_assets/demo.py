"""The demo: two market days of everything, offline, through real Dagster runs, against the simulator.

It works for a fixed moment of the day, so that a second demo on the same day finds nothing new.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from etl_assets.market_time import DAY, day_start, days_between, market_day
from etl_assets.settings import MixedDataError, Settings, settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from etl_assets.runs import RunSummary
    from etl_assets.simulator.ace_world import AceWorld

DEMO_DAYS = 2
TIME_ZONES = {"NSW1": "Australia/Sydney", "VIC1": "Australia/Melbourne"}
POWER_POINTS = 3
"""Of a simulated building's power readings, so many make up its electricity demand."""
REGISTRY_PATH = "/kpi/registry.json"
DEMO_ACE_KEY = "simulated-ace-key"
"""The key that the simulated account takes: no secret."""
SETTLED_AFTER = timedelta(hours=2, minutes=31)
"""After midnight, until the slowest feed (rooftop) has published the day that ended."""

SIMULATED_NOTE = (
    "This folder holds data of the simulator, made by `make demo` or `ETL_SOURCE=demo`.\n"
    "Real data is never mixed with it: for the live market, remove the folder or set ETL_DATA to another.\n"
)


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """Which market days the demo makes, and the moment that it works for."""

    days: tuple[date, ...]
    moment: datetime

    @classmethod
    def at(cls, now: datetime) -> "DemoPlan":
        """The last market days that had settled by ``now``."""
        last = market_day(now - SETTLED_AFTER) - DAY
        moment = day_start(last) + DAY + SETTLED_AFTER
        return cls(tuple(days_between(last - (DEMO_DAYS - 1) * DAY, last)), moment)


def demo_sites(world: "AceWorld | None" = None) -> str:
    """The simulated buildings as `SITES`, each with the points that make up its electricity demand."""
    from etl_assets.simulator.ace_world import AceWorld

    world = world or AceWorld()
    return json.dumps(
        [
            {
                "name": site.name,
                "time_zone": TIME_ZONES[site.region],
                "region_id": site.region,
                "power_points": world.layout(site.name).power_points(POWER_POINTS),
            }
            for site in world.sites.values()
        ]
    )


def addresses_of(url: str, world: "AceWorld | None" = None) -> dict[str, str]:
    """The settings that name the sources, with the simulator at ``url`` for each; but for the registry of KPIs."""
    return {
        "NEMWEB_URL": url,
        "AEMO_API_URL": f"{url}/aemo/apps/api/report/5MIN",
        "PRICE_AND_DEMAND_URL": f"{url}/aemo/data/nem/priceanddemand",
        "ACE_API_URL": f"{url}/api",
        "ACE_API_KEY": DEMO_ACE_KEY,
        "SITES": demo_sites(world),
    }


def point_at(url: str) -> None:
    """Make this process, and those it starts, read from a simulator. A registry of KPIs that is set stays so."""
    if not settings().kpi_registry or settings().kpi_registry.endswith(REGISTRY_PATH):
        os.environ["KPI_REGISTRY"] = f"{url}{REGISTRY_PATH}"
    os.environ |= addresses_of(url)
    settings.cache_clear()


def mark_simulated(chosen: Settings) -> None:
    """Mark the data folder as the simulator's. Raises ``MixedDataError`` where real data lies in it."""
    if chosen.catalog_path.exists() and not chosen.simulated_marker.exists():
        raise MixedDataError(
            f"{chosen.etl_data} holds real data; the simulator's is never mixed with it. "
            "Set ETL_DATA to another folder."
        )
    chosen.etl_data.mkdir(parents=True, exist_ok=True)
    chosen.simulated_marker.write_text(SIMULATED_NOTE)


def refuse_simulated(chosen: Settings) -> None:
    """Raise ``MixedDataError`` where live data would be added to the simulator's."""
    if chosen.simulated_marker.exists() and chosen.etl_source == "live":
        raise MixedDataError(
            f"{chosen.etl_data} holds the simulator's data. Remove that folder, or set ETL_DATA to another."
        )


@contextmanager
def simulated_sources(now: "Callable[[], datetime]") -> Iterator[str]:
    """The simulator on loopback, and this process pointed at it."""
    from etl_assets.kpi.registry import refresh
    from etl_assets.simulator.app import SimulatorServer

    mark_simulated(settings())
    with SimulatorServer(now=now) as server:
        point_at(server.url)
        # The definitions read the copy that this makes; they are loaded later.
        refresh(settings(), now=now())
        yield server.url


@contextmanager
def configured_sources(chosen: Settings, moment: datetime) -> Iterator[None]:
    """The sources that are set; in the simulator's folder the simulator, where no other address is set.

    Raises ``MixedDataError`` where live data would be added to the simulator's.
    """
    refuse_simulated(chosen)
    if chosen.is_demo and chosen.reads_live_market:
        with simulated_sources(lambda: moment):
            yield
    else:
        yield


def demo_steps(plan: DemoPlan) -> "list[tuple[str, Callable[[], RunSummary]]]":
    """What the demo runs, with a line for people, in order. Call inside ``simulated_sources``."""
    from etl_assets.ace.assets import collect_sites
    from etl_assets.aemo.assets import LIVE_ASSETS, price_and_demand, region_forecast
    from etl_assets.aemo.automation import collect_config, market_live, market_months
    from etl_assets.dagster_home import dagster_instance
    from etl_assets.runs import run_job

    def run_day(day: date) -> "RunSummary":
        with dagster_instance(settings()) as instance:
            return run_job(
                instance, market_live.name, {"dagster/partition": str(day)}, collect_config(LIVE_ASSETS, plan.moment)
            )

    def run_month(month: date) -> "RunSummary":
        with dagster_instance(settings()) as instance:
            tags = {"dagster/partition": str(month)}
            return run_job(instance, market_months.name, tags, collect_config([price_and_demand], plan.moment))

    def run_sites() -> "RunSummary":
        from etl_assets.ace.automation import site_range_tags, sites_heal, sync_config
        from etl_assets.partitions import SITE_NAMES

        names = [site.name for site in settings().sites]
        with dagster_instance(settings()) as instance:
            instance.add_dynamic_partitions(str(SITE_NAMES.name), names)
            tags = site_range_tags(plan.days, instance.get_dynamic_partitions(str(SITE_NAMES.name)))
            return run_job(instance, sites_heal.name, tags, sync_config(plan.moment), only=list(collect_sites.keys))

    def run_forecasts() -> "RunSummary":
        with dagster_instance(settings()) as instance:
            tags = {"dagster/partition": str(market_day(plan.moment))}
            config = collect_config([region_forecast], plan.moment)
            return run_job(instance, market_live.name, tags, config, only=list(region_forecast.keys))

    def run_publish() -> "RunSummary":
        with dagster_instance(settings()) as instance:
            return run_job(instance, "lake_hourly", {})

    def run_kpis(day: date) -> "RunSummary":
        from etl_assets.kpi.automation import kpi_config, kpi_daily, scheduled_keys

        with dagster_instance(settings()) as instance:
            tags = {"dagster/partition": str(day)}
            return run_job(instance, kpi_daily.name, tags, kpi_config(plan.moment, "call"), only=scheduled_keys())

    months = sorted({day.replace(day=1) for day in plan.days})
    steps: list[tuple[str, Callable[[], RunSummary]]] = []
    steps += [(f"price and demand, {month:%B %Y}", lambda month=month: run_month(month)) for month in months]  # type: ignore[misc]
    steps += [(f"market day {day}", lambda day=day: run_day(day)) for day in plan.days]  # type: ignore[misc]
    steps.append(("forecasts", run_forecasts))
    steps.append(("two buildings, both days: readings, weather, scores", run_sites))
    steps.append(("merge files, publish warehouse.duckdb", run_publish))
    steps += [(f"KPIs of {day}, and their workflows", lambda day=day: run_kpis(day)) for day in plan.days]  # type: ignore[misc]
    return steps
