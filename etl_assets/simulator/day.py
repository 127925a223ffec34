# ruff: noqa: PLR2004  the shapes of an invented market are numbers with no other meaning
"""One market day as numbers: demand, sun, wind, prices, flows and dispatch of 288 intervals and five regions.

Every array holds integers, in units of the last decimal that AEMO prints (``UNITS``), with the shape
(interval, region); so sums and roundings are exact. Interconnector arrays have the shape (interval, link).
Nothing is printed here: that is ``market``'s and ``figures``' work.
"""

from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from etl_assets.simulator import network
from etl_assets.simulator.draws import Floats, Ints, one, smooth, uniform
from etl_assets.simulator.limits import PRICE_FLOOR, price_cap
from etl_assets.simulator.network import INTERCONNECTORS, REGION_NAMES, REGIONS

EPOCH = date(1998, 1, 1)
INTERVALS = 288

UNITS = {
    "rrp": 5, "physical_rrp": 5, "demand": 2, "net": 2, "generation": 2, "load": 2, "wdr": 2, "cleared": 2,
    "available": 5, "error": 5, "initial": 5, "uigf": 5, "wind": 5, "solar": 5, "semi": 5, "semi_wind": 5,
    "semi_solar": 5, "intermittent": 5, "nonscheduled": 6, "storage": 6, "initial_storage": 6, "forecast": 0,
    "available_load": 0, "bdu_min": 0, "bdu_max": 0, "bdu_gen": 0, "bdu_load": 0, "rooftop": 3,
}  # fmt: skip
"""Decimals of each regional figure."""


@dataclass(slots=True)
class Day:
    """The figures of one market day; ``region`` and ``link`` by name of the figure."""

    day: date
    region: dict[str, Ints] = field(default_factory=dict)
    link: dict[str, Ints] = field(default_factory=dict)
    fcas: Ints = field(default_factory=lambda: np.zeros((0, 0, 0), np.int64))
    """Prices in 1e-5 AUD/MWh, shape (interval, region, service)."""
    trading: dict[str, list[list[int]]] = field(default_factory=dict)
    """Trading-interval figures, kept by ``Market`` once computed."""
    scarcity: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    sun: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    """Output of a perfect panel, 0 to 1, by region."""
    wind: Floats = field(default_factory=lambda: np.zeros((0, 0)))


def counters(day: date) -> Ints:
    """The running numbers of a day's intervals since the epoch."""
    first = (day - EPOCH).days * INTERVALS + 1
    numbers: Ints = np.arange(first, first + INTERVALS, dtype=np.int64)
    return numbers


def build_day(seed: int, day: date) -> Day:
    """Compute a day. Its neighbours are not needed, yet the curves meet at midnight."""
    result = Day(day)
    count = counters(day)
    _weather(result, seed, count)
    underlying = _underlying(seed, day, count)
    rooftop = result.sun * _capacity("rooftop") * network.growth(_years(day), 2021, 2.6)
    result.region["rooftop"] = _units(rooftop, 3)
    demand = np.rint((underlying - rooftop) * 100).astype(np.int64)
    _prices(result, seed, count, demand / 100)
    _flows(result, seed, count)
    _dispatch(result, seed, count, demand)
    _ancillary(result, seed, count)
    return result


def _years(day: date) -> float:
    return day.year + day.timetuple().tm_yday / 366


def _capacity(name: str) -> Floats:
    return np.array([getattr(region, name) for region in REGIONS], dtype=np.float64)


def _units(values: Floats, decimals: int) -> Ints:
    scale = float(10**decimals)
    return np.rint(values * scale).astype(np.int64)


def _per_region(seed: int, stream: str, count: Ints, period: int) -> Floats:
    """A smooth curve in [-1, 1] for each region."""
    return np.column_stack([smooth(seed, f"{stream}/{name}", count, period) for name in REGION_NAMES])


def _jitter(seed: int, stream: str, count: Ints, width: int) -> Floats:
    """Independent numbers in [0, 1), shape (interval, width)."""
    cells = count[:, None] * 64 + np.arange(width)
    return uniform(seed, stream, cells.ravel()).reshape(cells.shape)


