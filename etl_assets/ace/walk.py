"""A window of a site's readings, page by page to its end, whatever the API does on the way.

A page is handed out before the next is asked for: the caller stores it, then saves the ``Position`` that came with it,
and may resume there after a crash. A walk that returns has seen the window's end; one that cannot raises
``WalkFailedError``, and what was handed out stays good.

ACE's cursor does not always advance. Its known form, base64 of ``{"offset": n, "timestamp": t}`` for "n readings of
instant t are already given", is therefore compared with what was received, and repaired where it differs.
"""

import base64
import binascii
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, Self

from etl_assets.http import Answer, BrokenTransfer, SourceError

if TYPE_CHECKING:
    from etl_assets.ace.wire import Page

logger = logging.getLogger(__name__)

PAGE_SIZES = (3, 10, 50, 100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 300_000, 500_000)
"""ACE takes these and refuses others."""

SMALLEST_STEP = 1_000
"""Page sizes step down to here: some 170 kB. A transfer that breaks at that size breaks at any."""

MOST_PAGES = 10_000
"""A day of 6.48 million readings is 65 pages, and 6,480 at the smallest step. More is a server without an end."""

MOST_EMPTY_PAGES = 3
"""In a row, with more promised; so many have been seen in a healthy walk over a quiet night, no more."""

REMEMBERED_CURSORS = 8
"""Cursors that a saved position keeps: a walk that resumes into a circle of that many sees it at once."""

TOO_SLOW = (408, 504)
BAD_REQUEST = 400
LIMITED = "429"
CUT = ("timeout", "network")


