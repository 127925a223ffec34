"""The verdict finds what is missing, doubled, made up or different: a check that cannot fail proves nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest

from soak.checks import AGGREGATED, Finding, accounts, compare
from soak.growth import Sizes, bounded
from soak.truth import Expected

END = datetime(2025, 9, 30, 0, 5, tzinfo=UTC)
ENDS = [END, END + timedelta(minutes=5), END + timedelta(minutes=10)]


@pytest.fixture
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for schema in ("aemo", "ace", "ops"):
            connection.execute(f"CREATE SCHEMA {schema}")
        yield connection


def table(connection: duckdb.DuckDBPyConnection, ends: list[datetime], prices: list[float | None]) -> None:
    connection.execute("CREATE TABLE aemo.price (interval_end TIMESTAMPTZ, region_id VARCHAR, rrp DOUBLE)")
    connection.executemany("INSERT INTO aemo.price VALUES (?, 'SA1', ?)", list(zip(ends, prices, strict=True)))


def expected(required: tuple[bool, ...] = (True, True, True)) -> Expected:
    rows = pa.table(
        {
            "interval_end": pa.array(ENDS, pa.timestamp("us", "UTC")),
            "region_id": ["SA1"] * 3,
            "rrp": [50.0, -20.5, 60.0],
            "required": list(required),
        }
    )
    return Expected("aemo.price", ("interval_end", "region_id"), rows)


def test_a_table_that_is_as_the_truth_is_well(warehouse: duckdb.DuckDBPyConnection) -> None:
    table(warehouse, ENDS, [50.0, -20.5, 60.0])

    assert compare(warehouse, expected()).holds


def test_a_row_that_need_not_be_there_may_be_missing(warehouse: duckdb.DuckDBPyConnection) -> None:
    table(warehouse, ENDS[:2], [50.0, -20.5])

    assert compare(warehouse, expected(required=(True, True, False))).holds
    assert compare(warehouse, expected()).seen.startswith("1 missing, such as 2025-09-30 00:15:00+00:00 SA1")


def test_a_row_that_nobody_published_is_found(warehouse: duckdb.DuckDBPyConnection) -> None:
    table(warehouse, [*ENDS, END + timedelta(hours=1)], [50.0, -20.5, 60.0, 70.0])

    assert "1 that nobody published" in compare(warehouse, expected()).seen


@pytest.mark.parametrize("price", [50.01, None])
def test_a_value_that_differs_is_found(warehouse: duckdb.DuckDBPyConnection, price: float | None) -> None:
    table(warehouse, ENDS, [price, -20.5, 60.0])

    found = compare(warehouse, expected())

    assert (found.holds, "1 different" in found.seen) == (False, True)


def test_an_account_that_does_not_balance_is_found(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.execute(
        "CREATE TABLE ops.sync_runs AS SELECT 'a' AS run_id, 'd' AS dataset, 'p' AS partition, 3 AS fetched, "
        "0 AS filtered, 0 AS invalid, 0 AS duplicate, 1 AS unchanged, 1 AS inserted, 0 AS updated"
    )

    assert accounts(warehouse, None).seen == "1 of 1 do not"


def test_aggregates_are_worked_out_again_from_readings_and_days_begin_at_midnight_nem_time(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    warehouse.execute(
        "CREATE TABLE ace.timeseries_all AS SELECT 'a' AS site_name, 'p' AS point_name, t AS \"timestamp\", v AS value "
        "FROM (VALUES (TIMESTAMPTZ '2025-09-29 13:59:30+00', 1.0), ('2025-09-29 14:00:30+00', 3.0), "
        "('2025-09-29 14:00:40+00', 5.0)) AS r(t, v)"
    )
    warehouse.execute(
        'CREATE TABLE ace.timeseries_agg (site_name VARCHAR, point_name VARCHAR, "interval" VARCHAR, '
        '"timestamp" TIMESTAMPTZ, avg_value DOUBLE, min_value DOUBLE, max_value DOUBLE, sample_count BIGINT)'
    )
    for interval, first in (("1min", "13:59"), ("5min", "13:55"), ("1h", "13:00"), ("1d", "14:00")):
        day = "28" if interval == "1d" else "29"
        for start, one, two, count in ((f"2025-09-{day} {first}", 1.0, 1.0, 1), ("2025-09-29 14:00", 3.0, 5.0, 2)):
            warehouse.execute(
                "INSERT INTO ace.timeseries_agg VALUES ('a', 'p', ?, ?::TIMESTAMPTZ, ?, ?, ?, ?)",
                [interval, f"{start}:00+00", (one + two) / 2, one, two, count],
            )

    assert warehouse.execute(AGGREGATED).fetchall() == [(8, 0, 0, 0)]

    warehouse.execute("UPDATE ace.timeseries_agg SET max_value = 6 WHERE max_value = 5 AND \"interval\" = '1d'")
    assert warehouse.execute(AGGREGATED).fetchall() == [(8, 0, 0, 1)]


def sizes(day: int, lake_files: int, api_mb: float) -> Sizes:
    return Sizes(END + timedelta(days=day), lake_files, 50, 20, 5, 3_000, 300, 2_000, api_mb)


def wrong(findings: list[Finding]) -> list[str]:
    return [finding.name for finding in findings if not finding.holds]


def test_what_stays_as_large_as_in_the_middle_of_the_week_is_bounded() -> None:
    assert wrong(bounded([sizes(day, 1_000, 300) for day in range(7)], [(5, 400.0)] * 20)) == []


def test_what_goes_on_growing_is_named() -> None:
    growing = [sizes(day, 1_000 * day**3, 100 * 2**day) for day in range(1, 8)]
    memory = [(5, 400.0 + 20 * n) for n in range(40)]

    assert wrong(bounded(growing, memory)) == [
        "workers' memory is bounded",
        "lake_files is bounded",
        "api_mb is bounded",
    ]
