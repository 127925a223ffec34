"""Many processes share the lake: writers in turn, readers at any time, and an older lake is brought up to date."""

import json
import os
import shutil
import traceback
from dataclasses import replace
from datetime import date, timedelta

import duckdb
import pytest

from etl_assets.lake import connection as connection_module
from etl_assets.lake.connection import (
    LakeBusyError,
    connected,
    load_extension,
    migrate,
    read_lake,
    stored_columns,
    write_lake,
)
from etl_assets.lake.publish import lake_snapshot
from etl_assets.lake.tables import DISPATCH_REGION, TABLES
from etl_assets.lake.unreachable import LakeUnreachableError
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.settings import Settings

DAY = date(2026, 11, 20)
BATCHES = "FROM lake.aemo.unit_scada WHERE contains(duid, '-')"


def test_extensions_load_from_their_wheels_and_nothing_is_installed(tmp_path):
    config = {"extension_directory": str(tmp_path / "extensions"), "autoinstall_known_extensions": "false"}
    with duckdb.connect(config=config) as connection:
        load_extension(connection, "ducklake")
        load_extension(connection, "sqlite_scanner")

        loaded = connection.execute(
            "SELECT extension_name FROM duckdb_extensions() "
            "WHERE loaded AND extension_name IN ('ducklake', 'sqlite_scanner')"
        ).fetchall()

    assert sorted(loaded) == [("ducklake",), ("sqlite_scanner",)]
    assert not (tmp_path / "extensions").exists()


def test_writers_and_readers_at_once_lose_and_double_nothing(start, finish, await_line, tmp_path, query):
    readers = [start("read", tmp_path / "stop") for _ in range(2)]
    for reader in readers:
        await_line(reader, "reading")
    writers = [start("write", f"w{n}", 1, 3, tmp_path / f"w{n}") for n in range(3)]

    for writer in writers:
        finish(writer)
    (tmp_path / "stop").touch()
    reports = [json.loads(finish(reader)[-1]) for reader in readers]

    assert [(tmp_path / f"w{n}").read_text().split() for n in range(3)] == [["1", "2", "3"]] * 3
    assert query(f"SELECT count(DISTINCT duid), count(*), count(DISTINCT (duid, interval_end)) {BATCHES}") == [
        (9, 108, 108)
    ]
    assert query("SELECT duid, scada_value FROM lake.aemo.unit_scada WHERE NOT contains(duid, '-') ORDER BY 1") == [
        ("w0", 3.0),
        ("w1", 3.0),
        ("w2", 3.0),
    ]
    assert query("SELECT count(*) FROM lake.quality.revisions") == [(6,)]
    assert [(report["batches"], report["faults"]) for report in reports] == [(9, [])] * 2


def test_processes_that_meet_an_absent_lake_make_it_once_and_fail_nobody(start, finish, tmp_path, settings, query):
    shutil.rmtree(settings.etl_data)
    (tmp_path / "stop").touch()

    processes = [start("read", tmp_path / "stop") for _ in range(3)]
    processes += [start("write", f"w{n}", 1, 1, tmp_path / f"w{n}") for n in range(2)]
    for process in processes:
        finish(process)

    assert query(f"SELECT count(*) {BATCHES}") == [(24,)]


def test_a_reader_does_not_wait_for_a_writer_and_sees_the_state_before(start, await_line, settings, store, region_rows):
    store(region_rows(DAY, intervals=1))
    writer = start("hold", "a long batch")
    await_line(writer, "held")

    with read_lake(settings) as lake:
        regions = lake.execute("SELECT count(*) FROM lake.aemo.dispatch_region").fetchall()
        units = lake.execute("SELECT count(*) FROM lake.aemo.unit_scada").fetchall()

    assert (regions, units) == ([(2,)], [(0,)])
    assert writer.poll() is None


def test_a_writer_that_waits_too_long_is_told_who_holds_the_lake(start, await_line, settings):
    writer = start("hold", "a backfill of 2026-11-20")
    await_line(writer, "held")
    impatient = settings.model_copy(update={"lake_lock_timeout": timedelta(milliseconds=50)})

    with (
        pytest.raises(LakeBusyError, match=rf"process {writer.pid} \(a backfill of 2026-11-20\) holds it"),
        write_lake(impatient, "a tick"),
    ):
        pass


def test_a_writer_that_fails_releases_the_lake_and_leaves_nothing(settings, region_rows, now, store, query):
    def fail() -> None:
        with write_lake(settings, "a test") as lake:
            lake.execute("BEGIN")
            upsert(lake, DISPATCH_REGION, region_rows(DAY), now=now)
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail()
    after_failure = query("SELECT count(*) FROM lake.aemo.dispatch_region")
    counts = store(region_rows(DAY))

    assert after_failure == [(0,)]
    assert counts.inserted == 576


