"""The published file as the API reads it: the newest, without a lock, bounded, and nothing beside it."""

import os
import threading
from contextlib import ExitStack, closing
from datetime import date, timedelta

import duckdb
import pyarrow as pa
import pytest

from etl_assets.api import published_file
from etl_assets.api import warehouse as warehouse_module
from etl_assets.api.problems import Problem
from etl_assets.api.warehouse import MOST_CONNECTIONS, MOST_WAITING, Warehouse
from etl_assets.lake.publish import Copied, publish
from etl_assets.lake.tables import GAPS
from etl_assets_tests.api.authority import NOW
from etl_assets_tests.api.published import (
    DAY,
    NEXT_DAY,
    SITE,
    at,
    intervals,
    minutes,
    published,
    readings,
    site,
    store,
)

COUNT = "SELECT count(*) FROM warehouse.aemo.price"
ENDLESS = "SELECT sum(a.i * b.i) FROM range(10000000) AS a(i), range(10000000) AS b(i)"
FIRST = intervals([{"interval_end": at("2026-11-20 00:05"), "region_id": "NSW1"}])
SECOND = intervals([{"interval_end": at("2026-11-20 00:10"), "region_id": "NSW1"}])
OF_NEXT_DAY = intervals([{"interval_end": at("2026-11-21 00:05"), "region_id": "NSW1"}])


@pytest.fixture
def warehouse(settings):
    with closing(Warehouse(settings)) as warehouse:
        yield warehouse


def ask(warehouse: Warehouse, sql: str, *values: object) -> list[tuple]:
    with warehouse.connection() as connection:
        return connection.execute(sql, values).fetchall()


def refused(warehouse: Warehouse, sql: str) -> Problem:
    with pytest.raises(Problem) as problem:
        ask(warehouse, sql)
    return problem.value


def test_before_the_first_publication_a_client_is_told_to_come_back(warehouse):
    problem = refused(warehouse, COUNT)

    assert (problem.status_code, problem.headers["Retry-After"]) == (503, "60")
    assert "nothing has been published yet" in problem.detail


def test_a_file_that_is_no_published_file_is_as_good_as_none(settings, warehouse):
    settings.etl_data.mkdir(parents=True)
    settings.warehouse_path.write_bytes(b"no database" * 1000)

    assert refused(warehouse, COUNT).status_code == 503


def test_the_newest_publication_is_seen_by_who_comes_after_it_and_not_by_who_came_before(settings, warehouse):
    published(settings, FIRST)
    with warehouse.connection() as before:
        published(settings, SECOND)
        with warehouse.connection() as after:
            seen = [connection.execute(COUNT).fetchall() for connection in (before, after, before)]

    assert seen == [[(1,)], [(2,)], [(1,)]]


def test_the_snapshot_says_which_publication_is_shown(settings, warehouse):
    published(settings, FIRST)
    first = warehouse.snapshot
    published(settings, SECOND, at=NOW + timedelta(minutes=5))

    assert warehouse.snapshot.id > first.id
    assert (first.published_at, warehouse.snapshot.published_at) == (NOW, NOW + timedelta(minutes=5))


def test_a_former_file_is_let_go_when_its_last_reader_is_done(settings, warehouse):
    published(settings, FIRST)
    with warehouse.connection() as connection:
        connection.execute(COUNT)
        held = warehouse._newest.descriptor
        published(settings, SECOND)
        ask(warehouse, COUNT)
        os.fstat(held)

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(held)


def test_a_log_that_lies_beside_the_file_is_not_read(settings, warehouse):
    published(settings, FIRST)
    settings.warehouse_path.with_name("warehouse.duckdb.wal").write_bytes(b"no log")

    assert ask(warehouse, COUNT) == [(1,)]


def test_readers_and_a_publisher_do_not_hinder_each_other(settings, warehouse):
    published(settings, FIRST)
    published_all = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not published_all.is_set():
            seen.append(ask(warehouse, COUNT)[0][0])

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for minute in (10, 15, 20):
        published(settings, intervals([{"interval_end": at(f"2026-11-20 00:{minute}"), "region_id": "NSW1"}]))
    published_all.set()
    for reader in readers:
        reader.join()

    assert set(seen) <= {1, 2, 3, 4}
    assert ask(warehouse, COUNT) == [(4,)]


