"""Make the lake complete for some market days: compare, fetch the difference, store it, account for every record.

The 5-minute tick, the healing of a gap, a retry after a crash and a backfill of years are this one function. What
is missing decides what is fetched, and each batch is stored before the next is fetched, so a killed run leaves
nothing to undo and its successor goes on where it stopped.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from threading import Event
from typing import TYPE_CHECKING

import pyarrow as pa

from etl_assets.aemo.account import Collection, Job
from etl_assets.aemo.completeness import DayStatus, State, day_statuses, whole_intervals
from etl_assets.aemo.dashboard import fetch_5min
from etl_assets.aemo.feeds import Feed
from etl_assets.aemo.ladder import Ladder, Offer, Source, cheapest
from etl_assets.aemo.members import Member, members
from etl_assets.aemo.mms import read_mms
from etl_assets.aemo.nemweb import NemWeb, RemoteFile
from etl_assets.aemo.price_and_demand import fetch_month, read_price_and_demand
from etl_assets.aemo.rows import collected, quarantined, rows_of, stamped, within
from etl_assets.http import Blocked, HttpClient, NotThere, SourceError
from etl_assets.lake.account import Account
from etl_assets.lake.connection import read_lake, write_lake
from etl_assets.lake.tables import QUARANTINE
from etl_assets.lake.upsert import QuarantinedRecord, in_days, quarantine, transaction, upsert
from etl_assets.market_time import DAY, FIVE_MINUTE_SETTLEMENT, market_day
from etl_assets.quality.gaps import differ, open_gaps, record_gaps
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MAX_ROUNDS = 5
"""Plan, fetch, look again: for each rung once, since what one lacked is asked of the next, then for neighbours."""

REPORT_SPAN = 2 * DAY
"""The 5MIN report holds 24 hours today, and held 48 in 2021; for older gaps alone it is not asked."""

FILES_AT_ONCE = 96
"""Small files that are stored together: a third of a day, some 6 MB of text."""


def collect(settings: Settings, http: HttpClient, job: Job) -> list[Collection]:
    """Make the lake complete for the job's market days, as far as the sources allow.

    A source that fails does not stop the others; what went wrong is in ``errors`` of each result, and the caller
    decides whether that fails the run.
    """
    return _Collector(settings, http, job).run()


class _Collector:
    def __init__(self, settings: Settings, http: HttpClient, job: Job) -> None:
        self.settings = settings
        self.http = http
        self.job = job
        self.nemweb = NemWeb(settings.nemweb_url, http)
        before = self._statuses()
        self.results = {f.name: Collection(f, Account(f.name), before[f.name], before[f.name]) for f in job.feeds}
        self.errors: list[str] = []
        self.gone: list[str] = []
        """Files that were listed and not there."""
        self.offered: set[datetime] = set()
        """Intervals that a file should have held which was taken; those of neighbouring days hold what they hold."""
        self.read: dict[str, set[datetime]] = {f.name: set() for f in job.feeds}
        """Intervals of which this collection got a whole row of every entity."""

    def run(self) -> list[Collection]:
        self._climb()
        self._fill()
        self._note_unread()
        self._settle()
        for result in self.results.values():
            result.errors += self.errors
            result.account.check()
        return list(self.results.values())

    def _statuses(self) -> dict[str, list[DayStatus]]:
        with read_lake(self.settings) as lake:
            return {f.name: day_statuses(lake, f, self.job.days, self.job.now) for f in self.job.feeds}

    def _look_again(self) -> None:
        for name, statuses in self._statuses().items():
            self.results[name].after = statuses

    def _wanted(self) -> set[datetime]:
        missing = {end for result in self.results.values() for status in result.after for end in status.wanted}
        return missing.union(*(self._to_be_read(f) for f in self.job.feeds))

    def _to_be_read(self, f: Feed) -> set[datetime]:
        """The due intervals that are to be read again and have not been."""
        if not self.job.reread:
            return set()
        return {end for day in self.job.days for end in f.due(day, self.job.now)} - self.read[f.name]

    def _climb(self) -> None:
        """Fetch from the rungs of the ladder until nothing is missing or nothing more is offered."""
        ladder = Ladder(self.nemweb, self.job.report, self.job.feeds, self.job.now)
        tried: set[str] = set()
        for _ in range(MAX_ROUNDS):
            wanted = self._wanted()
            chosen = cheapest(ladder.offers(wanted, tried=tried), wanted)
            self.offered |= {end for offer in chosen for end in offer.covers}
            # Only when no file of the days themselves is left: those of neighbouring days.
            chosen = chosen or cheapest(ladder.offers(wanted, tried=tried, widened=True), wanted)
            if not chosen or not self._take_all(chosen, tried):
                break
        self.errors += ladder.errors

    def _note_unread(self) -> None:
        """Record what could not be read again. It is there, so that no gap would have anybody ask for it.

        An interval that a file should have held and did not is no more to be had, and no failure.
        """
        for f in self.job.feeds:
            result = self.results[f.name]
            unread = self._to_be_read(f) - {end for status in result.after for end in status.wanted}
            reasons = [*self.errors, *(f"{file.source_file} was refused: {file.reason}" for file in result.refused)]
            counts = {
                "rows are in quarantine": result.account.invalid,
                "files are listed and not there": len(self.gone),
                "intervals are in no file that NEMWeb lists": len(unread - self.offered),
            }
            reasons += [f"{count} {what}" for what, count in counts.items() if count]
            if unread and reasons:
                result.intervals_unread, result.unread_because = len(unread), reasons

    def _take_all(self, chosen: Sequence[Offer], tried: set[str]) -> bool:
        """Take offers batch by batch, and look what is missing then; false where the source refuses us."""
        welcome = True
        for batch in _batches(chosen):
            tried |= {f.url for offer in batch for f in offer.files}
            welcome = welcome and self._take(batch)
        self._look_again()
        return welcome

    def _take(self, batch: Sequence[Offer]) -> bool:
        """Fetch, read and store some offers of one source; false where the source refuses us."""
        files = [f for offer in batch for f in offer.files]
        found, blocked = self._fetch(files)
        tables = [part.mms for f in self.job.feeds for part in f.parts]
        reading = read_mms(found, tables, footer=self.settings.mms_footer)
        rows = {f.name: rows_of(f, reading, batch[0].source) for f in self.job.feeds}
        self._store(rows, quarantined(self.job.feeds, reading.invalid, reading.refused), batch[0].source)
        if self.job.reread:
            for f in self.job.feeds:
                self.read[f.name] |= whole_intervals(f, rows[f.name])
        for result in self.results.values():
            result.files_read += reading.files
            result.refused += reading.refused
            result.warnings += reading.warnings
        return not blocked

    def _fetch(self, files: Sequence[RemoteFile]) -> tuple[Iterator[Member], bool]:
        """The members of some files, fetched side by side, and whether the source refused us: then it is asked no more.

        A file that rolled off is passed over.
        """
        refused = Event()

        def read(file: RemoteFile) -> bytes | None:
            if refused.is_set():
                return None
            try:
                return self.nemweb.read(file)
            except NotThere:
                self.gone.append(file.name)
                return None
            except Blocked:
                refused.set()
                raise

        bodies: list[tuple[str, bytes]] = []
        with ThreadPoolExecutor(self.settings.http_concurrency) as pool:
            for file, future in [(file, pool.submit(read, file)) for file in files]:
                try:
                    body = future.result()
                except SourceError as error:
                    self.errors.append(str(error))
                    continue
                if body is not None:
                    bodies.append((file.name, body))
        return (member for name, body in bodies for member in members(name, body)), refused.is_set()

    def _store(
        self,
        rows: dict[str, pa.Table],
        rejected: Sequence[tuple[Feed, QuarantinedRecord, bool]],
        source: Source,
        *,
        second_rate: bool = False,
    ) -> None:
        """Everything of a batch in one transaction: rows, their revisions, and what could not be accepted."""
        job = self.job
        with write_lake(self.settings, f"storing {job.report.name}") as lake, transaction(lake):
            for f in job.feeds:
                if f.name not in rows:
                    continue
                account = self.results[f.name].account
                kept = within(rows[f.name], f.table, job.days)
                counts = upsert(
                    lake,
                    f.table,
                    collected(kept, job.now),
                    now=job.now,
                    mode="fill" if second_rate else "revise",
                )
                account.fetched += rows[f.name].num_rows
                account.filtered += rows[f.name].num_rows - kept.num_rows
                account.add(counts)
                self.results[f.name].rows_by_source[source.value] += counts.inserted + counts.updated
            for day, records in _by_day(job, [record for _, record, _ in rejected]).items():
                quarantine(lake, records, run_id=job.run_id, day=day, now=job.now)
        for f, _, is_record in rejected:
            self.results[f.name].account.fetched += is_record
            self.results[f.name].account.invalid += is_record

    def _fill(self) -> None:
        """Ask the second-rate sources for overdue intervals that no rung supplied."""
        for f in self.job.feeds:
            for name, fill in (("5MIN", self._fill_from_5min), ("PRICE_AND_DEMAND", self._fill_from_months)):
                gaps = {end for s in self.results[f.name].after for end in s.lacking if f.is_overdue(end, self.job.now)}
                if name in f.filled_from and gaps:
                    try:
                        fill(f, gaps)
                    except SourceError as error:
                        # A last resort that is gone is no reason to fail: the gap itself is shown, and asked for again.
                        self.results[f.name].unfilled.append(str(error))
                    self._look_again()

    def _fill_from_5min(self, f: Feed, gaps: set[datetime]) -> None:
        if not self.settings.aemo_api_url or all(self.job.now - end > REPORT_SPAN for end in gaps):
            return
        report = fetch_5min(self.http, self.settings.aemo_api_url, self.settings.aemo_api_headers, self.job.now)
        rows = report.actual.append_column("intervention", pa.array([0] * report.actual.num_rows, pa.int32()))
        rows = rows.append_column("source_file", pa.array(["5MIN"] * rows.num_rows, pa.string()))
        rejected = [(f, QuarantinedRecord(f.name, f"5MIN row {r.line}", r.raw, r.reason), True) for r in report.invalid]
        self._store({f.name: stamped(rows, Source.FIVE_MINUTE)}, rejected, Source.FIVE_MINUTE, second_rate=True)

    def _fill_from_months(self, f: Feed, gaps: set[datetime]) -> None:
        # Before five-minute settlement the aggregated file has half-hour averages, which are no dispatch prices.
        closed = {
            s.day
            for s in self.results[f.name].after
            if s.is_closed and s.day >= FIVE_MINUTE_SETTLEMENT and gaps & s.lacking.keys()
        }
        for month in sorted({day.replace(day=1) for day in closed}):
            for region in f.entities:
                self._fill_from_month(f, month, region)

    def _fill_from_month(self, f: Feed, month: date, region: str) -> None:
        try:
            name, body = fetch_month(self.http, self.settings.price_and_demand_url, month, region)
        except NotThere:
            return
        rows, invalid = read_price_and_demand(name, body)
        rows = rows.drop_columns(["period_type"])
        rows = rows.append_column("intervention", pa.array([0] * rows.num_rows, pa.int32()))
        rows = rows.append_column("source_file", pa.array([name] * rows.num_rows, pa.string()))
        rejected = [(f, QuarantinedRecord(f.name, f"{name} line {r.line}", r.raw, r.reason), True) for r in invalid]
        rows = stamped(rows, Source.PRICE_AND_DEMAND, f.constants)
        self._store({f.name: rows}, rejected, Source.PRICE_AND_DEMAND, second_rate=True)

    def _settle(self) -> None:
        """Bring the record of gaps, and of quarantined records that matter no more, to what was found."""
        for f in self.job.feeds:
            after = self.results[f.name].after
            gaps = [gap for status in after for gap in status.gaps]
            healed = [gap for status in self.results[f.name].before for gap in status.gaps if not status.is_untouched]
            whole = [s.day for s in after if s.is_closed and s.count(State.COMPLETE) == len(s.states)]
            with read_lake(self.settings) as lake:
                stale = differ(open_gaps(lake, f.name, self.job.days), gaps) or differ(healed, gaps)
                resolvable = bool(_open_quarantine(lake, f, whole))
            if stale or resolvable:
                with write_lake(self.settings, f"recording gaps of {f.name}") as lake, transaction(lake):
                    record_gaps(lake, f.name, self.job.days, gaps, healed=healed, now=self.job.now)
                    _resolve(lake, f, whole, self.job.now)


def _batches(offers: Sequence[Offer]) -> Iterator[list[Offer]]:
    """Offers to be stored together: small files of one source by the third of a day, large ones singly."""
    batch: list[Offer] = []
    for offer in offers:
        full = len(batch) == FILES_AT_ONCE or (batch and batch[0].source is not offer.source)
        if batch and (full or offer.source is not Source.CURRENT):
            yield batch
            batch = []
        batch.append(offer)
    if batch:
        yield batch


def _by_day(job: Job, records: Iterable[QuarantinedRecord]) -> dict[date, list[QuarantinedRecord]]:
    """Rejected records by the market day that their file is named after; else by the last day asked for."""
    found: dict[date, list[QuarantinedRecord]] = {}
    for record in records:
        end = job.report.interval_of(record.source.split(" ")[0])
        day = market_day(end) if end else job.days[-1]
        found.setdefault(day if day in job.days else job.days[-1], []).append(record)
    return found


def _open_quarantine(lake: "DuckDBPyConnection", feed: Feed, days: Iterable[date]) -> list[tuple[str, date]]:
    """Ids and market days of the records of some days that are in quarantine and may matter no more."""
    if not (days := list(days)):
        return []
    # A refused file has no raw text, and its intervals are there now. A record is known to have come back only where
    # the entities of an interval are known: a lost unit leaves its interval complete.
    whole_files_only = "" if feed.entities else "AND raw = ''"
    return lake.execute(
        f"SELECT id, day FROM {QUARANTINE.lake_name} "
        f"WHERE dataset = ? AND resolved_at IS NULL {whole_files_only} AND {in_days(days)}",
        [feed.name],
    ).fetchall()


def _resolve(lake: "DuckDBPyConnection", feed: Feed, days: Iterable[date], now: datetime) -> None:
    found = _open_quarantine(lake, feed, days)
    if found:
        resolved = {"id": [i for i, _ in found], "day": [day for _, day in found], "resolved_at": [now] * len(found)}
        upsert(lake, QUARANTINE, pa.table(resolved), now=now)
