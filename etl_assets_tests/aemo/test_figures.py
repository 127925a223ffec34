"""A market day at a glance: means, lowest, highest by interval, and curves short enough to be shown in place."""

from datetime import date, timedelta

import pyarrow as pa
import pytest

from etl_assets.aemo.figures import CURVES, day_figures, month_figures
from etl_assets.lake.connection import read_lake, write_lake
from etl_assets.lake.tables import AEMO_TABLES, DISPATCH_REGION, PRICE_AND_DEMAND, REGION_FORECAST, ROOFTOP_PV
from etl_assets.lake.upsert import upsert
from etl_assets.market_time import interval_ends
from etl_assets.settings import Settings
from etl_assets_tests.conftest import NOW

DAY = date(2026, 11, 21)
NEXT = DAY + timedelta(days=1)
REGIONS = ("NSW1", "VIC1")


def store(settings: Settings, table, columns: dict[str, list[object]]) -> None:
    with write_lake(settings, "a test") as lake:
        upsert(lake, table, pa.table(columns), now=NOW)


def regions(intervals: dict[int, tuple[float, float]], day: date = DAY, intervention: int = 0) -> dict[str, list]:
    """Prices of NSW1 and VIC1 by the number of the interval; each demands 7,000 MW."""
    ends = interval_ends(day)
    rows = [
        (ends[n], region, price) for n, both in intervals.items() for region, price in zip(REGIONS, both, strict=True)
    ]
    return {
        "interval_end": [end for end, _, _ in rows],
        "region_id": [region for _, region, _ in rows],
        "intervention": [intervention] * len(rows),
        "rrp": [price for _, _, price in rows],
        "total_demand": [7000.0] * len(rows),
    }


def test_a_price_is_the_mean_of_the_regions_and_demand_their_sum(settings: Settings) -> None:
    store(settings, DISPATCH_REGION, regions({0: (40.0, 60.0), 1: (-100.0, 0.0), 2: (10.0, 30.0)}))

    with read_lake(settings) as lake:
        found = day_figures(lake, DISPATCH_REGION, [DAY])[DAY]

    assert found.rows == 6
    assert found.figures == {
        # 50, -50 and 20 by interval.
        "mean_price_aud_per_mwh": 6.67,
        "lowest_price_aud_per_mwh": -50.0,
        "highest_price_aud_per_mwh": 50.0,
        "mean_demand_mw": 14000.0,
        "lowest_demand_mw": 14000.0,
        "highest_demand_mw": 14000.0,
    }
    assert set(found.pictures) == {"price_aud_per_mwh", "demand_mw"}


def test_the_physical_run_of_an_intervention_changes_no_figure(settings: Settings) -> None:
    store(settings, DISPATCH_REGION, regions({0: (40.0, 60.0)}))
    store(settings, DISPATCH_REGION, regions({0: (9000.0, 9000.0)}, intervention=1))

    with read_lake(settings) as lake:
        found = day_figures(lake, DISPATCH_REGION, [DAY])[DAY]

    assert found.rows == 4
    assert (found.figures["highest_price_aud_per_mwh"], found.figures["highest_demand_mw"]) == (50.0, 14000.0)


def test_estimates_of_one_power_are_not_added_up_nor_parts_of_a_region(settings: Settings) -> None:
    end = interval_ends(DAY)[5]
    keys = [("NSW1", "MEASUREMENT"), ("NSW1", "SATELLITE"), ("QLD1", "MEASUREMENT"), ("QLDN", "MEASUREMENT")]
    store(
        settings,
        ROOFTOP_PV,
        {
            "interval_end": [end] * 4,
            "region_id": [region for region, _ in keys],
            "type": [kind for _, kind in keys],
            "power": [1000.0, 1100.0, 500.0, 100.0],
        },
    )

    with read_lake(settings) as lake:
        found = day_figures(lake, ROOFTOP_PV, [DAY])[DAY]

    assert found.figures["highest_measured_power_mw"] == 1500.0


def test_several_days_are_asked_at_once_and_one_without_rows_is_not_among_them(settings: Settings) -> None:
    store(settings, DISPATCH_REGION, regions({0: (10.0, 10.0)}))

    with read_lake(settings) as lake:
        found = day_figures(lake, DISPATCH_REGION, [DAY, NEXT])

    assert list(found) == [DAY]


def test_a_day_of_every_interval_is_drawn_short_enough_to_be_shown_in_place(settings: Settings) -> None:
    prices = {n: ((-1) ** n * n * 51.37, n * 1.01) for n in range(288)}
    store(settings, DISPATCH_REGION, regions(prices))

    with read_lake(settings) as lake:
        found = day_figures(lake, DISPATCH_REGION, [DAY])[DAY]

    assert all(0 < len(picture) < 1000 for picture in found.pictures.values())


def test_a_month_shows_the_means_of_its_days(settings: Settings) -> None:
    for day, price in ((DAY, 10.0), (NEXT, 30.0)):
        rows = regions({0: (price, price), 1: (price, price)}, day)
        del rows["intervention"]
        store(settings, PRICE_AND_DEMAND, rows)

    days = [date(2026, 11, n) for n in range(1, 31)]
    with read_lake(settings) as lake:
        found = month_figures(lake, PRICE_AND_DEMAND, days)

    assert (found.rows, found.figures) == (8, {"mean_price_aud_per_mwh": 20.0, "mean_demand_mw": 14000.0})
    assert set(found.pictures) == {"price_aud_per_mwh", "demand_mw"}


def test_a_month_without_rows_shows_nothing(settings: Settings) -> None:
    store(settings, DISPATCH_REGION, regions({0: (10.0, 10.0)}))

    with read_lake(settings) as lake:
        found = month_figures(lake, PRICE_AND_DEMAND, [DAY, NEXT])

    assert (found.rows, found.figures, found.pictures) == (0, {}, {})


@pytest.mark.parametrize("table", [table.full_name for table in AEMO_TABLES if table is not REGION_FORECAST])
def test_every_table_of_the_market_has_a_curve_and_each_name_bears_its_unit(table: str) -> None:
    assert CURVES[table]
    assert all(curve.name.endswith(("_mw", "_aud_per_mwh", "units_reporting")) for curve in CURVES[table])
