"""Bring in a site's readings and weather, window by window and page by page, and account for every record.

The 5-minute sync, the daily re-read, the healing of a failed window and a backfill of years are this one function;
``plan`` decides which windows they ask for. A page is stored and its position saved before the next is asked for, so
a killed run is taken up where it stopped: the page in flight is asked for again, and its rows count as unchanged.
"""

import logging
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import duckdb
from sqlalchemy.exc import SQLAlchemyError

from etl_assets.ace.aggregates import aggregates_are_current, derive_aggregates
from etl_assets.ace.plan import LIVE, SyncWindow, read_without_hole
from etl_assets.ace.query_metadata import refresh_query_metadata
from etl_assets.ace.readings import rejected_on, stamped
from etl_assets.ace.walk import Position, WalkFailedError, walk
from etl_assets.ace.wire import NotAPage
from etl_assets.http import SourceError
from etl_assets.lake.account import Account
from etl_assets.lake.connection import LakeBusyError, read_lake, write_lake
from etl_assets.lake.tables import TIMESERIES_RAW, WEATHER_RAW
from etl_assets.lake.upsert import UpsertCounts, quarantine, transaction, upsert
from etl_assets.market_time import HOUR
from etl_assets.ops.site_state import (
    SiteWindow,
    advance_last_sync,
    clear_walk,
    load_walk,
    record_window,
    save_walk,
)
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from etl_assets.ace.client import AceClient
    from etl_assets.ace.wire import Page, Weather

logger = logging.getLogger(__name__)

DERIVED_AT_ONCE = 500_000
"""Readings: some two hours of 4,500 points, all of a day of 340."""

NOT_STORED = (duckdb.Error, LakeBusyError, OSError, SQLAlchemyError)
BEGUN = "begun"
"""Beside the position in a saved walk: as of when the walk began."""


@dataclass(frozen=True)
class SiteJob:
    """One sync of one site: which windows, in which order, as of when, for which run.

    ``windows`` may be worked out as they are asked for; ``weather`` are those that weather is asked for.
    """

    site: str
    windows: Iterable[SyncWindow]
    weather: Sequence[SyncWindow]
    now: datetime
    run_id: str
    sync_id: str
    limit: int = 0
    """Readings after which the rest is deferred, by whole pages; 0 never."""
    live: bool = False
    """Whether the next live sync takes up what this one leaves, after ``SITE_TIME_LIMIT`` or ``limit``."""
    anew: bool = False
    """Whether only what is read at ``now`` counts: a walk that was begun earlier is not resumed."""


@dataclass
class DayResult:
    """What a sync did for one market day of a site: the accounts, the windows, and what went wrong."""

    site: str
    day: date
    readings: Account = field(default_factory=lambda: Account(TIMESERIES_RAW.full_name))
    weather: Account = field(default_factory=lambda: Account(WEATHER_RAW.full_name))
    aggregates: UpsertCounts = field(default_factory=UpsertCounts)
    pages: int = 0
    repairs: int = 0
    windows_complete: int = 0
    windows_failed: int = 0
    windows_deferred: int = 0
    failed_batches: int = 0
    names: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    weather_errors: list[str] = field(default_factory=list)
    stack: str = ""

    @property
    def points(self) -> int:
        """How many points gave a reading."""
        return len(self.names)

    def failed(self, error: Exception, *, of_weather: bool = False) -> None:
        """Note what went wrong."""
        (self.weather_errors if of_weather else self.errors).append(str(error))
        self.stack = self.stack or "".join(traceback.format_exception(error))


def collect_site(settings: Settings, client: "AceClient", job: SiteJob) -> list[DayResult]:
    """Collect some windows of a site, and its weather beside them; one result a market day.

    What goes wrong is in ``errors`` of a day's result, and the other windows go on; ``last_sync`` stays before a hole.
    """
    collector = _Collector(settings, client, job)
    with ThreadPoolExecutor(1) as beside:
        weather = beside.submit(collector.weather)
        collector.readings()
        weather.result()
    collector.log_skipped()
    for result in collector.results.values():
        result.readings.check()
        result.weather.check()
    return [collector.results[day] for day in sorted(collector.results)]


