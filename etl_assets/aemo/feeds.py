"""What is collected from AEMO, declared: a new feed is a few lines here and a table in ``lake/tables.py``.

A ``Report`` is what NEMWeb publishes: folders, file names, delays. A ``Feed`` is a table of ours: the MMS tables
it is read from, the entities that each interval should have, and when an interval is due.
Folders, names, retention and delays follow NEMWeb's listings of April 2026.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal

import pyarrow as pa

from etl_assets.aemo.mms import MmsTable
from etl_assets.lake.tables import (
    DISPATCH_INTERCONNECTOR,
    DISPATCH_REGION,
    PRICE_AND_DEMAND,
    ROOFTOP_PV,
    TRADING_PRICE,
    UNIT_SCADA,
    Table,
)
from etl_assets.market_time import (
    DAY,
    DISPATCH_INTERVAL,
    FIVE_MINUTE_SETTLEMENT,
    HALF_HOUR,
    NEM_TIME,
    interval_ends,
)

REGIONS = ("NSW1", "QLD1", "SA1", "TAS1", "VIC1")
INTERCONNECTORS = ("N-Q-MNSP1", "NSW1-QLD1", "T-V-MNSP1", "V-S-MNSP1", "V-SA", "VIC1-NSW1")
STAMP = pa.timestamp("us", tz="UTC")
NUMBER = pa.float64()
WHOLE = pa.int32()
TEXT = pa.string()

LAST_DVD_MONTH = date(2024, 7, 1)
"""From the month after this one MMSDM files are named ``PUBLIC_ARCHIVE#…`` instead of ``PUBLIC_DVD_…``."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report that NEMWeb publishes every interval: a folder of files, and archives of them.

    ``stamp_to_interval`` is added to a file name's stamp to give the interval's end: nothing for most reports,
    minus half an hour for rooftop, whose stamp is the time of publication. ``current_kept`` is how long CURRENT
    holds a file, ``archived_after`` when ARCHIVE has one at the earliest, ``archive_span`` how many days a file of
    ARCHIVE that is named after one day holds.
    """

    name: str
    folder: str
    prefixes: tuple[str, ...]
    current_kept: timedelta
    archived_after: timedelta
    stamp_to_interval: timedelta = timedelta()
    archive_span: timedelta = DAY

    def interval_of(self, file_name: str) -> datetime | None:
        """End of the interval that a file of CURRENT holds; None for other files (other variants, folders)."""
        for prefix in self.prefixes:
            if found := re.fullmatch(rf"{prefix}_(\d{{12}})(?:\d\d)?_\d+\.(?:zip|csv)", file_name, re.IGNORECASE):
                stamp = datetime.strptime(found[1], "%Y%m%d%H%M").replace(tzinfo=NEM_TIME)
                return stamp + self.stamp_to_interval
        return None

    def days_of(self, file_name: str) -> tuple[date, date] | None:
        """First and last day that a file of ARCHIVE holds, by its name; None for other files."""
        for prefix in self.prefixes:
            if found := re.fullmatch(rf"{prefix}_(\d{{8}})(?:_(\d{{8}}))?\.zip", file_name, re.IGNORECASE):
                first = date.fromisoformat(found[1])
                last = date.fromisoformat(found[2]) if found[2] else first + self.archive_span - DAY
                return first, last
        return None


@dataclass(frozen=True, slots=True)
class MmsPart:
    """One MMS table that a feed takes columns from: ours by the MMS name, and its name in the monthly archive."""

    mms: MmsTable
    columns: Mapping[str, str]
    archive_table: str


def _part(name: str, archive_table: str, required: str, columns: Mapping[str, tuple[str, pa.DataType]]) -> MmsPart:
    wanted = dict(columns.values())
    return MmsPart(
        MmsTable(name, wanted, frozenset(required.split())),
        {ours: mms_name for ours, (mms_name, _) in columns.items()},
        archive_table,
    )


def _same_names(names: str, kind: pa.DataType = NUMBER) -> dict[str, tuple[str, pa.DataType]]:
    """``our_name`` for the MMS column ``OURNAME``."""
    return {name: (name.replace("_", "").upper(), kind) for name in names.split()}


def five_minutes(_day: date) -> timedelta:
    """Dispatch has always had intervals of five minutes."""
    return DISPATCH_INTERVAL


def half_hours(_day: date) -> timedelta:
    """Rooftop estimates are half-hourly."""
    return HALF_HOUR


def settlement_length(day: date) -> timedelta:
    """Trading intervals are five minutes since 2021-10-01, and were half-hours before."""
    return DISPATCH_INTERVAL if day >= FIVE_MINUTE_SETTLEMENT else HALF_HOUR


@dataclass(frozen=True, slots=True)
class Feed:
    """A table collected from a report, and what of it should be there at any time.

    An interval is *due* ``delay`` after its end (dispatch publishes at an interval's start, so its delay is
    minus five minutes) and *overdue*, a gap, ``grace`` later. ``entities`` are the values of ``entity_columns`` that
    each interval must have; where they are not known beforehand (units) an interval is there when any row is.
    """

    table: Table
    report: Report
    parts: tuple[MmsPart, ...]
    entity_columns: tuple[str, ...]
    entities: tuple[str, ...] = ()
    length: Callable[[date], timedelta] = five_minutes
    delay: timedelta = -DISPATCH_INTERVAL
    grace: timedelta = timedelta(minutes=10)
    filled_from: tuple[Literal["5MIN", "PRICE_AND_DEMAND"], ...] = ()
    constants: Mapping[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``schema.table``, as analysts and accounts name the dataset."""
        return self.table.full_name

    def due(self, day: date, now: datetime) -> list[datetime]:
        """Ends of the day's intervals that the source should have published by ``now``, in order."""
        return [end for end in interval_ends(day, self.length(day)) if end + self.delay <= now]

    def is_overdue(self, interval_end: datetime, now: datetime) -> bool:
        """Whether an interval that is missing at ``now`` is a gap, and not merely on its way."""
        return interval_end + self.delay + self.grace <= now

    def is_closed(self, day: date, now: datetime) -> bool:
        """Whether everything of a market day should be there by ``now``."""
        return self.is_overdue(interval_ends(day)[-1], now)


