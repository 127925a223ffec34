"""The verdict on a data folder, this soak's or one restored from its backup: what is not as it must be.

Everything is read as anybody would read it: the published file, the lake read-only, the state through the file's
copies. ``examine`` changes nothing.
"""

from typing import TYPE_CHECKING

from etl_assets.settings import Settings
from soak.building_checks import aggregates, counted, listings, weather
from soak.findings import Finding, all_rows, as_text, given, one_value, published, tried
from soak.forecast_checks import forecasts
from soak.kpi_checks import building_kpis, kpi_runs, market_kpis
from soak.quality_checks import gaps, quarantined, revisions
from soak.storage_checks import compact, forgotten, nothing_ails, published_is_lake
from soak.truth import Expected, Truth

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SAME = 5e-7
"""Values are decimal text of at most six places."""
ACCOUNT = "fetched = filtered + invalid + duplicate + unchanged + inserted + updated"


def examine(settings: Settings, truth: Truth) -> list[Finding]:
    """Every check of a data folder against the truth."""
    with published(settings) as warehouse:
        findings = [tried(each.table, lambda each=each: compare(warehouse, each)) for each in truth.tables()]
        findings += [tried(check.__name__, lambda check=check: check(warehouse, truth)) for check in CHECKS]
    return findings + [tried(check.__name__, lambda check=check: check(settings, truth)) for check in OF_STORAGE]


def compare(connection: "DuckDBPyConnection", expected: Expected) -> Finding:
    """A table against its truth: rows that are missing, that nobody published, or that differ."""
    keys, table = ", ".join(expected.key), expected.table
    since = "WHERE interval_end >= (SELECT min(interval_end) FROM truth)" if "interval_end" in expected.key else ""
    unlike = " OR ".join(f"t.{c} IS NULL OR abs(t.{c} - truth.{c}) > {SAME}" for c in expected.values)
    with given(connection, truth=expected.rows):
        missing = all_rows(
            connection, f"SELECT {keys} FROM truth ANTI JOIN {table} USING ({keys}) WHERE truth.required"
        )
        extra = all_rows(
            connection, f"SELECT {keys} FROM (SELECT * FROM {table} {since}) ANTI JOIN truth USING ({keys})"
        )
        differ = all_rows(
            connection,
            f"SELECT {keys} FROM {table} AS t JOIN truth USING ({keys}) WHERE required IS NOT NULL AND ({unlike})",
        )
        there = one_value(connection, f"SELECT count(*) FROM {table}")
    required = _count(expected)
    wrong = {"missing": missing, "that nobody published": extra, "different": differ}
    told = "; ".join(f"{len(rows)} {what}, such as {as_text(rows[0])}" for what, rows in wrong.items() if rows)
    return Finding(f"{table} equals the simulator's truth", not told, told or f"{there:,} rows, {required:,} required")


def _count(expected: Expected) -> int:
    return sum(1 for required in expected.rows["required"].to_pylist() if required)


def accounts(connection: "DuckDBPyConnection", _: Truth) -> Finding:
    """Every attempt of every run accounts for every record."""
    runs = one_value(connection, "SELECT count(*) FROM ops.sync_runs")
    wrong = all_rows(connection, f"SELECT run_id, dataset, partition FROM ops.sync_runs WHERE ({ACCOUNT}) IS NOT TRUE")
    told = f"{len(wrong)} of {runs:,} do not" if wrong else f"{runs:,} attempts"
    return Finding("every account balances", bool(runs) and not wrong, told)


def doubled(connection: "DuckDBPyConnection", _: Truth) -> Finding:
    """No key is there twice, in any table."""
    from etl_assets.lake.tables import TABLES

    wrong = []
    for table in TABLES:
        keys = ", ".join(f'"{name}"' for name in table.key)
        rows = all_rows(connection, f"SELECT {keys} FROM {table.full_name} GROUP BY ALL HAVING count(*) > 1 LIMIT 1")
        wrong += [f"{table.full_name} {as_text(row)}" for row in rows]
    return Finding("no key is doubled", not wrong, "; ".join(wrong) or f"{len(TABLES)} tables")


CHECKS = (
    forecasts, listings, weather, aggregates, counted, accounts, gaps, revisions, quarantined,
    kpi_runs, market_kpis, building_kpis, doubled,
)  # fmt: skip
"""Those that ask the published file."""
OF_STORAGE = (published_is_lake, nothing_ails, compact, forgotten)
