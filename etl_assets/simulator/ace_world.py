"""The truth behind the simulated ACE account: its sites, their points, and every reading at any time.

Nothing is stored: a reading is a function of seed, site, point and minute. What the API makes of it is in
``ace_wire`` and ``ace``.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from etl_assets.simulator.ace_hours import LATEST, hour_of
from etl_assets.simulator.ace_samples import HOUR, MICROSECOND, MINUTE, Samples, bucketed, joined, microseconds
from etl_assets.simulator.ace_signals import EPOCH_2020, WEATHER_NAMES
from etl_assets.simulator.ace_sites import AceSite, Layout, layout

if TYPE_CHECKING:
    import pyarrow as pa

# A world is made of sites: whoever makes one finds both here.
__all__ = ["DEMO_SITES", "AceSite", "AceWorld"]

DEMO_SITES = (
    AceSite("building-a", 120),
    AceSite("building-b", 60, "VIC1", -37.81, 144.96),
)


class AceWorld:
    """The account: sites by name, and what each has read. Thread-safe; equal seeds give equal worlds."""

    def __init__(self, seed: int = 1, sites: Sequence[AceSite] | None = None) -> None:
        self.seed = seed
        self.sites = {site.name: site for site in (DEMO_SITES if sites is None else sites)}

    @classmethod
    def of_size(cls, site_count: int, points_per_site: int, *, plain: bool = False, seed: int = 1) -> "AceWorld":
        """A world of sites ``site-001``, ``site-002`` … of equal size."""
        names = [f"site-{number + 1:03d}" for number in range(site_count)]
        return cls(seed, [AceSite(name, points_per_site, plain=plain) for name in names])

    def layout(self, site: str) -> Layout:
        """The points of a site. Raises ``KeyError`` for a site that is not there."""
        return layout(self.seed, self.sites[site])

    def readings(self, site: str, start: datetime, end: datetime, as_of: datetime | None = None) -> Samples:
        """All readings from ``start`` to ``end``, both included, that are visible at ``as_of`` (None: at last).

        Instants are aware. Raises ``KeyError`` for a site that is not there.
        """
        seen_at = microseconds(as_of) if as_of else microseconds(end) + LATEST // MICROSECOND
        return joined(list(self.parts(site, microseconds(start), microseconds(end), seen_at)))

    def table(self, site: str, start: datetime, end: datetime, as_of: datetime | None = None) -> "pa.Table":
        """The same as Arrow: point_name, timestamp (UTC, microseconds), value (NaN where it is not a number)."""
        import pyarrow as pa

        found = self.readings(site, start, end, as_of)
        names = pa.array(self.layout(site).names).take(pa.array(found.point))
        times = pa.array(found.time).cast(pa.timestamp("us", "UTC"))
        return pa.table({"point_name": names, "timestamp": times, "value": pa.array(found.values())})

    def parts(self, site: str, start: int, end: int, as_of: int, *, raw: bool = True) -> Iterator[Samples]:
        """Readings from ``start`` to ``end``, both included, in runs of at most an hour; microseconds since 1970.

        Not ``raw``: means of 5-minute buckets, stamped with their start.
        """
        points = self.layout(site)
        first = max(start, EPOCH_2020 * MINUTE) // HOUR
        for hour in range(first, min(end, as_of) // HOUR + 1):
            seen = hour_of(points, hour).seen(as_of)
            found = seen if raw else bucketed(seen)
            bounds = np.searchsorted(found.time, (start, end + 1))
            part = found.take(slice(*bounds.tolist()))
            if len(part):
                yield part

    def weather(self, site: str, as_of: datetime) -> dict[str, tuple[str, Samples] | None]:
        """The last reading of each weather point, by its short name; all None where the site has no feed."""
        layout = self.layout(site)
        found: dict[str, tuple[str, Samples] | None] = dict.fromkeys(WEATHER_NAMES)
        recent = self.readings(site, as_of - timedelta(hours=2), as_of, as_of)
        for name, point in layout.weather.items():
            rows = np.flatnonzero(recent.point == point)
            if rows.size:
                found[name] = (layout.names[point], recent.take(rows[-1:]))
        return found
