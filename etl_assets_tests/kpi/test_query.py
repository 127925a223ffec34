"""Queries put to the published file: the values they give, and that they do no harm whatever they say.

Which texts pass is in ``test_statement``, which rows are values in ``test_answer``.
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from etl_assets.kpi import query as query_module
from etl_assets.kpi.query import KpiSqlError, KpiValue, PublishedFile, PublishedFileError
from etl_assets.lake.archive import archive_old
from etl_assets.lake.connection import write_lake
from etl_assets.lake.locked import open_locked
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import DISPATCH_REGION, TIMESERIES_RAW, Table
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.market_time import day_start, interval_ends
from etl_assets.ops.state import save_checkpoint
from etl_assets.settings import Settings

DAY = date(2026, 11, 20)
DAYS = [DAY - timedelta(days=n) for n in range(3)]
LATER = date(2026, 11, 21)
NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
MEMORY = 256 * 1024 * 1024

MEAN = "SELECT avg(rrp) FROM aemo.price WHERE market_day = $market_day"
BY_REGION = "SELECT region_id, avg(rrp) FROM aemo.price WHERE market_day = $market_day GROUP BY region_id ORDER BY 1"
ENDLESS = "SELECT count(*) FROM range(1000000) a, range(1000000) b, aemo.price WHERE market_day = $market_day"


def store(settings: Settings, rows: pa.Table, table: Table = DISPATCH_REGION) -> None:
    with write_lake(settings, "a test") as lake, transaction(lake):
        upsert(lake, table, rows, now=NOW)


def prices(price: float, day: date = DAY) -> pa.Table:
    """Two regions, two intervals: SA1 pays twice as much as NSW1."""
    rows = [
        {"interval_end": end, "region_id": region, "intervention": 0, "rrp": price * factor, "total_demand": 1000.0}
        for end in interval_ends(day)[:2]
        for region, factor in (("NSW1", 1), ("SA1", 2))
    ]
    return pa.Table.from_pylist(rows)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Three published days at 100, 110 and 120 AUD/MWh, one that came later, and a state database."""
    settings = Settings(_env_file=None, etl_data=tmp_path_factory.mktemp("kpi") / "data")
    for n, day in enumerate(DAYS):
        store(settings, prices(100.0 + 10 * n, day))
    publish(settings, now=NOW)
    store(settings, prices(999.0, LATER))
    save_checkpoint(settings, "secret", {"page": 1}, now=NOW, keep=timedelta(days=1))
    return settings


@pytest.fixture(scope="module")
def published(lake: Settings) -> Iterator[PublishedFile]:
    with PublishedFile(lake) as file:
        yield file