def test_a_writer_that_forgets_to_commit_is_told_and_leaves_nothing(settings, region_rows, now, query):
    def forget() -> None:
        with write_lake(settings, "a test") as lake:
            lake.execute("BEGIN")
            upsert(lake, DISPATCH_REGION, region_rows(DAY), now=now)

    with pytest.raises(duckdb.TransactionException, match="commit or rollback first"):
        forget()

    assert query("SELECT count(*) FROM lake.aemo.dispatch_region") == [(0,)]


def test_the_first_write_adds_the_columns_that_an_older_lake_lacks(older_lake, region_rows, now):
    with write_lake(older_lake, "a test") as lake, transaction(lake):
        upsert(lake, DISPATCH_REGION, region_rows(date(2026, 11, 21), intervals=1, uigf=7.5), now=now)

    with read_lake(older_lake) as lake:
        rows = lake.execute(
            "SELECT DISTINCT market_day, rrp, uigf FROM lake.aemo.dispatch_region ORDER BY 1"
        ).fetchall()
    assert rows == [(DAY, 50.0, None), (date(2026, 11, 21), 50.0, 7.5)]


def test_reading_an_older_lake_finds_every_declared_table_and_column(older_lake):
    with read_lake(older_lake) as lake:
        present = stored_columns(lake)
        rows = lake.execute("SELECT count(*), count(uigf) FROM lake.aemo.dispatch_region").fetchall()

    assert present == {(t.schema, t.name): {c.name for c in t.stored_columns} for t in TABLES}
    assert rows == [(2, 0)]


def test_a_migration_says_what_it_did_and_does_nothing_the_second_time(older_lake):
    with connected(older_lake, read_only=False) as lake:
        first = migrate(lake, TABLES)
        snapshot = lake_snapshot(lake)
        second = migrate(lake, TABLES)
        unchanged = lake_snapshot(lake)

    assert sorted(first) == ["added aemo.dispatch_region.uigf", "created aemo.rooftop_pv"]
    assert second == []
    assert unchanged == snapshot


def test_rows_lie_in_a_folder_for_each_market_day(settings, store, region_rows):
    store(region_rows(DAY, date(2026, 11, 21), intervals=1))

    folders = {
        path.parent.name
        for path in (settings.etl_data / "lake" / "files" / "aemo" / "dispatch_region").rglob("*.parquet")
    }

    assert folders == {"market_day=2026-11-20", "market_day=2026-11-21"}


def test_a_connection_hands_nothing_on_to_the_next_user(settings, region_rows):
    connection_module._idle.clear()
    with read_lake(settings) as lake:
        lake.register("registered", region_rows(DAY, intervals=1))
        lake.execute("CREATE TEMP TABLE temporary AS SELECT 1")
        lake.execute("SET TimeZone = 'Australia/Sydney'")

    with read_lake(settings) as lake:
        views = lake.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        tables = lake.execute("SELECT table_name FROM duckdb_tables() WHERE database_name != 'lake'").fetchall()
        zone = lake.execute("SELECT current_setting('TimeZone')").fetchall()

    assert (views, tables, zone) == ([], [], [("UTC",)])


@pytest.mark.parametrize(
    "left_behind",
    [
        "ATTACH ':memory:' AS other",
        "CREATE TABLE memory.main.own AS SELECT 1",
        "CREATE VIEW memory.main.own AS SELECT 1",
    ],
)
def test_a_database_with_something_left_in_it_is_not_used_again(settings, left_behind):
    connection_module._idle.clear()
    with write_lake(settings, "a test") as lake:
        lake.execute(left_behind)

    with write_lake(settings, "a test") as lake:
        databases = lake.execute(
            "SELECT database_name FROM duckdb_databases() WHERE NOT internal ORDER BY 1"
        ).fetchall()
        own = lake.execute("SELECT count(*) FROM duckdb_tables() WHERE database_name = 'memory'").fetchall()

    assert (databases, own) == ([("lake",), ("memory",)], [(0,)])


def test_a_reader_with_another_database_attached_is_not_used_again(settings):
    with read_lake(settings) as lake:
        lake.execute("ATTACH ':memory:' AS other")

    with read_lake(settings) as lake:
        databases = lake.execute("SELECT database_name FROM duckdb_databases() WHERE NOT internal ORDER BY 1")

        assert databases.fetchall() == [("lake",), ("memory",)]


def test_a_reader_that_is_used_again_sees_what_was_written_since(settings, store, region_rows):
    count = "SELECT count(*) FROM lake.aemo.dispatch_region"
    with read_lake(settings) as lake:
        before = lake.execute(count).fetchall()
    store(region_rows(DAY, intervals=1))
    with read_lake(settings) as lake:
        after = lake.execute(count).fetchall()

    assert (before, after) == ([(0,)], [(2,)])


