# ruff: noqa: PLR2004  invented signals: their numbers mean nothing beyond this file
"""What the points of a simulated building read: pure functions of seed, point and minute.

A reading is a code: a place in the table of all values that an analogue signal can take, or, below zero, a
counter's total. Codes are what makes six million readings a day cheap: each value's text is made once.
Minutes count from 1970 in UTC; people come and go by NEM time.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from etl_assets.simulator.draws import Floats, Ints, smooth, uniform

Words = npt.NDArray[np.uint64]
Codes = npt.NDArray[np.int32]
Noise = npt.NDArray[np.floating[Any]]
Objects = npt.NDArray[np.object_]

MINUTES_A_DAY = 1440
NAN = 0
"""The code of a reading that is not a number."""

_NEM_OFFSET = 600
_THURSDAY = 3
"""1970-01-01, counted from Monday."""


class Kind(IntEnum):
    """What a point measures."""

    ZONE_TEMPERATURE = 0
    """degC"""
    POWER = 1
    """kW, with a daily and a weekly profile"""
    FLOW = 2
    """Water or gas, l/s"""
    STATE = 3
    """Off and on: 0 and 1"""
    SETPOINT = 4
    """degC; flat between two times of the day"""
    COUNTER = 5
    """Energy in kWh, or volume: never falls"""
    WEATHER = 6
    """One of ``WEATHER_NAMES``, in that order"""


WEATHER_NAMES = (
    "temp", "feels_like", "pressure", "humidity", "dew_point", "clouds", "wind_speed", "wind_deg", "wet_bulb",
)  # fmt: skip
"""What ACE's weather feed holds: degC, degC, hPa, %, degC, %, m/s, degrees, degC."""


@dataclass(frozen=True, slots=True)
class _Range:
    """A stretch of the table of values: ``lowest`` upwards in steps of one ``scale``-th."""

    start: int
    size: int
    lowest: int
    scale: int

    def code(self, steps: Noise) -> Codes:
        """Codes of values given in steps; what lies beyond the range is at its end."""
        return np.asarray(np.clip(np.rint(steps).astype(np.int32) - self.lowest, 0, self.size - 1) + self.start)


_STATES = _Range(1, 2, 0, 1)
_TEMPERATURES = _Range(3, 8001, -2000, 100)
_POWERS = _Range(8004, 6001, 0, 10)
_FLOWS = _Range(14005, 5001, 0, 100)
_PERCENTS = _Range(19006, 1001, 0, 10)
_PRESSURES = _Range(20007, 1001, 9500, 10)
_DEGREES = _Range(21008, 361, 0, 1)
SPIKE = _TEMPERATURES.start + _TEMPERATURES.size - 1
"""The code of the highest temperature there is: 60 degC."""
_RANGES = (_STATES, _TEMPERATURES, _POWERS, _FLOWS, _PERCENTS, _PRESSURES, _DEGREES)


@cache
def values() -> Floats:
    """The value of each code from 0, as ACE keeps it: a 32-bit number."""
    steps = [np.arange(span.lowest, span.lowest + span.size) / span.scale for span in _RANGES]
    return np.concatenate([[np.nan], *steps]).astype(np.float32).astype(np.float64)


@cache
def texts() -> Objects:
    """The text of each code from 0, as ACE sends it: ``1.6100000143051147``, ``NaN``."""
    return np.array([b"NaN", *(repr(value).encode() for value in values()[1:].tolist())], dtype=object)


def values_of(codes: Codes) -> Floats:
    """The values of codes, counters included."""
    return np.where(codes < 0, -1.0 - codes, values()[np.maximum(codes, 0)])


def texts_of(codes: Codes) -> Objects:
    """The texts of codes, counters included."""
    found: Objects = texts()[np.maximum(codes, 0)]
    counters = np.flatnonzero(codes < 0)
    found[counters] = [b"%d.0" % -(code + 1) for code in codes[counters].tolist()]
    return found


