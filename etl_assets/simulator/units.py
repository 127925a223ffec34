# ruff: noqa: PLR2004  invented units: their numbers mean nothing beyond this file
"""The invented generating units (DUIDs) and their output. Some names hold ``/`` or ``#``, as real ones do."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from etl_assets.simulator.day import Day, counters
from etl_assets.simulator.draws import Floats, Ints, one, uniform
from etl_assets.simulator.network import REGION_NAMES

_STEMS = (
    "ALDER", "BANKS", "BURRA", "CASSIA", "CORELLA", "CURLEW", "DORRI", "EMUCK", "FERNLE", "GALAH", "GIDGEE",
    "GRANITE", "HAKEA", "IRONB", "JARRAH", "KARRI", "KESTRL", "LOMAN", "MALLEE", "MULGA", "NARDOO", "OSPREY",
    "PANDAN", "QUOLL", "REDGUM", "SALTB", "SHEOAK", "TEATRE", "TUSSOC", "WANDOO", "WATTLE", "YABBIE", "ZAMIA",
)  # fmt: skip
_KINDS = (
    # suffix, kind, share of units, smallest and largest capacity in MW
    ("SF", "solar", 0.27, 20, 320),
    ("WF", "wind", 0.23, 30, 420),
    ("BG", "battery", 0.12, 20, 350),
    ("HY", "hydro", 0.14, 5, 250),
    ("GT", "peaker", 0.14, 25, 170),
    ("PS", "coal", 0.10, 220, 690),
)
UNIT_COUNT = 493
_DECIMALS = (0, 1, 2, 4, 6, 6)
_REGION_SHARES = (0.30, 0.56, 0.72, 0.79, 1.0)


@dataclass(frozen=True, slots=True)
class Unit:
    """A generating unit. Capacity in MW; ``decimals`` is how finely its meter reports."""

    duid: str
    region: str
    kind: str
    capacity: int
    decimals: int


@cache
def units() -> tuple[Unit, ...]:
    """All units, by name; the same for every seed, as a registration list is."""
    made = {unit.duid: unit for number in range(UNIT_COUNT) for unit in [_unit(number)]}
    return tuple(made[name] for name in sorted(made))


def _unit(number: int) -> Unit:
    stem = _STEMS[number % len(_STEMS)]
    turn = number // len(_STEMS) + 1
    place, share = one(7, "unit kind", number), 0.0
    suffix, kind, low, high = _KINDS[-1][0], _KINDS[-1][1], _KINDS[-1][3], _KINDS[-1][4]
    for candidate in _KINDS:
        share += candidate[2]
        if place < share:
            suffix, kind, low, high = candidate[0], candidate[1], candidate[3], candidate[4]
            break
    region = next(n for n, edge in enumerate(_REGION_SHARES) if one(7, "unit region", number) <= edge)
    capacity = low + int((high - low) * one(7, "unit size", number) ** 2)
    decimals = _DECIMALS[int(len(_DECIMALS) * one(7, "unit meter", number))]
    duid = _name(stem, suffix, turn)
    return Unit(duid, REGION_NAMES[region], kind, capacity, decimals)


def _name(stem: str, suffix: str, turn: int) -> str:
    if suffix == "HY" and turn % 4 == 0:
        return f"{stem[0]}/{stem[1:5]}#{turn}"
    if suffix == "GT" and turn % 5 == 0:
        return f"{stem[:4]}_{suffix}#{turn}"
    return f"{stem[:6]}{suffix}{turn}"


def output(seed: int, day: Day) -> Ints:
    """Metered output in 1e-6 MW at each interval's start, shape (interval, unit).

    Negative when it consumes.
    """
    fleet = units()
    count = counters(day.day)
    cells = count[:, None] * 1024 + np.arange(len(fleet))
    noise = uniform(seed, "unit", cells.ravel()).reshape(cells.shape)
    columns = [_output(unit, day, noise[:, number]) for number, unit in enumerate(fleet)]
    coarse = np.array([10 ** (6 - unit.decimals) for unit in fleet])
    megawatts = np.column_stack(columns)
    return np.asarray(np.rint(megawatts * 1e6 / coarse).astype(np.int64) * coarse)


def _output(unit: Unit, day: Day, noise: Floats) -> Floats:
    region = REGION_NAMES.index(unit.region)
    price = day.region["rrp"][:, region] / 1e5
    scarcity = np.clip(day.scarcity[:, region], 0, 1)
    match unit.kind:
        case "solar":
            share = np.minimum(day.sun[:, region] * 1.3, 1) * (0.94 + 0.06 * noise)
        case "wind":
            share = day.wind[:, region] * (0.9 + 0.2 * noise)
        case "battery":
            share = np.where(price > 150, noise, np.where(price < 20, -noise, 0))
        case "hydro":
            share = np.where(price > 60, 0.3 + 0.7 * scarcity * noise, -0.004 * noise)
        case "peaker":
            share = np.where(price > 180, 0.6 + 0.4 * noise, 0)
        case _:
            share = 0.42 + 0.5 * scarcity + 0.02 * noise
    return np.asarray(unit.capacity * np.minimum(share, 1))
