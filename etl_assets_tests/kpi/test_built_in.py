"""The built-in KPIs: each against a value worked out by hand from a handful of rows, and their registry.

All values are of the market day 2026-11-20. Rows of the days beside it are there to be left out.
"""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from math import sqrt
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from etl_assets.kpi.query import PublishedFile, check_sql
from etl_assets.kpi.registry import built_in
from etl_assets.lake.connection import write_lake
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import (
    DATA_QUALITY,
    DISPATCH_INTERCONNECTOR,
    DISPATCH_REGION,
    ROOFTOP_PV,
    SITES,
    TIMESERIES_AGG,
    TRADING_PRICE,
    UNIT_SCADA,
    WEATHER_RAW,
    Table,
)
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.market_time import day_start
from etl_assets.settings import Settings

DAY = date(2026, 11, 20)
HALF_HOURLY_DAY = date(2021, 9, 30)
NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
KPI_FOLDER = Path(__file__).parents[2] / "etl_assets" / "kpi"
KPIS = {kpi.id: kpi for kpi in built_in().kpis}


def at(clock: str, day: date = DAY) -> datetime:
    """``hh:mm`` of a market day in NEM time, 24:00 included."""
    hours, minutes = clock.split(":")
    return day_start(day) + timedelta(hours=int(hours), minutes=int(minutes))


def table(names: str, *rows: tuple) -> list[dict]:
    return [dict(zip(names.split(), row, strict=True)) for row in rows]


REGIONS = table(
    "interval_end region_id intervention rrp total_demand",
    (at("00:05"), "NSW1", 0, 100.0, 6000.0),
    (at("00:10"), "NSW1", 0, 300.0, 9000.0),
    (at("24:00"), "NSW1", 0, -20.0, 3000.0),
    # The physical run of an intervention sets no price.
    (at("00:05"), "NSW1", 1, 9999.0, 1.0),
    # The interval that ends at 00:00 is of the day before.
    (at("00:00"), "NSW1", 0, -1000.0, 5000.0),
    (at("24:05"), "NSW1", 0, 15000.0, 5000.0),
    (at("00:05"), "SA1", 0, -50.0, -100.0),
    (at("00:10"), "SA1", 0, -30.0, 300.0),
    (at("00:15"), "SA1", 0, 0.0, 200.0),
)

INTERCONNECTORS = table(
    "interval_end interconnector_id intervention mw_flow export_limit import_limit",
    (at("00:05"), "V-SA", 0, 300.0, 600.0, -400.0),
    (at("00:10"), "V-SA", 0, -100.0, 600.0, -400.0),
    # An intervention: what flowed is in the physical run.
    (at("00:15"), "V-SA", 0, 100.0, 400.0, -400.0),
    (at("00:15"), "V-SA", 1, 300.0, 400.0, -400.0),
    # Closed in the direction of the flow, and forced out of it.
    (at("00:20"), "V-SA", 0, 10.0, 0.0, -400.0),
    (at("00:25"), "V-SA", 0, -10.0, 600.0, 5.0),
    (at("00:05"), "T-V-MNSP1", 0, 0.0, 0.0, 0.0),
    (at("24:05"), "V-SA", 0, 600.0, 600.0, -400.0),
)

TRADING = table(
    "interval_end region_id rrp",
    (at("00:05"), "NSW1", 100.0),
    (at("00:10"), "NSW1", 300.0),
    *((at(f"{hour}:30", HALF_HOURLY_DAY), "NSW1", 50.0) for hour in range(12)),
)

UNITS = table(
    "interval_end duid scada_value",
    *((at(clock), unit, 1.0) for clock in ("00:05", "00:10", "24:00") for unit in ("BW01", "BW02")),
)

ROOFTOP = table(
    "interval_end region_id type power",
    (at("12:00"), "NSW1", "MEASUREMENT", 2000.0),
    (at("12:00"), "NSW1", "SATELLITE", 2100.0),
    (at("12:00"), "QLDC", "MEASUREMENT", 100.0),
)

ACCOUNT = table(
    "site_name region_id time_zone power_points",
    ("alpha", "NSW1", "Australia/Sydney", '["a/main", "a/lift"]'),
    ("beta", "SA1", "Australia/Adelaide", '["b/main"]'),
    ("gamma", "VIC1", "Australia/Melbourne", "[]"),
    ("delta", "QLD1", "Australia/Brisbane", '["d/main"]'),
)

