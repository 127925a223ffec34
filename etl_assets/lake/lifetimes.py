"""How often each table of the published file is refreshed, and how long its rows are kept: for the data dictionary.

What does it is in the ``automation`` modules, in ``maintenance`` and in ``ops``; schedules, sensors and settings are
named here as they are there.
"""

from dataclasses import dataclass
from datetime import timedelta

from etl_assets.ops.job_records import HISTORY_LIFE
from etl_assets.ops.state import KPI_HISTORY
from etl_assets.settings import Settings


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When a table's rows come and change, and how long they stay."""

    refreshed: str
    kept: str


def in_words(length: timedelta) -> str:
    """A length of time as people say it: ``7 days``, ``90 minutes``."""
    for unit, seconds in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if length.total_seconds() % seconds == 0:
            count = int(length.total_seconds() // seconds)
            return f"{count:,} {unit}{'s' * (count != 1)}"
    return f"{length.total_seconds():g} seconds"


def _setting(name: str) -> str:
    return f"`{name}` ({in_words(Settings.model_fields[name.lower()].default)})"


FOR_EVER = "for ever"
WITH_EACH_INTERVAL = Lifetime(
    "with each interval (`market_tick`); the day before yesterday is read again for revisions (`market_recheck`)",
    FOR_EVER,
)
WITH_EACH_SYNC = "every 5 minutes (`sites_tick`); the last 24 hours again at 00:00 UTC (`sites_reread`)"
RAW = Lifetime(WITH_EACH_SYNC, f"{_setting('RAW_RETENTION')} here, then in the archive: `ace.timeseries_all` has both")
AGGREGATES = Lifetime("with the readings, every 5 minutes (`sites_tick`)", FOR_EVER)
LISTED = Lifetime("with the readings (`sites_tick`), where the account's list has changed", FOR_EVER)
FOUND = Lifetime("as collecting and checking find them", FOR_EVER)
KPI_RECORDS = Lifetime("as runs of KPIs go on (`kpi_schedule`)", in_words(KPI_HISTORY))
AT_WORK = "as the API is asked, with each publication"
CACHED = Lifetime(AT_WORK, f"{_setting('CACHE_MAX_AGE')}, the newest 10,000")
JOBS = Lifetime(AT_WORK, f"until the result has expired, {_setting('JOB_RESULT_LIFE')}; the newest 10,000")
OLD_JOBS = Lifetime(AT_WORK, f"{in_words(HISTORY_LIFE)}, the newest 10,000")
REQUESTS = Lifetime(AT_WORK, f"{_setting('REQUEST_RETENTION')}, the newest 10,000")

LIFETIMES = {
    "aemo.dispatch_region": WITH_EACH_INTERVAL,
    "aemo.price": WITH_EACH_INTERVAL,
    "aemo.dispatch_interconnector": WITH_EACH_INTERVAL,
    "aemo.unit_scada": WITH_EACH_INTERVAL,
    "aemo.trading_price": WITH_EACH_INTERVAL,
    "aemo.rooftop_pv": WITH_EACH_INTERVAL,
    "aemo.price_and_demand": Lifetime("daily, the open month (`market_months_daily`)", FOR_EVER),
    "aemo.region_forecast": Lifetime("with each interval (`market_tick`): each report adds its forecasts", FOR_EVER),
    "ace.sites": LISTED,
    "ace.points": LISTED,
    "ace.timeseries_raw": RAW,
    "ace.timeseries_raw_text": RAW,
    "ace.timeseries_all": Lifetime(WITH_EACH_SYNC, FOR_EVER),
    "ace.timeseries_agg": AGGREGATES,
    "ace.timeseries_agg_epoch": AGGREGATES,
    "ace.query_metadata": AGGREGATES,
    "ace.weather_raw": Lifetime(WITH_EACH_SYNC, FOR_EVER),
    "quality.data_quality": Lifetime("hourly (`sites_scored_hourly`), and when a day is collected", FOR_EVER),
    "quality.revisions": FOUND,
    "quality.gaps": FOUND,
    "quality.quarantine": FOUND,
    "kpi.kpi_values": Lifetime(
        "daily (`kpi_schedule`), with the days before (`KPI_RECOMPUTE_DAYS`); by backfills", FOR_EVER
    ),
    "kpi.kpi_jobs": KPI_RECORDS,
    "kpi.kpi_runs": KPI_RECORDS,
    "ops.sync_runs": Lifetime("with each collection", _setting("SYNC_RUN_RETENTION")),
    "ops.site_sync": Lifetime("with each sync of a site", FOR_EVER),
    "ops.site_windows": Lifetime(
        "with each sync of a site", f"what is not complete, and {_setting('SYNC_RUN_RETENTION')} of what is"
    ),
    "ops.alerts": Lifetime(
        "as conditions are raised and clear", f"{_setting('SYNC_RUN_RETENTION')} after they have cleared"
    ),
    "ops.queue_jobs": JOBS,
    "ops.v_active_jobs": JOBS,
    "ops.job_history": OLD_JOBS,
    "ops.v_job_performance": OLD_JOBS,
    "ops.cache_metadata": CACHED,
    "ops.v_cache_performance": CACHED,
    "ops.request_analytics": REQUESTS,
    "ops.v_request_stats": REQUESTS,
    "ops.publication": Lifetime("with each publication", "one row"),
}
"""By ``schema.name``, in the order of the dictionary."""
