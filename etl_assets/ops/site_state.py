"""Where each site stands: how far it was read, which windows were read, failed or wait, which walks to resume.

A **window** [start, end) of a site is recorded as it was read. What a complete window says stays true whatever fails
later, so it is dropped only when later complete ones cover it, and a failed or deferred one goes when complete ones
that were read later cover it. Nothing here reads the clock or asks the source.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import and_, delete, func, or_, select

from etl_assets.market_time import HOUR, hour_start
from etl_assets.ops.database import begin, begin_alone, upsert_row
from etl_assets.ops.state import clear_checkpoint, load_checkpoint, load_checkpoints, save_checkpoint
from etl_assets.ops.tables import SITE_SYNC, SITE_WINDOWS
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

COARSE_AFTER = timedelta(days=2)
"""The daily read of the last 24 hours puts an hour's row in place of twelve ticks' by itself; this is for the hours
that it did not reach, and long after ticks have ceased to overlap them."""

_WINDOW = SITE_WINDOWS.c


@dataclass(frozen=True, slots=True)
class SiteWindow:
    """One window [start, end) of a site, as it was read last.

    ``read_at`` is the instant as of which it was read. ``attempts`` counts the tries that failed; the store does.
    """

    site: str
    start: datetime
    end: datetime
    status: Literal["complete", "failed", "deferred"]
    read_at: datetime
    records: int = 0
    pages: int = 0
    attempts: int = 0
    error: str = ""
    sync_id: str = ""


def last_sync(settings: Settings, site: str) -> datetime | None:
    """The instant up to which a site was read without a hole, in UTC; None before its first sync."""
    with begin(settings) as connection:
        return connection.execute(select(SITE_SYNC.c.last_sync).where(SITE_SYNC.c.site_name == site)).scalar()


def advance_last_sync(settings: Settings, site: str, to: datetime, *, now: datetime, sync_id: str) -> None:
    """Move a site's ``last_sync`` on to the end of a complete window. Never moves it back."""
    row = {"site_name": site, "last_sync": to, "advanced_at": now, "sync_id": sync_id}
    with begin(settings) as connection:
        upsert_row(connection, SITE_SYNC, row, where=SITE_SYNC.c.last_sync < to)


def record_window(settings: Settings, window: SiteWindow) -> None:
    """Store what became of a window; the same window with the same outcome again replaces its row.

    A complete one clears the failed and deferred ones that it covers, alone or with others. A failed one counts on
    from the failed ones that lie within it, and replaces them: to read it is to read them. One that is less than
    what is known already (read earlier than complete windows that cover it) changes nothing.
    Raises ``ValueError`` for an empty window.
    """
    if window.start >= window.end:
        raise ValueError(f"the window of {window.site} from {window.start} to {window.end} is empty")
    with begin_alone(settings, f"windows of {window.site}") as connection:
        if window.status == "complete":
            _record_complete(connection, window)
        else:
            _record_unfinished(connection, window)


def windows(
    settings: Settings,
    site: str,
    *,
    start: datetime,
    end: datetime,
    status: Literal["complete", "failed", "deferred"] | None = None,
) -> list[SiteWindow]:
    """The windows that overlap [start, end), oldest first.

    A window that was read once and failed when it was read again is there twice.
    """
    with begin(settings) as connection:
        return _select(connection, site, _overlap(start, end), *([_is(status)] if status else []))


def failed_windows(settings: Settings, site: str) -> list[SiteWindow]:
    """The windows that failed and were not read since, oldest first."""
    with begin(settings) as connection:
        return _select(connection, site, _is("failed"))


def deferred_windows(settings: Settings, site: str) -> list[SiteWindow]:
    """The windows that a sync left to the next and that were not read since, oldest first."""
    with begin(settings) as connection:
        return _select(connection, site, _is("deferred"))


def complete_hours(settings: Settings, site: str, day_start: datetime, day_end: datetime) -> dict[datetime, datetime]:
    """Whole hours within [day_start, day_end) that complete windows cover, and as of when each was read.

    An hour counts as read at r where windows read at r or later cover all of it; the latest such r is given. Keys
    are the hours' starts, both sides are in UTC.
    """
    complete = windows(settings, site, start=day_start, end=day_end, status="complete")
    found = {hour: _covered_as_of(hour, hour + HOUR, complete) for hour in _hours(day_start, day_end)}
    return {hour: read_at for hour, read_at in found.items() if read_at is not None}


