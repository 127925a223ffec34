"""What is stale, and since when: by dataset, and for buildings by site.

A dataset is stale when an interval that should be there by now is not. When it should be there is what its feed
declares (``aemo/feeds.py``), or, of what has no feed, a constant here with its reason.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from etl_assets.aemo.feeds import FEEDS, PRICE_AND_DEMAND_FEED
from etl_assets.api.dashboard.links import Links, site_day
from etl_assets.api.dashboard.market import newest_of
from etl_assets.api.dashboard.titles import TITLES
from etl_assets.lake.tables import REGION_FORECAST, TIMESERIES_RAW, WEATHER_RAW
from etl_assets.market_time import HALF_HOUR, HOUR, instant_day

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from etl_assets.api.warehouse import Warehouse
    from etl_assets.settings import Settings

MINUTE = timedelta(minutes=1)

READINGS_GRACE = timedelta(minutes=20)
"""When the assets of the buildings begin to warn (``ace/assets.py``): four ticks without a reading."""

WEATHER_GRACE = HOUR
"""Every hour that is past has an observation, as the check ``weather_is_there`` wants it."""

FORECAST_GRACE = HOUR
"""The 5MIN report has a new forecast each half hour, and nothing is lost by one that is missed."""

SITES = """
    SELECT site_name, epoch_us(max(data_end)) // 1000000
    FROM warehouse.ace.sites LEFT JOIN warehouse.ace.query_metadata USING (site_name)
    WHERE NOT coalesce(archived, false)
    GROUP BY site_name
    ORDER BY site_name
"""
WEATHER = """
    SELECT site_name, epoch_us(max("timestamp")) // 1000000
    FROM warehouse.ace.weather_raw
    WHERE market_day >= $since
    GROUP BY site_name
    ORDER BY site_name
"""


@dataclass(frozen=True, slots=True)
class Freshness:
    """The newest of a dataset, and when the next of it was to be there at the latest; times in epoch seconds.

    ``step`` is how far the next lies behind the newest, ``grace`` how long after its time it may come.
    """

    dataset: str
    entity: str
    newest_at: int | None
    step: timedelta
    grace: timedelta

    def as_json(self, now: datetime, links: Links) -> dict[str, Any]:
        """How it stands at a moment. What never had a row is stale, nobody knows since when."""
        step, moment = int(self.step.total_seconds()), now.timestamp()
        grace = int(self.grace.total_seconds())
        expected_at = int(moment - grace) // step * step
        is_stale = self.newest_at is None or self.newest_at < expected_at
        since = self.newest_at + step + grace if is_stale and self.newest_at is not None else None
        partition = site_day(instant_day(now), self.entity) if self.entity else ""
        return {
            "dataset": self.dataset,
            "title": TITLES[self.dataset],
            "entity": self.entity,
            "newest_at": self.newest_at,
            "expected_at": expected_at,
            "is_stale": is_stale,
            "stale_since": since,
            "dagster_url": links.dataset(self.dataset, partition),
        }


def freshness(warehouse: "Warehouse", settings: "Settings") -> list[Freshness]:
    """How new everything is that is collected, the market before the buildings."""
    return [*_market(warehouse, settings), *_buildings(warehouse)]


def _market(warehouse: "Warehouse", settings: "Settings") -> Iterator[Freshness]:
    today = instant_day(warehouse.snapshot.published_at)
    for feed in (*FEEDS, PRICE_AND_DEMAND_FEED):
        yield Freshness(feed.name, "", newest_of(warehouse, feed.name), feed.length(today), feed.delay + feed.grace)
    if settings.aemo_api_url:
        name = REGION_FORECAST.full_name
        yield Freshness(name, "", newest_of(warehouse, name, "issued_at"), HALF_HOUR, FORECAST_GRACE)


def _buildings(warehouse: "Warehouse") -> Iterator[Freshness]:
    for site, newest in newest_readings(warehouse).items():
        yield Freshness(TIMESERIES_RAW.full_name, site, newest, MINUTE, READINGS_GRACE)
    # A site without any weather has no weather feed.
    for site, newest in _newest_weather(warehouse).items():
        yield Freshness(WEATHER_RAW.full_name, site, newest, HOUR, WEATHER_GRACE)


def newest_readings(warehouse: "Warehouse") -> dict[str, int | None]:
    """The newest reading of each site in epoch seconds, by site."""
    return warehouse.once("newest readings", lambda connection: dict(connection.execute(SITES).fetchall()))


def _newest_weather(warehouse: "Warehouse") -> dict[str, int]:
    last = warehouse.last_day(WEATHER_RAW.full_name)
    if last is None:
        return {}

    def look(connection: "DuckDBPyConnection") -> dict[str, int]:
        # A few days back: a feed that has stopped is stale, and one that stopped long ago is gone.
        return dict(connection.execute(WEATHER, {"since": last - timedelta(days=7)}).fetchall())

    return warehouse.once("newest weather", look)