@dataclass(frozen=True, slots=True)
class Signals:
    """The signals of a site's points, one after the other."""

    seed: int
    kinds: Ints

    def codes(self, minutes: Ints, noise: Noise) -> Codes:
        """What each point reads at each minute, shape (minute, point).

        ``noise`` in [0, 1) has the same shape.
        """
        codes: Codes = np.zeros(noise.shape, np.int32)
        for kind in Kind:
            columns = np.flatnonzero(self.kinds == kind)
            if columns.size:
                codes[:, columns] = self._signal(kind, columns, minutes[:, None], noise[:, columns])
        return codes

    def stuck(self, columns: Ints) -> Codes:
        """What zone temperatures read that stand still."""
        return _TEMPERATURES.code(2100 + 250 * uniform(self.seed, "ace phase", columns))

    def _signal(self, kind: Kind, columns: Ints, minutes: Ints, noise: Noise) -> Codes:  # noqa: PLR0911  one a kind
        size, phase = uniform(self.seed, "ace size", columns), uniform(self.seed, "ace phase", columns)
        match kind:
            case Kind.ZONE_TEMPERATURE:
                swing = (60 + 120 * size) * _daily(minutes, 15 + 2 * phase)
                return _TEMPERATURES.code(2100 + 250 * phase + swing + 30 * (noise - 0.5))
            case Kind.POWER:
                load = 0.2 + 0.8 * occupancy(minutes)
                return _POWERS.code((50 + 4500 * size**2) * load * (0.9 + 0.2 * noise))
            case Kind.FLOW:
                return _FLOWS.code((100 + 3000 * size) * occupancy(minutes) * (0.6 + 0.4 * noise))
            case Kind.STATE:
                return _STATES.code((occupancy(minutes) > 0.02 + 0.5 * size).astype(np.float64))
            case Kind.SETPOINT:
                return _TEMPERATURES.code(np.where(occupancy(minutes) > 0, 2200.0, 1800.0) + 50 * np.floor(4 * size))
            case Kind.COUNTER:
                return -1 - _total(minutes, 0.05 + 8 * size, phase)
            case Kind.WEATHER:
                return np.column_stack(weather(self.seed, minutes.ravel()))


def occupancy(minutes: Ints) -> Floats:
    """How busy a building is, 0 to 1: from 6:00 to 20:00 NEM time, a quarter as much at the weekend."""
    local = minutes + _NEM_OFFSET
    hour = local % MINUTES_A_DAY / 60
    weekend = (local // MINUTES_A_DAY + _THURSDAY) % 7 >= 5
    return np.asarray(np.clip(np.sin(np.pi * (hour - 6) / 14), 0, 1) * np.where(weekend, 0.25, 1.0))


def weather(seed: int, minutes: Ints) -> list[Codes]:
    """Codes of the nine weather values at each minute."""
    front, cloud, gust = (smooth(seed, f"ace {name}", minutes, 9 * 60) for name in ("front", "cloud", "gust"))
    temperature = 18 + 6 * _daily(minutes, 15.0) + 5 * front
    humidity = np.clip(62 - 18 * _daily(minutes, 15.0) - 15 * front, 5, 100)
    wind = 3.2 + 2.8 * gust
    dew_point = temperature - (100 - humidity) / 5
    return [
        _TEMPERATURES.code(100 * temperature),
        _TEMPERATURES.code(100 * (temperature - 0.3 * wind)),
        _PRESSURES.code(10 * (1014 - 8 * front)),
        _PERCENTS.code(10 * humidity),
        _TEMPERATURES.code(100 * dew_point),
        _PERCENTS.code(10 * (50 + 50 * cloud)),
        _FLOWS.code(100 * wind),
        _DEGREES.code(180 + 179 * gust * front),
        _TEMPERATURES.code(100 * (temperature + 2 * dew_point) / 3),
    ]


def _daily(minutes: Ints, warmest: Floats | float) -> Floats:
    """A curve between -1 and 1 over the day; 1 at the hour ``warmest`` in NEM time."""
    return np.asarray(np.cos(2 * np.pi * ((minutes + _NEM_OFFSET) / 60 - warmest) / 24))


def _total(minutes: Ints, rate: Floats, phase: Floats) -> Codes:
    """A total that rises fast by day and slowly by night; ``rate`` is its mean rise a minute."""
    since = minutes - EPOCH_2020
    turn = 2 * np.pi * (since / MINUTES_A_DAY + phase)
    wave = 0.8 * MINUTES_A_DAY / (2 * np.pi) * (1 - np.sin(turn))
    return np.asarray((rate * (since + wave)).astype(np.int32))


EPOCH_2020 = 26_297_280
"""2020-01-01 in UTC: no simulated point has readings before it."""


def words(seed: int, rows: Ints, columns: Ints) -> Words:
    """64 random bits for each row and column: the same for the same numbers, whatever else is asked for."""
    left = (uniform(seed, "ace row", rows) * 2**53).astype(np.uint64)
    right = (uniform(seed, "ace column", columns) * 2**53).astype(np.uint64)
    with np.errstate(over="ignore"):
        mixed: Words = left[:, None] * np.uint64(0x9E3779B97F4A7C15) + right * np.uint64(0xD1B54A32D192ED03)
        for shift, factor in ((31, 0xBF58476D1CE4E5B9), (29, 0x94D049BB133111EB)):
            mixed ^= mixed >> np.uint64(shift)
            mixed *= np.uint64(factor)
        mixed ^= mixed >> np.uint64(32)
    return mixed
