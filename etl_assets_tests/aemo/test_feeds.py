"""What is declared of feeds: names of files, what is due when, columns, the price cap."""

from datetime import date, datetime, timedelta

import pyarrow as pa
import pytest

from etl_assets.aemo.feeds import (
    DISPATCH_IS,
    DISPATCH_REGION_FEED,
    DISPATCH_SCADA,
    FEEDS,
    PRICE_AND_DEMAND_FEED,
    REPORTS,
    ROOFTOP,
    ROOFTOP_PV_FEED,
    TRADING_IS,
    TRADING_PRICE_FEED,
    Feed,
    Report,
    feeds_of,
    market_cap,
)
from etl_assets.market_time import NEM_TIME, interval_ends

DAY = date(2026, 11, 22)


def at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2026, 11, 22, hour, minute, second, tzinfo=NEM_TIME)


@pytest.mark.parametrize(
    ("report", "name", "end"),
    [
        (DISPATCH_IS, "PUBLIC_DISPATCHIS_202611221445_0000000534469414.zip", at(14, 45)),
        (DISPATCH_IS, "public_dispatchis_202611221445_0000000534469414.ZIP", at(14, 45)),
        (DISPATCH_IS, "PUBLIC_DISPATCHIS_202611221445_0000000534469414.CSV", at(14, 45)),
        (DISPATCH_IS, "PUBLIC_DISPATCHIS_202611220000_0000000534469414.csv", at(0)),
        (DISPATCH_SCADA, "PUBLIC_DISPATCHSCADA_202611221445_0000000534469414.zip", at(14, 45)),
        (TRADING_IS, "PUBLIC_TRADINGIS_202611221445_0000000534469414.zip", at(14, 45)),
        (ROOFTOP, "PUBLIC_ROOFTOP_PV_ACTUAL_MEASUREMENT_20261122143000_0000000534469414.zip", at(14)),
        (ROOFTOP, "PUBLIC_ROOFTOP_PV_ACTUAL_SATELLITE_20261122003000_0000000534469414.zip", at(0)),
    ],
)
def test_a_file_is_named_after_its_interval(report: Report, name: str, end: datetime) -> None:
    assert report.interval_of(name) == end


@pytest.mark.parametrize(
    "name",
    [
        "PUBLIC_DISPATCHIS_202611221445_0000000534469414_LEGACY.zip",
        "PUBLIC_DISPATCHIS_20261122.zip",
        "PUBLIC_DISPATCHSCADA_202611221445_0000000534469414.zip",
        "XPUBLIC_DISPATCHIS_202611221445_0000000534469414.zip",
        "PUBLIC_DISPATCHIS_202611221445_0000000534469414.txt",
        "DUPLICATE",
        "",
    ],
)
def test_other_files_are_passed_over(name: str) -> None:
    assert DISPATCH_IS.interval_of(name) is None


@pytest.mark.parametrize(
    ("report", "name", "days"),
    [
        (DISPATCH_IS, "PUBLIC_DISPATCHIS_20261115.zip", (date(2026, 11, 15), date(2026, 11, 15))),
        (DISPATCH_IS, "public_dispatchis_20280229.ZIP", (date(2028, 2, 29), date(2028, 2, 29))),
        (TRADING_IS, "PUBLIC_TRADINGIS_20261101_20261107.zip", (date(2026, 11, 1), date(2026, 11, 7))),
        (
            ROOFTOP,
            "PUBLIC_ROOFTOP_PV_ACTUAL_SATELLITE_20261105.zip",
            (date(2026, 11, 5), date(2026, 11, 11)),
        ),
    ],
)
def test_an_archive_is_named_after_its_days(report: Report, name: str, days: tuple[date, date]) -> None:
    assert report.days_of(name) == days


@pytest.mark.parametrize(
    "name", ["PUBLIC_DISPATCHIS_202611221445_0000000534469414.zip", "PUBLIC_DISPATCHIS_20261115.csv", "x"]
)
def test_what_is_no_archive_has_no_days(name: str) -> None:
    assert DISPATCH_IS.days_of(name) is None


@pytest.mark.parametrize(
    ("now", "newest"),
    [(at(14, 39, 59), at(14, 40)), (at(14, 40), at(14, 45)), (at(14, 41), at(14, 45)), (at(14, 45), at(14, 50))],
)
def test_a_dispatch_interval_is_due_when_it_begins(now: datetime, newest: datetime) -> None:
    assert DISPATCH_REGION_FEED.due(DAY, now)[-1] == newest


