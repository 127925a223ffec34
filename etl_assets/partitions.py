"""The partition definitions that assets share: one object each, so that chains of assets line up."""

from datetime import date

import dagster as dg

from etl_assets.market_time import NEM_ZONE_NAME
from etl_assets.settings import settings

PRICE_AND_DEMAND_START = date(1998, 12, 1)
"""First month of AEMO's aggregated price and demand files."""

MARKET_DAY = dg.DailyPartitionsDefinition(
    # Today is a partition: its intervals arrive while it is open.
    start_date=settings().market_start.isoformat(),
    timezone=NEM_ZONE_NAME,
    end_offset=1,
)

MARKET_MONTH = dg.MonthlyPartitionsDefinition(
    # The month that is open is a partition: its file grows every day.
    start_date=PRICE_AND_DEMAND_START.isoformat(),
    timezone=NEM_ZONE_NAME,
    end_offset=1,
)

SITES_START = settings().sites_start
"""First market day of sites that is a partition."""

SITE_NAMES = dg.DynamicPartitionsDefinition(name="site")
"""The sites of `SITES`; a sensor keeps them in step with the setting."""

SITE_DAY = dg.MultiPartitionsDefinition(
    {
        "date": dg.DailyPartitionsDefinition(
            start_date=SITES_START.isoformat(),
            timezone=NEM_ZONE_NAME,
            end_offset=1,
        ),
        "site": SITE_NAMES,
    }
)
"""Market day and site; keys are ``2026-11-22|building-a``."""


def partition_tags(first: str, last: str) -> dict[str, str]:
    """The run tags that ask for a partition, or for all from ``first`` to ``last``."""
    if first == last:
        return {"dagster/partition": first}
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def partition_days(keys: "list[str] | tuple[str, ...]") -> list[date]:
    """Market days of partition keys such as ``2026-11-22``."""
    return [date.fromisoformat(key) for key in keys]


def site_days(keys: "list[str] | tuple[str, ...]") -> dict[str, list[date]]:
    """Market days by site of partition keys such as ``2026-11-22|building-a``."""
    found: dict[str, list[date]] = {}
    for key in keys:
        day, _, site = key.partition("|")
        found.setdefault(site, []).append(date.fromisoformat(day))
    return {site: sorted(days) for site, days in found.items()}


def site_day_key(day: date, site: str) -> str:
    """The partition key of a site's market day."""
    return f"{day}|{site}"
