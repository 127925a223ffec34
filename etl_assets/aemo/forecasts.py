"""The 5MIN report's forecasts, kept apart from what happened.

A forecast has the same key as the actual value that it foresees; in one table it would hide the price. Here each is
kept with the time it was issued: the newest actual interval of the report that carried it.
"""

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from etl_assets.aemo.dashboard import FiveMinuteReport, fetch_5min
from etl_assets.aemo.feeds import STAMP
from etl_assets.aemo.ladder import Source
from etl_assets.aemo.rows import collected, stamped
from etl_assets.http import HttpClient
from etl_assets.lake.account import Account
from etl_assets.lake.connection import write_lake
from etl_assets.lake.tables import REGION_FORECAST
from etl_assets.lake.upsert import QuarantinedRecord, quarantine, transaction, upsert
from etl_assets.market_time import market_day
from etl_assets.settings import Settings


def collect_forecasts(settings: Settings, http: HttpClient, *, now: datetime, run_id: str) -> Account:
    """Store the forecasts that the report holds now; an unchanged or forecast-free report stores nothing.

    Raises ``SourceError`` where the report cannot be had or understood.
    """
    account = Account(REGION_FORECAST.full_name)
    if not settings.aemo_api_url:
        return account
    report = fetch_5min(http, settings.aemo_api_url, settings.aemo_api_headers, now)
    rejected = [
        QuarantinedRecord(REGION_FORECAST.full_name, f"5MIN row {r.line}", r.raw, r.reason) for r in report.invalid
    ]
    account.fetched = report.forecast.num_rows + report.actual.num_rows + len(rejected)
    # Actual values are dispatch_region's business.
    account.filtered = report.actual.num_rows
    account.invalid = len(rejected)
    if report.forecast.num_rows or rejected:
        with write_lake(settings, "storing forecasts") as lake, transaction(lake):
            account.add(upsert(lake, REGION_FORECAST, _rows(report, now), now=now))
            quarantine(lake, rejected, run_id=run_id, day=market_day(now), now=now)
    account.check()
    return account


def _rows(report: FiveMinuteReport, now: datetime) -> pa.Table:
    newest = pc.max(report.actual["interval_end"]).as_py() if report.actual.num_rows else None
    issued = pa.repeat(pa.scalar(newest or report.issued_at, STAMP), report.forecast.num_rows)
    rows = report.forecast.drop_columns(["period_type", "apc_flag"]).append_column("issued_at", issued)
    rows = rows.append_column("source_file", pa.array(["5MIN"] * rows.num_rows, pa.string()))
    return collected(stamped(rows, Source.FIVE_MINUTE), now)