def test_nothing_of_a_day_is_due_before_it_begins_and_all_of_it_after_its_end() -> None:
    midnight = at(0) + timedelta(days=1)

    assert DISPATCH_REGION_FEED.due(DAY, at(0) - timedelta(seconds=1)) == []
    assert DISPATCH_REGION_FEED.due(DAY, at(0)) == [at(0, 5)]
    assert DISPATCH_REGION_FEED.due(DAY, midnight) == interval_ends(DAY)


@pytest.mark.parametrize(
    ("feed", "end", "overdue_from"),
    [
        (DISPATCH_REGION_FEED, at(14, 45), at(14, 50)),
        (TRADING_PRICE_FEED, at(14, 45), at(15, 10)),
        (ROOFTOP_PV_FEED, at(14, 30), at(16)),
    ],
)
def test_an_interval_is_overdue_when_its_grace_has_passed(feed: Feed, end: datetime, overdue_from: datetime) -> None:
    assert feed.is_overdue(end, overdue_from)
    assert not feed.is_overdue(end, overdue_from - timedelta(seconds=1))


def test_a_day_is_closed_when_its_last_interval_is_overdue() -> None:
    midnight = at(0) + timedelta(days=1)

    assert DISPATCH_REGION_FEED.is_closed(DAY, midnight + timedelta(minutes=5))
    assert not DISPATCH_REGION_FEED.is_closed(DAY, midnight + timedelta(minutes=4))


def test_trading_intervals_are_half_hours_until_settlement_changed() -> None:
    before, after = date(2021, 9, 30), date(2021, 10, 1)

    assert TRADING_PRICE_FEED.length(before) == timedelta(minutes=30)
    assert TRADING_PRICE_FEED.length(after) == timedelta(minutes=5)
    assert DISPATCH_REGION_FEED.length(before) == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("day", "cap"),
    [
        (date(2021, 6, 30), 15000),
        (date(2021, 7, 1), 15100),
        (date(2022, 6, 30), 15100),
        (date(2022, 7, 1), 15500),
        (date(2024, 6, 30), 16600),
        (date(2024, 7, 1), 17500),
        (date(2025, 6, 30), 17500),
        (date(2025, 7, 1), 20300),
        (date(2026, 6, 30), 20300),
        (date(2012, 6, 30), 12500),
        (date(2005, 1, 1), 12500),
        (date(2040, 1, 1), 20300),
    ],
)
def test_the_price_cap_is_that_of_the_financial_year(day: date, cap: float) -> None:
    assert market_cap(day) == cap


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.name)
def test_a_feed_supplies_declared_columns_and_its_whole_key(feed: Feed) -> None:
    supplied = {name for part in feed.parts for name in part.columns} | feed.constants.keys()
    declared = {column.name for column in feed.table.columns}

    assert supplied <= declared
    assert set(feed.table.key) <= supplied
    assert set(feed.table.complete_when) <= supplied
    assert feed.table.time == "interval_end"
    assert set(feed.entity_columns) <= set(feed.table.key)


ARROW = {
    "DOUBLE": pa.float64(),
    "INTEGER": pa.int32(),
    "VARCHAR": pa.string(),
    "TIMESTAMPTZ": pa.timestamp("us", "UTC"),
}


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.name)
def test_a_feeds_columns_are_read_as_the_table_stores_them(feed: Feed) -> None:
    read = {ours: part.mms.columns[theirs] for part in feed.parts for ours, theirs in part.columns.items()}

    assert read == {name: ARROW[feed.table.column(name).type] for name in read}


def test_every_feed_belongs_to_exactly_one_report() -> None:
    assert sorted(feed.name for report in REPORTS for feed in feeds_of(report)) == sorted(f.name for f in FEEDS)


def test_yesterdays_aggregated_prices_are_due_when_the_daily_schedule_asks_for_them() -> None:
    asked = datetime(2026, 11, 23, 6, 15, tzinfo=NEM_TIME)

    assert PRICE_AND_DEMAND_FEED.due(DAY, asked)
    assert not PRICE_AND_DEMAND_FEED.due(DAY + timedelta(days=1), asked)