class _Collector:
    def __init__(self, settings: Settings, client: "AceClient", job: SiteJob) -> None:
        self.settings = settings
        self.client = client
        self.job = job
        self.results: dict[date, DayResult] = {}
        self._records = 0
        self._changed = False
        self._until = time.monotonic() + settings.site_time_limit.total_seconds()

    def _result(self, window: SyncWindow) -> DayResult:
        return self.results.setdefault(window.day, DayResult(self.job.site, window.day))

    def readings(self) -> None:
        for window in self.job.windows:
            result = self._result(window)
            if self._is_full():
                self._settle(window, result, "deferred", Position())
                continue
            try:
                self._collect(window, result)
            except WalkFailedError as error:
                result.failed(error)
                self._give_up(window, result, error)
            except NOT_STORED as error:
                # The page was not stored and its position not saved: the next sync asks for it again.
                result.failed_batches += 1
                result.failed(error)
                self._settle(window, result, "failed", Position(), str(error))

    def _is_full(self) -> bool:
        if self.job.live and time.monotonic() > self._until:
            return True
        return bool(self.job.limit) and self._records >= self.job.limit

    def _collect(self, window: SyncWindow, result: DayResult) -> None:
        saved = load_walk(self.settings, self.job.site, window.start, window.end, now=self.job.now)
        begun = saved.pop(BEGUN, None) if saved else None
        if saved:
            saved.pop(LIVE, None)
        if saved and self.job.anew and begun != self.job.now.isoformat():
            saved = None
        position = Position.from_dict(saved) if saved else Position(page_size=self.settings.page_size)
        # What was stored before a walk was broken off may not have been derived from.
        self._changed = bool(saved)
        for page, after in self._pages(window, position):
            self._store(window, result, page)
            result.repairs += after.repairs - position.repairs
            position = after
            self._save(window, position, begun if saved else None)
            if self._is_full() and not position.complete:
                break
        self._derive_where_due(window, result, position)
        self._settle(window, result, "complete" if position.complete else "deferred", position)

    def _pages(self, window: SyncWindow, position: Position) -> "Iterator[tuple[Page, Position]]":
        return walk(
            self.client,
            self.job.site,
            window.asked,
            page_size=self.settings.page_size,
            resume=position,
            wanted=self.settings.configured_points,
        )

    def _save(self, window: SyncWindow, position: Position, begun: str | None) -> None:
        value = {**position.to_dict(), BEGUN: begun or self.job.now.isoformat(), LIVE: self.job.live}
        save_walk(self.settings, self.job.site, window.start, window.end, value, now=self.job.now)

    def _store(self, window: SyncWindow, result: DayResult, page: "Page") -> None:
        """A page in one transaction: its readings, and what of it could not be accepted."""
        batch = stamped(page.rows, self.job.site, self.job.now)
        rejected = rejected_on(page.invalid, self.job.site, window.day)
        with write_lake(self.settings, f"storing readings of {self.job.site}") as lake, transaction(lake):
            counts = upsert(lake, TIMESERIES_RAW, batch.rows, now=self.job.now, constants=batch.constants)
            for day, records in rejected.items():
                quarantine(lake, records, run_id=self.job.run_id, day=day, now=self.job.now)
        account = result.readings
        account.fetched += page.fetched
        account.filtered += page.filtered
        account.invalid += len(page.invalid)
        account.add(counts)
        result.pages += 1
        result.skipped |= page.skipped
        result.names |= set(page.rows["point_name"].unique().to_pylist())
        self._records += page.fetched
        self._changed = self._changed or bool(counts.inserted + counts.updated)

    def _derive_where_due(self, window: SyncWindow, result: DayResult, position: Position) -> None:
        if self._changed or not self._is_derived(window):
            self._derive(window, result, 1 + position.fetched // DERIVED_AT_ONCE)

    def _is_derived(self, window: SyncWindow) -> bool:
        """Whether the aggregates know of every reading of a window: a killed run may not have come to them."""
        with read_lake(self.settings) as lake:
            return aggregates_are_current(lake, self.job.site, window.start, window.end)

    def _derive(self, window: SyncWindow, result: DayResult, pieces: int) -> None:
        """Bring the aggregates of a window, and what is known of its points, to what was stored.

        In pieces of whole hours, each in a transaction of its own: memory does not grow with the window.
        """
        job, start = self.job, window.start
        length = max(HOUR, HOUR * -(-(window.end - window.start) // (HOUR * pieces)))
        while start < window.end:
            end = min(start + length, window.end)
            # What lies on the end is the next stretch's, but for the last.
            last = end if end == window.end else end - timedelta(microseconds=1)
            with write_lake(self.settings, f"aggregating {job.site}") as lake, transaction(lake):
                result.aggregates += derive_aggregates(lake, job.site, start, last, now=job.now)
            start = end
        with write_lake(self.settings, f"describing {job.site}") as lake, transaction(lake):
            refresh_query_metadata(lake, job.site, since=window.start, until=window.end, now=job.now)

    def _give_up(self, window: SyncWindow, result: DayResult, error: WalkFailedError) -> None:
        """A window that cannot be walked to its end: what was stored is derived from, the rest is for a later sync.

        Where ACE refused or could not be reached, that sync goes on from here; where its answers make no sense, anew.
        """
        if not isinstance(error.__cause__, SourceError):
            clear_walk(self.settings, self.job.site, window.start, window.end)
        try:
            self._derive_where_due(window, result, error.position)
        except NOT_STORED as further:
            result.failed(further)
        self._settle(window, result, "failed", error.position, error.reason)

    def _settle(self, window: SyncWindow, result: DayResult, status: str, position: Position, error: str = "") -> None:
        """Record what became of a window. A complete one moves ``last_sync`` on, where there is no hole before it."""
        job = self.job
        record_window(
            self.settings,
            SiteWindow(
                job.site,
                window.start,
                window.end,
                status,  # type: ignore[arg-type]  # one of the three
                job.now,
                records=position.fetched,
                pages=position.pages,
                error=error,
                sync_id=job.sync_id,
            ),
        )
        setattr(result, f"windows_{status}", getattr(result, f"windows_{status}") + 1)
        if status != "complete":
            return
        if reached := read_without_hole(self.settings, job.site, job.now):
            advance_last_sync(self.settings, job.site, reached, now=job.now, sync_id=job.sync_id)
        clear_walk(self.settings, job.site, window.start, window.end)

    def log_skipped(self) -> None:
        """Name the points that the settings leave out, once a sync."""
        for name in sorted(set().union(*(result.skipped for result in self.results.values()))):
            logger.debug("Skipped unconfigured point: %s", name)

    def weather(self) -> None:
        """Weather of each window, the newest first; where ACE gives its last known values, once is enough."""
        for window in reversed(self.job.weather):
            result = self._result(window)
            try:
                answer = self.client.weather(self.job.site, window.asked)
                self._store_weather(window, result, answer)
            except (SourceError, NotAPage, *NOT_STORED) as error:
                result.failed(error, of_weather=True)
                continue
            if not answer.is_ranged:
                return

    def _store_weather(self, window: SyncWindow, result: DayResult, answer: "Weather") -> None:
        batch = stamped(answer.rows, self.job.site, self.job.now)
        rejected = rejected_on(answer.invalid, self.job.site, window.day, dataset=WEATHER_RAW.full_name)
        with write_lake(self.settings, f"storing weather of {self.job.site}") as lake, transaction(lake):
            counts = upsert(lake, WEATHER_RAW, batch.rows, now=self.job.now, constants=batch.constants)
            result.weather.add(counts)
            for day, records in rejected.items():
                quarantine(lake, records, run_id=self.job.run_id, day=day, now=self.job.now)
        result.weather.fetched += answer.fetched
        result.weather.invalid += len(answer.invalid)
