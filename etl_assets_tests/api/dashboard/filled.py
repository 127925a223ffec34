"""A small published world for the page's figures: three market days, one building, KPIs, what is wrong with them."""

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
    QUARANTINE,
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
from etl_assets.ops.state import copies_for_analysts
from etl_assets.settings import Settings

DAY = date(2025, 11, 21)
"""The open day: two hours of it are there, 00:25 is missing, and SA1 is at 00:30."""
WHOLE_DAY = date(2025, 11, 20)
AGGREGATED_DAY = date(2025, 11, 19)
"""Of which only the aggregated prices are there."""

REGIONS = ("NSW1", "QLD1", "SA1", "TAS1", "VIC1")
ENDS = interval_ends(DAY)[:24]
NOW = ENDS[-1].astimezone(UTC) + timedelta(minutes=4)
PUBLISHED = NOW - timedelta(seconds=90)
SITE = "tower a/ü"
"""With what an address has to escape."""
METER, ROOM = f"client/{SITE}/dev-1/analogInput/1", "elsewhere/room"
MIDNIGHT = day_start(DAY).astimezone(UTC)
YESTERDAY = day_start(WHOLE_DAY).astimezone(UTC)
HOUR = timedelta(hours=1)


def epoch(moment: datetime) -> int:
    return int(moment.timestamp())


def price(region: str, number: int) -> float:
    """The price of a region in the interval of a number of its day: another one each."""
    return 10.0 * (REGIONS.index(region) + 1) + number


def _dispatched() -> list[dict[str, Any]]:
    usual = {"intervention": 0, "rop": 1.0, "total_demand": 7000.0, "available_generation": 9000.0,
             "dispatchable_generation": 6500.0, "net_interchange": -500.0}  # fmt: skip
    rows = [
        {"interval_end": end, "region_id": region, "rrp": price(region, number), **usual}
        for ends in (interval_ends(WHOLE_DAY), ENDS)
        for number, end in enumerate(ends, 1)
        for region in REGIONS
        if end != ENDS[4] and (end, region) != (ENDS[5], "SA1")
    ]
    physical = {"interval_end": ENDS[0], "region_id": "NSW1", "rrp": 9999.0, **usual, "intervention": 1}
    return [*rows, physical]


def _flows() -> list[dict[str, Any]]:
    limits = {"export_limit": 400.0, "import_limit": -250.0, "mw_losses": 3.0}
    return [
        {"interval_end": ENDS[-2], "interconnector_id": "V-SA", "intervention": 0, "mw_flow": 90.0, **limits},
        {"interval_end": ENDS[-1], "interconnector_id": "V-SA", "intervention": 0, "mw_flow": 100.0, **limits},
        {"interval_end": ENDS[-1], "interconnector_id": "V-SA", "intervention": 1, "mw_flow": -200.0, **limits},
    ]


def _forecast() -> list[dict[str, Any]]:
    return [
        {"interval_end": NOW + HOUR * n, "region_id": "NSW1", "issued_at": issued, "rrp": rrp, "total_demand": 1.0}
        for issued, rrp in ((ENDS[-2], 1.0), (ENDS[-1], 2.0))
        for n in (1, 2)
    ]