_FCAS_SERVICES = ("raise1sec", "raise6sec", "raise60sec", "raise5min", "raisereg",
                  "lower1sec", "lower6sec", "lower60sec", "lower5min", "lowerreg")  # fmt: skip
_DISPATCH_KEY = {
    "interval_end": ("SETTLEMENTDATE", STAMP),
    "intervention": ("INTERVENTION", WHOLE),
    "last_changed": ("LASTCHANGED", STAMP),
}

DISPATCH_IS = Report(
    name="DispatchIS",
    folder="DispatchIS_Reports",
    prefixes=("PUBLIC_DISPATCHIS",),
    current_kept=timedelta(days=2),
    archived_after=timedelta(days=2),
)
DISPATCH_SCADA = Report(
    name="Dispatch_SCADA",
    folder="Dispatch_SCADA",
    prefixes=("PUBLIC_DISPATCHSCADA",),
    current_kept=timedelta(days=2),
    archived_after=timedelta(days=2),
)
TRADING_IS = Report(
    name="TradingIS",
    folder="TradingIS_Reports",
    prefixes=("PUBLIC_TRADINGIS",),
    current_kept=timedelta(days=14),
    archived_after=timedelta(days=8),
)
ROOFTOP = Report(
    name="Rooftop_PV",
    folder="ROOFTOP_PV/ACTUAL",
    prefixes=("PUBLIC_ROOFTOP_PV_ACTUAL_MEASUREMENT", "PUBLIC_ROOFTOP_PV_ACTUAL_SATELLITE"),
    current_kept=timedelta(days=14),
    archived_after=timedelta(days=8),
    stamp_to_interval=-HALF_HOUR,
    # A week's file is named after its first day, a Thursday.
    archive_span=7 * DAY,
)