def test_a_lake_that_was_removed_and_made_anew_is_another_one(settings, store, region_rows):
    store(region_rows(DAY, intervals=1))
    with read_lake(settings):
        pass
    shutil.rmtree(settings.etl_data)

    with read_lake(settings) as lake:
        assert lake.execute("SELECT count(*) FROM lake.aemo.dispatch_region").fetchall() == [(0,)]


def test_a_database_is_used_again_so_that_its_extensions_load_once(settings, monkeypatch):
    connection_module._idle.clear()
    loaded = []
    monkeypatch.setattr(
        connection_module, "load_extension", lambda lake, name: (loaded.append(name), load_extension(lake, name))
    )

    for _ in range(3):
        with read_lake(settings):
            pass

    assert loaded == ["ducklake", "sqlite_scanner"]


def test_a_writer_may_read_what_it_has_committed_through_a_reader(settings, region_rows, now):
    with write_lake(settings, "a test") as lake:
        with transaction(lake):
            upsert(lake, DISPATCH_REGION, region_rows(DAY), now=now)
        with read_lake(settings) as reader:
            rows = reader.execute("SELECT count(*) FROM lake.aemo.dispatch_region").fetchall()

    assert rows == [(576,)]


def test_a_reader_cannot_write(settings):
    with read_lake(settings) as lake, pytest.raises(duckdb.InvalidInputException, match="read-only"):
        lake.execute("DELETE FROM lake.aemo.dispatch_region")


def test_a_data_folder_may_move(settings, store, region_rows, tmp_path, now):
    store(region_rows(DAY))
    shutil.move(settings.etl_data, tmp_path / "elsewhere")
    moved = Settings(_env_file=None, etl_data=tmp_path / "elsewhere")

    with write_lake(moved, "a test") as lake, transaction(lake):
        counts = upsert(lake, DISPATCH_REGION, region_rows(DAY, date(2026, 11, 21)), now=now)

    assert (counts.unchanged, counts.inserted) == (576, 576)
    assert not settings.etl_data.exists()


def test_a_folder_of_files_given_apart_must_be_the_one_that_the_lake_was_made_with(tmp_path):
    made = Settings(_env_file=None, etl_data=tmp_path / "apart", lake_data=str(tmp_path / "files"))
    with read_lake(made):
        pass
    mistaken = made.model_copy(update={"lake_data": str(tmp_path / "others")})

    with pytest.raises(duckdb.Error, match="does not match existing data path"), read_lake(mistaken):
        pass


@pytest.fixture
def unreachable(tmp_path):
    """A lake whose catalog is in a Postgres that cannot be attached: DuckDB lacks the extension and gets none."""
    rested = connection_module._idle["postgres_scanner"]
    for _ in range(2):
        database = duckdb.connect()
        load_extension(database, "ducklake")
        database.execute("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")
        rested.append((database, 0))
    address = "postgres:host=127.0.0.1 port=1 dbname=lake user=etl password=TOPSECRET"
    yield Settings(_env_file=None, etl_data=tmp_path / "far", lake_catalog=address)
    while rested:
        rested.pop()[0].close()


@pytest.mark.parametrize(
    "opened",
    [
        read_lake,
        lambda settings: write_lake(settings, "a test"),
        lambda settings: connected(settings, read_only=True),
        connection_module._reader,
    ],
)
def test_a_catalog_that_cannot_be_attached_is_told_without_its_password(unreachable, opened):
    with pytest.raises(LakeUnreachableError) as raised, opened(unreachable):
        pass

    told = str(raised.value)
    shown = "".join(traceback.format_exception(raised.value))
    assert "Failed to attach DuckLake MetaData" in told
    assert "LAKE_CATALOG" in told
    for secret in ("TOPSECRET", "user=etl", "host="):
        assert secret not in told
        assert secret not in shown
    # Who waits for a lake that does not answer catches what DuckDB raises.
    assert isinstance(raised.value, duckdb.Error)


def test_an_error_that_quotes_no_address_is_left_as_it_is(unreachable):
    with (
        pytest.raises(duckdb.CatalogException, match="nowhere"),
        connection_module._address_untold(unreachable),
        duckdb.connect() as database,
    ):
        database.execute("FROM nowhere")


def test_a_declared_table_with_a_new_name_is_created(settings):
    new = replace(DISPATCH_REGION, name="new_table")

    with write_lake(settings, "a test") as lake:
        done = migrate(lake, [new])

    assert done == ["created aemo.new_table"]


def test_the_lock_names_its_last_holder(settings):
    with write_lake(settings, "counting"):
        holder = connection_module.lock_holder(settings)

    assert holder == f"process {os.getpid()} (counting)"
