"""A window of readings cut into pages: which come next, and from where the one after goes on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from etl_assets.simulator.ace_hours import LATEST
from etl_assets.simulator.ace_samples import MICROSECOND, Samples, joined
from etl_assets.simulator.ace_world import AceWorld


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a window: behind ``offset`` readings of the timestamp ``time`` (microseconds since 1970)."""

    offset: int
    time: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some readings, and where the next page begins; None where there is none."""

    samples: Samples
    next: Position | None


@dataclass(frozen=True, slots=True)
class Window:
    """The readings of a site between two times, both included, as seen at a third; microseconds since 1970."""

    world: AceWorld
    site: str
    start: int
    end: int
    as_of: int
    raw: bool = True

    def page(self, position: Position | None, size: int) -> Page:
        """Up to ``size`` readings from a position on."""
        begin = position or Position(0, self.start)
        parts, left, skip = [], size + 1, begin.offset
        for part in self._parts(max(begin.time, self.start), self.end):
            found = part.take(slice(skip, skip + left))
            skip = max(skip - len(part), 0)
            if len(found):
                parts.append(found)
            left -= len(found)
            if not left:
                break
        samples = joined(parts)
        page = samples.take(slice(size))
        return Page(page, position_after(page, begin) if len(samples) > size else None)

    def page_before(self, position: Position, size: int) -> Samples:
        """The ``size`` readings that end where a position begins."""
        before = joined(list(self._parts(self.start, min(position.time, self.end))))
        given = int(np.searchsorted(before.time, position.time)) + position.offset
        return before.take(slice(max(given - size, 0), given))

    def all(self) -> Samples:
        """Every reading of the window."""
        return joined(list(self._parts(self.start, self.end)))

    def count(self) -> int:
        """How many readings the window has."""
        return _count(replace(self, as_of=min(self.as_of, self.end + LATEST // MICROSECOND)))

    def _parts(self, start: int, end: int) -> Iterator[Samples]:
        return self.world.parts(self.site, start, end, self.as_of, raw=self.raw)


@lru_cache(maxsize=64)
def _count(window: Window) -> int:
    """Counted once a window: each of its pages is asked for it."""
    return sum(map(len, window.world.parts(window.site, window.start, window.end, window.as_of, raw=window.raw)))


def position_after(page: Samples, begin: Position) -> Position:
    """Where the page after this one begins: what this one gave of its last timestamp, and what was given before."""
    last, given = last_timestamp(page)
    return Position(given + (begin.offset if begin.time == last else 0), last)


def last_timestamp(page: Samples) -> tuple[int, int]:
    """A page's last timestamp, and how many of its readings bear it."""
    last = int(page.time[-1])
    return last, len(page) - int(np.searchsorted(page.time, last))