@pytest.fixture
def impatient(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[PublishedFile]:
    """Queries are interrupted after 0.2 s, and their process is ended 0.2 s later."""
    monkeypatch.setattr(query_module, "GRACE", timedelta(seconds=0.2))
    with PublishedFile(lake.model_copy(update={"kpi_sql_timeout": timedelta(seconds=0.2)})) as file:
        yield file


def files(settings: Settings) -> dict[Path, bytes]:
    """Everything in the data folder; SQLite's own files beside a database come and go."""
    return {path: path.read_bytes() for path in settings.etl_data.rglob("*") if path.is_file()}


def unpublished_file(settings: Settings) -> Path:
    [path] = Path(settings.lake_files).rglob(f"market_day={LATER}/*.parquet")
    return path


def published_file(settings: Settings) -> Path:
    [path] = Path(settings.lake_files).rglob(f"market_day={DAY}/*.parquet")
    return path


# What a query gives.


def test_a_query_of_one_number_gives_one_value_without_an_entity(published):
    assert published.values(MEAN, DAY) == [KpiValue("", 150.0)]


def test_a_query_of_entities_gives_one_value_for_each(published):
    assert published.values(BY_REGION, DAYS[1], entity="region") == [KpiValue("NSW1", 110.0), KpiValue("SA1", 220.0)]


def test_the_file_says_which_snapshot_it_shows_and_when_it_was_published(published, lake):
    with duckdb.connect(str(lake.warehouse_path), read_only=True) as connection:
        [row] = connection.execute("SELECT snapshot_id, published_at FROM ops.publication").fetchall()

    assert (published.snapshot, published.published_at) == row


def test_columns_named_entity_and_value_may_stand_in_either_order(published):
    sql = "SELECT rrp AS value, region_id AS entity FROM aemo.price WHERE market_day = $market_day LIMIT 1"

    assert published.values(sql, DAY, entity="region") in ([KpiValue("NSW1", 100.0)], [KpiValue("SA1", 200.0)])


@pytest.mark.parametrize("day", [date(1999, 1, 1), LATER])
def test_a_day_without_data_gives_no_value(published, day):
    assert published.values(MEAN, day) == [KpiValue("", None)]
    assert published.values(BY_REGION, day, entity="region") == []
    assert published.values("SELECT rrp FROM aemo.price WHERE market_day = $market_day", day) == [KpiValue("", None)]


def test_a_null_is_no_value_of_its_entity(published):
    sql = "SELECT 'NSW1', NULL WHERE $market_day IS NOT NULL"

    assert published.values(sql, DAY, entity="region") == [KpiValue("NSW1", None)]


@pytest.mark.parametrize("number", ["1", "1.5::DECIMAL(4, 1)", "1.5::FLOAT", "7::HUGEINT", "7::UTINYINT", "1e300"])
def test_any_type_of_number_is_a_value(published, number):
    value = float(number.partition("::")[0])

    assert published.values(f"SELECT {number} WHERE $market_day IS NOT NULL", DAY) == [KpiValue("", value)]


def test_the_market_day_is_a_date_and_the_clock_is_utc(published):
    sql = "SELECT 100 * (typeof($market_day) = 'DATE')::INT + hour(TIMESTAMPTZ '2026-11-20 00:00:00+10')"

    assert published.values(sql, DAY) == [KpiValue("", 114.0)]


def filled(sql: str, lake: Settings) -> str:
    """An attempt with the paths of a real data folder."""
    places = {
        "published": published_file(lake),
        "unpublished": unpublished_file(lake),
        "state": lake.etl_data / "state.sqlite",
        "warehouse": lake.warehouse_path,
        "data": lake.etl_data,
    }
    for name, path in places.items():
        sql = sql.replace(f"{{{name}}}", str(path))
    return sql


# That it does no harm: the engine by itself, as if everything passed as text.


@pytest.fixture(scope="module")
def locked(lake: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_locked(str(lake.warehouse_path), f"{MEMORY}B", threads=1) as connection:
        yield connection


BEYOND_THE_ENGINE = [
    ("COPY (SELECT 1) TO '{data}/new.csv'", "disabled by configuration"),
    ("COPY (SELECT 1) TO '{unpublished}'", "disabled by configuration"),
    ("EXPORT DATABASE '{data}/export'", "disabled by configuration"),
    ("ATTACH '{state}' AS state (TYPE sqlite)", "disabled|sqlite"),
    ("ATTACH '{data}/new.duckdb' AS other", "disabled by configuration"),
    ("INSTALL sqlite", "disabled"),
    ("LOAD sqlite", "disabled"),
    ("SELECT * FROM sqlite_scan('{state}', 'checkpoints')", "not in the catalog"),
    ("SELECT * FROM read_text('/etc/passwd')", "disabled by configuration"),
    ("SELECT * FROM read_blob('{state}')", "disabled by configuration"),
    ("SELECT * FROM glob('/etc/*')", "disabled by configuration"),
    ("SELECT * FROM '{unpublished}'", "disabled by configuration"),
    ("SELECT * FROM read_parquet('{unpublished}')", "disabled by configuration"),
    ("SELECT * FROM read_parquet('{data}/lake/files/aemo/dispatch_region/*/*.parquet')", "disabled by configuration"),
    ("SELECT * FROM duckdb_secrets()", "disabled by configuration"),
    ("SELECT getenv('HOME')", "does not exist"),
    ("SELECT * FROM rows_of_python", "does not exist"),
    ("CREATE TABLE aemo.mine (a INTEGER)", "read-only"),
    ("INSERT INTO kpi.kpi_values (kpi_id) VALUES ('a')", "read-only"),
    ("DELETE FROM ops.publication", "read-only"),
    ("SET enable_external_access = true", "locked|Cannot"),
    ("SET lock_configuration = false", "locked|Cannot"),
    ("SET memory_limit = '100GB'", "locked|Cannot"),
    ("SET allowed_paths = ['/etc/passwd']", "locked|Cannot"),
    ("RESET allowed_paths", "locked|Cannot"),
    ("SELECT max(a) FROM (SELECT a FROM range(100000000) t(a) ORDER BY random())", "Out of Memory"),
]


@pytest.mark.parametrize(("sql", "wrong"), BEYOND_THE_ENGINE)
def test_the_engine_refuses_what_the_text_would_have_let_pass(lake, locked, sql, wrong):
    rows_of_python = pa.table({"a": [1]})

    with pytest.raises(duckdb.Error, match=wrong):
        locked.execute(filled(sql, lake)).fetchall()

    assert rows_of_python.num_rows == 1


def test_the_engine_has_neither_the_lake_nor_its_extensions(locked):
    databases = locked.execute("SELECT database_name FROM duckdb_databases() WHERE NOT internal").fetchall()
    functions = locked.execute("SELECT DISTINCT function_name FROM duckdb_functions()").fetchall()

    assert sorted(databases) == [("memory",), ("warehouse",)]
    assert {name for (name,) in functions}.isdisjoint({"sqlite_scan", "ducklake_snapshots", "postgres_scan"})


ATTEMPTS = [
    "COPY (SELECT 1) TO '{published}' (FORMAT parquet)",
    "COPY (SELECT $market_day) TO '{published}' (FORMAT parquet)",
    f"{MEAN}; COPY (SELECT 1) TO '{{published}}' (FORMAT parquet)",
    "EXPLAIN ANALYZE COPY (SELECT $market_day) TO '{published}' (FORMAT parquet)",
    "SELECT $market_day FROM query('COPY (SELECT 1) TO ''{published}''')",
    "SELECT $market_day FROM enable_logging(storage = 'file', storage_path = '{data}/log')",
    "SELECT $market_day FROM sqlite_scan('{state}', 'checkpoints')",
    "SELECT $market_day FROM read_text('/etc/passwd')",
    "SELECT $market_day FROM read_duckdb('{warehouse}')",
    "SELECT $market_day FROM checkpoint()",
    "DELETE FROM ops.publication WHERE published_at::DATE >= $market_day",
    *(sql for sql, _ in BEYOND_THE_ENGINE),
]


def test_nothing_on_the_disk_changes_whatever_a_query_tries(lake, published):
    before = files(lake)

    for sql in ATTEMPTS:
        with pytest.raises(KpiSqlError):
            published.values(filled(sql, lake), DAY)

    assert files(lake) == before
    assert published.values(MEAN, DAY) == [KpiValue("", 150.0)]


@pytest.mark.parametrize(
    ("sql", "wrong"),
    [
        ("SELECT max(rrp) FROM '{unpublished}' WHERE $market_day IS NOT NULL", "disabled by configuration"),
        ("SELECT count(*) FROM '/etc/passwd' WHERE $market_day IS NOT NULL", "does not exist"),
        ("SELECT count(*) FROM '{state}' WHERE $market_day IS NOT NULL", "does not exist|disabled"),
        ("SELECT nothing FROM aemo.price WHERE market_day = $market_day", 'column "nothing" not found'),
        ("SELECT count(*) FROM lake.aemo.dispatch_region WHERE market_day = $market_day", "does not exist"),
    ],
)
def test_what_passes_as_text_and_fails_says_why_in_a_line(lake, published, sql, wrong):
    with pytest.raises(KpiSqlError, match=wrong) as failed:
        published.values(filled(sql, lake), DAY)

    assert "\n" not in str(failed.value)


def test_a_query_that_speaks_at_length_is_cut_short(published):
    with pytest.raises(KpiSqlError) as failed:
        published.values("SELECT error(repeat('x', 1000000)) WHERE $market_day IS NOT NULL", DAY)

    assert str(failed.value).startswith("The query failed: Invalid Input Error: xxx")
    assert len(str(failed.value)) < 600


# That it ends.


def test_a_query_without_end_is_stopped_and_says_so(impatient):
    with pytest.raises(KpiSqlError, match=r"longer than 0\.2 s \(KPI_SQL_TIMEOUT\)"):
        impatient.values(ENDLESS, DAY)


def test_a_recursion_without_end_is_stopped(impatient):
    numbers = "WITH RECURSIVE a AS (SELECT 1 x UNION ALL SELECT x + 1 FROM a)"
    sql = f"{numbers} SELECT max(x) FROM a WHERE $market_day IS NOT NULL"

    with pytest.raises(KpiSqlError, match=r"KPI_SQL_TIMEOUT|KPI_SQL_MEMORY"):
        impatient.values(sql, DAY)


def test_a_query_that_heeds_no_interrupt_is_stopped_with_its_process_and_the_next_gets_another(impatient):
    # 10^12 steps inside one function of one row.
    deaf = "SELECT levenshtein(repeat('a', 1000000), repeat('b', 1000000) || $market_day)"

    with pytest.raises(KpiSqlError, match="stopped with its process"):
        impatient.values(deaf, DAY)

    assert impatient.values("SELECT 1 WHERE $market_day IS NOT NULL", DAY) == [KpiValue("", 1.0)]


def test_others_go_on_while_one_query_runs_without_end(lake):
    with PublishedFile(lake.model_copy(update={"kpi_sql_timeout": timedelta(seconds=2)})) as file:
        failed: list[str] = []
        endless = threading.Thread(target=lambda: failed.append(error_of(file, ENDLESS)))
        endless.start()
        found = [file.values(MEAN, DAY) for _ in range(5)]
        endless.join()

    assert found == [[KpiValue("", 150.0)]] * 5
    assert "KPI_SQL_TIMEOUT" in failed[0]


def error_of(file: PublishedFile, sql: str) -> str:
    try:
        return str(file.values(sql, DAY))
    except KpiSqlError as error:
        return str(error)


@pytest.mark.parametrize(
    "bomb",
    [
        "SELECT max(a) FROM (SELECT a FROM range(1000000000) t(a) ORDER BY random()) WHERE $market_day IS NOT NULL",
        "SELECT length(repeat('x', 4000000000)) WHERE $market_day IS NOT NULL",
        "SELECT len(list_resize([$market_day], 1000000000))",
    ],
)
def test_a_query_that_takes_all_memory_fails_and_the_next_does_not(lake, bomb):
    with PublishedFile(lake.model_copy(update={"kpi_sql_memory": "200MB"})) as file:
        with pytest.raises(KpiSqlError, match="KPI_SQL_MEMORY"):
            file.values(bomb, DAY)

        assert file.values(MEAN, DAY) == [KpiValue("", 150.0)]


@pytest.mark.parametrize("entity", ["", "number"])
def test_rows_without_number_are_fetched_no_further_than_allowed(published, entity):
    sql = "SELECT a::VARCHAR, a FROM range(1000000000000) t(a) WHERE $market_day IS NOT NULL"

    with pytest.raises(KpiSqlError, match="more than 10,000 rows" if entity else "gives 2 columns"):
        published.values(sql, DAY, entity=entity)


# That many use it at once, and what they see.


def test_many_threads_each_get_the_values_of_their_own_query(published):
    days = [DAYS[n % 3] for n in range(60)]

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda day: published.values(BY_REGION, day, entity="region"), days))

    assert found == [[KpiValue("NSW1", 100.0 + 10 * (n % 3)), KpiValue("SA1", 200.0 + 20 * (n % 3))] for n in range(60)]


