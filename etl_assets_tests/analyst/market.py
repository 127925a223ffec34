"""Two market days and a building, small enough to work every figure out by hand: a Friday and a Saturday."""

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa

from etl_assets.ace.aggregates import derive_day
from etl_assets.lake.connection import write_lake
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import (
    DISPATCH_INTERCONNECTOR,
    DISPATCH_REGION,
    KPI_VALUES,
    POINTS,
    REGION_FORECAST,
    ROOFTOP_PV,
    SITES,
    TIMESERIES_RAW,
    TRADING_PRICE,
    UNIT_SCADA,
    Table,
)
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.market_time import HALF_HOUR, NEM_TIME, day_start, interval_ends
from etl_assets.ops.state import SyncRun, copies_for_analysts, record_sync_run
from etl_assets.quality.scores import record_site_gaps, score_day
from etl_assets.settings import Settings

FRIDAY, SATURDAY = date(2026, 11, 20), date(2026, 11, 21)
DAYS = (FRIDAY, SATURDAY)
NOW = datetime(2026, 11, 22, 12, tzinfo=NEM_TIME)
BASE_PRICES = {"NSW1": 60.0, "QLD1": 50.0, "SA1": 40.0, "TAS1": 70.0, "VIC1": 55.0}
SITE, SITE_ZONE, SITE_REGION = "building-a", ZoneInfo("Australia/Sydney"), "NSW1"
METERS = (f"{SITE}/meter-1", f"{SITE}/meter-2")
OUTSIDE = f"{SITE}/weather/temp"
INTERVENED = interval_ends(SATURDAY)[99]
"""When the physical run was another one: V-SA at its limit."""

SILENT = (day_start(FRIDAY) + timedelta(hours=3), day_start(FRIDAY) + timedelta(hours=3, minutes=30))
"""When the second meter gave nothing."""


def hour_of(end: datetime) -> int:
    """The NEM hour that an interval lies in."""
    return (end - timedelta(minutes=5)).astimezone(NEM_TIME).hour


def price(region: str, end: datetime) -> float:
    """AUD/MWh: rising over the day, below zero from 10 to 14, and 1000 for five minutes at 16:40."""
    if end == interval_ends(end.astimezone(NEM_TIME).date())[199]:
        return 1000.0
    hour = hour_of(end)
    return -30.0 if hour in range(10, 14) else BASE_PRICES[region] + 2 * hour


def demand(region: str, end: datetime) -> float:
    """MW, more by the hour."""
    return 100 * BASE_PRICES[region] + 50 * hour_of(end)


def flow(link: str, end: datetime) -> float:
    """MW: V-SA at its limit of -200 from 18 to 21, VIC1-NSW1 at its 400 from 7 to 9."""
    if link == "V-SA":
        return -200.0 if hour_of(end) in range(18, 21) else -100.0
    return 400.0 if hour_of(end) in range(7, 9) else 50.0


def rooftop(end: datetime) -> float:
    """MW, the same in every region, while the sun is up."""
    return 2000.0 if (end - HALF_HOUR).astimezone(NEM_TIME).hour in range(8, 16) else 0.0


def load(meter: str, at: datetime) -> float:
    """kW: the first meter's by the building's clock and week, the second's always the same."""
    local = at.astimezone(SITE_ZONE)
    if meter == METERS[1]:
        return 10.0
    return 80.0 if local.hour in range(8, 18) and local.isoweekday() <= 5 else 20.0


def outside(at: datetime) -> float:
    """Degrees Celsius, by the building's hour."""
    return 12.0 + at.astimezone(SITE_ZONE).hour / 2


def readings(day: date) -> Iterator[tuple[str, datetime, float]]:
    """The building's readings of a day, every five minutes, but for the meter's silence."""
    for at in (day_start(day) + timedelta(minutes=5 * n) for n in range(288)):
        yield OUTSIDE, at, outside(at)
        for meter in METERS:
            if meter == METERS[0] or not SILENT[0] <= at < SILENT[1]:
                yield meter, at, load(meter, at)


