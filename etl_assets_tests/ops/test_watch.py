"""The watch on the pipeline: what its checks say of the measures, and one run of the asset over a real lake."""

from collections.abc import Callable
from datetime import date

import dagster as dg
import pytest

from etl_assets.lake.connection import write_lake
from etl_assets.lake.resource import Lake
from etl_assets.lake.tables import DISPATCH_REGION
from etl_assets.lake.upsert import upsert
from etl_assets.ops.measures import Disk, LockWait
from etl_assets.ops.watch import (
    PIPELINE,
    disk_has_room,
    left_failed,
    lock_is_free,
    newest_are_fresh,
    pipeline_measured,
)
from etl_assets.settings import Settings

REGION = dg.AssetKey(["aemo", "dispatch_region"])


def test_without_a_failed_partition_the_inventory_is_empty() -> None:
    outcome = left_failed({})

    assert outcome.passed
    assert outcome.metadata == {"partitions_failed": 0, "assets_concerned": 0}
    assert not outcome.pictures


def test_the_inventory_names_the_partitions_of_each_asset_and_what_to_do() -> None:
    outcome = left_failed({REGION: ["2026-11-16", "2026-11-17"], dg.AssetKey(["aemo", "unit_scada"]): ["2026-11-16"]})

    assert not outcome.passed
    assert not outcome.is_error
    assert outcome.description.startswith("3 partitions of 2 assets are left failed")
    assert "materialise them: aemo/dispatch_region 2026-11-16 … 2026-11-17 (2); aemo/unit_scada" in outcome.description
    assert "| aemo/dispatch_region | 2026-11-16 … 2026-11-17 (2) |" in outcome.pictures["left_failed"]


def test_the_inventory_is_short_enough_to_be_shown_in_place_however_much_is_broken() -> None:
    days = [str(date.fromordinal(738_000 + n)) for n in range(2000)]
    found = {dg.AssetKey(["a_rather_long_schema", f"and_a_rather_long_name_{n}"]): days for n in range(40)}

    assert len(left_failed(found).pictures["left_failed"]) < 1000


@pytest.mark.parametrize(("lag", "passes"), [(-5.0, True), (180.0, True), (180.1, False)])
def test_data_are_fresh_for_three_hours(lag: float, passes: bool) -> None:
    outcome = newest_are_fresh({"aemo.dispatch_region": lag})

    assert outcome.passed is passes
    assert outcome.is_error is not passes


def test_what_lags_is_named_the_worst_first() -> None:
    outcome = newest_are_fresh({"tower": 200.0, "aemo.rooftop_pv": 5000.0, "aemo.dispatch_region": 1.0})

    assert outcome.description.startswith("aemo.rooftop_pv 5,000 min, tower 200 min behind")
    assert "etl-assets doctor" in outcome.description


def test_what_never_came_in_is_named_and_is_no_fault() -> None:
    outcome = newest_are_fresh({"aemo.dispatch_region": 1.0, "tower": None, "aemo.rooftop_pv": None})

    assert outcome.passed
    assert outcome.description == "1 of 3 datasets are current; never came in: tower, aemo.rooftop_pv"
    assert outcome.metadata == {"datasets_late": 0, "never_came_in": "tower, aemo.rooftop_pv"}


def test_where_nothing_has_ever_come_in_that_is_a_warning() -> None:
    outcome = newest_are_fresh({"aemo.dispatch_region": None, "tower": None})

    assert (outcome.passed, outcome.is_error) == (False, False)
    assert outcome.description == "0 of 2 datasets are current; never came in: aemo.dispatch_region, tower"


def test_what_lags_is_an_error_beside_what_never_came_in() -> None:
    outcome = newest_are_fresh({"aemo.dispatch_region": 200.0, "tower": None})

    assert (outcome.passed, outcome.is_error) == (False, True)
    assert outcome.description.endswith("; never came in: tower")


@pytest.mark.parametrize(("free", "passes"), [(100, True), (99, False)])
def test_a_tenth_of_the_disk_is_to_be_free(free: int, passes: bool) -> None:
    outcome = disk_has_room(Disk(lake=0, dagster_storage=0, free=free, total=1000, fullest="LAKE_DATA"))

    assert outcome.passed is passes
    assert "10% is free of the fullest disk, that of LAKE_DATA" in outcome.description
    assert ("RAW_RETENTION" in outcome.description) is not passes


@pytest.mark.parametrize(
    ("wait", "passes", "is_error"),
    [
        (LockWait(0.0), True, False),
        (LockWait(30.0), True, False),
        (LockWait(31.0), False, False),
        (LockWait(120.0, "process 7 (a backfill)"), False, True),
    ],
)
def test_a_long_wait_for_the_lock_warns_and_one_in_vain_is_an_error(
    wait: LockWait, passes: bool, is_error: bool
) -> None:
    outcome = lock_is_free(wait)

    assert outcome.passed is passes
    assert outcome.is_error is is_error
    assert wait.held_by in outcome.description


def test_a_run_measures_the_lake_and_answers_every_check(settings: Settings, region_rows: Callable) -> None:
    with write_lake(settings, "a test") as lake:
        rows = region_rows(date(2026, 11, 21))
        upsert(lake, DISPATCH_REGION, rows, now=rows["interval_end"][0].as_py())

    with dg.instance_for_test() as instance:
        result = dg.materialize(
            [pipeline_measured], instance=instance, resources={"lake": Lake(database=str(settings.etl_data))}
        )

    [event] = result.asset_materializations_for_node("pipeline_measured")
    shown = {name: value.value for name, value in event.metadata.items()}
    assert isinstance(shown["lag_minutes aemo.dispatch_region"], float)
    assert {"disk_free_gb", "lake_gb", "dagster_storage_gb", "lock_waited_seconds"} <= shown.keys()
    assert shown["partitions_failed"] == 0
    answered = {each.check_name: each.passed for each in result.get_asset_check_evaluations()}
    assert set(answered) == {spec.name for spec in pipeline_measured.check_specs}
    assert all(spec.asset_key == PIPELINE and spec.description for spec in pipeline_measured.check_specs)
