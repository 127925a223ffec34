"""Old readings move from the lake into Parquet files: verified, once, and readable beside the lake."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from filelock import FileLock

from etl_assets.lake import archive
from etl_assets.lake.archive import ArchiveDamagedError, all_readings_sql, archive_old, archived_days, readings
from etl_assets.lake.connection import LakeBusyError, read_lake
from etl_assets.lake.publish import lake_snapshot, publish
from etl_assets.lake.tables import TIMESERIES_RAW
from etl_assets.market_time import day_start

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
LAST_WHOLE_DAY = date(2026, 8, 23)
"""NOW less 90 days is 12:00 NEM time of 2026-08-24: that day is not wholly older."""
OLD = (date(2026, 8, 22), LAST_WHOLE_DAY)
KEPT = date(2026, 8, 24)
COLLECTED = datetime(2026, 8, 25, tzinfo=UTC)
POINTS = (
    "before the draft has its name",
    "before the manifest",
    "before the removal",
    "before the commit of the removal",
)
ARCHIVING = Path(__file__).with_name("archiving.py")


def make_readings(
    day: date,
    site: str = "a",
    points: Sequence[str] = ("p2", "p1"),
    value: float = 1.5,
    minutes: Sequence[int] = (0, 5),
) -> pa.Table:
    keys = [(point, day_start(day) + timedelta(minutes=minute)) for minute in minutes for point in points]
    count = len(keys)
    return pa.table(
        {
            "site_name": [site] * count,
            "point_name": [point for point, _ in keys],
            "timestamp": [moment for _, moment in keys],
            "value": [value] * count,
            "quality": ["unknown"] * count,
            "metadata": ["{}"] * count,
            "collected_at": [COLLECTED] * count,
            "created_at": [COLLECTED] * count,
        }
    )


@pytest.fixture
def keep(store) -> Callable[..., None]:
    """Stores readings in the lake; later ones of a key revise it."""

    def keep(*tables: pa.Table) -> None:
        store(pa.concat_tables(tables), TIMESERIES_RAW)

    return keep


@pytest.fixture
def in_lake(query) -> Callable[[], list[tuple]]:
    def in_lake() -> list[tuple]:
        return query("SELECT market_day, site_name, count(*) FROM lake.ace.timeseries_raw GROUP BY ALL ORDER BY ALL")

    return in_lake


@pytest.fixture
def everything(settings) -> Callable[..., list[tuple]]:
    """What the query helper gives for a site: (point, minute of the first old day, value), in its order."""

    def everything(site: str = "a", points: Sequence[str] | None = None, **span: datetime) -> list[tuple]:
        start, end = day_start(OLD[0]), day_start(KEPT) + timedelta(days=1)
        with read_lake(settings) as lake:
            found = readings(lake, settings, site, points, start=span.get("start", start), end=span.get("end", end))
            rows = found.select("point_name, timestamp, value").fetchall()
        return [(point, (moment - start) // timedelta(minutes=1), value) for point, moment, value in rows]

    return everything


def files(settings) -> list[str]:
    root = Path(settings.archive_files)
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_whole_market_days_before_the_retention_leave_the_lake_and_others_stay(settings, keep, in_lake):
    keep(*(make_readings(day, site) for day in (*OLD, KEPT) for site in ("a", "b")))

    done = archive_old(settings, now=NOW)

    assert [(d.market_day, d.site_name, d.rows, d.removed) for d in done] == [
        (day, site, 4, 4) for day in OLD for site in ("a", "b")
    ]
    assert in_lake() == [(KEPT, "a", 4), (KEPT, "b", 4)]
    assert files(settings) == [
        f"timeseries_raw/market_day={day}/site_name={site}/readings-0001.{suffix}"
        for day in OLD
        for site in ("a", "b")
        for suffix in ("json", "parquet")
    ]


def test_the_day_goes_at_the_first_moment_that_it_is_wholly_older(settings, keep, in_lake):
    keep(make_readings(KEPT))
    whole = day_start(KEPT) + timedelta(days=1) + settings.raw_retention

    early = archive_old(settings, now=whole - timedelta(microseconds=1))
    assert (early, len(in_lake())) == ([], 1)

    assert [d.market_day for d in archive_old(settings, now=whole)] == [KEPT]


def test_a_file_holds_every_column_as_it_was_sorted_by_point_and_time(settings, keep, query):
    keep(make_readings(OLD[0]))
    before = query("SELECT * FROM lake.ace.timeseries_raw ORDER BY point_name, timestamp")

    [done] = archive_old(settings, now=NOW)

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        after = connection.execute(f"FROM read_parquet('{done.file}', hive_partitioning = false)").fetchall()
    assert after == before
    assert [row[1] for row in after] == ["p1", "p1", "p2", "p2"]


def test_a_second_run_finds_nothing_to_do_and_the_archive_as_it_was(settings, keep):
    keep(make_readings(OLD[0]))
    [done] = archive_old(settings, now=NOW)
    before = files(settings)

    assert archive_old(settings, now=NOW + timedelta(hours=1)) == []
    assert files(settings) == before
    assert [(d.market_day, d.rows, d.file, d.archived_at) for d in archived_days(settings)] == [
        (OLD[0], 4, done.file, NOW)
    ]


def test_the_helper_reads_lake_and_archive_together_by_point_and_time(settings, keep, everything):
    keep(make_readings(LAST_WHOLE_DAY, value=1.0), make_readings(KEPT, value=2.0))
    archive_old(settings, now=NOW)
    day, next_day = 1440, 2880

    assert everything() == [
        (point, start + minute, value)
        for point in ("p1", "p2")
        for start, value in ((day, 1.0), (next_day, 2.0))
        for minute in (0, 5)
    ]


@pytest.mark.parametrize("archived", [False, True])
def test_the_helper_keeps_to_its_points_its_site_and_its_half_open_span(settings, keep, everything, archived):
    keep(make_readings(OLD[0], minutes=(0, 5, 10)), make_readings(OLD[0], site="b", value=9.0))
    if archived:
        archive_old(settings, now=NOW)
    start = day_start(OLD[0])

    some = everything(points=["p2"], start=start + timedelta(minutes=5), end=start + timedelta(minutes=10))

    assert some == [("p2", 5, 1.5)]
    assert everything(points=[]) == []
    assert everything(site="c") == []


def test_late_readings_of_an_archived_day_are_merged_and_the_later_value_wins(settings, keep, in_lake, everything):
    keep(make_readings(OLD[0]))
    archive_old(settings, now=NOW)
    keep(make_readings(OLD[0], points=["p1"], value=7.0, minutes=(5, 10)))
    before = everything()

    [done] = archive_old(settings, now=NOW + timedelta(days=1))

    assert before == [("p1", 0, 1.5), ("p1", 5, 7.0), ("p1", 10, 7.0), ("p2", 0, 1.5), ("p2", 5, 1.5)]
    assert everything() == before
    assert (done.rows, done.removed, Path(done.file).name) == (5, 2, "readings-0002.parquet")
    assert in_lake() == []
    assert [d.file for d in archived_days(settings)] == [done.file]


def test_a_reading_that_comes_again_unchanged_makes_no_new_file_and_keeps_when_it_was_first_stored(
    settings, keep, in_lake
):
    keep(make_readings(OLD[0]))
    archive_old(settings, now=NOW)
    again = make_readings(OLD[0], points=["p1"])
    later = pa.array([NOW] * again.num_rows)
    for name in ("collected_at", "created_at"):
        again = again.set_column(again.column_names.index(name), name, later)
    keep(again)

    [done] = archive_old(settings, now=NOW + timedelta(days=1))

    assert (Path(done.file).name, done.removed, in_lake()) == ("readings-0001.parquet", 2, [])
    with duckdb.connect() as connection:
        stamps = connection.execute(
            f"SELECT DISTINCT epoch(collected_at), epoch(created_at) FROM '{done.file}'"
        ).fetchall()
    assert stamps == [(COLLECTED.timestamp(), COLLECTED.timestamp())]


def test_a_superseded_file_stays_for_as_long_as_a_published_file_may_name_it(settings, keep):
    keep(make_readings(OLD[0]))
    archive_old(settings, now=NOW)
    keep(make_readings(OLD[0], value=7.0))
    archive_old(settings, now=NOW)

    archive_old(settings, now=NOW + settings.lake_retention - timedelta(seconds=1))
    names = [name.rpartition("/")[2] for name in files(settings)]
    archive_old(settings, now=NOW + settings.lake_retention)

    assert names == [f"readings-000{n}.{suffix}" for n in (1, 2) for suffix in ("json", "parquet")]
    assert [name.rpartition("/")[2] for name in files(settings)] == ["readings-0002.json", "readings-0002.parquet"]


def test_readings_that_arrive_while_a_day_is_archived_are_archived_too(
    settings, keep, in_lake, everything, monkeypatch
):
    keep(make_readings(OLD[0]))
    original, arriving = archive._remove_from_lake, [make_readings(OLD[0], points=["p3"])]

    def after_more_arrived(*arguments):
        if arriving:
            keep(arriving.pop())
        return original(*arguments)

    monkeypatch.setattr(archive, "_remove_from_lake", after_more_arrived)
    [done] = archive_old(settings, now=NOW)

    assert (done.rows, done.removed, in_lake()) == (6, 6, [])
    assert [point for point, *_ in everything()] == ["p1", "p1", "p2", "p2", "p3", "p3"]


def test_a_day_that_does_not_come_to_rest_is_left_to_the_next_run(settings, keep, in_lake, everything, monkeypatch):
    keep(make_readings(OLD[0]))
    original, values = archive._remove_from_lake, iter(range(100))

    def after_a_revision(*arguments):
        keep(make_readings(OLD[0], value=float(next(values))))
        return original(*arguments)

    monkeypatch.setattr(archive, "_remove_from_lake", after_a_revision)

    assert archive_old(settings, now=NOW) == []
    assert in_lake() == [(OLD[0], "a", 4)]
    assert {value for *_, value in everything()} == {2.0}


def test_a_damaged_file_is_named_and_nothing_is_removed_for_it(settings, keep, in_lake):
    keep(make_readings(OLD[0]))
    [done] = archive_old(settings, now=NOW)
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE lost AS SELECT * FROM '{done.file}' WHERE point_name = 'p1'")
        connection.execute(f"COPY lost TO '{done.file}' (FORMAT parquet)")
    keep(make_readings(OLD[0], value=7.0))

    with pytest.raises(ArchiveDamagedError, match=r"readings-0001\.parquet holds .*rows=2.*backfill the day"):
        archive_old(settings, now=NOW)

    assert in_lake() == [(OLD[0], "a", 4)]


def test_a_checksum_of_another_duckdb_is_not_compared_but_the_count_is(settings, keep):
    keep(make_readings(OLD[0]))
    [done] = archive_old(settings, now=NOW)
    manifest = Path(done.file).with_suffix(".json")
    said = json.loads(manifest.read_text()) | {"checksum": "1", "checksum_by": "hash() of DuckDB 0.1"}
    manifest.write_text(json.dumps(said))
    keep(make_readings(OLD[0], points=["p3"]))

    assert [d.rows for d in archive_old(settings, now=NOW)] == [6]


def test_a_file_that_reads_back_otherwise_than_it_was_written_keeps_its_rows_in_the_lake(
    settings, keep, in_lake, monkeypatch
):
    keep(make_readings(OLD[0]))
    monkeypatch.setattr(archive, "_file_rows", lambda path: f"SELECT * FROM read_parquet('{path}') LIMIT 3")

    with pytest.raises(ArchiveDamagedError, match="reads back as"):
        archive_old(settings, now=NOW)

    assert in_lake() == [(OLD[0], "a", 4)]
    assert archived_days(settings) == []


def test_a_site_with_any_name_has_a_folder_of_its_own(settings, keep, everything):
    name = "a*[1]?'=&%41.."
    keep(make_readings(OLD[0], site=name), make_readings(OLD[0], site="a"))

    archive_old(settings, now=NOW)

    assert [d.site_name for d in archived_days(settings)] == ["a", name]
    assert len(everything(site=name)) == len(everything(site="a")) == 4


def test_two_archivers_exclude_each_other(settings):
    impatient = settings.model_copy(update={"lake_lock_timeout": timedelta(0)})

    with FileLock(settings.etl_data / "archive.lock"), pytest.raises(LakeBusyError, match="has been archiving"):
        archive_old(impatient, now=NOW)


def test_the_analysts_file_names_no_file_with_deletes_after_a_day_left_the_lake(settings, keep):
    keep(make_readings(OLD[0]), make_readings(KEPT))
    archive_old(settings, now=NOW)

    publish(settings, now=NOW)

    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        assert connection.execute("SELECT DISTINCT market_day FROM ace.timeseries_raw").fetchall() == [(KEPT,)]


@pytest.mark.parametrize("late", [False, True])
def test_an_analysts_view_has_each_reading_once(settings, keep, late):
    keep(make_readings(OLD[0], value=1.0), make_readings(OLD[1], value=2.0), make_readings(KEPT, value=3.0))
    archive_old(settings, now=NOW)
    if late:
        keep(make_readings(OLD[0], points=["p1"], value=7.0))

    with read_lake(settings) as lake:
        sql = all_readings_sql(lake, settings, lake_snapshot(lake), "lake.ace.timeseries_raw")
        rows = lake.execute(
            f"SELECT market_day, point_name, value, count(*) FROM ({sql}) GROUP BY ALL ORDER BY ALL"
        ).fetchall()

    first = 7.0 if late else 1.0
    assert rows == [
        (day, point, value, 2)
        for day, point, value in [
            (OLD[0], "p1", first),
            (OLD[0], "p2", 1.0),
            (OLD[1], "p1", 2.0),
            (OLD[1], "p2", 2.0),
            (KEPT, "p1", 3.0),
            (KEPT, "p2", 3.0),
        ]
    ]


def test_a_view_reads_only_the_files_of_the_day_and_site_that_are_asked_for(settings, keep):
    keep(*(make_readings(day, site) for day in OLD for site in ("a", "b")))
    archive_old(settings, now=NOW)

    with read_lake(settings) as lake:
        sql = all_readings_sql(lake, settings, lake_snapshot(lake), "lake.ace.timeseries_raw")
        plan = lake.execute(
            f"EXPLAIN ANALYZE SELECT sum(value) FROM ({sql}) WHERE market_day = DATE '{OLD[0]}' AND site_name = 'b'"
        ).fetchall()[0][1]

    assert "Scanning Files: 1/4" in plan or "Total Files Read: 1" in plan, plan


@pytest.fixture
def archivers(settings) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Processes that archive when told and stop at a point, all starting while the test makes its lake."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with ExitStack() as stack:
        started = {}
        for point in POINTS:
            line = [sys.executable, str(ARCHIVING), point, str(settings.etl_data), NOW.isoformat()]
            started[point] = stack.enter_context(subprocess.Popen(line, text=True, **pipes))
            stack.callback(started[point].kill)
        yield started


def test_killed_at_any_point_nothing_is_lost_and_nothing_doubled(settings, keep, in_lake, everything, archivers):
    keep(make_readings(OLD[0]))
    archive_old(settings, now=NOW)
    keep(make_readings(OLD[0], points=["p1", "p3"], value=7.0), make_readings(OLD[1]))
    before = everything()

    for archiver in archivers.values():
        assert archiver.stdout.readline() == "ready\n"
        archiver.stdin.write("\n")
        archiver.stdin.flush()
        assert archiver.stdout.readline() == "stopped\n", archiver.stderr.read()
        archiver.kill()
        archiver.wait()
        assert everything() == before

    assert len(before) == 10
    assert [d.removed for d in archive_old(settings, now=NOW)] == [4, 4]
    assert everything() == before
    assert in_lake() == []
    assert [name for name in files(settings) if "draft" in name] == []
    assert [d.rows for d in archived_days(settings)] == [6, 4]
