"""A published world for people to look at: two market days, a building, KPIs, and what is wrong with them.

The open day is a Friday, 14:38 NEM time. Of the day before, QLD1 lacks 40 minutes; a spike in NSW1 and an afternoon of
negative prices in SA1 are in the open day. Rooftop solar and unit output were never collected; the weather of the works
stopped at 11:38.
"""

import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from etl_assets.lake.connection import write_lake
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import (
    DATA_QUALITY,
    DISPATCH_INTERCONNECTOR,
    DISPATCH_REGION,
    GAPS,
    KPI_VALUES,
    POINTS,
    PRICE_AND_DEMAND,
    QUERY_METADATA,
    REGION_FORECAST,
    SITES,
    TIMESERIES_AGG,
    TIMESERIES_RAW,
    WEATHER_RAW,
    Table,
)
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.market_time import day_start, interval_ends
from etl_assets.ops.state import SyncRun, copies_for_analysts, record_sync_run
from etl_assets.settings import Settings

DAY = date(2025, 11, 21)
DAY_BEFORE = date(2025, 11, 20)
FIRST_OF_MONTH = date(2025, 11, 1)
ENDS = interval_ends(DAY)[:175]
"""To 14:35."""
NEXT_END = interval_ends(DAY)[175]
NOW = ENDS[-1].astimezone(UTC) + timedelta(minutes=3)
REGIONS = {"NSW1": 8000.0, "QLD1": 6000.0, "SA1": 1500.0, "TAS1": 1100.0, "VIC1": 5200.0}
"""With a usual demand in MW."""
LINES = {
    "N-Q-MNSP1": 60.0,
    "NSW1-QLD1": -310.0,
    "T-V-MNSP1": -368.0,
    "V-S-MNSP1": 112.0,
    "V-SA": 342.0,
    "VIC1-NSW1": 1390.0,
}
HOLE = interval_ends(DAY_BEFORE)[120:128]
"""QLD1 lacks these, 10:05 to 10:40."""
SITES_SHOWN = {"tower a/ü": "NSW1", "works": "VIC1"}
SITE = "tower a/ü"
"""With what an address has to escape."""
POINTS_SHOWN = ("ahu-1/fan", "meter/main", "room-12/temperature")
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def price_at(region: str, end: datetime) -> float:
    """A price that no other region has in the interval: a spike in NSW1 at 07:05, and negative prices in SA1."""
    number = int((end - day_start(DAY_BEFORE)).total_seconds()) // 300
    of_day = number % 288
    if region == "NSW1" and of_day == 85:
        return 15_100.5
    if region == "SA1" and 120 <= of_day <= 200:
        return -42.75 - of_day / 97
    return round(60 + 10 * list(REGIONS).index(region) + 25 * math.sin(of_day / 288 * 2 * math.pi), 2)


def _region_row(end: datetime, region: str) -> dict[str, Any]:
    demand = REGIONS[region] * (1 + 0.2 * math.sin(end.timestamp() / 13_750))
    return {
        "interval_end": end,
        "region_id": region,
        "intervention": 0,
        "rrp": price_at(region, end),
        "rop": 1.0,
        "total_demand": round(demand, 1),
        "available_generation": 9000.0,
        "dispatchable_generation": 0.9 * demand,
        "net_interchange": -0.1 * demand,
    }


def _flow_row(end: datetime, line: str) -> dict[str, Any]:
    flow = LINES[line] + end.minute
    return {
        "interval_end": end,
        "interconnector_id": line,
        "intervention": 0,
        "mw_flow": flow,
        "mw_losses": 4.0,
        "export_limit": 1500.0 if line == "VIC1-NSW1" else 600.0,
        "import_limit": -500.0,
    }


def market_rows(*ends: datetime) -> list[tuple[Table, list[dict[str, Any]]]]:
    """Dispatch of all regions and interconnectors, but for the hole."""
    regions = [_region_row(end, region) for end in ends for region in REGIONS if region != "QLD1" or end not in HOLE]
    return [
        (DISPATCH_REGION, regions),
        (DISPATCH_INTERCONNECTOR, [_flow_row(end, line) for end in ends for line in LINES]),
    ]


def _history() -> list[tuple[Table, list[dict[str, Any]]]]:
    days = [FIRST_OF_MONTH + timedelta(days=n) for n in range((DAY_BEFORE - FIRST_OF_MONTH).days)]
    aggregated = [
        {
            "interval_end": end,
            "region_id": region,
            "rrp": price_at(region, end),
            "total_demand": REGIONS[region],
            "period_type": "TRADE",
        }
        for day in days
        for end in interval_ends(day)
        for region in REGIONS
    ]
    ahead = [
        {
            "interval_end": ENDS[-1] + timedelta(minutes=30 * n),
            "region_id": region,
            "issued_at": ENDS[-1],
            "rrp": 70.0 + n,
            "total_demand": demand,
        }
        for n in range(1, 12)
        for region, demand in REGIONS.items()
    ]
    return [(PRICE_AND_DEMAND, aggregated), (REGION_FORECAST, ahead)]