AGGREGATES = table(
    "site_name point_name interval timestamp avg_value",
    ("alpha", "a/main", "5min", at("00:00"), 60.0),
    ("alpha", "a/main", "5min", at("00:05"), 120.0),
    ("alpha", "a/main", "5min", at("23:55"), 30.0),
    ("alpha", "a/lift", "5min", at("00:00"), 12.0),
    ("alpha", "a/lift", "5min", at("23:55"), 6.0),
    # No power point, another interval, the days beside.
    ("alpha", "a/temperature", "5min", at("00:00"), 21.0),
    ("alpha", "a/main", "1h", at("00:00"), 1000.0),
    ("alpha", "a/main", "5min", at("24:00"), 500.0),
    ("alpha", "a/main", "5min", at("00:00", DAY - timedelta(days=1)), 500.0),
    # Another site's point of the same name.
    ("gamma", "a/main", "5min", at("00:00"), 700.0),
    ("beta", "b/main", "5min", at("00:00"), 24.0),
    ("beta", "b/main", "5min", at("00:05"), 48.0),
    # There is no price for the interval that ends at 00:35.
    ("beta", "b/main", "5min", at("00:30"), 60.0),
    # A weather point; the same name at another site is none.
    ("delta", "delta/weather/temp", "5min", at("03:00"), 9.0),
    ("delta", "delta/weather/temp", "5min", at("14:00"), 17.0),
    ("delta", "delta/weather/temp", "1h", at("03:00"), 9.5),
    ("delta", "delta/weather/temp", "1h", at("14:00"), 16.5),
    ("delta", "delta/weather/temp", "5min", at("24:00"), 50.0),
    ("gamma", "delta/weather/temp", "5min", at("12:00"), 50.0),
)

WEATHER = table(
    "site_name timestamp temperature",
    ("alpha", at("00:00"), 8.0),
    ("alpha", at("03:00"), 9.0),
    ("alpha", at("12:00"), 20.0),
    ("alpha", at("24:00"), 40.0),
    ("beta", at("06:00"), 22.0),
    ("beta", at("06:30"), None),
    ("beta", at("15:00"), 34.0),
    ("gamma", at("12:00", DAY - timedelta(days=1)), 30.0),
)

QUALITY = table(
    "site_name point_name date expected_samples actual_samples",
    ("alpha", "a/main", DAY, 100, 150),
    ("alpha", "a/lift", DAY, 300, 100),
    ("alpha", "a/lift", DAY - timedelta(days=1), 300, 300),
    ("beta", "b/main", DAY, 0, 0),
)

CONTENT: dict[Table, list[dict]] = {
    DISPATCH_REGION: REGIONS,
    DISPATCH_INTERCONNECTOR: INTERCONNECTORS,
    TRADING_PRICE: TRADING,
    UNIT_SCADA: UNITS,
    ROOFTOP_PV: ROOFTOP,
    SITES: ACCOUNT,
    TIMESERIES_AGG: AGGREGATES,
    WEATHER_RAW: WEATHER,
    DATA_QUALITY: QUALITY,
}

EXPECTED = {
    "average-price": {"NSW1": (100 + 300 - 20) / 3, "SA1": (-50 - 30 + 0) / 3},
    "peak-price": {"NSW1": 300, "SA1": 0},
    # NSW1: (600,000 + 2,700,000 - 60,000) AUD / 18,000; SA1: (5,000 - 9,000 + 0) / 400, negative demand included.
    "volume-weighted-price": {"NSW1": 180, "SA1": -10},
    "negative-price-hours": {"NSW1": 1 / 12, "SA1": 2 / 12},
    # Three times the distances from the mean: -80, 520, -440 and -70, -10, 80.
    "price-volatility": {"NSW1": sqrt((6400 + 270400 + 193600) / 9 / 3), "SA1": sqrt((4900 + 100 + 6400) / 9 / 3)},
    # 300/600, 100/400, and 300/400 of the physical run: 150 % / 3.
    "interconnector-utilisation": {"T-V-MNSP1": None, "V-SA": 50},
    # alpha: 60 + 120 + 30 + 12 + 6 = 228 kW for a twelfth of an hour each; beta: 132.
    "site-energy": {"alpha": 19, "beta": 11, "delta": None},
    # alpha 00:00: (60 + 120) / 2 + 12; beta 00:30: 60, against (24 + 48) / 2 at 00:00.
    "site-peak-demand": {"alpha": 102, "beta": 60, "delta": None},
    # alpha: 228 kW in three intervals are 76 of 102; beta: 132 in three are 44 of 60.
    "site-load-factor": {"alpha": 100 * 76 / 102, "beta": 100 * 44 / 60, "delta": None},
    # alpha: 6 kWh at 100, 10 at 300, 3 at -20 AUD/MWh; beta: 2 at -50, 4 at -30, 5 without a price.
    "energy-cost": {"alpha": (600 + 3000 - 60) / 1000, "beta": (-100 - 120) / 1000, "delta": None},
    # alpha: (8 + 20) / 2 = 14, and not the mean of the three; beta: (22 + 34) / 2 = 28; delta: (9 + 17) / 2 = 13.
    "heating-degree-days": {"alpha": 4, "beta": 0, "delta": 5, "gamma": None},
    "cooling-degree-days": {"alpha": 0, "beta": 4, "delta": 0, "gamma": None},
    "completeness": {
        "aemo.dispatch_region": 100 * 6 / 1440,
        "aemo.dispatch_interconnector": 100 * 6 / 1728,
        "aemo.unit_scada": 100 * 3 / 288,
        "aemo.trading_price": 100 * 2 / 1440,
        "aemo.rooftop_pv": 100 * 2 / 480,
        # 100 of 100, whatever came beside, and 100 of 300.
        "alpha": 50,
        "beta": None,
        "gamma": None,
        "delta": None,
        # 00, 03 and 12 o'clock; 06 and 15; had weather the day before; 03 and 14.
        "alpha weather": 12.5,
        "beta weather": 100 * 2 / 24,
        "gamma weather": 0,
        "delta weather": 100 * 2 / 24,
    },
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublishedFile]:
    settings = Settings(_env_file=None, etl_data=tmp_path_factory.mktemp("built_in") / "data")
    with write_lake(settings, "a test") as lake, transaction(lake):
        for into, rows in CONTENT.items():
            upsert(lake, into, pa.Table.from_pylist(rows), now=NOW)
    publish(settings, now=NOW)
    with PublishedFile(settings) as file:
        yield file


