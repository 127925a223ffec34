"""What is published when: the operator's folders at a simulated time, and the files in them.

Retention and delays are those measured from real listings: CURRENT dispatch feeds hold two days, trading and
rooftop fourteen; daily archives appear two days later about 01:01 and stay for 375 days, weekly ones eight
days after their week for 54 weeks; monthly tables on the 10th of the next month.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial

from etl_assets.market_time import (
    DAY,
    DISPATCH_INTERVAL,
    HALF_HOUR,
    NEM_TIME,
    ceil_interval,
    day_start,
    days_between,
    interval_ends,
    market_day,
)
from etl_assets.simulator import aemo, mms, monthly
from etl_assets.simulator.aemo import Issue, Reports
from etl_assets.simulator.damage import corrupted, damaged
from etl_assets.simulator.dashboard import newest_interval
from etl_assets.simulator.draws import one
from etl_assets.simulator.faults import Fault, FaultBoard
from etl_assets.simulator.listing import Line
from etl_assets.simulator.market import ROOFTOP_TYPES, Market, RooftopType
from etl_assets.simulator.monthly import Exceptions, Monthly

CURRENT = "/Reports/CURRENT/"
ARCHIVE = "/Reports/ARCHIVE/"
MMSDM = "/Data_Archive/Wholesale_Electricity/MMSDM/"
MMSDM_TAIL = "MMSDM_Historical_Data_SQLLoader/DATA/"

DISPATCH_KEPT = timedelta(days=2)
TRADING_KEPT = timedelta(days=14)
DAILY_ARCHIVES = 375
WEEKLY_ARCHIVES = 54
DAILY_DELAY = timedelta(days=2, minutes=61)
REVISED_AFTER = timedelta(minutes=15)
"""A revised or repeated file appears this long after the first."""
WEEKLY_SHIFT = timedelta(minutes=5)
"""A weekly TradingIS archive begins one interval after its first day does.

Aligned with neither kind of day.
"""

Make = Callable[[Sequence[Fault]], bytes]


@dataclass(frozen=True, slots=True)
class Item:
    """A published file: its line in the listing, and how to make its bytes with the given content faults."""

    line: Line
    make: Make
    interval: datetime | None = None


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed of interval files: folder, name in file names, spacing, retention."""

    folder: str
    name: str
    kept: timedelta
    typical_size: int
    half_hourly: bool = False
    suffix: str = ".CSV"
    """How the file inside the zip ends; AEMO writes it both ways."""


DISPATCHIS = Feed("DispatchIS_Reports/", "DISPATCHIS", DISPATCH_KEPT, 19_600)
SCADA = Feed("Dispatch_SCADA/", "DISPATCHSCADA", DISPATCH_KEPT, 5_100)
TRADINGIS = Feed("TradingIS_Reports/", "TRADINGIS", TRADING_KEPT, 720)
ROOFTOP = Feed("ROOFTOP_PV/ACTUAL/", "ROOFTOP_PV_ACTUAL", TRADING_KEPT, 475, half_hourly=True, suffix=".csv")
FEEDS = {feed.folder: feed for feed in (DISPATCHIS, SCADA, TRADINGIS, ROOFTOP)}