@pytest.mark.parametrize(
    "statement",
    [
        "FROM read_csv('/etc/passwd')",
        "FROM read_text('/etc/hostname')",
        "FROM glob('/etc/*')",
        "ATTACH '/nowhere/other.duckdb'",
        "COPY (SELECT 1) TO '/nowhere/out.csv'",
        "EXPORT DATABASE '/nowhere/out'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "RESET lock_configuration",
        "CREATE TABLE warehouse.aemo.mine AS SELECT 1",
        "DELETE FROM warehouse.quality.gaps",
        "FROM some_variable_of_python",
    ],
)
def test_a_connection_can_do_nothing_but_read_what_was_published(settings, warehouse, statement):
    some_variable_of_python = pa.table({"a": [1]})
    published(settings, FIRST)

    with warehouse.connection() as connection, pytest.raises(duckdb.Error):
        connection.execute(statement).fetchall()
    assert some_variable_of_python.num_rows == 1
    assert ask(warehouse, COUNT) == [(1,)]


def test_a_parquet_file_that_no_view_names_cannot_be_read(settings, warehouse):
    published(settings, FIRST)
    named = next(settings.etl_data.rglob("dispatch_region/**/*.parquet"))
    other = named.with_name("other.parquet")
    other.write_bytes(named.read_bytes())

    assert ask(warehouse, "SELECT count(*) FROM read_parquet(?)", str(named)) == [(1,)]
    with warehouse.connection() as connection, pytest.raises(duckdb.PermissionException):
        connection.execute("FROM read_parquet(?)", [str(other)])


def test_times_are_those_of_utc_whatever_the_machine_says(settings, warehouse):
    published(settings, FIRST)

    assert ask(warehouse, "SELECT CAST(interval_end AS VARCHAR) FROM warehouse.aemo.price") == [
        ("2026-11-19 14:05:00+00",)
    ]


def test_a_query_that_takes_too_long_is_stopped_and_the_connection_goes_on(settings, warehouse):
    published(settings, FIRST)

    with warehouse.connection() as connection:
        with pytest.raises(Problem) as slow, warehouse.timed(connection, timedelta(milliseconds=50)):
            connection.execute(ENDLESS).fetchall()
        after = connection.execute(COUNT).fetchall()

    assert slow.value.status_code == 504
    assert "0.05 s" in slow.value.detail
    assert after == [(1,)]


def test_an_error_within_the_time_is_what_it_was(settings, warehouse):
    published(settings, FIRST)

    with warehouse.connection() as connection, pytest.raises(duckdb.CatalogException), warehouse.timed(connection):
        connection.execute("FROM warehouse.aemo.nothing")


def test_a_query_that_needs_too_much_memory_fails_alone(settings, warehouse, monkeypatch):
    monkeypatch.setattr(published_file, "MEMORY", "60MB")
    published(settings, FIRST)

    problem = refused(warehouse, "SELECT max(i) FROM (SELECT i FROM range(20000000) AS t(i) ORDER BY hash(i)) OFFSET 1")

    assert (problem.status_code, problem.headers["Retry-After"]) == (503, "5")
    assert ask(warehouse, COUNT) == [(1,)]


def test_a_file_that_has_gone_is_no_fault_of_the_client(settings, warehouse):
    published(settings, FIRST)
    next(settings.etl_data.rglob("dispatch_region/**/*.parquet")).unlink()

    problem = refused(warehouse, "FROM warehouse.aemo.price")

    assert problem.status_code == 503
    assert str(settings.etl_data) not in problem.detail


def test_more_readers_than_connections_are_told_to_come_back(settings, warehouse, monkeypatch):
    monkeypatch.setattr(warehouse_module, "PATIENCE", timedelta(0))
    published(settings, FIRST)

    with ExitStack() as stack:
        for _ in range(MOST_CONNECTIONS):
            stack.enter_context(warehouse.connection())
        problem = refused(warehouse, COUNT)

    assert (problem.status_code, problem.headers["Retry-After"]) == (503, "5")
    assert ask(warehouse, COUNT) == [(1,)]


def test_who_waits_gets_the_next_connection(settings, warehouse, monkeypatch):
    monkeypatch.setattr(warehouse_module, "PATIENCE", timedelta(minutes=1))
    published(settings, FIRST)
    seen: list[list[tuple]] = []
    waiting = [threading.Thread(target=lambda: seen.append(ask(warehouse, COUNT))) for _ in range(MOST_WAITING)]

    with ExitStack() as stack:
        for _ in range(MOST_CONNECTIONS):
            stack.enter_context(warehouse.connection())
        for thread in waiting:
            thread.start()
    for thread in waiting:
        thread.join()

    assert seen == [[(1,)]] * MOST_WAITING


def test_the_version_of_some_days_changes_when_theirs_change_and_not_when_others_do(settings, warehouse):
    published(settings, FIRST)
    days = (DAY, DAY)
    first = warehouse.version("aemo.dispatch_region", days=days)
    published(settings, OF_NEXT_DAY)
    same = warehouse.version("aemo.dispatch_region", days=days)
    of_all = warehouse.version("aemo.dispatch_region")
    published(settings, SECOND)

    assert same == first
    assert of_all != first
    assert warehouse.version("aemo.dispatch_region", days=days) != first
    assert warehouse.version("aemo.dispatch_region", days=(NEXT_DAY, NEXT_DAY)) != first


