"""The verdict finds what is missing, doubled, made up or different: a check that cannot fail proves nothing."""

from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest

from etl_assets.lake.tables import TABLES
from soak.checks import accounts, compare, doubled
from soak.findings import Finding, tried
from soak.truth import Expected, Truth

END = datetime(2025, 9, 30, 0, 5, tzinfo=UTC)
ENDS = [END, END + timedelta(minutes=5), END + timedelta(minutes=10)]


def table(connection: duckdb.DuckDBPyConnection, ends: list[datetime], prices: list[float | None]) -> None:
    connection.execute("CREATE TABLE aemo.price (interval_end TIMESTAMPTZ, region_id VARCHAR, rrp DOUBLE)")
    connection.executemany("INSERT INTO aemo.price VALUES (?, 'SA1', ?)", list(zip(ends, prices, strict=True)))


def expected(required: tuple[bool | None, ...] = (True, True, True)) -> Expected:
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


def test_a_row_that_cannot_be_had_may_be_missing_or_of_a_second_rate_source(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    table(warehouse, ENDS[:2], [50.0, None])

    assert compare(warehouse, expected(required=(True, None, None))).holds
    assert not compare(warehouse, expected(required=(True, False, None))).holds


def test_a_row_that_nobody_published_is_found(warehouse: duckdb.DuckDBPyConnection) -> None:
    table(warehouse, [*ENDS, END + timedelta(hours=1)], [50.0, -20.5, 60.0, 70.0])

    assert "1 that nobody published" in compare(warehouse, expected()).seen


@pytest.mark.parametrize("price", [50.01, None])
def test_a_value_that_differs_is_found(warehouse: duckdb.DuckDBPyConnection, price: float | None) -> None:
    table(warehouse, ENDS, [price, -20.5, 60.0])

    found = compare(warehouse, expected())

    assert (found.holds, "1 different" in found.seen) == (False, True)


def account(warehouse: duckdb.DuckDBPyConnection, fetched: int) -> None:
    warehouse.execute(
        f"CREATE TABLE ops.sync_runs AS SELECT 'a' AS run_id, 'd' AS dataset, 'p' AS partition, {fetched} AS fetched, "
        "0 AS filtered, 0 AS invalid, 0 AS duplicate, 1 AS unchanged, 1 AS inserted, 0 AS updated"
    )


def test_an_account_that_balances_holds(warehouse: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    account(warehouse, 2)

    assert accounts(warehouse, truth) == Finding("every account balances", holds=True, seen="1 attempts")


def test_an_account_that_does_not_balance_is_found(warehouse: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    account(warehouse, 3)

    assert accounts(warehouse, truth) == Finding("every account balances", holds=False, seen="1 of 1 do not")


def test_no_account_at_all_is_none_that_balances(warehouse: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    account(warehouse, 2)
    warehouse.execute("TRUNCATE ops.sync_runs")

    assert not accounts(warehouse, truth).holds


def test_a_key_that_is_there_twice_is_found_and_named(warehouse: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    insert = "INSERT INTO aemo.dispatch_region (interval_end, region_id, intervention, rrp) VALUES (?, 'SA1', ?, ?)"
    warehouse.executemany(insert, [[END, 0, 50.0], [END, 1, 50.0], [ENDS[1], 0, 50.0]])
    before = doubled(warehouse, truth)

    warehouse.execute(insert, [END, 1, 60.0])
    after = doubled(warehouse, truth)

    assert (before.holds, before.seen) == (True, f"{len(TABLES)} tables")
    assert (after.holds, after.seen) == (False, "aemo.dispatch_region 2025-09-30 00:05:00+00:00 SA1 1")


def test_what_cannot_be_looked_at_does_not_hold_and_says_why(
    warehouse: duckdb.DuckDBPyConnection, truth: Truth
) -> None:
    found = tried("accounts", lambda: accounts(warehouse, truth))

    assert (found.name, found.holds) == ("accounts", False)
    assert found.seen.startswith("could not be looked at: CatalogException: ")
