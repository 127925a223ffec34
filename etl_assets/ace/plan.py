"""Which windows of a site a sync asks for: the newest, those that failed, those of a day that are not complete yet.

A window lies within one market day, so that what it brings belongs to one partition. Nothing here asks the source.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from etl_assets.ace import walk
from etl_assets.market_time import DAY, HOUR, day_start, hour_start, instant_day
from etl_assets.ops.site_state import (
    SiteWindow,
    advance_last_sync,
    complete_hours,
    deferred_windows,
    failed_windows,
    last_sync,
    record_window,
    unfinished_walks,
    windows,
)
from etl_assets.settings import Settings

LIVE = "live"
"""Beside the position in a saved walk: whether a live sync began it, and the next one takes it up."""

BACK_OFF_MINUTES = (0, 5, 15, 60)
"""Waits after the first, second, third and later failures of one window; the last repeats, hourly."""


@dataclass(frozen=True, slots=True, order=True)
class SyncWindow:
    """From ``start`` to ``end`` (aware, in UTC), within one market day. What lies on ``end`` is read with it too."""

    start: datetime
    end: datetime

    @property
    def day(self) -> date:
        """The market day that the window lies in."""
        return instant_day(self.start)

    @property
    def asked(self) -> walk.Window:
        """As a walk takes it."""
        return walk.Window(self.start, self.end)


def split_by_day(start: datetime, end: datetime) -> list[SyncWindow]:
    """A stretch of time cut at the midnights of market days; nothing where it is empty."""
    parts = []
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    while start < end:
        midnight = (day_start(instant_day(start)) + DAY).astimezone(UTC)
        parts.append(SyncWindow(start, min(end, midnight)))
        start = midnight
    return parts


def live_start(settings: Settings, site: str, now: datetime) -> datetime:
    """Where the newest window of a sync begins: the look-back before the end of what was read last.

    On the first sync, and after an outage, at most ``SITE_FIRST_SYNC`` ago. A window that failed more than once is left
    to its own retries: what came after it is not asked for with it, or one that can never be read would hold all back.
    """
    earliest = max(now - settings.site_first_sync, day_start(settings.sites_start))
    known = windows(settings, site, start=earliest, end=now)
    ends = [w.end for w in known if w.status == "complete" or (w.status == "failed" and w.attempts > 1)]
    ends.append(last_sync(settings, site) or earliest)
    return max(max(ends) - settings.site_lookback, earliest).astimezone(UTC)


def live_windows(settings: Settings, site: str, now: datetime, *, sync_id: str) -> Iterator[SyncWindow]:
    """What failed or was left half-way first, oldest first; then the newest window, from what was read by then.

    A generator: the newest window is worked out when it is asked for. An outage of this pipeline longer than
    ``SITE_FIRST_SYNC`` is recorded as a deferred window, for the healing of gaps.
    """
    yield from _retried(settings, site, now)
    start = live_start(settings, site, now)
    former = last_sync(settings, site)
    if former is None:
        advance_last_sync(settings, site, start, now=now, sync_id=sync_id)
    elif former < start:
        for hole in _holes(settings, site, former, start):
            record_window(settings, SiteWindow(site, hole.start, hole.end, "deferred", now, sync_id=sync_id))
    yield from split_by_day(start, now)


def _retried(settings: Settings, site: str, now: datetime) -> list[SyncWindow]:
    due = {SyncWindow(w.start, w.end) for w in failed_windows(settings, site) if _may_try_again(w, now)}
    # A backfill takes its walks up itself, and may be at work on them now.
    newest = live_start(settings, site, now)
    walks = [
        SyncWindow(start, end)
        for start, end, saved in unfinished_walks(settings, site, now=now)
        if end > newest and saved.get(LIVE)
    ]
    return sorted(due | {walk for walk in walks if not _is_spoken_for(settings, site, walk)})


def _is_spoken_for(settings: Settings, site: str, walk: SyncWindow) -> bool:
    """Whether a walk's window failed, or lies in one that did or is complete: then that one says when to read it.

    Else each sync of an outage would add its own window to those that are asked for at every sync.
    """
    around = windows(settings, site, start=walk.start, end=walk.end)
    return any(w.status != "deferred" and w.start <= walk.start and walk.end <= w.end for w in around)


def _may_try_again(window: SiteWindow, now: datetime) -> bool:
    wait = BACK_OFF_MINUTES[min(window.attempts, len(BACK_OFF_MINUTES)) - 1]
    return now >= window.read_at + timedelta(minutes=wait)


def _holes(settings: Settings, site: str, start: datetime, end: datetime) -> list[SyncWindow]:
    """The parts of [start, end) that no window, whatever its outcome, speaks of."""
    at, holes = start, []
    for window in windows(settings, site, start=start, end=end):
        if window.start > at:
            holes += split_by_day(at, window.start)
        at = max(at, window.end)
    return holes + split_by_day(at, end)


def read_without_hole(settings: Settings, site: str, now: datetime) -> datetime | None:
    """How far complete windows reach on from ``last_sync``; None before the first sync."""
    reached = last_sync(settings, site)
    if reached is None:
        return None
    for window in windows(settings, site, start=reached, end=now + DAY, status="complete"):
        if window.start > reached:
            break
        reached = max(reached, window.end)
    return reached


def missing_windows(settings: Settings, site: str, day: date, now: datetime) -> list[SyncWindow]:
    """What of a market day is not complete, as one window for each stretch: to read 65 pages, not 24 times 3.

    An hour counts as complete when it was read after its end, and did not fail when it was to be read again: what came
    late would never be fetched, and the failed window never cleared. The open day goes to ``now``; a walk that was
    begun earlier on that day is a window of its own, so that it can be resumed.
    """
    start, end = day_start(day).astimezone(UTC), min(day_start(day) + DAY, now).astimezone(UTC)
    done = complete_hours(settings, site, start, end)
    left = [*failed_windows(settings, site), *deferred_windows(settings, site)]
    wanted = [
        hour
        for hour in _hours(start, end)
        if hour not in done or done[hour] < hour + HOUR or any(w.start < hour + HOUR and hour < w.end for w in left)
    ]
    stretches = _joined(SyncWindow(hour, min(hour + HOUR, end)) for hour in wanted)
    begun = [SyncWindow(first, last) for first, last, _ in unfinished_walks(settings, site, now=now)]
    return [part for stretch in stretches for part in _cut(stretch, begun)]


def _cut(stretch: SyncWindow, begun: Sequence[SyncWindow]) -> list[SyncWindow]:
    """A stretch in two where the longest walk that begins with it ends; whole where there is none."""
    ends = [walk.end for walk in begun if walk.start == stretch.start and walk.end < stretch.end]
    if not ends:
        return [stretch]
    return [SyncWindow(stretch.start, max(ends)), SyncWindow(max(ends), stretch.end)]


def reread_windows(settings: Settings, site: str, day: date, now: datetime, hours: int) -> list[SyncWindow]:
    """Each hour of a market day that was not read at ``now`` or later; with ``hours``, of the last so many only.

    One window an hour, as the predecessor's documents ask; a re-read that was killed goes on where it stopped.
    """
    start, end = day_start(day).astimezone(UTC), min(day_start(day) + DAY, now).astimezone(UTC)
    if hours:
        start = max(start, now.astimezone(UTC) - hours * HOUR)
    done = complete_hours(settings, site, hour_start(start), end)
    return [
        SyncWindow(max(hour, start), min(hour + HOUR, end))
        for hour in _hours(hour_start(start), end)
        if hour not in done or done[hour] < now
    ]


def _hours(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += HOUR


def _joined(parts: Iterable[SyncWindow]) -> list[SyncWindow]:
    joined: list[SyncWindow] = []
    for part in parts:
        if joined and joined[-1].end == part.start:
            joined[-1] = SyncWindow(joined[-1].start, part.end)
        else:
            joined.append(part)
    return joined


def within_days(found: Iterable[SyncWindow], days: Collection[date]) -> Iterator[SyncWindow]:
    """Those windows that lie in some market days."""
    return (window for window in found if window.day in days)
