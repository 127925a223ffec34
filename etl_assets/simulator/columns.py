"""The printed columns of one market day: each a list of strings, interval by interval, region by region.

A day is printed column by column because that is several times faster than row by row, and because the
CURRENT files, the archives and the monthly tables must show the very same figures.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from itertools import repeat
from threading import RLock

import numpy as np

from etl_assets.market_time import interval_ends
from etl_assets.simulator import mms
from etl_assets.simulator.day import INTERVALS, UNITS, counters
from etl_assets.simulator.draws import uniform
from etl_assets.simulator.figures import pairs_column, plain_column, round_half_up
from etl_assets.simulator.market import Market
from etl_assets.simulator.network import FCAS_SERVICES, INTERCONNECTORS, REGION_NAMES

REGIONS = len(REGION_NAMES)
LINKS = len(INTERCONNECTORS)
PRINTED_DAYS = 3
"""Printed days kept, about 8 MB each: a month is written day by day, and CURRENT spans two."""

_FIGURES = {
    "RRP": "rrp", "ROP": "rrp", "PRE_AP_ENERGY_PRICE": "rrp", "TOTALDEMAND": "demand", "DEMANDFORECAST":
    "forecast",
    "AVAILABLEGENERATION": "available", "AVAILABLELOAD": "available_load", "DISPATCHABLEGENERATION":
    "generation",
    "DISPATCHABLELOAD": "load", "NETINTERCHANGE": "net", "AGGREGATEDISPATCHERROR": "error",
    "INITIALSUPPLY": "initial", "CLEAREDSUPPLY": "cleared", "TOTALINTERMITTENTGENERATION": "intermittent",
    "DEMAND_AND_NONSCHEDGEN": "nonscheduled", "UIGF": "uigf", "SEMISCHEDULE_CLEAREDMW": "semi",
    "SS_SOLAR_UIGF": "solar", "SS_WIND_UIGF": "wind", "SS_SOLAR_CLEAREDMW": "semi_solar",
    "SS_WIND_CLEAREDMW": "semi_wind", "SS_SOLAR_AVAILABILITY": "solar", "SS_WIND_AVAILABILITY": "wind",
    "WDR_DISPATCHED": "wdr", "WDR_INITIALMW": "wdr", "WDR_AVAILABLE": "wdr", "BDU_ENERGY_STORAGE": "storage",
    "BDU_MIN_AVAIL": "bdu_min", "BDU_MAX_AVAIL": "bdu_max", "BDU_CLEAREDMW_GEN": "bdu_gen",
    "BDU_CLEAREDMW_LOAD": "bdu_load", "BDU_INITIAL_ENERGY_STORAGE": "initial_storage",
}  # fmt: skip
_PAIRED = {"nonscheduled", "storage", "initial_storage"}
_CONSTANTS = {
    "RUNNO": "1", "INTERVENTION": "0", "EEP": "0", "APCFLAG": "0", "MARKETSUSPENDEDFLAG": "0",
    "PRICE_STATUS": "FIRM",
    "OCD_STATUS": "NOT_OCD", "MII_STATUS": "NOT_MII", "EXCESSGENERATION": "0",
    "SEMISCHEDULE_COMPLIANCEMW": "0",
    "SS_SOLAR_COMPLIANCEMW": "0", "SS_WIND_COMPLIANCEMW": "0", "INVALIDFLAG": "0", "VIOLATIONDEGREE": "0",
    "LOCAL_PRICE_ADJUSTMENT_EXPORT": "0", "LOCALLY_CONSTRAINED_EXPORT": "0",
    "LOCAL_PRICE_ADJUSTMENT_IMPORT": "0",
    "LOCALLY_CONSTRAINED_IMPORT": "0",
}  # fmt: skip
_LINK_FIGURES = {
    "METEREDMWFLOW": "metered", "MWFLOW": "flow", "MWLOSSES": "losses", "MARGINALVALUE": "value",
    "EXPORTLIMIT": "export", "IMPORTLIMIT": "import",
}  # fmt: skip

Column = Sequence[str] | str
"""One string a row, or one string for every row."""


class DayColumns:
    """One market day's columns, printed on first use.

    ``archived`` prints as the monthly tables since 2024-08 do.
    """

    def __init__(self, market: Market, day: date, *, archived: bool = False) -> None:
        self.market = market
        self.figures = market.day(day)
        self.ends = interval_ends(day)
        self.archived = archived
        self._printed: dict[tuple[str, str], Column] = {}

    def region(self, name: str, *, intervention: int = 0) -> Column:
        """A column of a regional table (PRICE, REGIONSUM): 288 x 5 strings, or a constant."""
        if name == "INTERVENTION":
            return str(intervention)
        if intervention and name in ("RRP", "ROP", "PRE_AP_ENERGY_PRICE"):
            return self._once("physical", name, lambda: self._figure("physical_rrp"))
        return self._once("region", name, lambda: self._region(name))

    def link(self, name: str, *, intervention: int = 0) -> Column:
        """A column of the interconnector table, 288 x 6 strings or a constant."""
        if name == "INTERVENTION":
            return str(intervention)
        return self._once("link", name, lambda: self._link(name))

    def _once(self, kind: str, name: str, make: Callable[[], Column]) -> Column:
        if (kind, name) not in self._printed:
            self._printed[kind, name] = make()
        return self._printed[kind, name]

    def _region(self, name: str) -> Column:
        if name == "REGIONID":
            return list(REGION_NAMES) * INTERVALS
        if name in _FIGURES:
            return self._blank_island(name, self._figure(_FIGURES[name]))
        return self._time(name, REGIONS) or self._ancillary(name) or _CONSTANTS.get(name, "")

    def _time(self, name: str, width: int) -> Column | None:
        match name:
            case "SETTLEMENTDATE":
                return _widened((mms.stamp(end) for end in self.ends), width)
            case "DISPATCHINTERVAL":
                return _widened((mms.dispatch_interval(end) for end in self.ends), width)
            case "LASTCHANGED":
                return _widened((mms.stamp(mms.dispatched(end)) for end in self.ends), width)
            case _:
                return None

    def _figure(self, name: str) -> list[str]:
        values = self.figures.region[name].ravel().tolist()
        paired = name in _PAIRED and not self.archived
        return (pairs_column if paired else plain_column)(values, UNITS[name])

    def _blank_island(self, name: str, printed: list[str]) -> list[str]:
        """TAS1 has no batteries of the new kind: its BDU columns are empty."""
        if not name.startswith("BDU_"):
            return printed
        tasmania = REGION_NAMES.index("TAS1")
        return ["" if n % REGIONS == tasmania else value for n, value in enumerate(printed)]

    def _ancillary(self, name: str) -> Column | None:
        """FCAS columns of both tables, and the cumulative prices."""
        if name.startswith("CUMUL_PRE_AP_"):
            return self._invented(name, 1_500_000, 6)
        if name.endswith(("LOCALDISPATCH", "ACTUALAVAILABILITY")):
            return self._invented(name, 180, 0 if "LOCAL" in name else 6)
        if name.endswith("APCFLAG"):
            return "0"
        service = _service(name)
        if service is None:
            return None
        return self._once("fcas", service, lambda: self._fcas(service))

    def _fcas(self, service: str) -> list[str]:
        return plain_column(self.figures.fcas[:, :, FCAS_SERVICES.index(service)].ravel().tolist(), 5)

    def _invented(self, name: str, highest: int, decimals: int) -> list[str]:
        """A column nobody checks: stable, in a plausible range."""
        count = counters(self.figures.day)
        cells = (count[:, None] * 64 + np.arange(REGIONS)).ravel()
        values = np.rint(uniform(self.market.seed, name, cells) * highest * 10**decimals).astype(np.int64).tolist()
        paired = decimals and not self.archived
        return pairs_column(values, decimals) if paired else plain_column(values, decimals)

    def _link(self, name: str) -> Column:
        if name in _LINK_FIGURES:
            return plain_column(self.figures.link[_LINK_FIGURES[name]].ravel().tolist(), 5)
        if name == "MARGINALLOSS":
            flows = self.figures.link["flow"].ravel().tolist()
            return plain_column((100_000 + round_half_up(flow, 9000) for flow in flows), 5)
        per_link: dict[str, Iterable[str]] = {
            "INTERCONNECTORID": (link.name for link in INTERCONNECTORS),
            "EXPORTGENCONID": (link.export_constraint for link in INTERCONNECTORS),
            "IMPORTGENCONID": (link.import_constraint for link in INTERCONNECTORS),
            "FCASEXPORTLIMIT": (str(link.nominal_export) for link in INTERCONNECTORS),
            "FCASIMPORTLIMIT": (str(link.nominal_import) for link in INTERCONNECTORS),
        }
        if name in per_link:
            return list(per_link[name]) * INTERVALS
        return self._time(name, LINKS) or _CONSTANTS.get(name, "")


def _service(column: str) -> str | None:
    """The FCAS service whose price a column shows: RAISE6SECRRP, RAISE6SECROP, PRE_AP_RAISE6_PRICE."""
    if column.startswith("PRE_AP_"):
        stem = column.removeprefix("PRE_AP_").removesuffix("_PRICE")
        return next((s for s in FCAS_SERVICES if s in (stem, f"{stem}SEC")), None)
    stem = column.removesuffix("RRP").removesuffix("ROP")
    return stem if stem != column and stem in FCAS_SERVICES else None


def _widened(values: Iterable[str], width: int) -> list[str]:
    return [value for value in values for _ in range(width)]


def rows(prefix: str, columns: Iterable[Column], first: int, last: int) -> list[str]:
    """The ``D`` rows ``first`` (included) to ``last`` (excluded) of a table, from its columns."""
    parts: list[Iterable[str]] = []
    constant = prefix
    for column in columns:
        if isinstance(column, str):
            constant += column + ","
            continue
        parts += (repeat(constant), column[first:last])
        constant = ","
    parts.append(repeat(constant[:-1]))
    return ["".join(cells) for cells in zip(*parts, strict=False)]


class Printer:
    """Printed days of one market, the last few kept."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self._days: OrderedDict[tuple[date, bool], DayColumns] = OrderedDict()
        self._lock = RLock()

    def day(self, day: date, *, archived: bool = False) -> DayColumns:
        """A day's columns, as CURRENT prints them or as the monthly tables since 2024-08 do."""
        with self._lock:
            key = (day, archived)
            if key not in self._days:
                self._days[key] = DayColumns(self.market, day, archived=archived)
                while len(self._days) > PRINTED_DAYS:
                    self._days.popitem(last=False)
            self._days.move_to_end(key)
            return self._days[key]