def _weather(result: Day, seed: int, count: Ints) -> None:
    hours = np.arange(1, INTERVALS + 1) / 12
    season = np.cos(2 * np.pi * (result.day.timetuple().tm_yday - 355) / 365.25)
    noon = np.array([region.solar_noon for region in REGIONS])
    angle = np.clip((hours[:, None] - noon) / (6.0 + 1.1 * season), -1, 1) * np.pi / 2
    cloud = 0.72 + 0.28 * _per_region(seed, "cloud", count, 180)
    passing = 1 - 0.12 * _jitter(seed, "shade", count, len(REGIONS)) * (1 - cloud)
    height = np.maximum(np.cos(angle), 0)
    result.sun = np.where(height < 1e-6, 0, height**1.25 * (0.66 + 0.16 * season) * cloud * passing)
    slow, fast = _per_region(seed, "wind", count, 220), _per_region(seed, "gust", count, 9)
    result.wind = np.clip(0.36 + 0.34 * slow + 0.05 * fast, 0.01, 0.93)


def _underlying(seed: int, day: date, count: Ints) -> Floats:
    """Consumption in MW before rooftop solar."""
    hours = np.arange(1, INTERVALS + 1) / 12
    shape = np.interp(hours, *np.transpose(network.DAY_SHAPE))
    week = np.interp(hours, (0, 4, 24), (_week_factor(day - timedelta(days=1)), *[_week_factor(day)] * 2))
    turn = 2 * np.pi * (day.timetuple().tm_yday + hours / 24 - 20) / 365.25
    summer = np.array([region.summer for region in REGIONS])
    season = 1 + 0.05 * np.cos(2 * turn)[:, None] + summer * np.cos(turn)[:, None]
    noise = 0.045 * _per_region(seed, "heat", count, 288) + 0.012 * _per_region(seed, "use", count, 30)
    fine = 0.003 * (_jitter(seed, "flick", count, len(REGIONS)) - 0.5)
    return np.asarray(_capacity("mean_demand") * (shape * week)[:, None] * season * (1 + noise + fine))


def _week_factor(day: date) -> float:
    return (1.02, 1.02, 1.02, 1.02, 1.01, 0.93, 0.90)[day.weekday()]