def _building() -> list[tuple[Table, list[dict[str, Any]]]]:
    of = {"site_name": SITE}
    tags = {"kv_tags": '{"meaning":"power","unit":"kilowatts"}', "marker_tags": '["point","power"]'}
    bare = {"kv_tags": None, "marker_tags": None, "collect_interval": None}
    hours = [(YESTERDAY + HOUR * n, 60) for n in range(24)] + [(MIDNIGHT, 60), (MIDNIGHT + HOUR, 15)]
    five = [MIDNIGHT + timedelta(minutes=5) * n for n in range(3)]
    aggregates = [
        {**of, "point_name": METER, "interval": interval, "timestamp": start, "avg_value": 2.0, "min_value": 1.0,
         "max_value": 3.0, "sample_count": count}
        for interval, starts in (("1h", hours), ("5min", [(start, 5) for start in five]))
        for start, count in starts
    ]  # fmt: skip
    known = {**of, "data_start": YESTERDAY, "data_end": NOW - timedelta(minutes=3), "total_samples": 1515}
    scores = [
        {**of, "point_name": METER, "date": day, "expected_samples": 1440, "actual_samples": actual,
         "outlier_count": 2, "quality_score": actual / 1440}
        for day, actual in ((AGGREGATED_DAY, 720), (WHOLE_DAY, 1440))
    ]  # fmt: skip
    weather = [
        {**of, "timestamp": NOW - HOUR * n, "temperature": 20.0 + n, "humidity": 50.0, "wind_speed": 2.0}
        for n in (0, 2)
    ]
    return [
        (SITES, [{**of, "nice_name": "Tower", "time_zone": "Australia/Sydney", "power_points": "[]"}]),
        (POINTS, [{**of, "point_name": METER, "collect_interval": 60, "is_listed": True, "bacnet_data": "{}", **tags},
                  {**of, "point_name": ROOM, "is_listed": True, "bacnet_data": '{"object_type":"analogInput"}',
                   **bare}]),
        (QUERY_METADATA, [{**known, "point_name": METER}]),
        (TIMESERIES_RAW, [{**of, "point_name": METER, "timestamp": MIDNIGHT, "value": 2.0, "quality": "good",
                           "metadata": "{}"}]),
        (TIMESERIES_AGG, aggregates),
        (DATA_QUALITY, scores),
        (WEATHER_RAW, weather),
    ]  # fmt: skip


def _troubles() -> list[tuple[Table, list[dict[str, Any]]]]:
    gap = {"dataset": "ace.timeseries_raw", "entity": f"{SITE}/{METER}", "first_seen": NOW, "healed_at": None}
    ends = {"gap_start": MIDNIGHT + timedelta(minutes=61), "gap_end": MIDNIGHT + timedelta(minutes=80)}
    healed = {"gap_start": MIDNIGHT, "gap_end": MIDNIGHT, "healed_at": NOW, "missing_intervals": 1}
    record = {"id": "q", "dataset": "aemo.unit_scada", "source": "f", "raw": "x", "reason": "r", "run_id": "r"}
    values = [
        {"kpi_id": "peak-price", "date": day, "entity": entity, "value": value, "unit": "AUD/MWh",
         "threshold_status": status, "source": "sql", "trace_id": "", "computed_at": NOW}
        for day, entity, value, status in (
            (AGGREGATED_DAY, "NSW1", 5.0, "within"),
            (WHOLE_DAY, "NSW1", 9.0, "above"),
            (WHOLE_DAY, "SA1", None, "no_data"),
        )
    ]  # fmt: skip
    return [
        (GAPS, [{**gap, **ends, "missing_intervals": 20}, {**gap, **healed}]),
        (QUARANTINE, [{**record, "day": DAY, "collected_at": NOW, "resolved_at": None}]),
        (KPI_VALUES, values),
    ]


def fill(settings: Settings) -> None:
    """Publish all of it, by way of the lake."""
    aggregated = [
        {"interval_end": end, "region_id": region, "rrp": 7.0, "total_demand": 70.0, "period_type": "TRADE"}
        for end in interval_ends(AGGREGATED_DAY)
        for region in REGIONS
    ]
    market = [
        (DISPATCH_REGION, _dispatched()),
        (DISPATCH_INTERCONNECTOR, _flows()),
        (PRICE_AND_DEMAND, aggregated),
        (REGION_FORECAST, _forecast()),
    ]
    with write_lake(settings, "a test") as lake, transaction(lake):
        for table, rows in (*market, *_building(), *_troubles()):
            upsert(lake, table, pa.Table.from_pylist(rows), now=NOW)
    publish(settings, now=PUBLISHED, extra=copies_for_analysts(settings))
