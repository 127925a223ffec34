"""The source ladder: which of NEMWeb's files supply what is missing, and which of them are cheapest.

A rung looks into its folder and offers files with the intervals they should hold. CURRENT has a small file per
interval for some days, ARCHIVE a large one per day or week for 13 months, MMSDM one per table and month for all
of history. The 5MIN report and the price-and-demand files are no rungs here: they do not hold whole rows, and
fill in only what no rung supplied (see ``collect``).
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

from etl_assets.aemo.feeds import LAST_DVD_MONTH, Feed, Report
from etl_assets.aemo.nemweb import NemWeb, RemoteFile
from etl_assets.http import NotThere, SourceError
from etl_assets.market_time import DAY, day_start, market_day


class Source(StrEnum):
    """Where a row came from; stored in its ``source`` column."""

    CURRENT = "NEMWEB CURRENT"
    ARCHIVE = "NEMWEB ARCHIVE"
    MMSDM = "MMSDM"
    FIVE_MINUTE = "5MIN REPORT"
    PRICE_AND_DEMAND = "PRICE AND DEMAND"


REQUEST_COST = 100_000
"""What a request costs beside its bytes, in bytes: 288 requests of 19 KB are dearer than one of 5 MB."""

UNLISTED_SIZE = 5_000_000
"""Assumed where a listing gives no size: that of a daily archive."""

ARCHIVE_KEPT = timedelta(days=400)
"""ARCHIVE holds 13 months."""

MMSDM_PUBLISHED = timedelta(days=7)
"""A month of MMSDM appears between the 8th and the 12th of the next."""

MANY_INTERVALS = 96
"""From this many missing intervals on, one large file may be cheaper than many small ones: look at the next rung."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Files that should supply some missing intervals; read together, since some sources split a row over files."""

    source: Source
    files: tuple[RemoteFile, ...]
    covers: frozenset[datetime]

    @property
    def cost(self) -> int:
        """What fetching costs, in bytes."""
        return sum((f.size or UNLISTED_SIZE) + REQUEST_COST for f in self.files)