def _building(site: str) -> list[tuple[Table, list[dict[str, Any]]]]:
    begin, end = day_start(DAY_BEFORE).astimezone(UTC), NOW - 2 * MINUTE
    of = {"site_name": site}
    names = [f"client/{site}/{point}" for point in POINTS_SHOWN]
    # The room's sensor was silent from 03:00 to 06:00 of the open day.
    silent = (begin + 27 * HOUR, begin + 30 * HOUR)
    aggregates = [
        {
            **of,
            "point_name": name,
            "interval": kind,
            "timestamp": start,
            "avg_value": 20 + 5 * math.sin(start.timestamp() / 9000),
            "min_value": 14.0,
            "max_value": 27.0,
            "sample_count": int(width / MINUTE),
        }
        for kind, width in (("5min", 5 * MINUTE), ("1h", HOUR))
        for name in names
        for start in (begin + width * n for n in range(int((end - begin) / width)))
        if "temperature" not in name or not silent[0] <= start < silent[1]
    ]
    scores = [
        {
            **of,
            "point_name": name,
            "date": DAY_BEFORE,
            "expected_samples": 1440,
            "actual_samples": actual,
            "missing_samples": 1440 - actual,
            "outlier_count": 2,
            "quality_score": actual / 1440,
        }
        for name, actual in zip(names, (1440, 1440, 1296), strict=True)
    ]
    gap = {
        "dataset": "ace.timeseries_raw",
        "entity": f"{site}/{names[2]}",
        "gap_start": silent[0],
        "gap_end": silent[1],
        "missing_intervals": 181,
        "first_seen": NOW,
    }
    kinds = ("status", "power", "zone temperature")
    units = ("", "kilowatts", "degreesCelsius")
    return [
        (SITES, [{**of, "nice_name": site, "time_zone": "Australia/Sydney", "power_points": "[]"}]),
        (
            POINTS,
            [
                {
                    **of,
                    "point_name": name,
                    "collect_interval": 60,
                    "is_listed": True,
                    "kv_tags": f'{{"meaning":"{kind}","unit":"{unit}"}}',
                }
                for name, kind, unit in zip(names, kinds, units, strict=True)
            ],
        ),
        (
            QUERY_METADATA,
            [{**of, "point_name": name, "data_start": begin, "data_end": end, "total_samples": 2000} for name in names],
        ),
        (
            TIMESERIES_RAW,
            [{**of, "point_name": names[0], "timestamp": begin, "value": 2.0, "quality": "good", "metadata": "{}"}],
        ),
        (TIMESERIES_AGG, aggregates),
        (DATA_QUALITY, scores),
        (GAPS, [gap]),
        (
            WEATHER_RAW,
            [
                {**of, "timestamp": NOW - HOUR * n, "temperature": 20.0 + n, "humidity": 50.0, "wind_speed": 2.0}
                for n in range(0 if site == SITE else 3, 12)
            ],
        ),
    ]


def _kpis() -> list[tuple[Table, list[dict[str, Any]]]]:
    values = [
        {
            "kpi_id": "peak-price",
            "date": DAY_BEFORE - timedelta(days=n),
            "entity": region,
            "value": 100.0 * n + 90,
            "unit": "AUD/MWh",
            "threshold_status": "above" if (n, region) == (0, "NSW1") else "within",
            "source": "sql",
            "trace_id": "",
            "computed_at": NOW,
        }
        for n in range(12)
        for region in REGIONS
    ]
    return [(KPI_VALUES, values)]


def store(settings: Settings, parts: list[tuple[Table, list[dict[str, Any]]]], at: datetime) -> None:
    """Rows into the lake, and the lake into the published file."""
    with write_lake(settings, "a test") as lake, transaction(lake):
        for table, rows in parts:
            upsert(lake, table, pa.Table.from_pylist(rows), now=at)
    publish(settings, now=at, extra=copies_for_analysts(settings))


def sync_run(dataset: str, started: datetime, *, inserted: int, seconds: float = 2.0) -> SyncRun:
    """What a run did for one dataset of the open day."""
    return SyncRun(
        run_id=f"run-{dataset}-{started:%H%M%S}",
        attempt=0,
        dataset=dataset,
        partition=str(DAY),
        started_at=started,
        finished_at=started + timedelta(seconds=seconds),
        duration_seconds=seconds,
        fetched=inserted,
        filtered=0,
        invalid=0,
        duplicate=0,
        unchanged=0,
        inserted=inserted,
        updated=0,
        requests_by_status={"200": 1},
        retries=0,
        bytes_received=1,
        errors=(),
    )


def fill(settings: Settings, *, with_history: bool = True) -> None:
    """Publish all of it, by way of the lake, and record four syncs; without history the market begins two days ago."""
    buildings = [part for site in SITES_SHOWN for part in _building(site)]
    for number in range(4):
        started = NOW - timedelta(minutes=5 * number + 2)
        record_sync_run(settings, sync_run("aemo.dispatch_region", started, inserted=10 * number, seconds=1.0 + number))
    history = _history() if with_history else []
    store(settings, [*history, *market_rows(*interval_ends(DAY_BEFORE), *ENDS), *buildings, *_kpis()], NOW - MINUTE)