def coarsen(settings: Settings, *, now: datetime) -> int:
    """Put one row for each old hour in place of the windows that cover it; returns by how many rows there are fewer.

    What ``complete_hours`` says stays the same. Lost is which part of the hour was read later than the rest: should
    such an hour be read again in parts, it may count as read earlier than it was, and never later.
    """
    before = hour_start(now) - COARSE_AFTER
    with begin(settings) as connection:
        sites = connection.execute(select(_WINDOW.site_name).distinct()).scalars().all()
    return sum(_coarsen_site(settings, site, before) for site in sites)


def save_walk(
    settings: Settings, site: str, start: datetime, end: datetime, value: Mapping[str, Any], *, now: datetime
) -> None:
    """Remember where the walk through a window is, for as long as the source's cursor may live."""
    save_checkpoint(settings, _walk_name(site, start, end), value, now=now, keep=settings.checkpoint_life)


def load_walk(settings: Settings, site: str, start: datetime, end: datetime, *, now: datetime) -> dict[str, Any] | None:
    """Where to resume the walk through a window; None where it is to begin anew."""
    return load_checkpoint(settings, _walk_name(site, start, end), now=now)


def clear_walk(settings: Settings, site: str, start: datetime, end: datetime) -> None:
    """Forget a walk: the window was read to its end, or is to begin anew."""
    clear_checkpoint(settings, _walk_name(site, start, end))


def unfinished_walks(
    settings: Settings, site: str, *, now: datetime
) -> list[tuple[datetime, datetime, dict[str, Any]]]:
    """The walks of a site that can be resumed: start and end of the window, and where; oldest window first."""
    prefix = f"walk:{site}:"
    found = []
    for name, value in load_checkpoints(settings, prefix, now=now).items():
        start, _, end = name.removeprefix(prefix).partition("/")
        try:
            found.append((datetime.fromisoformat(start), datetime.fromisoformat(end), value))
        except ValueError:
            # The walk of another site, whose name goes on after a colon.
            continue
    return sorted(found, key=lambda walk: walk[:2])


def _walk_name(site: str, start: datetime, end: datetime) -> str:
    return f"walk:{site}:{start.astimezone(UTC).isoformat()}/{end.astimezone(UTC).isoformat()}"


def _record_complete(connection: "Connection", window: SiteWindow) -> None:
    attempts = _failures(connection, window, _same(window))
    connection.execute(delete(SITE_WINDOWS).where(_site(window.site), *_superseded_by(window)))
    near = _complete(connection, window.site, window.start, window.end)
    if not _is_covered(window, near):
        _store(connection, replace(window, attempts=attempts, error=""))
    for other in near:
        # Windows that lie within were removed above; these reach out at one end.
        around = _complete(connection, other.site, other.start, other.end)
        if _is_covered(other, [each for each in around if each != other]):
            _remove(connection, other)
    for open_window in _select(connection, window.site, _overlap(window.start, window.end), ~_is("complete")):
        if _is_covered(open_window, _complete(connection, window.site, open_window.start, open_window.end)):
            _remove(connection, open_window)


def _superseded_by(window: SiteWindow) -> tuple["ColumnElement[bool]", ...]:
    """Any window, whatever its outcome, that lies within and was read no later."""
    return (_WINDOW.window_start >= window.start, _WINDOW.window_end <= window.end, _WINDOW.read_at <= window.read_at)


def _record_unfinished(connection: "Connection", window: SiteWindow) -> None:
    if _is_covered(window, _complete(connection, window.site, window.start, window.end)):
        return
    replaced = _superseded_by(window) if window.status == "failed" else (*_superseded_by(window), _is("deferred"))
    within = or_(_same(window), and_(*replaced))
    failures = _failures(connection, window, within) + (window.status == "failed")
    connection.execute(delete(SITE_WINDOWS).where(_site(window.site), ~_is("complete"), within))
    _store(connection, replace(window, attempts=failures))


def _failures(connection: "Connection", window: SiteWindow, which: "ColumnElement[bool]") -> int:
    query = select(func.max(_WINDOW.attempts)).where(_site(window.site), ~_is("complete"), which)
    return int(connection.execute(query).scalar() or 0)


def _coarsen_site(settings: Settings, site: str, before: datetime) -> int:
    with begin_alone(settings, f"windows of {site}") as connection:
        fine = [w for w in _complete(connection, site, None, before) if w.end - w.start < HOUR]
        whole = {hour: as_of for hour in _hours_touched(fine) if (as_of := _hour_as_of(connection, site, hour))}
        replaced = [w for w in fine if all(hour in whole for hour in _hours_touched([w]))]
        rebuilt = {hour for w in replaced for hour in _hours_touched([w])}
        former = [w for hour in rebuilt if (w := _stored_hour(connection, site, hour))]
        for window in [*replaced, *former]:
            _remove(connection, window)
        for hour in rebuilt:
            ends_here = [w for w in (*replaced, *former) if hour < w.end <= hour + HOUR]
            _store(connection, _as_hour(site, hour, whole[hour], ends_here))
    return len(replaced) + len(former) - len(rebuilt)