@dataclass
class Ladder:
    """The rungs of one report. Each looks into a folder once, and only where that can help."""

    nemweb: NemWeb
    report: Report
    feeds: Sequence[Feed]
    now: datetime
    errors: list[str] = field(default_factory=list)
    """Folders that could not be listed; the rungs beyond them are asked all the same."""
    _listings: dict[str, list[RemoteFile]] = field(default_factory=dict)

    def offers(self, wanted: Iterable[datetime], *, tried: Collection[str] = (), widened: bool = False) -> list[Offer]:
        """What the rungs offer for the wanted intervals, from the nearest to the farthest.

        A farther rung is asked for what the nearer lack, or when much is wanted. A file whose address was ``tried``
        is not offered again, and what it should have held counts as lacking. ``widened`` also offers the archives
        of neighbouring days: archives are not cut at a market day's ends.
        """
        wanted = frozenset(wanted)
        found: list[Offer] = []
        for rung in (self._current, self._archive, self._monthly):
            covered = frozenset[datetime]().union(*(offer.covers for offer in found))
            if wanted - covered or len(wanted) > MANY_INTERVALS:
                offered = rung(wanted, widened=widened)
                found += [o for o in offered if not any(file.url in tried for file in o.files)]
        return found

    def _current(self, wanted: frozenset[datetime], *, widened: bool) -> Iterator[Offer]:
        del widened
        if not self._any_younger(wanted, self.report.current_kept + DAY):
            return
        files: dict[datetime, list[RemoteFile]] = {}
        for file in self._listing(f"Reports/CURRENT/{self.report.folder}"):
            end = self.report.interval_of(file.name)
            if end in wanted:
                files.setdefault(end, []).append(file)
        for end, of_interval in sorted(files.items()):
            yield Offer(Source.CURRENT, tuple(sorted(of_interval, key=lambda f: f.name)), frozenset({end}))

    def _archive(self, wanted: frozenset[datetime], *, widened: bool) -> Iterator[Offer]:
        old_enough = {end for end in wanted if self._is_mirror or end + self.report.archived_after - DAY <= self.now}
        if not old_enough or not self._any_younger(old_enough, ARCHIVE_KEPT):
            return
        margin = DAY if widened else timedelta()
        files: dict[tuple[date, date], list[RemoteFile]] = {}
        for file in self._listing(f"Reports/ARCHIVE/{self.report.folder}"):
            if days := self.report.days_of(file.name):
                # Rooftop has a file for each of its estimates: both are needed.
                files.setdefault(days, []).append(file)
        for days, of_days in files.items():
            first, last = day_start(days[0]) - margin, day_start(days[1]) + DAY + margin
            covers = frozenset(end for end in old_enough if first < end <= last)
            if covers:
                yield Offer(Source.ARCHIVE, tuple(of_days), covers)

    def _monthly(self, wanted: frozenset[datetime], *, widened: bool) -> Iterator[Offer]:
        del widened
        by_month: dict[date, set[datetime]] = {}
        for end in wanted:
            by_month.setdefault(market_day(end).replace(day=1), set()).add(end)
        for month, ends in sorted(by_month.items()):
            if self._is_mirror or _month_after(month) + MMSDM_PUBLISHED <= market_day(self.now):
                files = self._monthly_files(month)
                if files:
                    yield Offer(Source.MMSDM, files, frozenset(ends))

    def _monthly_files(self, month: date) -> tuple[RemoteFile, ...]:
        folder = (
            f"Data_Archive/Wholesale_Electricity/MMSDM/{month:%Y}/MMSDM_{month:%Y_%m}"
            "/MMSDM_Historical_Data_SQLLoader/DATA"
        )
        tables = {part.archive_table for feed in self.feeds for part in feed.parts}
        return tuple(f for f in self._listing(folder) if _monthly_table(f.name, month) in tables)

    @property
    def _is_mirror(self) -> bool:
        return self.nemweb.root_url.startswith("file://")

    def _any_younger(self, ends: Iterable[datetime], age: timedelta) -> bool:
        """Whether a rung that keeps files for ``age`` can help; a mirror keeps what it has."""
        return self._is_mirror or any(end + age > self.now for end in ends)

    def _listing(self, folder: str) -> list[RemoteFile]:
        if folder not in self._listings:
            try:
                self._listings[folder] = self.nemweb.listing(folder)
            except NotThere:
                # A month that is not published yet, or a folder that AEMO removed: nothing is offered there.
                self._listings[folder] = []
            except SourceError as error:
                self.errors.append(str(error))
                self._listings[folder] = []
        return self._listings[folder]


def _month_after(month: date) -> date:
    return (month.replace(day=28) + timedelta(days=4)).replace(day=1)


def _monthly_table(file_name: str, month: date) -> str | None:
    """The table in an MMSDM file: ``PUBLIC_DVD_<TABLE>_YYYYMM…`` or ``PUBLIC_ARCHIVE#<TABLE>#FILE01#YYYYMM…``."""
    stem = file_name.upper()
    stamp = f"{month:%Y%m}010000"
    if stem.startswith("PUBLIC_ARCHIVE#"):
        parts = stem.split("#")
        return parts[1] if len(parts) == 4 and parts[3].startswith(stamp) else None  # noqa: PLR2004 (prefix, table, file, stamp)
    if month <= LAST_DVD_MONTH and stem.startswith("PUBLIC_DVD_") and f"_{stamp}" in stem:
        return stem.removeprefix("PUBLIC_DVD_").partition(f"_{stamp}")[0]
    return None


def cheapest(offers: Sequence[Offer], wanted: Iterable[datetime]) -> list[Offer]:
    """Offers that together cover what can be covered: the cheapest per interval first, none that adds nothing."""
    open_ends = set(wanted)
    chosen: list[Offer] = []
    for offer in sorted(offers, key=lambda o: o.cost / max(1, len(o.covers))):
        if open_ends & offer.covers:
            chosen.append(offer)
            open_ends -= offer.covers
    return sorted(chosen, key=lambda o: (o.source, min(o.covers)))