def _market() -> Iterator[tuple[Table, list[dict]]]:
    ends = [end for day in DAYS for end in interval_ends(day)]
    halves = [end for day in DAYS for end in interval_ends(day, HALF_HOUR)]
    dispatch = {"rop": 1.0, "available_generation": 9000.0, "source": "NEMWEB CURRENT", "source_file": "first.zip"}
    runs = [(end, region, 0) for end in ends for region in BASE_PRICES] + [(INTERVENED, "SA1", 1)]
    yield DISPATCH_REGION, [
        {"interval_end": end, "region_id": region, "intervention": run, "rrp": 500.0 if run else price(region, end),
         "total_demand": demand(region, end), **dispatch}
        for end, region, run in runs
    ]  # fmt: skip
    flows = [(end, link, 0, flow(link, end)) for end in ends for link in ("V-SA", "VIC1-NSW1")]
    yield DISPATCH_INTERCONNECTOR, [
        {"interval_end": end, "interconnector_id": link, "intervention": run, "mw_flow": mw,
         "export_limit": 400.0, "import_limit": -200.0}
        for end, link, run, mw in [*flows, (INTERVENED, "V-SA", 1, -200.0)]
    ]  # fmt: skip
    yield TRADING_PRICE, [
        {"interval_end": end, "region_id": region, "rrp": round(price(region, end), 2)}
        for end in ends for region in BASE_PRICES
    ]  # fmt: skip
    yield (
        UNIT_SCADA,
        [
            {"interval_end": end, "duid": duid, "scada_value": mw}
            for end in ends
            for duid, mw in (("STEADY1", 300.0), ("SUN1", rooftop(end) / 10), ("PUMP1", -50.0))
        ],
    )
    yield ROOFTOP_PV, [
        {"interval_end": end, "region_id": region, "type": kind, "power": rooftop(end) * factor}
        for end in halves for region in BASE_PRICES for kind, factor in (("MEASUREMENT", 1.0), ("SATELLITE", 1.1))
    ]  # fmt: skip
    yield REGION_FORECAST, [
        {"interval_end": end, "region_id": region, "issued_at": day_start(FRIDAY), "rrp": 50.0, "total_demand": 6000.0}
        for end in halves[:56] for region in BASE_PRICES
    ]  # fmt: skip


def _buildings() -> Iterator[tuple[Table, list[dict]]]:
    yield (
        SITES,
        [
            {
                "site_name": SITE,
                "region_id": SITE_REGION,
                "time_zone": str(SITE_ZONE),
                "power_points": json.dumps(METERS),
            }
        ],
    )
    yield (
        POINTS,
        [
            {"site_name": SITE, "point_name": name, "collect_enabled": True, "collect_interval": 300}
            for name in (*METERS, OUTSIDE)
        ],
    )
    yield (
        TIMESERIES_RAW,
        [
            {"site_name": SITE, "point_name": name, "timestamp": at, "value": value}
            for name, at, value in sorted(reading for day in DAYS for reading in readings(day))
        ],
    )
    yield KPI_VALUES, [
        {"kpi_id": "average-price", "date": day, "entity": region, "value": 50.0, "unit": "AUD/MWh",
         "threshold_status": "within"}
        for day in DAYS for region in BASE_PRICES
    ]  # fmt: skip


def publish_market(folder: Path) -> Settings:
    """The two days, collected, derived and scored, in a published file; one price was revised since."""
    chosen = Settings(_env_file=None, etl_data=folder)
    with write_lake(chosen, "a test") as lake, transaction(lake):
        for table, rows in (*_market(), *_buildings()):
            upsert(lake, table, pa.Table.from_pylist(rows), now=NOW)
        for day in DAYS:
            derive_day(lake, SITE, day, now=NOW)
            score_day(lake, SITE, day, now=NOW)
            record_site_gaps(lake, SITE, day, now=NOW)
    _revise(chosen)
    record_sync_run(chosen, _RUN)
    publish(chosen, now=NOW, extra=copies_for_analysts(chosen))
    return chosen


def publish_nothing(folder: Path) -> Settings:
    """A published file whose tables are all there, and empty."""
    chosen = Settings(_env_file=None, etl_data=folder)
    with write_lake(chosen, "a test"):
        pass
    publish(chosen, now=NOW, extra=copies_for_analysts(chosen))
    return chosen


def _revise(chosen: Settings) -> None:
    """A physical price that AEMO corrected: it settles nothing, so no other figure here changes."""
    row = {"interval_end": INTERVENED, "region_id": "SA1", "intervention": 1, "rrp": 450.0, "source_file": "later.zip"}
    with write_lake(chosen, "a test") as lake, transaction(lake):
        upsert(lake, DISPATCH_REGION, pa.Table.from_pylist([row]), now=NOW)


_RUN = SyncRun(
    run_id="run-1", attempt=1, dataset="aemo.dispatch_region", partition=str(SATURDAY), started_at=NOW,
    finished_at=NOW, duration_seconds=1.0, fetched=2880, filtered=0, invalid=0, duplicate=0, unchanged=0,
    inserted=2880, updated=0, requests_by_status={"200": 1}, retries=0, bytes_received=1, errors=(),
)  # fmt: skip