class Site:
    """The folders of the operator's server, for one market and one board of faults."""

    def __init__(self, market: Market, board: FaultBoard) -> None:
        self.first = Reports(market)
        """As first published."""
        self.board = board
        revisions = {
            (end, fault.region): market.revised_rrp(end, fault.region)
            for fault in board.world("revised_row")
            for end in fault.intervals
        }
        self.final = Reports(market.with_revisions(revisions)) if revisions else self.first
        """With later revisions: second files, monthly tables, the report."""
        self.monthly = Monthly(self.final)

    # What has been published

    def withheld(self, interval_end: datetime) -> bool:
        """Whether an interval is held back everywhere."""
        return self.board.holds("missing_interval", interval_end)

    def has_intervention(self, interval_end: datetime) -> bool:
        """Whether an interval's dispatch has a physical run beside the pricing run."""
        faults = self.board.world("intervention")
        if any(interval_end in fault.intervals for fault in faults):
            return True
        usual = any(not fault.intervals for fault in faults)
        return usual and interval_end in self.first.market.interventions(market_day(interval_end))

    def exceptions(self) -> Exceptions:
        """The same two questions, asked by day for the monthly tables."""

        def numbers(day: date, test: Callable[[datetime], bool]) -> set[int]:
            return {number for number, end in enumerate(interval_ends(day)) if test(end)}

        if not self.board.world("missing_interval") and not self.board.world("intervention"):
            return Exceptions()
        return Exceptions(lambda day: numbers(day, self.withheld), lambda day: numbers(day, self.has_intervention))

    # Interval files

    def current(self, feed: Feed, now: datetime) -> list[Item]:
        """The files of a feed's CURRENT folder at ``now``, in order of name."""
        ends = self._window(feed, now)
        items = [item for end in ends if not self.withheld(end) for item in self.files(feed, end, now)]
        return sorted(items, key=lambda item: item.line.name)

    def _window(self, feed: Feed, now: datetime) -> list[datetime]:
        if feed.half_hourly:
            newest = ceil_interval(now, HALF_HOUR)
            newest -= HALF_HOUR if newest == now else 2 * HALF_HOUR
            return [newest - HALF_HOUR * n for n in reversed(range(feed.kept // HALF_HOUR + 1))]
        newest = newest_interval(now)
        ends = [newest - DISPATCH_INTERVAL * n for n in reversed(range(feed.kept // DISPATCH_INTERVAL + 1))]
        return ends if feed is not TRADINGIS else [end for end in ends if self._trades(end)]

    def _trades(self, end: datetime) -> bool:
        return not (end - day_start(market_day(end))) % Market.trading_interval(market_day(end))

    def files(self, feed: Feed, end: datetime, now: datetime) -> Iterator[Item]:
        """The files of one interval that exist at ``now``.

        Usually one, two after a re-issue, two for rooftop.
        """
        if feed is ROOFTOP:
            for kind in ROOFTOP_TYPES:
                name = aemo.rooftop_name(end, kind)
                yield self._item(feed, name, end, end + aemo.ROOFTOP_DELAY, self._rooftop(end, kind))
            return
        start = end - DISPATCH_INTERVAL
        published = aemo.dispatch_published(end)
        yield self._item(feed, aemo.member_name(feed.name, end, published), end, start, self._csv(feed, end))
        if feed is DISPATCHIS and now >= start + REVISED_AFTER:
            yield from self._second_file(end, published + REVISED_AFTER)

    def _second_file(self, end: datetime, published: datetime) -> Iterator[Item]:
        intervention = self.has_intervention(end)
        issues = {
            "duplicate_file": (self.first, Issue(aemo.dispatch_published(end), intervention)),
            "reissued_row": (self.first, Issue(published, intervention, reissued=True)),
            "revised_row": (self.final, Issue(published, intervention, reissued=True)),
        }
        for fault, (reports, issue) in issues.items():
            if self.board.holds(fault, end):
                name = aemo.member_name(DISPATCHIS.name, end, published)

                def csv(reports: Reports = reports, issue: Issue = issue) -> bytes:
                    return reports.dispatchis(end, issue)

                yield self._item(DISPATCHIS, name, end, published, csv)
                return

    def _csv(self, feed: Feed, end: datetime) -> Callable[[], bytes]:
        if feed is SCADA:
            return lambda: self.first.dispatch_scada(end)
        if feed is TRADINGIS:
            return lambda: self.final.tradingis(end)
        issue = Issue(aemo.dispatch_published(end), self.has_intervention(end))
        return lambda: self.first.dispatchis(end, issue)

    def _rooftop(self, end: datetime, kind: RooftopType) -> Callable[[], bytes]:
        return lambda: self.first.rooftop_pv(end, kind)

    def _item(self, feed: Feed, name: str, end: datetime, modified: datetime, csv: Callable[[], bytes]) -> Item:
        size = feed.typical_size + int(feed.typical_size * 0.04 * one(0, name, 0))

        def make(faults: Sequence[Fault]) -> bytes:
            container = mms.archive([(name + feed.suffix, damaged(csv(), faults))], modified)
            return corrupted(container) if any(fault.name == "corrupt_zip" for fault in faults) else container

        return Item(Line(f"{name}.zip", modified.replace(second=0), size), make, end)

    # Archives

    def archive(self, feed: Feed, now: datetime) -> list[Item]:
        """The zips of zips in a feed's ARCHIVE folder at ``now``."""
        if feed is ROOFTOP:
            return [item for kind in ROOFTOP_TYPES for item in self._weekly(feed, now, kind)]
        return list(self._weekly(feed, now) if feed is TRADINGIS else self._daily(feed, now))

    def _daily(self, feed: Feed, now: datetime) -> Iterator[Item]:
        newest = (now.astimezone(NEM_TIME) - DAILY_DELAY).date()
        for day in days_between(newest - DAY * (DAILY_ARCHIVES - 1), newest):
            name = f"PUBLIC_{feed.name}_{day:%Y%m%d}"
            yield self._bundle(feed, name, interval_ends(day), day_start(day) + DAILY_DELAY)

    def _weekly(self, feed: Feed, now: datetime, kind: RooftopType | None = None) -> Iterator[Item]:
        first_weekday = 3 if kind else 6
        delay = timedelta(days=14, minutes=62)
        newest = (now.astimezone(NEM_TIME) - delay).date()
        newest -= DAY * ((newest.weekday() - first_weekday) % 7)
        for week in (newest - DAY * 7 * n for n in reversed(range(WEEKLY_ARCHIVES))):
            start = day_start(week)
            if kind:
                name = f"PUBLIC_ROOFTOP_PV_ACTUAL_{kind}_{week:%Y%m%d}"
                ends = [start + HALF_HOUR * (n - 1) for n in range(336)]
            else:
                name = f"PUBLIC_{feed.name}_{week:%Y%m%d}_{week + DAY * 6:%Y%m%d}"
                ends = [start + WEEKLY_SHIFT + DISPATCH_INTERVAL * n for n in range(1, 2017)]
                ends = [end for end in ends if self._trades(end)]
            yield self._bundle(feed, name, ends, start + delay, kind or "")

    def _bundle(self, feed: Feed, name: str, ends: Sequence[datetime], modified: datetime, kind: str = "") -> Item:
        """A zip of the zips of ``ends`` whose names hold ``kind``, as of when the archive was made."""

        def make(faults: Sequence[Fault]) -> bytes:
            files = (item for end in ends if not self._left_out(end) for item in self.files(feed, end, modified))
            members = (
                (item.line.name, item.make([fault for fault in faults if item.interval in fault.intervals]))
                for item in files
                if kind in item.line.name
            )
            container = mms.archive(members, modified, level=0)
            spoiled = any(fault.name == "corrupt_zip" and not fault.intervals for fault in faults)
            return corrupted(container) if spoiled else container

        size = len(ends) * feed.typical_size + int(9_000 * one(0, name, 0))
        return Item(Line(f"{name}.zip", modified, size), make)

    def _left_out(self, end: datetime) -> bool:
        return self.withheld(end) or self.board.holds("archive_missing_interval", end)

    # Monthly tables

    def mmsdm(self, month: date, now: datetime) -> list[Item]:
        """The monthly tables of a month that exist at ``now``."""
        return [
            Item(
                Line(f"{monthly.mmsdm_name(table, month)}.zip", published, 900_000),
                partial(self._mmsdm, table, month),
            )
            for table in monthly.MONTHLY_TABLES
            if (published := monthly.mmsdm_published(table, month)) <= now
        ]

    def _mmsdm(self, table: str, month: date, faults: Iterable[Fault]) -> bytes:
        container = self.monthly.mmsdm(table, month, self.exceptions())
        chosen = [fault for fault in faults if not fault.intervals]
        if any(fault.name == "corrupt_zip" for fault in chosen):
            return corrupted(container)
        return mms.rezipped(container, lambda csv: damaged(csv, chosen)) if chosen else container

    def price_and_demand(self, month: date, region: str, now: datetime) -> bytes | None:
        """The price-and-demand file of a month and region; None before its first day is over."""
        midnight = now.astimezone(NEM_TIME).replace(hour=0, minute=0, second=0, microsecond=0)
        if midnight <= day_start(month):
            return None
        return self.monthly.price_and_demand(month, region, midnight, self.exceptions().missing)