def test_queries_go_on_when_a_waiting_process_was_ended_from_outside(lake):
    with PublishedFile(lake) as file:
        file._idle[0]._process.kill()
        file._idle[0]._process.wait()

        assert file.values(MEAN, DAY) == [KpiValue("", 150.0)]


@pytest.fixture
def data(tmp_path: Path) -> Settings:
    """A lake of its own, published with one day at 100 AUD/MWh."""
    settings = Settings(_env_file=None, etl_data=tmp_path / "data")
    store(settings, prices(100.0))
    publish(settings, now=NOW)
    return settings


def test_a_file_that_is_open_shows_its_snapshot_although_it_is_replaced(data):
    with PublishedFile(data) as file:
        store(data, prices(200.0))
        publish(data, now=NOW + timedelta(minutes=5))
        # Whatever process answers, one that is started only now included.
        file._idle.pop().close()
        before = file.values(MEAN, DAY)
    with PublishedFile(data) as newer:
        after = newer.values(MEAN, DAY)

    assert (before, after) == ([KpiValue("", 150.0)], [KpiValue("", 300.0)])
    assert newer.snapshot > file.snapshot
    assert newer.published_at - file.published_at == timedelta(minutes=5)


def test_no_process_outlives_its_file(data):
    with PublishedFile(data) as file:
        processes = [sandbox._process for sandbox in file._idle]

    assert [process.poll() is not None for process in processes] == [True]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux shows a process's environment")
