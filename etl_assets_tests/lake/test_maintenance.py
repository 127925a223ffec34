"""Maintenance keeps rows, readers and recent publications; it may be repeated, raced and killed."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from etl_assets.lake.connection import read_lake
from etl_assets.lake.maintenance import Maintained, maintain, merge_small_files
from etl_assets.lake.publish import publish
from etl_assets.settings import Settings

DAY = date(2026, 11, 20)
NOTHING = Maintained(0, 0, 0, 0, 0, 0)
ROWS = "SELECT count(*), count(DISTINCT (interval_end, region_id)), sum(rrp) FROM lake.aemo.dispatch_region"


def real_now() -> datetime:
    """DuckLake stamps snapshots and files by the wall clock, so these tests begin there."""
    return datetime.now(UTC)


def files_on_disk(settings: Settings) -> set[Path]:
    return set((settings.etl_data / "lake" / "files").rglob("*.parquet"))


def files_published(settings: Settings) -> set[Path]:
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        sql = connection.execute("SELECT sql FROM duckdb_views() WHERE view_name = 'dispatch_region'").fetchall()[0][0]
    return {Path(part) for part in sql.split("'") if part.endswith(".parquet")}


@pytest.fixture
def six_ticks(store, region_rows):
    """A market day in six files: each tick brings one interval more."""
    for intervals in range(1, 7):
        store(region_rows(DAY, intervals=intervals))


@pytest.mark.usefixtures("six_ticks")
def test_merging_makes_one_file_of_a_market_day_and_keeps_its_rows(settings, query):
    before = query(ROWS)
    files = "SELECT count(*) FROM ducklake_list_files('lake', 'dispatch_region', schema => 'aemo')"
    files_before = query(files)

    merged, created = merge_small_files(settings)

    assert (files_before, query(files)) == ([(6,)], [(1,)])
    assert (merged, created) == (6, 1)
    assert query(ROWS) == before == [(12, 12, 600.0)]


@pytest.mark.usefixtures("six_ticks")
def test_a_reader_who_is_in_the_lake_is_not_disturbed_by_merging(settings):
    with read_lake(settings) as reader:
        reader.execute("BEGIN")
        before = reader.execute(ROWS).fetchall()
        merge_small_files(settings)
        maintain(settings, now=real_now())

        after = reader.execute(ROWS).fetchall()
        reader.execute("COMMIT")

    assert before == after == [(12, 12, 600.0)]


@pytest.mark.usefixtures("six_ticks")
def test_maintenance_twice_does_nothing_the_second_time(settings, store, region_rows, query):
    store(region_rows(DAY, price=70.0, intervals=6, regions=("NSW1",)))
    merge_small_files(settings)
    store(region_rows(DAY, price=90.0, intervals=1, regions=("NSW1",)))
    later = real_now() + timedelta(days=8)

    first = maintain(settings, now=later)
    maintain(settings, now=later)  # the merge of the first call is itself a snapshot, which goes now
    rows, files = query(ROWS), files_on_disk(settings)
    again = maintain(settings, now=later)

    assert first.tables_rewritten == 1
    assert again == NOTHING
    assert (query(ROWS), files_on_disk(settings)) == (rows, files)
    assert rows == [(12, 12, 740.0)]


@pytest.mark.usefixtures("six_ticks")
def test_maintenance_on_the_same_day_forgets_nothing(settings, query):
    snapshots = query("SELECT count(*) FROM ducklake_snapshots('lake')")
    files = files_on_disk(settings)

    done = maintain(settings, now=real_now())

    assert (done.files_merged, done.snapshots_expired, done.files_removed, done.orphans_removed) == (6, 0, 0, 0)
    assert files < files_on_disk(settings)
    assert query("SELECT count(*) FROM ducklake_snapshots('lake')") > snapshots


@pytest.mark.parametrize(
    ("later", "kept"), [(timedelta(days=6, hours=23, minutes=59), True), (timedelta(days=8, minutes=1), False)]
)
@pytest.mark.usefixtures("six_ticks")
def test_files_of_a_publication_are_kept_for_the_retention_and_then_removed(
    settings, store, region_rows, now, later, kept
):
    publish(settings, now=now)
    named = files_published(settings)
    store(region_rows(DAY, price=70.0, intervals=1))
    maintain(settings, now=real_now())
    publish(settings, now=now)

    maintain(settings, now=real_now() + later)

    assert len(named) == 6
    assert named & files_on_disk(settings) == (named if kept else set())
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as analyst:
        assert analyst.execute("SELECT count(*), sum(rrp) FROM aemo.price").fetchall() == [(12, 640.0)]


@pytest.mark.usefixtures("six_ticks")
def test_a_longer_retention_keeps_files_longer(settings, now):
    patient = settings.model_copy(update={"lake_retention": timedelta(days=60)})
    publish(patient, now=now)
    named = files_published(patient)
    merge_small_files(patient)

    maintain(patient, now=real_now() + timedelta(days=59))

    assert named <= files_on_disk(patient)


def test_maintenance_beside_writers_loses_nothing(start, finish, await_line, tmp_path, query):
    keeper = start("maintain", tmp_path / "stop")
    await_line(keeper, "maintained")

    writers = [start("write", f"w{n}", 1, 2, tmp_path / f"w{n}") for n in range(2)]
    for writer in writers:
        finish(writer)
    (tmp_path / "stop").touch()
    finish(keeper)

    rows = query(
        "SELECT count(*), count(DISTINCT (duid, interval_end)), count(DISTINCT duid) FROM lake.aemo.unit_scada"
    )
    assert rows == [(50, 50, 6)]


@pytest.mark.usefixtures("six_ticks")
def test_maintenance_killed_at_any_statement_loses_nothing_and_can_be_repeated(
    settings, store, region_rows, start, await_line, query, now
):
    store(region_rows(DAY, price=70.0, intervals=1))
    before = query(ROWS)
    for statement in (3, 4, 4, 5, 6):  # in the rewrite, the merge, the expiry, the removal, the search for orphans
        process = start("maintain_and_stop", statement, 30)
        await_line(process, "stopped")
        process.kill()
        process.wait()
        assert query(ROWS) == before, f"after statement {statement}"

    maintain(settings, now=real_now() + timedelta(days=30))
    publish(settings, now=now)

    assert query(ROWS) == before == [(12, 12, 640.0)]
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as analyst:
        assert analyst.execute("SELECT count(*), sum(rrp) FROM aemo.dispatch_region").fetchall() == [(12, 640.0)]
