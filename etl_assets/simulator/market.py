"""The truth of the simulated market: what every published file says, as typed values.

``Market`` is a pure function of its seed: ask it in any order, on any machine, and an interval answers the
same. Times are aware and mark the *end* of an interval in NEM time (UTC+10); prices are AUD/MWh, power is
MW. Values are ``Decimal`` and equal what is printed. A test asserts against this module, never against the
bytes.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from threading import RLock
from typing import Literal

import numpy as np

from etl_assets.market_time import (
    DISPATCH_INTERVAL,
    FIVE_MINUTE_SETTLEMENT,
    HALF_HOUR,
    day_start,
    interval_ends,
    market_day,
)
from etl_assets.simulator import network
from etl_assets.simulator.day import EPOCH, INTERVALS, UNITS, Day, build_day
from etl_assets.simulator.draws import Ints, one, uniform
from etl_assets.simulator.figures import round_half_up
from etl_assets.simulator.network import INTERCONNECTOR_NAMES, REGION_NAMES
from etl_assets.simulator.units import output, units

RooftopType = Literal["MEASUREMENT", "SATELLITE"]
ROOFTOP_TYPES: tuple[RooftopType, ...] = ("MEASUREMENT", "SATELLITE")
ROOFTOP_REGIONS = ("NSW1", "QLD1", "QLDC", "QLDN", "QLDS", "SA1", "TAS1", "TASN", "TASS", "VIC1")
_PARTS = {"QLDC": ("QLD1", 22), "QLDN": ("QLD1", 14), "TASN": ("TAS1", 55)}
"""Sub-regions as a percentage of their region; QLDS and TASS are what remains."""

DAYS_KEPT = 12
"""Days held in memory: enough for two days of files and a week's archive; about 1 MB each."""

Revisions = Mapping[tuple[datetime, str], Decimal]
"""Prices that were changed after their first publication, by interval end and region."""


@dataclass(frozen=True, slots=True)
class RegionRow:
    """One region and dispatch interval. Prices in AUD/MWh, power in MW."""

    interval_end: datetime
    region: str
    intervention: int
    rrp: Decimal
    total_demand: Decimal
    available_generation: Decimal
    dispatchable_generation: Decimal
    dispatchable_load: Decimal
    wdr_dispatched: Decimal
    net_interchange: Decimal
    demand_forecast: Decimal
    initial_supply: Decimal
    cleared_supply: Decimal
    scheduled_generation: Decimal
    semi_scheduled_generation: Decimal
    fcas: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class InterconnectorRow:
    """One interconnector and dispatch interval. MW, positive from the first-named region to the second."""

    interval_end: datetime
    interconnector: str
    intervention: int
    mw_flow: Decimal
    metered_mw_flow: Decimal
    mw_losses: Decimal
    marginal_value: Decimal
    export_limit: Decimal
    import_limit: Decimal


@dataclass(frozen=True, slots=True)
class RooftopRow:
    """Rooftop solar of one region and half-hour, MW.

    Two estimates (types) of the same thing, never to be added.
    """

    interval_end: datetime
    region: str
    type: RooftopType
    power: Decimal
    quality: Decimal