def test_the_process_of_the_queries_has_no_secrets_in_its_environment(data, monkeypatch):
    monkeypatch.setenv("N8N_API_KEY", "sesame")

    with PublishedFile(data) as file:
        environment = Path(f"/proc/{file._idle[0]._process.pid}/environ").read_bytes()

    assert b"sesame" not in environment
    assert os.environb[b"N8N_API_KEY"] == b"sesame"


@pytest.mark.parametrize("folder", ["it's a lake", 'the "best" lake', "[a]*{b}%20", "ends in .parquet", "späte, Daten"])
def test_the_data_folder_may_have_any_ordinary_name(tmp_path, folder):
    settings = Settings(_env_file=None, etl_data=tmp_path / folder)
    store(settings, prices(100.0))
    publish(settings, now=NOW)

    with PublishedFile(settings) as file:
        assert file.values(MEAN, DAY) == [KpiValue("", 150.0)]


def test_a_lake_without_rows_has_no_values(tmp_path):
    settings = Settings(_env_file=None, etl_data=tmp_path / "data")
    publish(settings, now=NOW)

    with PublishedFile(settings) as file:
        assert file.values(BY_REGION, DAY, entity="region") == []


def test_readings_of_the_archive_are_read_like_those_of_the_lake(data):
    old = DAY - timedelta(days=200)
    rows = [
        {"site_name": "a site", "point_name": "p", "timestamp": day_start(day) + timedelta(hours=1), "value": value}
        for day, value in ((old, 7.0), (DAY, 9.0))
    ]
    store(data, pa.Table.from_pylist(rows), TIMESERIES_RAW)
    archived = archive_old(data, now=NOW)
    publish(data, now=NOW)
    sql = "SELECT sum(value) FROM ace.timeseries_all WHERE market_day = $market_day"

    with PublishedFile(data) as file:
        found = [file.values(sql, day) for day in (old, DAY)]

    assert [day.market_day for day in archived] == [old]
    assert found == [[KpiValue("", 7.0)], [KpiValue("", 9.0)]]


# That it says what is missing.


def test_without_a_published_file_it_says_what_to_run(tmp_path):
    with pytest.raises(
        PublishedFileError, match=r"warehouse\.duckdb cannot be read \(No such file.*etl-assets publish"
    ):
        PublishedFile(Settings(_env_file=None, etl_data=tmp_path)).__enter__()


@pytest.mark.parametrize("content", [b"no database" * 1000, b""])
def test_a_file_that_is_no_published_file_is_named_with_what_to_run(tmp_path, content):
    settings = Settings(_env_file=None, etl_data=tmp_path)
    settings.warehouse_path.write_bytes(content)

    with pytest.raises(PublishedFileError, match=r"warehouse\.duckdb: .*; run `etl-assets publish`"):
        PublishedFile(settings).__enter__()


def test_a_memory_limit_that_is_no_size_is_named(data):
    with pytest.raises(PublishedFileError, match="KPI_SQL_MEMORY is 'a lot'; give a size such as 1GB"):
        PublishedFile(data.model_copy(update={"kpi_sql_memory": "a lot"})).__enter__()