def _as_hour(site: str, hour: datetime, read_at: datetime, parts: Sequence[SiteWindow]) -> SiteWindow:
    """One row for an hour. Each window's records count in the hour that it ends in, and so once."""
    return SiteWindow(
        site,
        hour,
        hour + HOUR,
        "complete",
        read_at,
        records=sum(w.records for w in parts),
        pages=sum(w.pages for w in parts),
        sync_id=max(parts, key=lambda w: w.read_at).sync_id if parts else "",
    )


def _stored_hour(connection: "Connection", site: str, hour: datetime) -> SiteWindow | None:
    found = _select(connection, site, _is("complete"), _exactly(hour, hour + HOUR))
    return found[0] if found else None


def _hour_as_of(connection: "Connection", site: str, hour: datetime) -> datetime | None:
    return _covered_as_of(hour, hour + HOUR, _complete(connection, site, hour, hour + HOUR))


def _hours_touched(found: Iterable[SiteWindow]) -> set[datetime]:
    return {hour for w in found for hour in _hours(hour_start(w.start), _ceiling(w.end))}


def _hours(start: datetime, end: datetime) -> list[datetime]:
    """Starts of the whole hours within [start, end), in UTC; every zone here is whole hours from UTC."""
    first = _ceiling(start)
    return [first + HOUR * n for n in range(max(0, (end - first) // HOUR))]


def _ceiling(moment: datetime) -> datetime:
    floor = hour_start(moment)
    return floor if floor == moment else floor + HOUR


def _covered_as_of(start: datetime, end: datetime, complete: Sequence[SiteWindow]) -> datetime | None:
    """The latest r for which windows read at r or later cover [start, end); None where they leave a hole."""
    near = [w for w in complete if w.start < end and w.end > start]
    edges = sorted({start, end} | {edge for w in near for edge in (w.start, w.end) if start < edge < end})
    newest = [
        max((w.read_at for w in near if w.start <= left and right <= w.end), default=None)
        for left, right in pairwise(edges)
    ]
    known = [read_at for read_at in newest if read_at is not None]
    return min(known) if len(known) == len(newest) else None


def _is_covered(window: SiteWindow, complete: Sequence[SiteWindow]) -> bool:
    """Whether all of a window was read, as of its own instant or later, by others."""
    as_of = _covered_as_of(window.start, window.end, complete)
    return as_of is not None and as_of >= window.read_at


def _complete(connection: "Connection", site: str, start: datetime | None, end: datetime) -> list[SiteWindow]:
    """Complete windows that overlap [start, end), or that end by ``end`` where there is no start."""
    where = _overlap(start, end) if start else _WINDOW.window_end <= end
    return _select(connection, site, _is("complete"), where)


def _site(site: str) -> "ColumnElement[bool]":
    return _WINDOW.site_name == site


def _is(status: str) -> "ColumnElement[bool]":
    return _WINDOW.status == status


def _same(window: SiteWindow) -> "ColumnElement[bool]":
    return _exactly(window.start, window.end)


def _exactly(start: datetime, end: datetime) -> "ColumnElement[bool]":
    return and_(_WINDOW.window_start == start, _WINDOW.window_end == end)


def _overlap(start: datetime, end: datetime) -> "ColumnElement[bool]":
    return and_(_WINDOW.window_start < end, _WINDOW.window_end > start)


def _select(connection: "Connection", site: str, *where: "ColumnElement[bool]") -> list[SiteWindow]:
    query = select(SITE_WINDOWS).where(_site(site), *where)
    rows = connection.execute(query.order_by(_WINDOW.window_start, _WINDOW.window_end, _WINDOW.read_at))
    return [SiteWindow(*row) for row in rows]


def _store(connection: "Connection", window: SiteWindow) -> None:
    row = {
        "site_name": window.site,
        "window_start": window.start,
        "window_end": window.end,
        "status": window.status,
        "read_at": window.read_at,
        "records": window.records,
        "pages": window.pages,
        "attempts": window.attempts,
        "error": window.error,
        "sync_id": window.sync_id,
    }
    upsert_row(connection, SITE_WINDOWS, row)


def _remove(connection: "Connection", window: SiteWindow) -> None:
    connection.execute(delete(SITE_WINDOWS).where(_site(window.site), _same(window), _is(window.status)))
