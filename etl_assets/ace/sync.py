"""One sync of one site: what it asks for, its collection, its records, its alerts. Dagster's part is in ``assets``."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from etl_assets.ace.client import UnknownSite
from etl_assets.ace.collect import NOT_STORED, DayResult, SiteJob, collect_site
from etl_assets.ace.listings import collect_points
from etl_assets.ace.plan import (
    SyncWindow,
    live_start,
    live_windows,
    missing_windows,
    reread_windows,
    split_by_day,
    within_days,
)
from etl_assets.ace.wire import NotAPage
from etl_assets.http import HttpStats, SourceError
from etl_assets.lake.account import Account
from etl_assets.lake.archive import is_archived
from etl_assets.lake.connection import read_lake
from etl_assets.lake.tables import POINTS, TIMESERIES_AGG, TIMESERIES_RAW
from etl_assets.market_time import DAY, day_start, utc_now
from etl_assets.ops.alerts import (
    Alert,
    ETLMetrics,
    behind_conditions,
    evaluate,
    report_metrics,
    sync_conditions,
    webhook_client,
)
from etl_assets.ops.site_state import last_sync
from etl_assets.ops.state import Status, SyncRun, new_sync_id, record_sync_run
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from etl_assets.ace.client import AceClient

logger = logging.getLogger(__name__)


class Mode(StrEnum):
    """What a sync asks for."""

    MISSING = "missing"
    """What of its market days is not complete: backfills, healing, a click in Dagster."""
    LIVE = "live"
    """What failed before, and what is new since the last sync, with its look-back."""
    REREAD = "reread"
    """Every hour of its market days again, to notice what came late."""


@dataclass(frozen=True)
class SyncRequest:
    """One sync: which site and market days, how, as of when, in which run and attempt.

    ``hours`` limits a re-read to the last so many.
    """

    site: str
    days: Sequence[date]
    mode: Mode
    now: datetime
    run_id: str
    attempt: int = 1
    hours: int = 0
    sync_id: str = ""

    @property
    def named(self) -> "SyncRequest":
        """The same with a name of its own."""
        return SyncRequest(
            self.site, self.days, self.mode, self.now, self.run_id, self.attempt, self.hours, new_sync_id(self.now)
        )


@dataclass
class SiteSync:
    """What a sync did: a result a market day, the list of points where it was due, and the requests it took."""

    request: SyncRequest
    results: list[DayResult]
    points: Account | None = None
    stats: HttpStats = field(default_factory=HttpStats)
    errors: list[str] = field(default_factory=list)
    runs: list[SyncRun] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)

    def problems(self, day: date) -> list[str]:
        """What keeps a market day from counting as collected."""
        return [*self.errors, *(error for r in self.results if r.day == day for error in r.errors)]

    def result(self, day: date) -> DayResult:
        """What was done for a market day; an empty account where there was nothing to ask for."""
        return next((r for r in self.results if r.day == day), DayResult(self.request.site, day))


def sync_site(settings: Settings, client: "AceClient", request: SyncRequest) -> SiteSync:
    """Collect, record, raise alerts. What the site or ACE do wrong is in the result; it does not raise.

    ``client`` is this sync's own: its counters are taken for the sync's. Readings do not wait for a list of points
    that ACE does not give, unless it is because the account shows no such site.
    """
    request = request.named
    started = utc_now()
    done = SiteSync(request, [])
    is_there = True
    try:
        done.points = collect_points(settings, client, settings.site(request.site), now=request.now)
    except (SourceError, NotAPage, *NOT_STORED) as error:
        done.errors.append(str(error))
        is_there = not isinstance(error, UnknownSite)
    if is_there:
        try:
            done.results = collect_site(settings, client, _job(settings, request))
        except NOT_STORED as error:
            done.errors.append(str(error))
    done.stats = client.stats.snapshot()
    done.runs = _sync_runs(done, started)
    try:
        for run in done.runs:
            record_sync_run(settings, run)
        _tell(settings, done)
    except NOT_STORED:
        # What was collected is stored; only what is said of it is not.
        logger.exception("The record of sync %s of %s could not be written", request.sync_id, request.site)
    return done


def _job(settings: Settings, request: SyncRequest) -> SiteJob:
    windows: Iterator[SyncWindow] | list[SyncWindow]
    if request.mode is Mode.LIVE:
        start = live_start(settings, request.site, request.now)
        weather = list(within_days(split_by_day(start, request.now), request.days))
        found = live_windows(settings, request.site, request.now, sync_id=request.sync_id)
        windows = within_days(found, request.days)
    else:
        windows = [w for day in request.days for w in _windows_of_day(settings, request, day)]
        # Weather has no windows on record: of a day that is whole it is asked for all the same.
        days = (split_by_day(day_start(day), min(day_start(day) + DAY, request.now)) for day in request.days)
        weather = windows or [window for day in days for window in day]
    return SiteJob(
        request.site,
        windows,
        weather,
        request.now,
        request.run_id,
        request.sync_id,
        limit=settings.max_records_per_sync if request.mode is Mode.LIVE else 0,
        live=request.mode is Mode.LIVE,
        anew=request.mode is Mode.REREAD,
    )


def _windows_of_day(settings: Settings, request: SyncRequest, day: date) -> list[SyncWindow]:
    if request.mode is Mode.REREAD:
        found = reread_windows(settings, request.site, day, request.now, request.hours)
    else:
        found = missing_windows(settings, request.site, day, request.now)
    if found and is_archived(settings, request.site, day):
        # A part of a day beside an archived whole would be scored and aggregated as if it were all of it.
        return split_by_day(day_start(day), day_start(day) + DAY)
    return found


def _sync_runs(done: SiteSync, started: datetime) -> list[SyncRun]:
    """The records for ``ops.sync_runs``: readings and weather by market day, and points. Requests count once."""
    finished = utc_now()
    results = done.results or [DayResult(done.request.site, done.request.days[-1], errors=list(done.errors))]
    runs = []
    for number, result in enumerate(results):
        stats = done.stats if number == 0 else HttpStats()
        runs.append(_sync_run(done, result, result.readings, stats, (started, finished)))
        runs.append(_sync_run(done, result, result.weather, HttpStats(), (started, finished)))
    if done.points or done.errors:
        listed = done.points or Account(POINTS.full_name)
        runs.append(_sync_run(done, results[-1], listed, HttpStats(), (started, finished)))
    return runs


def _sync_run(
    done: SiteSync, result: DayResult, account: Account, stats: HttpStats, span: tuple[datetime, datetime]
) -> SyncRun:
    started, finished = span
    of_readings = account is result.readings
    errors = result.errors if of_readings else result.weather_errors if account is result.weather else done.errors
    return SyncRun(
        run_id=done.request.run_id,
        attempt=done.request.attempt,
        dataset=account.dataset,
        partition=f"{result.day}|{result.site}",
        started_at=started,
        finished_at=finished,
        duration_seconds=(finished - started).total_seconds(),
        **account.counts,
        requests_by_status=stats.requests_by_status,
        retries=stats.retries,
        bytes_received=stats.bytes,
        errors=tuple(errors),
        sync_id=done.request.sync_id,
        site_name=result.site,
        status=_status(account, errors, result if of_readings else None),
        **(_of_readings(result) if of_readings else {}),
    )


def _status(account: Account, errors: Sequence[str], windows: DayResult | None) -> Status:
    """By what an account speaks of; ``windows`` are those of the readings."""
    if errors:
        return "partial" if account.fetched or (windows and windows.windows_complete) else "failed"
    return "partial" if windows and windows.windows_deferred else "complete"


def _of_readings(result: DayResult) -> dict[str, Any]:
    return {
        "pages": result.pages,
        "cursor_repairs": result.repairs,
        "points_skipped": len(result.skipped),
        "points_processed": result.points,
        "failed_batches": result.failed_batches,
        "database_errors": result.failed_batches,
        "windows_complete": result.windows_complete,
        "windows_failed": result.windows_failed,
        "windows_deferred": result.windows_deferred,
        "stack": result.stack,
    }


def _tell(settings: Settings, done: SiteSync) -> None:
    """Raise and clear alerts by the readings' records, and report the metrics where an address is set."""
    request = done.request
    of_readings = [run for run in done.runs if run.dataset == TIMESERIES_RAW.full_name]
    if request.mode is Mode.LIVE:
        whole = _whole(of_readings)
        before = _had_data(settings, request.site, whole.partition)
        conditions = sync_conditions(settings, request.site, whole, had_data_yesterday=before)
        read_to = last_sync(settings, request.site)
        conditions += behind_conditions(settings, request.site, read_to, now=request.now)
        done.alerts += evaluate(settings, conditions, now=request.now)
    if settings.metrics_webhook_url.get_secret_value():
        with webhook_client(settings) as http:
            for run in done.runs:
                report_metrics(settings, http, ETLMetrics.of(run))


def _whole(runs: Sequence[SyncRun]) -> SyncRun:
    """The newest market day's record with what an alert counts of all days: at midnight a sync has two."""
    return replace(
        runs[-1],
        fetched=sum(run.fetched for run in runs),
        filtered=sum(run.filtered for run in runs),
        invalid=sum(run.invalid for run in runs),
        inserted=sum(run.inserted for run in runs),
        updated=sum(run.updated for run in runs),
        requests_by_status=runs[0].requests_by_status,
        errors=tuple(error for run in runs for error in run.errors),
    )


def _had_data(settings: Settings, site: str, partition: str) -> bool:
    """Whether the site has readings of the market day before that of a partition."""
    before = date.fromisoformat(partition.partition("|")[0]) - DAY
    with read_lake(settings) as lake:
        found = lake.execute(
            f"SELECT 1 FROM {TIMESERIES_AGG.lake_name} "
            f"WHERE market_day = DATE '{before}' AND site_name = ? AND \"interval\" = '1d' LIMIT 1",
            [site],
        ).fetchone()
    return found is not None
