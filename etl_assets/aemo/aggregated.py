"""The monthly price-and-demand files, from 1998: one file a month and region, the open month's growing every day."""

from datetime import date, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from etl_assets.aemo.account import Collection
from etl_assets.aemo.completeness import day_statuses
from etl_assets.aemo.feeds import PRICE_AND_DEMAND_FEED, REGIONS
from etl_assets.aemo.ladder import Source
from etl_assets.aemo.price_and_demand import fetch_month, read_price_and_demand
from etl_assets.aemo.rows import collected, stamped, within
from etl_assets.http import HttpClient, NotThere, SourceError
from etl_assets.lake.account import Account
from etl_assets.lake.connection import read_lake, write_lake
from etl_assets.lake.tables import PRICE_AND_DEMAND
from etl_assets.lake.upsert import QuarantinedRecord, quarantine, transaction, upsert
from etl_assets.market_time import DAY, days_between
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from etl_assets.aemo.completeness import DayStatus


def days_of_month(month: date) -> list[date]:
    """The market days of a month, given its first day."""
    following = (month.replace(day=28) + 4 * DAY).replace(day=1)
    return list(days_between(month, following - DAY))


def collect_month(
    settings: Settings, http: HttpClient, month: date, *, now: datetime, run_id: str, reread: bool = False
) -> Collection:
    """Make ``aemo.price_and_demand`` complete for a month; regions that are complete are not fetched again.

    A region whose file is not there is passed over; what went wrong is in ``errors``.
    """
    before = _statuses(settings, month, now)
    result = Collection(PRICE_AND_DEMAND_FEED, Account(PRICE_AND_DEMAND.full_name), before, before)
    wanted = REGIONS if reread else _regions_wanted(settings, month, before)
    for region in wanted:
        try:
            name, body = fetch_month(http, settings.price_and_demand_url, month, region)
            _store(settings, result, month, (name, body), now=now, run_id=run_id)
        except NotThere:
            continue
        except SourceError as error:
            result.errors.append(str(error))
    result.after = _statuses(settings, month, now)
    result.account.check()
    return result


def _statuses(settings: Settings, month: date, now: datetime) -> "list[DayStatus]":
    with read_lake(settings) as lake:
        return day_statuses(lake, PRICE_AND_DEMAND_FEED, days_of_month(month), now)


def _regions_wanted(settings: Settings, month: date, before: "list[DayStatus]") -> list[str]:
    """The regions that lack a due interval."""
    due = [end for status in before for end in PRICE_AND_DEMAND_FEED.due(status.day, status.now)]
    if not due:
        return []
    with read_lake(settings) as lake:
        rows = lake.execute(
            f"SELECT region_id, count(*) FROM {PRICE_AND_DEMAND.lake_name} "
            "WHERE market_day BETWEEN $first AND $last AND interval_end <= $due GROUP BY region_id",
            {"first": month, "last": days_of_month(month)[-1], "due": due[-1]},
        ).fetchall()
    there = dict(rows)
    return [region for region in REGIONS if there.get(region, 0) < len(due)]


def _store(
    settings: Settings,
    result: Collection,
    month: date,
    file: tuple[str, bytes],
    *,
    now: datetime,
    run_id: str,
) -> None:
    name, body = file
    read, invalid = read_price_and_demand(name, body)
    rejected = [
        QuarantinedRecord(PRICE_AND_DEMAND.full_name, f"{name} line {r.line}", r.raw, r.reason) for r in invalid
    ]
    rows = read.append_column("source_file", pa.array([name] * read.num_rows, pa.string()))
    rows = collected(stamped(rows, Source.PRICE_AND_DEMAND), now)
    kept = within(rows, PRICE_AND_DEMAND, days_of_month(month))
    with write_lake(settings, "storing price and demand") as lake, transaction(lake):
        counts = upsert(lake, PRICE_AND_DEMAND, kept, now=now)
        quarantine(lake, rejected, run_id=run_id, day=month, now=now)
    account = result.account
    account.fetched += rows.num_rows + len(rejected)
    account.filtered += rows.num_rows - kept.num_rows
    account.invalid += len(rejected)
    account.add(counts)
    result.files_read += 1
    result.rows_by_source[Source.PRICE_AND_DEMAND.value] += counts.inserted + counts.updated