DISPATCH_REGION_FEED = Feed(
    table=DISPATCH_REGION,
    report=DISPATCH_IS,
    parts=(
        _part(
            "DISPATCH.PRICE",
            "DISPATCHPRICE",
            "SETTLEMENTDATE REGIONID INTERVENTION RRP",
            {
                **_DISPATCH_KEY,
                "region_id": ("REGIONID", TEXT),
                "rrp": ("RRP", NUMBER),
                "rop": ("ROP", NUMBER),
                "apc_flag": ("APCFLAG", WHOLE),
                "market_suspended_flag": ("MARKETSUSPENDEDFLAG", WHOLE),
                "price_status": ("PRICE_STATUS", TEXT),
                **{f"{service}_rrp": (f"{service.upper()}RRP", NUMBER) for service in _FCAS_SERVICES},
            },
        ),
        _part(
            "DISPATCH.REGIONSUM",
            "DISPATCHREGIONSUM",
            "SETTLEMENTDATE REGIONID INTERVENTION TOTALDEMAND",
            {
                **_DISPATCH_KEY,
                "region_id": ("REGIONID", TEXT),
                **_same_names(
                    "total_demand available_generation available_load demand_forecast dispatchable_generation "
                    "dispatchable_load net_interchange excess_generation initial_supply cleared_supply "
                    "total_intermittent_generation uigf"
                ),
                "wdr_dispatched": ("WDR_DISPATCHED", NUMBER),
                "demand_and_nonsched_gen": ("DEMAND_AND_NONSCHEDGEN", NUMBER),
                "semi_scheduled_generation": ("SEMISCHEDULE_CLEAREDMW", NUMBER),
            },
        ),
    ),
    entity_columns=("region_id",),
    entities=REGIONS,
    filled_from=("5MIN", "PRICE_AND_DEMAND"),
    constants={"period_type": "ACTUAL"},
)

DISPATCH_INTERCONNECTOR_FEED = Feed(
    table=DISPATCH_INTERCONNECTOR,
    report=DISPATCH_IS,
    parts=(
        _part(
            "DISPATCH.INTERCONNECTORRES",
            "DISPATCHINTERCONNECTORRES",
            "SETTLEMENTDATE INTERCONNECTORID INTERVENTION MWFLOW",
            {
                **_DISPATCH_KEY,
                "interconnector_id": ("INTERCONNECTORID", TEXT),
                "metered_mw_flow": ("METEREDMWFLOW", NUMBER),
                **_same_names(
                    "mw_flow mw_losses marginal_value violation_degree export_limit import_limit marginal_loss"
                ),
                "export_constraint_id": ("EXPORTGENCONID", TEXT),
                "import_constraint_id": ("IMPORTGENCONID", TEXT),
            },
        ),
    ),
    entity_columns=("interconnector_id",),
    entities=INTERCONNECTORS,
)

UNIT_SCADA_FEED = Feed(
    table=UNIT_SCADA,
    report=DISPATCH_SCADA,
    parts=(
        _part(
            "DISPATCH.UNIT_SCADA",
            "DISPATCH_UNIT_SCADA",
            "SETTLEMENTDATE DUID SCADAVALUE",
            {
                "interval_end": ("SETTLEMENTDATE", STAMP),
                "duid": ("DUID", TEXT),
                "scada_value": ("SCADAVALUE", NUMBER),
                "last_changed": ("LASTCHANGED", STAMP),
            },
        ),
    ),
    entity_columns=("duid",),
)

TRADING_PRICE_FEED = Feed(
    table=TRADING_PRICE,
    report=TRADING_IS,
    parts=(
        _part(
            "TRADING.PRICE",
            "TRADINGPRICE",
            "SETTLEMENTDATE REGIONID RRP",
            {
                "interval_end": ("SETTLEMENTDATE", STAMP),
                "region_id": ("REGIONID", TEXT),
                "rrp": ("RRP", NUMBER),
                "rop": ("ROP", NUMBER),
                "price_status": ("PRICE_STATUS", TEXT),
                "last_changed": ("LASTCHANGED", STAMP),
            },
        ),
    ),
    entity_columns=("region_id",),
    entities=REGIONS,
    length=settlement_length,
    # TradingIS files appear between 5 minutes before and 19 minutes after their stamp.
    grace=timedelta(minutes=30),
)