@dataclass(frozen=True, slots=True)
class Window:
    """From ``start`` to ``end``, both included: ACE does not say, and the key of a reading absorbs overlap."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Position:
    """How far a walk has come: where to go on, and what its guards must know to do so. Goes through JSON.

    ``cursor`` asks for the next page, None for the first after ``since`` (None: the window's start). Up to
    ``last_time`` all was handed out; None where that cannot be said. ``complete``: the window's end was seen, with
    nothing wrong. ``repairs`` counts the cursors that differed from what was received.
    """

    cursor: str | None = None
    last_time: datetime | None = None
    pages: int = 0
    page_size: int = 0
    fetched: int = 0
    outside: int = 0
    empty: int = 0
    repairs: int = 0
    ordered: bool = True
    complete: bool = False
    since: datetime | None = None
    recent: tuple[str, ...] = ()
    fingerprint: tuple[Any, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        times = {
            name: at.isoformat() if at else None for name, at in (("last_time", self.last_time), ("since", self.since))
        }
        return {**asdict(self), **times, "recent": list(self.recent), "fingerprint": list(self.fingerprint)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """From what ``to_dict`` gave, also after a way through JSON."""
        times = {
            name: datetime.fromisoformat(saved[name]) if saved.get(name) else None for name in ("last_time", "since")
        }
        lists = {name: tuple(saved.get(name, ())) for name in ("recent", "fingerprint")}
        return cls(**{**saved, **times, **lists})


class WalkFailedError(Exception):
    """A window could not be walked to its end. ``position`` is the last good one; ``reason`` says why it ended."""

    def __init__(self, reason: str, site: str, window: Window, position: Position) -> None:
        self.reason = reason
        self.position = position
        span = f"{window.start.isoformat()} to {window.end.isoformat()}"
        super().__init__(f"{site}, {span}, after {position.pages} pages: {reason}")


class PageSource(Protocol):
    """What a walk needs of ``AceClient``."""

    def timeseries_page(self, site: str, window: Window, *, cursor: str | None, page_size: int) -> Answer:
        """One page, undecoded."""
        ...


def walk(
    client: PageSource,
    site: str,
    window: Window,
    *,
    page_size: int,
    resume: Position | None = None,
    max_pages: int = MOST_PAGES,
    wanted: frozenset[str] = frozenset(),
) -> "Iterator[tuple[Page, Position]]":
    """Pages of a window with the position after each; ``wanted`` points only, all where none are named.

    Rows lie inside the window. Raises ``WalkFailedError``: where ACE refuses (its ``SourceError`` is the cause), a
    page cannot be read or repeats, a cursor repeats, more is promised but cannot be reached, readings lay outside the
    window, fewer came than ``total_count``, or there is no end.
    """
    if page_size not in PAGE_SIZES:
        logger.warning("PAGE_SIZE %d is none of those that ACE takes: %s", page_size, ", ".join(map(str, PAGE_SIZES)))
    begun = resume or Position()
    begun = replace(begun, page_size=min(begun.page_size or page_size, page_size))
    steps = _Walk(client, site, window, wanted, begun)
    while not steps.position.complete:
        if steps.position.pages >= max_pages:
            raise steps.failed(f"no end after {max_pages} pages")
        page, problem = steps.next_page()
        yield page, steps.position
        if problem:
            raise steps.failed(problem)


class _Walk:
    def __init__(
        self, client: PageSource, site: str, window: Window, wanted: frozenset[str], position: Position
    ) -> None:
        self.client = client
        self.site = site
        self.window = window
        self.wanted = wanted
        self.position = position
        self._used = {*position.recent, *([position.cursor] if position.cursor else [])}
        self._restarted = False

    def failed(self, reason: str) -> WalkFailedError:
        return WalkFailedError(reason, self.site, self.window, self.position)

    def next_page(self) -> "tuple[Page, str]":
        """The next page, and what is wrong with it, which ends the walk once it is stored. Moves the position."""
        page = self._ask()
        before = self.position
        if page.fetched and page.fingerprint == before.fingerprint:
            raise self.failed(f"a page of {page.fetched} records came twice")
        after = self._after(page)
        cursor, differs = repaired(page, before.cursor)
        problem = self._problem(page, after, cursor)
        if page.has_more and not problem and cursor is not None:
            self._used.add(cursor)
            recent = (*before.recent, cursor)[-REMEMBERED_CURSORS:]
            after = replace(after, cursor=cursor, recent=recent, repairs=before.repairs + differs)
        elif not page.has_more:
            after = replace(after, cursor=None, complete=not problem)
        self.position = after
        return page, problem

    def _after(self, page: "Page") -> Position:
        before = self.position
        first, last = page.first_time, page.last_time
        ordered = before.ordered and page.ordered
        if first is not None and before.last_time is not None:
            ordered = ordered and first >= before.last_time
        inside = last is not None and self.window.start <= last <= self.window.end
        return replace(
            before,
            pages=before.pages + 1,
            fetched=before.fetched + page.fetched,
            outside=before.outside + page.outside,
            empty=0 if page.fetched else before.empty + 1,
            # A restart goes by time: where readings come in any order, no time says that all before it came.
            ordered=ordered,
            last_time=(last if inside else before.last_time) if ordered else None,
            fingerprint=page.fingerprint if page.fetched else before.fingerprint,
        )

    def _problem(self, page: "Page", after: Position, cursor: str | None) -> str:
        if page.has_more:
            return self._cannot_go_on(page, after, cursor)
        if after.outside:
            return f"{after.outside} readings lay outside the window"
        if page.total_count is not None and after.fetched < page.total_count:
            return f"the API counts {page.total_count} records and gave {after.fetched}"
        return ""

    def _cannot_go_on(self, page: "Page", after: Position, cursor: str | None) -> str:
        if cursor is None:
            return "there is more, or no word that there is not, but no cursor to reach it"
        if cursor in self._used:
            return "a cursor came twice"
        if after.empty > MOST_EMPTY_PAGES:
            return f"{after.empty} empty pages in a row, and more promised"
        if page.outside and not page.rows.num_rows:
            return f"a page of {page.fetched} records lay outside the window"
        return ""

    def _ask(self) -> "Page":
        from etl_assets.ace.wire import BrokenPage, NotAPage, decode_page

        while True:
            position = self.position
            asked = Window(position.since or self.window.start, self.window.end)
            try:
                answer = self.client.timeseries_page(
                    self.site, asked, cursor=position.cursor, page_size=position.page_size
                )
                page = decode_page(answer.body, wanted=self.wanted)
            except BrokenPage as error:
                if not self._step_down("a page was no whole JSON"):
                    raise self.failed(str(error)) from error
            except NotAPage as error:
                raise self.failed(str(error)) from error
            except SourceError as error:
                if not self._way_round(error):
                    raise self.failed(str(error)) from error
            else:
                self._learn(answer)
                return page.within(self.window.start, self.window.end)

    def _way_round(self, error: SourceError) -> bool:
        """Whether the same can be had otherwise: in smaller pages, or by time where the cursor is refused."""
        if isinstance(error, BrokenTransfer) or error.status in TOO_SLOW:
            return self._step_down("a page did not come whole")
        return error.status == BAD_REQUEST and self._restart()

    def _learn(self, answer: Answer) -> None:
        if LIMITED in answer.outcomes:
            self._step_down("ACE limits the rate")
        elif any(outcome in CUT for outcome in answer.outcomes):
            self._step_down("a page came whole only when asked for again")

    def _step_down(self, why: str) -> bool:
        """Ask for smaller pages from here on; False where they are the smallest already."""
        now = self.position.page_size
        smaller = [size for size in PAGE_SIZES if SMALLEST_STEP <= size < now]
        if not smaller:
            return False
        logger.warning("%s: %s; page size %d from here on, was %d", self.site, why, smaller[-1], now)
        self.position = replace(self.position, page_size=smaller[-1])
        return True

    def _restart(self) -> bool:
        """Begin anew at the last time handed out, where the cursor is refused; False where that was no help before."""
        before = self.position
        former = before.since or self.window.start
        start = max(before.last_time or self.window.start, former)
        if before.cursor is None or (self._restarted and start <= former):
            return False
        logger.warning("%s: ACE refuses the cursor; going on by time from %s", self.site, start.isoformat())
        self._restarted = True
        self._used.clear()
        self.position = replace(before, cursor=None, since=start, fetched=0, empty=0, recent=(), fingerprint=())
        return True


def repaired(page: "Page", own: str | None) -> tuple[str | None, bool]:
    """The next page's cursor, as it follows from what was received, and whether the server said otherwise.

    Only a cursor of the known form is touched, and only after a page in time order, whose end it counts from.
    ``own`` is the cursor that this page was asked for with: where it lies in the same instant, its offset counts on.
    """
    given = _opened(page.next_cursor)
    last = page.last_time_text
    if given is None or last is None or not page.ordered or not _same_time(last, last):
        return page.next_cursor, False
    asked = _opened(own)
    former = asked["offset"] if asked and _same_time(asked["timestamp"], last) else 0
    offset = former + page.trailing
    # The server's own spelling of the instant, where it is the same one.
    same = _same_time(given["timestamp"], last)
    if same and offset <= given["offset"] <= former + page.trailing_most:
        return page.next_cursor, False
    text = given["timestamp"] if same else last
    return base64.b64encode(json.dumps({"offset": offset, "timestamp": text}).encode()).decode(), True


def _opened(cursor: str | None) -> dict[str, Any] | None:
    """A cursor of exactly the known form, else None."""
    if not cursor:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        inner = json.loads(base64.b64decode(padded, altchars=b"-_" if set("-_") & set(cursor) else None, validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return None
    if not isinstance(inner, dict) or inner.keys() != {"offset", "timestamp"}:
        return None
    offset, timestamp = inner["offset"], inner["timestamp"]
    known = type(offset) is int and offset >= 0 and isinstance(timestamp, str)
    return inner if known else None


def _same_time(one: str, other: str) -> bool:
    from etl_assets.ace.fields import microseconds

    return microseconds(one) is not None and microseconds(one) == microseconds(other)
