"""The sites of the simulated ACE account and their points: names, kinds, and how ACE collects them."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from zlib import crc32

import numpy as np

from etl_assets.simulator.ace_signals import WEATHER_NAMES, Kind
from etl_assets.simulator.draws import uniform

_CLUSTER = 2_400
"""Points that share a timestamp at most; seen in the real account."""
_WEATHER_FROM = 20
"""A site with fewer points has no weather among them."""
_DISABLED, _DEAD, _NOT_SAID, _FAST = 0.03, 0.05, 0.09, 0.9
"""Bounds of a draw for each point: not collected, without any reading, of an interval not said, read each minute."""
_KINDS = (
    *(Kind.ZONE_TEMPERATURE,) * 10,
    *(Kind.POWER,) * 5,
    *(Kind.FLOW,) * 3,
    *(Kind.STATE,) * 3,
    Kind.SETPOINT,
    *(Kind.COUNTER,) * 2,
)
_DEVICE_POINTS = len(_KINDS)
_OBJECTS = {Kind.STATE: "binaryInput", Kind.SETPOINT: "analogValue"}


@dataclass(frozen=True, slots=True)
class AceSite:
    """A site of the account.

    ``plain`` makes it easy to count: every point is read each minute, on time, and is a number. ``points`` counts
    them all, the nine weather points too, which a site of 20 points or more has where ``weather`` is true.
    """

    name: str
    points: int = 120
    region: str = "NSW1"
    latitude: float = -33.87
    longitude: float = 151.21
    weather: bool = True
    plain: bool = False
    client: str = "demo-client"


class Layout:
    """A site's points: their names, what they measure, and how ACE collects them."""

    def __init__(self, seed: int, site: AceSite) -> None:
        self.site = site
        self.seed = seed * 1_000_003 + crc32(site.name.encode())
        feed = len(WEATHER_NAMES) if site.weather and site.points >= _WEATHER_FROM else 0
        self.weather = {name: site.points - feed + n for n, name in enumerate(WEATHER_NAMES[:feed])}
        """Places of the weather points by what they measure."""
        number = np.arange(site.points)
        self.kinds = np.where(number >= site.points - feed, Kind.WEATHER, np.array(_KINDS)[number % _DEVICE_POINTS])
        weather = self.kinds == Kind.WEATHER
        # Draws of 1 and above are of points without any trouble.
        roll = uniform(self.seed, "ace point", number) + (weather | site.plain)
        self.enabled = roll >= _DISABLED
        self.reads = roll >= _DEAD
        """Which points ever give a reading."""
        self.interval_said = (roll < _DEAD) | (roll >= _NOT_SAID)
        """Whether the account says the interval; where it does not, it is 60 s."""
        slow = weather | (self.kinds == Kind.SETPOINT) | ((roll > _FAST) & (roll < 1))
        self.interval = np.where(slow & self.interval_said & (not site.plain), 300, 60)
        """Seconds between readings."""
        self.clusters = max(-(-site.points // _CLUSTER), 1)
        self.cluster = number * self.clusters // max(site.points, 1)
        """Which of a poll's timestamps each point bears."""

    @cached_property
    def names(self) -> list[str]:
        """The points' names, in the order in which a poll reads them."""
        weather = [f"{self.site.name}/weather/{name}" for name in self.weather]
        return [self._name(n) for n in range(self.site.points - len(weather))] + weather

    @cached_property
    def number(self) -> dict[str, int]:
        """A point's place by its name."""
        return {name: number for number, name in enumerate(self.names)}

    def power_points(self, count: int) -> list[str]:
        """Names of the first power readings, in kW, that are collected and give readings."""
        steady = (self.kinds == Kind.POWER) & self.enabled & self.reads
        return [self.names[number] for number in np.flatnonzero(steady)[:count]]

    def _name(self, number: int) -> str:
        device, place = divmod(number, _DEVICE_POINTS)
        address = f"10.0.{device // 200}.{device % 200 + 1}-{100 + device}"
        kind = _OBJECTS.get(Kind(self.kinds[number]), "analogInput")
        return f"{self.site.client}/{self.site.name}/{address}/{kind}/{place + 1}"


@lru_cache(maxsize=256)
def layout(seed: int, site: AceSite) -> Layout:
    """The points of a site; the same object for the same site."""
    return Layout(seed, site)