ROOFTOP_PV_FEED = Feed(
    table=ROOFTOP_PV,
    report=ROOFTOP,
    parts=(
        _part(
            "ROOFTOP.ACTUAL",
            "ROOFTOP_PV_ACTUAL",
            "INTERVAL_DATETIME REGIONID TYPE POWER",
            {
                "interval_end": ("INTERVAL_DATETIME", STAMP),
                "region_id": ("REGIONID", TEXT),
                "type": ("TYPE", TEXT),
                "power": ("POWER", NUMBER),
                "quality_indicator": ("QI", NUMBER),
                "last_changed": ("LASTCHANGED", STAMP),
            },
        ),
    ),
    entity_columns=("region_id", "type"),
    entities=tuple(f"{region} {estimate}" for region in REGIONS for estimate in ("MEASUREMENT", "SATELLITE")),
    length=half_hours,
    delay=HALF_HOUR,
    grace=timedelta(hours=1),
)

FEEDS: tuple[Feed, ...] = (
    DISPATCH_REGION_FEED,
    DISPATCH_INTERCONNECTOR_FEED,
    UNIT_SCADA_FEED,
    TRADING_PRICE_FEED,
    ROOFTOP_PV_FEED,
)
"""The feeds that come as MMS files. The monthly price-and-demand files and the 5MIN report's forecasts have
partitions and formats of their own: see ``assets``."""


AGGREGATED = Report(
    name="price_and_demand",
    folder="",
    prefixes=(),
    current_kept=timedelta(),
    archived_after=timedelta(),
)
PRICE_AND_DEMAND_FEED = Feed(
    table=PRICE_AND_DEMAND,
    report=AGGREGATED,
    parts=(),
    entity_columns=("region_id",),
    entities=REGIONS,
    length=settlement_length,
    # The month's file grows at midnight by the day that ended.
    delay=timedelta(hours=30),
    grace=timedelta(hours=12),
)
"""The monthly price-and-demand files: partitioned by month, one file a region, see ``aggregated``."""


def feeds_of(report: Report) -> tuple[Feed, ...]:
    """The feeds that one report's files supply; they are collected together, so that a file is fetched once."""
    return tuple(feed for feed in FEEDS if feed.report is report)


REPORTS: tuple[Report, ...] = tuple(dict.fromkeys(feed.report for feed in FEEDS))

MARKET_FLOOR = -1000.0
"""The market price floor, AUD/MWh, unchanged since the market began."""

_CAPS = {2010: 12500.0, 2012: 12900.0, 2013: 13100.0, 2014: 13500.0, 2015: 13800.0, 2016: 14000.0, 2017: 14200.0,
         2018: 14500.0, 2019: 14700.0, 2020: 15000.0, 2021: 15100.0, 2022: 15500.0, 2023: 16600.0, 2024: 17500.0,
         2025: 20300.0}  # fmt: skip
_FINANCIAL_YEAR_STARTS = 7


def market_cap(day: date) -> float:
    """The market price cap on a market day, AUD/MWh, by its financial year (July to June).

    AEMO sets it each July, and it has only risen: for a year newer than the list this is a lower bound, see
    ``cap_is_known``.
    """
    year = day.year if day.month >= _FINANCIAL_YEAR_STARTS else day.year - 1
    known = [start for start in _CAPS if start <= year]
    return _CAPS[max(known)] if known else _CAPS[min(_CAPS)]


def cap_is_known(day: date) -> bool:
    """Whether the cap of the day's financial year is in the list."""
    return day < date(max(_CAPS) + 1, _FINANCIAL_YEAR_STARTS, 1)