class Market:
    """The market of one seed. Thread-safe; holds the last few days it computed."""

    def __init__(self, seed: int = 1, revisions: Revisions | None = None) -> None:
        self.seed = seed
        self.revisions: dict[tuple[datetime, str], Decimal] = dict(revisions or {})
        self._days: OrderedDict[date, Day] = OrderedDict()
        self._outputs: OrderedDict[date, Ints] = OrderedDict()
        self._lock = RLock()

    def with_revisions(self, revisions: Revisions) -> "Market":
        """The same market after some of its prices were revised."""
        return Market(self.seed, self.revisions | dict(revisions))

    def day(self, day: date) -> Day:
        """A day's figures as integers (see ``simulator.day``); not to be changed."""
        with self._lock:
            if day not in self._days:
                self._days[day] = self._revised(build_day(self.seed, day))
                while len(self._days) > DAYS_KEPT:
                    self._days.popitem(last=False)
            self._days.move_to_end(day)
            return self._days[day]

    def outputs(self, day: date) -> Ints:
        """The metered output of every unit in 1e-6 MW.

        Shape (interval, unit), in the order of ``units()``.
        """
        with self._lock:
            if day not in self._outputs:
                self._outputs[day] = output(self.seed, self.day(day))
                while len(self._outputs) > DAYS_KEPT:
                    self._outputs.popitem(last=False)
            self._outputs.move_to_end(day)
            return self._outputs[day]

    def region(self, interval_end: datetime, region: str, *, intervention: int = 0) -> RegionRow:
        """One region's row; ``intervention=1`` is the physical run, published only where one took place."""
        day, number = self.locate(interval_end)
        column = REGION_NAMES.index(region)
        value = {
            name: Decimal(int(figures[number, column])).scaleb(-UNITS[name]) for name, figures in day.region.items()
        }
        fcas = {
            service: Decimal(int(day.fcas[number, column, n])).scaleb(-5)
            for n, service in enumerate(network.FCAS_SERVICES)
        }
        return RegionRow(
            interval_end=interval_end,
            region=region,
            intervention=intervention,
            rrp=value["physical_rrp" if intervention else "rrp"],
            total_demand=value["demand"],
            available_generation=value["available"],
            dispatchable_generation=value["generation"],
            dispatchable_load=value["load"],
            wdr_dispatched=value["wdr"],
            net_interchange=value["net"],
            demand_forecast=value["forecast"],
            initial_supply=value["initial"],
            cleared_supply=value["cleared"],
            scheduled_generation=value["generation"] - value["semi"],
            semi_scheduled_generation=value["semi"],
            fcas=fcas,
        )

    def regions(self, interval_end: datetime, *, intervention: int = 0) -> tuple[RegionRow, ...]:
        """All five regions, in the order of the files."""
        return tuple(self.region(interval_end, name, intervention=intervention) for name in REGION_NAMES)

    def interconnectors(self, interval_end: datetime, *, intervention: int = 0) -> tuple[InterconnectorRow, ...]:
        """All six interconnectors, in the order of the files (flows are the same in both runs)."""
        day, number = self.locate(interval_end)

        def value(name: str, column: int) -> Decimal:
            return Decimal(int(day.link[name][number, column])).scaleb(-5)

        return tuple(
            InterconnectorRow(
                interval_end, name, intervention,
                value("flow", n), value("metered", n), value("losses", n),
                value("value", n), value("export", n), value("import", n),
            )
            for n, name in enumerate(INTERCONNECTOR_NAMES)
        )  # fmt: skip

    def scada(self, interval_end: datetime) -> dict[str, Decimal]:
        """Metered output of every unit by DUID, MW."""
        day, number = self.locate(interval_end)
        row = self.outputs(day.day)[number]
        return {unit.duid: Decimal(int(value)).scaleb(-6) for unit, value in zip(units(), row, strict=True)}

    def rooftop(self, interval_end: datetime) -> tuple[RooftopRow, ...]:
        """Both estimates of rooftop solar for the half-hour that ends at ``interval_end``."""
        return tuple(
            RooftopRow(
                interval_end,
                region,
                kind,
                Decimal(power).scaleb(-3),
                Decimal("1" if kind[0] == "M" else "0.6"),
            )
            for kind in ROOFTOP_TYPES
            for region, power in self.rooftop_power(interval_end, kind).items()
        )

    def rooftop_power(self, interval_end: datetime, kind: RooftopType) -> dict[str, int]:
        """Rooftop output in kW by region and sub-region, averaged over the half-hour."""
        day, number = self.locate(interval_end)
        mean = day.region["rooftop"][number - 5 : number + 1].mean(axis=0)
        if kind == "SATELLITE":
            slot = number + (day.day - EPOCH).days * INTERVALS
            mean = mean * (0.9 + 0.08 * uniform(self.seed, "satellite", slot * 8 + np.arange(len(REGION_NAMES))))
        whole = {name: int(value) for name, value in zip(REGION_NAMES, mean, strict=True)}
        for part, (region, share) in _PARTS.items():
            whole[part] = whole[region] * share // 100
        whole["QLDS"] = whole["QLD1"] - whole["QLDC"] - whole["QLDN"]
        whole["TASS"] = whole["TAS1"] - whole["TASN"]
        return {name: whole[name] for name in ROOFTOP_REGIONS}

    def trading_price(self, interval_end: datetime, region: str) -> Decimal:
        """The price that settles: the dispatch price in whole cents.

        Before 2021-10 the mean of six of them.
        """
        day, number = self.locate(interval_end)
        column = REGION_NAMES.index(region)
        return Decimal(self.trading_cents(day)[number // self.trading_steps(day.day)][column]).scaleb(-2)

    def trading_demand(self, interval_end: datetime, region: str) -> Decimal:
        """Demand of a trading interval, MW: total demand, or its mean over the half-hour before 2021-10."""
        day, number = self.locate(interval_end)
        column = REGION_NAMES.index(region)
        return Decimal(self.trading_centi_megawatts(day)[number // self.trading_steps(day.day)][column]).scaleb(-2)

    @staticmethod
    def trading_steps(day: date) -> int:
        """Dispatch intervals in a trading interval of that day: 1 since 2021-10-01, 6 before."""
        return 1 if day >= FIVE_MINUTE_SETTLEMENT else 6

    @staticmethod
    def trading_interval(day: date) -> timedelta:
        """The length of a trading interval on that day."""
        return DISPATCH_INTERVAL if day >= FIVE_MINUTE_SETTLEMENT else HALF_HOUR

    def trading_cents(self, day: Day) -> list[list[int]]:
        """Trading prices of a day in cents, one list of five regions a trading interval."""
        return self._trading(day, "rrp", 1000)

    def trading_centi_megawatts(self, day: Day) -> list[list[int]]:
        """Trading demand of a day in 0.01 MW, shaped alike."""
        return self._trading(day, "demand", 1)

    def _trading(self, day: Day, figure: str, divisor: int) -> list[list[int]]:
        if figure not in day.trading:
            steps = self.trading_steps(day.day)
            sums = day.region[figure].reshape(-1, steps, len(REGION_NAMES)).sum(axis=1).tolist()
            day.trading[figure] = [[round_half_up(value, divisor * steps) for value in row] for row in sums]
        return day.trading[figure]

    def interventions(self, day: date) -> tuple[datetime, ...]:
        """The intervals of a day that have an intervention where those are switched on: 3 to 8 in a row."""
        number = (day - EPOCH).days
        first = int(250 * one(self.seed, "intervention", number))
        length = 3 + int(6 * one(self.seed, "intervention length", number))
        return tuple(interval_ends(day)[first : first + length])

    def revised_rrp(self, interval_end: datetime, region: str) -> Decimal:
        """The price that a revision of this row would carry.

        Differs from the original by at least one cent.
        """
        rrp = self.region(interval_end, region).rrp
        return rrp - Decimal("4.48588") if rrp > Decimal(-900) else rrp + Decimal("4.48588")

    def locate(self, interval_end: datetime) -> tuple[Day, int]:
        """The day of an interval and its number in it, counting from 0."""
        day = market_day(interval_end)
        number, rest = divmod(interval_end - day_start(day), DISPATCH_INTERVAL)
        if rest:
            raise ValueError(f"{interval_end} is not the end of a dispatch interval")
        return self.day(day), number - 1

    def _revised(self, day: Day) -> Day:
        for (interval_end, region), rrp in self.revisions.items():
            if market_day(interval_end) == day.day:
                number = (interval_end - day_start(day.day)) // DISPATCH_INTERVAL - 1
                day.region["rrp"][number, REGION_NAMES.index(region)] = int(rrp.scaleb(5))
        return day
