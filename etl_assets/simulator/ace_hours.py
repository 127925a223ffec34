"""Every reading of a site's hour, and when each becomes visible: the unit in which the simulated truth is made.

A site is polled once a minute, and all that a poll reads bears one timestamp (one for each 2,400 points, as in
the real account). A site that is not plain has what real ones have: points that say nothing for an hour, readings
that come late or are not a number, spikes, and sensors that stick for a day.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from etl_assets.simulator.ace_samples import MINUTE, Samples
from etl_assets.simulator.ace_signals import NAN, SPIKE, Codes, Kind, Signals, Words, words
from etl_assets.simulator.ace_sites import Layout
from etl_assets.simulator.draws import Ints, uniform

LATEST = timedelta(minutes=42)
"""No reading becomes visible later than this after its timestamp."""
_LATE = 330
"""Of 65,536 readings: 0.5 %."""
_NOT_A_NUMBER = 4_500
"""One reading in so many."""
_SPIKES = 20_000
"""One reading of a temperature in so many."""
_SILENT = 0.02
"""Share of points that say nothing for one hour of a UTC day."""
_STUCK = 0.005
"""Share of zone temperatures that stand still for a UTC day."""
_HOURS_KEPT = 16
"""Hours of a site held ready; 4 MB each for 4,500 points."""


@dataclass(frozen=True, slots=True)
class Hour:
    """All readings of a site's hour, and which of them come late: their place, and when they become visible."""

    samples: Samples
    late: Ints
    visible_at: Ints

    def seen(self, as_of: int) -> Samples:
        """What is visible at an instant."""
        if not len(self.samples) or max(self.samples.time[-1], self.visible_at.max(initial=0)) <= as_of:
            return self.samples
        visible = self.samples.time <= as_of
        visible[self.late[self.visible_at > as_of]] = False
        return self.samples.take(np.flatnonzero(visible))


@lru_cache(maxsize=_HOURS_KEPT)
def hour_of(layout: Layout, hour: int) -> Hour:
    """The readings of an hour, which counts from 1970 in UTC."""
    minutes = hour * 60 + np.arange(60)
    bits = words(layout.seed, minutes, np.arange(layout.site.points))
    noise = (bits & np.uint64(0xFFFF)).astype(np.float32) / np.float32(65536)
    codes = Signals(layout.seed, layout.kinds).codes(minutes, noise)
    row, column = np.nonzero(_read_at(layout, minutes))
    time = _poll_times(layout, minutes)[row, layout.cluster[column]]
    if layout.site.plain:
        late, visible_at = np.zeros((2, 0), np.int64)
    else:
        _disturb(layout, hour, codes, bits)
        late, visible_at = _late(bits[row, column], time)
    return Hour(Samples(column.astype(np.int32), time, codes[row, column]), late, visible_at)


def _disturb(layout: Layout, hour: int, codes: Codes, bits: Words) -> None:
    """Put in sensors that stick, spikes, and what is not a number."""
    rooms = np.flatnonzero(layout.kinds == Kind.ZONE_TEMPERATURE)
    stuck = rooms[uniform(layout.seed, f"ace stuck {hour // 24}", rooms) < _STUCK]
    codes[:, stuck] = Signals(layout.seed, layout.kinds).stuck(stuck)
    chance = bits >> np.uint64(44)
    spikes = chance[:, rooms] % np.uint64(_SPIKES) == 1
    codes[:, rooms] = np.where(spikes, SPIKE, codes[:, rooms])
    codes[chance % np.uint64(_NOT_A_NUMBER) == 0] = NAN


def _poll_times(layout: Layout, minutes: Ints) -> Ints:
    """When each cluster of a poll is stamped, shape (minute, cluster): seconds into the minute, never whole ones."""
    jitter = uniform(layout.seed, "ace poll", minutes)
    begin = minutes * MINUTE + ((1_000_000 + jitter * 7_000_000).astype(np.int64) | 1)
    step = 45_000_000 // layout.clusters // 2 * 2
    return np.asarray(begin[:, None] + np.arange(layout.clusters) * step)


def _late(bits: Words, time: Ints) -> tuple[Ints, Ints]:
    """Which readings come late, and when each becomes visible."""
    late = np.flatnonzero((bits >> np.uint64(16)) & np.uint64(0xFFFF) < _LATE)
    seconds = 120 + ((bits[late] >> np.uint64(32)) % np.uint64(2_400)).astype(np.int64)
    return late, time[late] + seconds * 1_000_000


def _read_at(layout: Layout, minutes: Ints) -> npt.NDArray[np.bool_]:
    """Which points a poll reads, shape (minute, point); all minutes are of one hour."""
    due = (minutes[:, None] * 60) % layout.interval == 0
    if layout.site.plain:
        return np.asarray(due)
    day, hour = divmod(int(minutes[0]) // 60, 24)
    roll = uniform(layout.seed, f"ace silent {day}", np.arange(layout.site.points))
    # The share's own fraction says which hour: one draw a point and day is enough.
    silent = (roll < _SILENT) & ((roll / _SILENT * 24).astype(np.int64) == hour)
    return np.asarray(due & layout.reads & ~silent)