def _prices(result: Day, seed: int, count: Ints, demand: Floats) -> None:
    year = _years(result.day)
    wind = result.wind * _capacity("wind_farms") * network.growth(year, 2016, 3.0)
    solar = np.minimum(result.sun * 1.3, 1) * _capacity("solar_farms") * network.growth(year, 2020.5, 1.5)
    result.region["wind"], result.region["solar"] = _units(wind, 5), _units(solar, 5)
    residual = demand - wind - solar - _capacity("minimum_load")
    room = _capacity("firm") - _capacity("minimum_load")
    own = residual / room
    shared = residual.sum(axis=1, keepdims=True) / room.sum()
    result.scarcity = 0.45 * own + 0.55 * shared
    curve = np.transpose(network.PRICE_CURVE)
    noise = 1 + 0.10 * _per_region(seed, "bid", count, 12) + 0.06 * _jitter(seed, "tick", count, len(REGIONS))
    price = np.interp(result.scarcity, curve[0], curve[1]) * noise * (0.35 + 0.65 * network.growth(year, 2012, 5))
    price += _spike(seed, result.day)
    price = np.where(_troughs(seed, result.day), PRICE_FLOOR, price)
    rrp = _units(np.clip(price, PRICE_FLOOR, _caps(result.day)), 5)
    on_a_bid = _jitter(seed, "band", count, len(REGIONS)) < 0.5
    rrp = np.where(on_a_bid, rrp // 1000 * 1000, rrp)
    result.region["rrp"] = rrp
    other = rrp + _units(6 * _jitter(seed, "direction", count, len(REGIONS)) - 9, 5)
    result.region["physical_rrp"] = np.maximum(other, PRICE_FLOOR * 10**5)


def _caps(day: date) -> Floats:
    """The cap of each interval: the first four hours still belong to the trading day before."""
    early, late = price_cap(day - timedelta(days=1)), price_cap(day)
    return np.where(np.arange(1, INTERVALS + 1) <= 48, early, late)[:, None].astype(np.float64)


def _spike(seed: int, day: date) -> Floats:
    """One price spike a day: when, where, how high and how far it reaches, in AUD/MWh above the curve."""
    number = (day - EPOCH).days
    height = one(seed, "spike height", number)
    evening = one(seed, "spike time", number) < 0.75
    start = int((204 if evening else 78) + 36 * one(seed, "spike start", number) * (1 if evening else 0.7))
    length = 1 + int(4 * one(seed, "spike length", number))
    home = int(len(REGIONS) * one(seed, "spike home", number))
    reach = 0.35 * uniform(seed, "spike reach", number * 8 + np.arange(len(REGIONS)))
    reach[home] = 1
    spike = np.zeros((INTERVALS, len(REGIONS)))
    peak = 1000 * (price_cap(day) / 1000) ** min(1.06 * height, 1)
    spike[start : start + length] = peak * reach * np.linspace(1, 0.55, length)[:, None]
    return spike


def _troughs(seed: int, day: date) -> npt.NDArray[np.bool_]:
    """On one day in five, one noon interval at the floor in SA1 and VIC1.

    Only since rooftop solar is common.
    """
    floor = np.zeros((INTERVALS, len(REGIONS)), dtype=np.bool_)
    number = (day - EPOCH).days
    if day.year >= 2018 and one(seed, "trough", number) < 0.2:
        at = 132 + int(30 * one(seed, "trough time", number))
        floor[at, [REGION_NAMES.index("SA1"), REGION_NAMES.index("VIC1")]] = True
    return floor


def _flows(result: Day, seed: int, count: Ints) -> None:
    columns: dict[str, list[Floats]] = {
        "flow": [],
        "metered": [],
        "losses": [],
        "export": [],
        "import": [],
        "value": [],
    }
    for link in INTERCONNECTORS:
        gap = result.scarcity[:, REGION_NAMES.index(link.sink)] - result.scarcity[:, REGION_NAMES.index(link.source)]
        wobble = smooth(seed, f"flow/{link.name}", count, 14)
        limit = 1 + 0.06 * smooth(seed, f"limit/{link.name}", count, 40)
        export, lowest = link.export_limit * limit, link.import_limit * limit
        wanted = link.steepness * gap * 2 + 0.15 * link.export_limit * wobble
        flow = np.clip(wanted, lowest, export)
        bound = (wanted >= export) | (wanted <= lowest)
        columns["flow"].append(flow)
        columns["metered"].append(flow + 6 * smooth(seed, f"meter/{link.name}", count, 3))
        columns["losses"].append(flow**2 * link.loss_per_mw2 + 0.01 * np.abs(flow))
        columns["export"].append(export)
        columns["import"].append(lowest)
        columns["value"].append(np.where(bound, -np.abs(gap) * 40, 0))
    result.link = {name: _units(np.column_stack(values), 5) for name, values in columns.items()}


def _net_interchange(result: Day) -> Ints:
    """Net export of each region in 0.01 MW.

    Its flows out less its flows in, with half of each link's losses.
    """
    net = np.zeros((INTERVALS, len(REGIONS)))
    for number, link in enumerate(INTERCONNECTORS):
        flow = result.link["flow"][:, number] / 1e5
        losses = result.link["losses"][:, number] / 2e5
        net[:, REGION_NAMES.index(link.source)] += flow + losses
        net[:, REGION_NAMES.index(link.sink)] += losses - flow
    return _units(net, 2)


def _dispatch(result: Day, seed: int, count: Ints, demand: Ints) -> None:
    """Close each region's balance in whole hundredths of a MW: generation + wdr - load - demand = net."""
    figures = result.region
    width = len(REGIONS)
    net = _net_interchange(result)
    charging = np.where(result.scarcity < 0.12, _jitter(seed, "charge", count, width) * 220, 0)
    load = _units(charging, 0) * 100
    wdr = np.where(figures["rrp"] > 300 * 10**5, _units(30 * _jitter(seed, "wdr", count, width), 0) * 100, 0)
    least = _units(_capacity("minimum_load") * 0.35, 2)
    load = load + np.maximum(least - (demand + load - wdr + net), 0)
    generation = demand + load - wdr + net
    uigf = figures["wind"] + figures["solar"]
    semi = np.minimum(np.where(figures["rrp"] < -(30 * 10**5), uigf * 7 // 10, uigf), (generation - least) * 1000)
    figures["semi"] = semi = np.maximum(semi, 0)
    figures["semi_wind"] = semi * figures["wind"] // np.maximum(uigf, 1)
    figures["semi_solar"] = semi - figures["semi_wind"]
    figures["uigf"] = uigf
    figures |= {"demand": demand, "net": net, "load": load, "wdr": wdr, "generation": generation}
    spare = _units(_capacity("firm") * (0.78 + 0.1 * _per_region(seed, "outage", count, 288)), 0) * 10**5
    figures["available"] = np.maximum(uigf + spare, generation * 1000 + 90 * 10**5)
    _details(result, seed, count)


def _details(result: Day, seed: int, count: Ints) -> None:
    """The columns that a table has but few people read; plausible and consistent with the balance."""
    figures = result.region
    width = len(REGIONS)
    u = {name: _jitter(seed, name, count, width) for name in ("error", "initial", "inter", "non", "store")}
    demand = figures["demand"]
    figures["error"] = np.where(u["error"] < 0.3, 0, _units(40 * u["error"] - 26, 5))
    figures["initial"] = demand * 1000 + _units(60 * u["initial"] - 20, 5)
    figures["cleared"] = demand + _units(8 + 30 * u["inter"], 2)
    figures["intermittent"] = _units(_capacity("mean_demand") * 0.012 * u["inter"], 5)
    figures["nonscheduled"] = figures["cleared"] * 10**4 + figures["intermittent"] * 10
    figures["forecast"] = _units(90 * u["initial"] - 40, 0)
    battery = np.where(_capacity("wind_farms") > 1000, _capacity("firm") * 0.12, 0)
    figures["available_load"] = _units(battery * (0.5 + 0.5 * u["store"]), 0)
    storage = battery * (0.55 + 0.35 * _per_region(seed, "charge state", count, 96))
    figures["storage"] = _units(storage, 6)
    figures["initial_storage"] = _units(storage * (1 + 0.02 * u["store"]), 6)
    figures["bdu_min"] = figures["available_load"]
    figures["bdu_max"] = _units(battery * (0.6 + 0.4 * u["error"]), 0)
    discharging = figures["rrp"] > 150 * 10**5
    figures["bdu_gen"] = np.where(discharging, _units(battery * 0.6 * u["store"], 0), 0)
    figures["bdu_load"] = np.where(figures["rrp"] < 20 * 10**5, _units(battery * 0.5 * u["store"], 0), 0)


def _ancillary(result: Day, seed: int, count: Ints) -> None:
    """FCAS prices: one for the mainland, another for TAS1, rarely high."""
    services = len(network.FCAS_SERVICES)
    usual = np.array(network.FCAS_USUAL_PRICE)
    mainland = usual * np.exp(1.6 * (_jitter(seed, "fcas", count // 6, services) - 0.4))
    island = usual * np.exp(2.2 * (_jitter(seed, "fcas island", count // 3, services) - 0.4))
    scarce = np.maximum(result.scarcity.max(axis=1, keepdims=True) - 0.9, 0) * 60
    prices = np.repeat((mainland * (1 + scarce))[:, None, :], len(REGIONS), axis=1)
    prices[:, REGION_NAMES.index("TAS1"), :] = island
    units = _units(np.clip(prices, 0, 5000), 5)
    result.fcas = np.where(units % 7 < 5, units // 1000 * 1000, units)