def test_the_version_of_a_view_is_that_of_what_it_is_made_of(settings, warehouse):
    published(settings, FIRST)
    first = warehouse.version("aemo.price", days=(DAY, DAY))
    published(settings, SECOND)

    assert warehouse.version("aemo.price", days=(DAY, DAY)) != first


@pytest.mark.parametrize("table", ["ace.timeseries_raw", "ace.timeseries_all"])
def test_the_version_of_a_site_changes_with_its_readings_alone(settings, warehouse, table):
    published(settings, site(), readings("p", minutes(DAY, 2), [1, 2]))
    first = warehouse.version(table, days=(DAY, DAY), site=SITE)
    published(settings, readings("p", minutes(DAY, 2), [1, 2], where="other"))
    same = warehouse.version(table, days=(DAY, DAY), site=SITE)
    published(settings, readings("p", minutes(DAY, 3), [1, 2, 3]))

    assert same == first
    assert warehouse.version(table, days=(DAY, DAY), site=SITE) != first


def test_the_version_of_a_copied_table_changes_with_the_lake(settings, warehouse):
    published(settings, FIRST)
    first = warehouse.version("quality.gaps")
    publish(settings, now=NOW + timedelta(minutes=5))
    same = warehouse.version("quality.gaps")
    gap = {"dataset": "a", "entity": "*", "gap_start": NOW, "gap_end": NOW, "missing_intervals": 1}
    published(settings, (GAPS, pa.Table.from_pylist([gap])))

    assert same == first
    assert warehouse.version("quality.gaps") != first


def test_the_version_of_what_comes_from_the_state_database_changes_with_every_publication(settings, warehouse):
    runs = Copied("ops", "some_runs", "Runs.", pa.table({"run": [1]}))
    store(settings, FIRST)
    publish(settings, now=NOW, extra=[runs])
    first = warehouse.version("ops.some_runs")
    publish(settings, now=NOW + timedelta(minutes=5), extra=[runs])

    assert warehouse.version("ops.some_runs") != first


def test_the_last_day_is_that_of_the_newest_file(settings, warehouse):
    published(settings)
    before = warehouse.last_day("aemo.dispatch_region")
    published(settings, FIRST, OF_NEXT_DAY)

    assert before is None
    assert warehouse.last_day("aemo.dispatch_region") == NEXT_DAY
    assert warehouse.last_day("quality.gaps") is None


def test_what_is_made_once_is_made_once_for_each_publication(settings, warehouse):
    published(settings, FIRST)
    made: list[int] = []
    barrier = threading.Barrier(8)

    def make(connection: duckdb.DuckDBPyConnection) -> int:
        made.append(connection.execute(COUNT).fetchall()[0][0])
        return made[-1]

    def ask_for_it() -> None:
        barrier.wait()
        assert warehouse.once("how many", make) == 1

    threads = [threading.Thread(target=ask_for_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    there, published_since = warehouse.made("how many"), published(settings, SECOND)

    assert (there, published_since, warehouse.made("how many")) == (1, None, None)
    assert warehouse.once("how many", make) == 2
    assert made == [1, 2]


def test_what_takes_long_to_make_holds_nothing_else_up(settings, warehouse):
    published(settings, FIRST)
    begun, go_on = threading.Event(), threading.Event()

    def make_slowly(_connection: duckdb.DuckDBPyConnection) -> bool:
        begun.set()
        return go_on.wait(30)

    slow = threading.Thread(target=warehouse.once, args=("figures of all tables", make_slowly))
    slow.start()
    begun.wait()
    made_meanwhile = warehouse.once("names of sites", lambda _: "made")
    go_on.set()
    slow.join()

    assert made_meanwhile == "made"
    # It was not its patience that ended the slow one.
    assert warehouse.made("figures of all tables") is True


def test_what_could_not_be_made_is_tried_again(settings, warehouse):
    published(settings, FIRST)

    with pytest.raises(duckdb.CatalogException):
        warehouse.once("it", lambda connection: connection.execute("FROM nothing").fetchall())

    assert warehouse.made("it") is None
    assert warehouse.once("it", lambda connection: connection.execute(COUNT).fetchall()) == [(1,)]


def test_a_path_tells_the_day_and_the_site_of_a_file():
    path = "/data/lake/files/ace/timeseries_raw/market_day=2026-11-20/site_name=building%20a%2Fb/x.parquet"

    found = published_file.NamedFile.of(path)

    assert (found.day, found.site) == (date(2026, 11, 20), SITE)
    assert found.may_hold((DAY, NEXT_DAY), SITE)
    assert not found.may_hold((NEXT_DAY, NEXT_DAY), None)
    assert not found.may_hold(None, "building a")
