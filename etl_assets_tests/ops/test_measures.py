"""How the pipeline stands: lags, sizes, the wait for the lock, and the partitions that are left failed."""

import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from etl_assets.lake.connection import write_lake, writer_lock
from etl_assets.lake.tables import DISPATCH_REGION
from etl_assets.lake.upsert import upsert
from etl_assets.ops.measures import (
    Disk,
    _disks,
    failed_partitions,
    folder_bytes,
    in_runs,
    lags_in_minutes,
    measure_disk,
    measure_lock,
)
from etl_assets.ops.site_state import advance_last_sync
from etl_assets.settings import Settings, SiteSettings

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
DAYS = dg.StaticPartitionsDefinition(["monday", "tuesday", "wednesday"])


class Broken(dg.Config):
    """Whether a run of a test fails."""

    fails: bool = False


@dg.asset(partitions_def=DAYS)
def by_day(config: Broken) -> None:
    if config.fails:
        raise ValueError("as the test wants")


def free_share(folder: Path) -> float:
    usage = shutil.disk_usage(folder)
    return usage.free / usage.total


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


def run(instance: dg.DagsterInstance, day: str, *, fails: bool = False) -> None:
    config = dg.RunConfig(ops={"by_day": Broken(fails=fails)})
    dg.materialize([by_day], instance=instance, partition_key=day, run_config=config, raise_on_error=False)


def test_a_lag_is_the_time_since_the_newest_interval_ended(settings: Settings, region_rows) -> None:
    with write_lake(settings, "a test") as lake:
        upsert(lake, DISPATCH_REGION, region_rows(date(2026, 11, 22), intervals=12), now=NOW)

    # The twelfth interval ends at 01:00 NEM time, 15:00 UTC of the day before.
    assert lags_in_minutes(settings, NOW) == {
        "aemo.dispatch_region": 11 * 60,
        "aemo.dispatch_interconnector": None,
        "aemo.trading_price": None,
        "aemo.unit_scada": None,
        "aemo.rooftop_pv": None,
    }


def test_a_site_lags_since_it_was_read_without_a_hole_and_one_that_never_was_has_no_lag(settings: Settings) -> None:
    chosen = settings.model_copy(update={"sites": [SiteSettings(name="tower"), SiteSettings(name="annexe")]})
    with write_lake(chosen, "a test"):
        advance_last_sync(chosen, "tower", NOW - timedelta(minutes=7), now=NOW, sync_id="sync_1")

    lags = lags_in_minutes(chosen, NOW)

    assert (lags["tower"], lags["annexe"]) == (7.0, None)


def test_sizes_are_those_of_the_files(settings: Settings) -> None:
    settings.dagster_home.mkdir(parents=True)
    (settings.dagster_home / "runs.db").write_bytes(b"x" * 1234)

    found = measure_disk(settings)

    assert found.dagster_storage == 1234
    assert 0 < found.free <= found.total


def test_each_disk_is_measured_once_and_an_object_store_not_at_all(
    settings: Settings, another_file_system: Path
) -> None:
    settings.etl_data.mkdir(parents=True)
    archived = settings.model_copy(update={"archive_data": str(another_file_system / "archive" / "not made yet")})
    in_store = archived.model_copy(update={"lake_data": "s3://bucket/lake"})

    assert _disks(settings) == {"ETL_DATA, LAKE_DATA, ARCHIVE_DATA": settings.etl_data.absolute()}
    assert _disks(archived) == {
        "ETL_DATA, LAKE_DATA": settings.etl_data.absolute(),
        "ARCHIVE_DATA": another_file_system,
    }
    assert _disks(in_store) == {"ETL_DATA": settings.etl_data.absolute(), "ARCHIVE_DATA": another_file_system}


def test_the_fullest_disk_is_named(settings: Settings, another_file_system: Path) -> None:
    settings.etl_data.mkdir(parents=True)
    shares = {
        "ETL_DATA, ARCHIVE_DATA": free_share(settings.etl_data),
        "LAKE_DATA": free_share(another_file_system),
    }

    found = measure_disk(settings.model_copy(update={"lake_data": str(another_file_system)}))

    # Other programs write to both disks meanwhile.
    assert found.fullest == min(shares, key=lambda names: shares[names])
    assert found.free_share == pytest.approx(shares[found.fullest], abs=0.01)


def test_a_folder_that_is_not_there_takes_nothing(settings: Settings) -> None:
    assert folder_bytes(settings.etl_data / "nowhere") == 0


def test_what_is_free_is_a_share_of_all() -> None:
    assert Disk(lake=0, dagster_storage=0, free=25, total=100).free_share == 0.25


def test_a_lock_that_nobody_holds_is_had_at_once(settings: Settings) -> None:
    found = measure_lock(settings)

    assert found.held_by == ""
    with writer_lock(settings).acquire(timeout=0):
        """It was let go of."""


def test_whoever_holds_the_lock_for_the_whole_time_out_is_named(settings: Settings) -> None:
    short = settings.model_copy(update={"lake_lock_timeout": timedelta(milliseconds=50)})

    with write_lake(settings, "a long backfill"):
        found = measure_lock(short)

    assert "a long backfill" in found.held_by
    assert found.seconds > 0


def test_writers_of_a_catalog_in_postgres_wait_for_the_same_lock(settings: Settings) -> None:
    changed = {"lake_catalog": "postgres:dbname=lake", "lake_lock_timeout": timedelta(milliseconds=50)}

    with write_lake(settings, "a long backfill"):
        found = measure_lock(settings.model_copy(update=changed))

    assert "a long backfill" in found.held_by


def test_a_partition_whose_last_run_failed_is_left_failed_until_it_is_made(instance: dg.DagsterInstance) -> None:
    run(instance, "monday")
    run(instance, "tuesday", fails=True)
    run(instance, "wednesday", fails=True)

    assert failed_partitions(instance, {by_day.key: DAYS}) == {by_day.key: ["tuesday", "wednesday"]}

    run(instance, "tuesday")

    assert failed_partitions(instance, {by_day.key: DAYS}) == {by_day.key: ["wednesday"]}


def test_where_nothing_failed_nothing_is_listed(instance: dg.DagsterInstance) -> None:
    run(instance, "monday")

    assert failed_partitions(instance, {by_day.key: DAYS}) == {}


@pytest.mark.parametrize(
    ("names", "line"),
    [(["b"], "b"), (["c", "a", "b"], "a … c (3)"), (["2026-11-17", "2026-11-16"], "2026-11-16 … 2026-11-17 (2)")],
)
def test_names_are_written_as_a_span(names: list[str], line: str) -> None:
    assert in_runs(names) == line