def values(published: PublishedFile, kpi_id: str, day: date) -> dict[str, float | None]:
    found = published.values(KPIS[kpi_id].sql, day, entity=KPIS[kpi_id].entity)
    return {value.entity: value.value for value in found}


@pytest.mark.parametrize("kpi_id", EXPECTED)
def test_each_has_the_value_worked_out_by_hand(published, kpi_id):
    assert values(published, kpi_id, DAY) == pytest.approx(EXPECTED[kpi_id])


def test_trading_prices_before_five_minute_settlement_are_half_hourly(published):
    # Twelve of 48 half-hours, of one of five regions.
    assert values(published, "completeness", HALF_HOURLY_DAY)["aemo.trading_price"] == pytest.approx(100 * 12 / 240)


NOTHING = {
    **{kpi_id: {} for kpi_id in EXPECTED},
    **{kpi_id: dict.fromkeys(["alpha", "beta", "delta"]) for kpi_id in EXPECTED if KPIS[kpi_id].entity == "site"},
    **{f"{kind}-degree-days": dict.fromkeys(["alpha", "beta", "gamma", "delta"]) for kind in ("heating", "cooling")},
    "completeness": {
        **{name: 0 for name in EXPECTED["completeness"] if name.startswith("aemo.")},
        **{name: None for name in EXPECTED["completeness"] if not name.startswith("aemo.")},
    },
}


@pytest.mark.parametrize("kpi_id", NOTHING)
def test_a_day_before_all_data_has_no_value_but_completeness(published, kpi_id):
    assert values(published, kpi_id, date(2020, 2, 29)) == NOTHING[kpi_id]


def test_every_built_in_kpi_has_a_value_worked_out_here():
    assert set(EXPECTED) == set(KPIS)


@pytest.mark.parametrize("kpi", KPIS.values(), ids=KPIS)
def test_the_query_of_each_is_one_that_a_registry_may_have(kpi):
    check_sql(kpi.sql)


def test_each_has_a_file_named_as_it_is_and_there_are_no_others():
    entries = json.loads((KPI_FOLDER / "registry.json").read_text())["kpis"]

    assert {entry["id"]: entry["sqlFile"] for entry in entries} == {
        kpi_id: f"sql/{kpi_id.replace('-', '_')}.sql" for kpi_id in KPIS
    }
    assert sorted(path.name for path in (KPI_FOLDER / "sql").iterdir()) == sorted(
        f"{kpi_id.replace('-', '_')}.sql" for kpi_id in KPIS
    )


def test_the_counts_of_the_registry_are_right():
    content = json.loads((KPI_FOLDER / "registry.json").read_text())

    assert content["metadata"]["totalKPIs"] == len(content["kpis"])
    assert content["metadata"]["activeKPIs"] == sum(entry["active"] for entry in content["kpis"])


@pytest.mark.parametrize("kpi", KPIS.values(), ids=KPIS)
def test_each_says_what_it_is_and_calls_no_workflow(kpi):
    assert all((kpi.name, kpi.description, kpi.type, kpi.unit, kpi.entity, kpi.metadata.source, kpi.metadata.category))
    assert kpi.metadata.update_frequency == "daily"
    assert kpi.webhook_url == ""
    assert kpi.sql.startswith("-- ")


@pytest.mark.parametrize("kpi", KPIS.values(), ids=KPIS)
def test_each_depends_on_the_tables_that_its_query_reads(kpi):
    with duckdb.connect() as connection:
        [tree] = connection.execute("SELECT json_serialize_sql($1)", [kpi.sql]).fetchone()

    assert set(kpi.depends_on) == set(tables_of(json.loads(tree)))


def tables_of(node: object) -> Iterator[str]:
    """The tables of the lake that a parse tree names; common table expressions have no schema."""
    if isinstance(node, list):
        for part in node:
            yield from tables_of(part)
    elif isinstance(node, dict):
        if node.get("type") == "BASE_TABLE" and node["schema_name"]:
            name = f"{node['schema_name']}.{node['table_name']}"
            yield DISPATCH_REGION.full_name if name == "aemo.price" else name
        for part in node.values():
            yield from tables_of(part)
