"""Readings of simulated points, column by column, and the microseconds since 1970 in which they are stamped."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from etl_assets.simulator.ace_signals import Codes, Objects, texts_of, values_of
from etl_assets.simulator.draws import Floats, Ints

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MINUTE = 60_000_000
HOUR = 60 * MINUTE
_BUCKET = 5 * MINUTE
"""What the API aggregates to unless it is asked for raw data."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Readings in time order, column by column.

    ``point`` is a point's place in the site, ``time`` is in microseconds since 1970 in UTC, ``code`` is as in
    ``ace_signals``. Where ``means`` is given, these are means of 5-minute buckets and the codes mean nothing.
    """

    point: Codes
    time: Ints
    code: Codes
    means: Floats | None = None

    def __len__(self) -> int:
        """How many there are."""
        return len(self.time)

    def take(self, chosen: "slice | Ints") -> "Samples":
        """Some of them."""
        means = None if self.means is None else self.means[chosen]
        return Samples(self.point[chosen], self.time[chosen], self.code[chosen], means)

    def values(self) -> Floats:
        """Their values; NaN where a reading is not a number."""
        return values_of(self.code) if self.means is None else self.means

    def texts(self) -> Objects:
        """Their values as the API writes them."""
        if self.means is None:
            return texts_of(self.code)
        return np.array([b"NaN" if v != v else repr(v).encode() for v in self.means.tolist()], dtype=object)  # noqa: PLR0124


def joined(parts: Sequence[Samples]) -> Samples:
    """Several runs of samples as one."""
    if len(parts) == 1:
        return parts[0]
    none = np.zeros(0, np.int32)
    means = [part.means for part in parts if part.means is not None]
    return Samples(
        np.concatenate([none, *(part.point for part in parts)]),
        np.concatenate([none.astype(np.int64), *(part.time for part in parts)]),
        np.concatenate([none, *(part.code for part in parts)]),
        np.concatenate(means) if means else None,
    )


def bucketed(found: Samples) -> Samples:
    """Means of 5-minute buckets: by bucket, then by point."""
    if not len(found):
        return replace(found, means=np.zeros(0))
    width = int(found.point.max()) + 1
    keys, place = np.unique(found.time // _BUCKET * width + found.point, return_inverse=True)
    values = found.values()
    number = ~np.isnan(values)
    counts = np.bincount(place, number, len(keys))
    with np.errstate(invalid="ignore"):
        means = np.bincount(place, np.where(number, values, 0.0), len(keys)) / counts
    return Samples((keys % width).astype(np.int32), keys // width * _BUCKET, np.zeros(len(keys), np.int32), means)


def microseconds(instant: datetime) -> int:
    """Microseconds since 1970 of an aware instant."""
    return (instant - EPOCH) // MICROSECOND


def instant(time: int) -> datetime:
    """The instant (UTC) of microseconds since 1970."""
    return EPOCH + time * MICROSECOND
