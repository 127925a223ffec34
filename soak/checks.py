"""The verdict on a data folder, this soak's or one restored from its backup: what is not as it must be.

Everything is read as anybody would read it: the published file, the lake read-only, the state through the file's
copies. ``examine`` changes nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etl_assets.market_time import DAY
from etl_assets.settings import Settings
from soak.truth import Expected, Truth

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SAME = 1e-6
"""Values are decimal text of at most six places."""
ACCOUNT = "fetched = filtered + invalid + duplicate + unchanged + inserted + updated"
FILES_OF_A_CLOSED_DAY = 2
"""Of a table, and there of a site and kind: one, and what came after the last merge."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: whether it is as it must be, and what was seen."""

    name: str
    holds: bool
    seen: str


def examine(settings: Settings, truth: Truth) -> list[Finding]:
    """Every check of a data folder against the truth."""
    with published(settings) as warehouse:
        findings = [compare(warehouse, expected) for expected in truth.tables()]
        findings += [check(warehouse, truth) for check in CHECKS]
    findings += [check(settings, truth) for check in (published_is_lake, nothing_ails, compact, forgotten)]
    return findings


@contextmanager
def published(settings: Settings) -> Iterator["DuckDBPyConnection"]:
    """The published file, beside an in-memory database for the truth."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH '{settings.warehouse_path}' AS warehouse (READ_ONLY)")
        connection.execute("USE warehouse")
        yield connection


def compare(connection: "DuckDBPyConnection", expected: Expected) -> Finding:
    """A table against its truth: rows that are missing, that nobody published, or that differ."""
    keys, table = ", ".join(expected.key), expected.table
    since = "WHERE interval_end >= (SELECT min(interval_end) FROM truth)" if "interval_end" in expected.key else ""
    connection.register("truth", expected.rows)
    try:
        missing = _rows(connection, f"SELECT {keys} FROM truth ANTI JOIN {table} USING ({keys}) WHERE truth.required")
        extra = _rows(connection, f"SELECT {keys} FROM (SELECT * FROM {table} {since}) ANTI JOIN truth USING ({keys})")
        unlike = " OR ".join(f"t.{c} IS NULL OR abs(t.{c} - truth.{c}) > {SAME}" for c in expected.values)
        differ = _rows(connection, f"SELECT {keys} FROM {table} AS t JOIN truth USING ({keys}) WHERE {unlike}")
        there = _one(connection, f"SELECT count(*) FROM {table}")
    finally:
        connection.unregister("truth")
    required = _count(expected)
    wrong = {"missing": missing, "that nobody published": extra, "different": differ}
    told = "; ".join(f"{len(rows)} {what}, such as {_text(rows[0])}" for what, rows in wrong.items() if rows)
    return Finding(f"{table} equals the simulator's truth", not told, told or f"{there:,} rows, {required:,} required")


def _count(expected: Expected) -> int:
    return sum(1 for required in expected.rows["required"].to_pylist() if required)


def _text(row: tuple[Any, ...]) -> str:
    return " ".join(str(value) for value in row)


def _rows(connection: "DuckDBPyConnection", statement: str) -> list[tuple[Any, ...]]:
    return connection.execute(statement).fetchall()


def _one(connection: "DuckDBPyConnection", statement: str) -> Any:  # noqa: ANN401 (a value of any type)
    row = connection.execute(statement).fetchone()
    return row[0] if row else None


def accounts(connection: "DuckDBPyConnection", _: Truth) -> Finding:
    """Every attempt of every run accounts for every record."""
    runs = _one(connection, "SELECT count(*) FROM ops.sync_runs")
    wrong = _rows(connection, f"SELECT run_id, dataset, partition FROM ops.sync_runs WHERE NOT ({ACCOUNT})")
    return Finding(
        "every account balances", not wrong, f"{len(wrong)} of {runs:,} do not" if wrong else f"{runs:,} attempts"
    )


def gaps(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """No gap is open, but where a point of a building had nothing to say."""
    connection.register("truth", truth.readings().rows)
    try:
        market = _rows(
            connection,
            "SELECT dataset, entity, gap_start FROM quality.gaps WHERE healed_at IS NULL AND dataset LIKE 'aemo%'",
        )
        sites = _rows(
            connection,
            """
            SELECT g.entity, g.gap_start, count(*) FROM quality.gaps AS g
            JOIN truth ON truth.required AND g.entity IN (truth.point_name, truth.site_name || '/' || truth.point_name)
                AND truth."timestamp" BETWEEN g.gap_start AND g.gap_end
            WHERE g.healed_at IS NULL AND g.dataset NOT LIKE 'aemo%' AND g.missing_intervals > 1
            GROUP BY ALL HAVING count(*) >= any_value(g.missing_intervals)
            """,
        )
        healed = _one(connection, "SELECT count(*) FROM quality.gaps WHERE healed_at IS NOT NULL")
        open_ = _one(connection, "SELECT count(*) FROM quality.gaps WHERE healed_at IS NULL")
    finally:
        connection.unregister("truth")
    wrong = [*market, *sites]
    told = (
        f"{len(wrong)} open, such as {_text(wrong[0])}" if wrong else f"{healed:,} healed; {open_:,} open where silent"
    )
    return Finding("no gap is open", not wrong, told)


AGGREGATED = """
    WITH readings AS (SELECT *, epoch_us("timestamp") AS us FROM ace.timeseries_all),
    sizes AS (FROM (VALUES ('1min', 60000000::BIGINT), ('5min', 300000000), ('1h', 3600000000)) AS s("interval", span)),
    again AS (
        SELECT site_name, point_name, "interval", us // span * span AS us,
               avg(value) AS avg_value, min(value) AS min_value, max(value) AS max_value, count(*) AS sample_count
        FROM readings CROSS JOIN sizes GROUP BY ALL
        UNION ALL
        SELECT site_name, point_name, '1d', (us + 36000000000) // 86400000000 * 86400000000 - 36000000000,
               avg(value), min(value), max(value), count(*)
        FROM readings GROUP BY ALL
    ),
    kept AS (SELECT *, epoch_us("timestamp") AS us FROM ace.timeseries_agg)
    SELECT count(*), count(*) FILTER (again.us IS NULL), count(*) FILTER (kept.us IS NULL),
           count(*) FILTER (again.sample_count <> kept.sample_count OR again.min_value <> kept.min_value
               OR again.max_value <> kept.max_value
               OR abs(again.avg_value - kept.avg_value) > 1e-9 * greatest(1, abs(again.avg_value)))
    FROM again FULL JOIN kept USING (site_name, point_name, "interval", us)
"""


def aggregates(connection: "DuckDBPyConnection", _: Truth) -> Finding:
    """Aggregates are those of the readings, archived ones included."""
    count, extra, missing, differ = _rows(connection, AGGREGATED)[0]
    wrong = f"{missing} missing, {extra} of no reading, {differ} different, of {count:,}"
    holds = not (extra or missing or differ)
    return Finding("ace.timeseries_agg is derived from every reading", holds, f"{count:,} rows" if holds else wrong)


def weather(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """The temperature that was told at a time is a reading of the site's weather point."""
    connection.register("truth", truth.readings().rows)
    try:
        there = _one(connection, "SELECT count(*) FROM ace.weather_raw")
        wrong = _one(
            connection,
            """
            SELECT count(*) FROM ace.weather_raw AS w WHERE temperature IS NOT NULL AND NOT EXISTS (
                FROM truth AS t WHERE t.site_name = w.site_name AND t.point_name = w.site_name || '/weather/temp'
                    AND t."timestamp" BETWEEN w."timestamp" - INTERVAL 2 HOUR AND w."timestamp"
                    AND t.value = w.temperature
            )
            """,
        )
    finally:
        connection.unregister("truth")
    return Finding(
        "ace.weather_raw is what the account told", not wrong and bool(there), f"{wrong} of {there:,} are not"
    )


def revisions(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """A price changed only where AEMO changed it, and to what it says."""
    intended = {
        (end.timestamp(), spell.options["region"])
        for spell in truth.plan.spells if spell.name == "revised_row" for end in spell.options["intervals"]
    }  # fmt: skip
    found = _rows(
        connection,
        """
        SELECT epoch((row_key::JSON ->> 'interval_end')::TIMESTAMPTZ), row_key::JSON ->> 'region_id', table_name
        FROM quality.revisions
        WHERE column_name = 'rrp' AND table_name IN ('aemo.dispatch_region', 'aemo.trading_price')
            AND former_value IS NOT NULL
        """,
    )
    others = [row for row in found if (row[0], row[1]) not in intended]
    told = f"{len(found)} recorded of {len(intended)} injected"
    # In a short soak none is read again: that happens two days later.
    none = bool(intended) and not truth.plan.is_short and not found
    holds = not others and not none
    return Finding("revisions are those injected", holds, f"{told}; {len(others)} others" if others else told)


def quarantined(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """What lies in quarantine was spoilt on its way, or was no number to begin with."""
    damaging = {"bad_values", "bad_times", "missing_names", "record_outside_window", "clock_ahead", "duplicate_records"}
    content = {"bad_row", "short_row", "cut_file", "corrupt_zip", "wrong_footer", "html_with_200", "missing_region"}
    late = truth.plan.step + timedelta(minutes=5)

    def spells(names: set[str]) -> str:
        found = [s for s in truth.plan.spells if s.name in names]
        spans = [f"collected_at BETWEEN '{s.start}' AND '{(s.end or truth.plan.end) + late}'" for s in found]
        return " OR ".join(spans) or "false"

    of = "SELECT dataset, reason, count(*) FROM quality.quarantine"
    wrong = _rows(
        connection,
        f"{of} WHERE dataset LIKE 'ace%' AND reason <> 'value is NaN' AND NOT ({spells(damaging)}) GROUP BY ALL",
    )
    wrong += _rows(connection, f"{of} WHERE dataset LIKE 'aemo%' AND NOT ({spells(content)}) GROUP BY ALL")
    total = _one(connection, "SELECT count(*) FROM quality.quarantine")
    told = f"{len(wrong)} kinds that no fault explains, such as {_text(wrong[0])}" if wrong else f"{total:,} records"
    return Finding("quarantine holds what was spoilt", not wrong, told)


def kpi_runs(connection: "DuckDBPyConnection", _: Truth) -> Finding:
    """Every KPI of every daily run is completed, however often its workflow had to be asked."""
    found = _rows(connection, "SELECT date, kpi_id, status, error FROM kpi.kpi_runs WHERE status <> 'completed'")
    jobs = _one(connection, "SELECT count(*) FROM kpi.kpi_jobs")
    told = f"{len(found)} are not, such as {_text(found[0])}" if found else f"{jobs} daily jobs"
    return Finding("every KPI's run is completed", not found and bool(jobs), told)


KPIS = """
    WITH prices AS (
        SELECT (interval_end - INTERVAL 1 MICROSECOND + INTERVAL 10 HOUR)::DATE AS date, region_id AS entity,
               rrp, total_demand
        FROM truth WHERE intervention = 0
    ),
    own AS (
        SELECT 'average-price' AS kpi_id, date, entity, avg(rrp) AS value FROM prices GROUP BY ALL
        UNION ALL SELECT 'peak-price', date, entity, max(rrp) FROM prices GROUP BY ALL
        UNION ALL SELECT 'volume-weighted-price', date, entity, sum(rrp * total_demand) / sum(total_demand)
            FROM prices GROUP BY ALL
        UNION ALL SELECT 'negative-price-hours', date, entity, count(*) FILTER (rrp < 0) / 12 FROM prices GROUP BY ALL
        UNION ALL SELECT 'price-volatility', date, entity, stddev_pop(rrp) FROM prices GROUP BY ALL
        UNION ALL SELECT 'completeness', date, unnest(['aemo.dispatch_region', 'aemo.dispatch_interconnector',
            'aemo.unit_scada', 'aemo.trading_price', 'aemo.rooftop_pv']), 100 FROM prices GROUP BY ALL
    ),
    kept AS (SELECT kpi_id, date, entity, value FROM kpi.kpi_values WHERE date IN (SELECT date FROM kpi.kpi_jobs))
    SELECT kpi_id, date, entity, own.value, kept.value
    FROM own FULL JOIN kept USING (kpi_id, date, entity)
    WHERE (kpi_id IN (SELECT kpi_id FROM own) AND date IN (SELECT date FROM kept)
           AND (entity IN (SELECT entity FROM own)))
        AND (own.value IS NULL OR kept.value IS NULL
             OR abs(own.value - kept.value) > 1e-6 * greatest(1, abs(own.value)))
"""


def kpi_values(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """The market's KPIs are those of the true prices, and nothing of the market was missing."""
    connection.register("truth", next(truth.tables()).rows)
    try:
        wrong = _rows(connection, KPIS)
    finally:
        connection.unregister("truth")
    values = _one(connection, "SELECT count(*) FROM kpi.kpi_values")
    told = f"{len(wrong)} differ, such as {_text(wrong[0])}" if wrong else f"{values:,} values"
    return Finding("KPI values are those of the truth", not wrong and bool(values), told)


def doubled(connection: "DuckDBPyConnection", _: Truth) -> Finding:
    """No key is there twice, in any table."""
    from etl_assets.lake.tables import TABLES

    wrong = []
    for table in TABLES:
        keys = ", ".join(f'"{name}"' for name in table.key)
        rows = _rows(connection, f"SELECT {keys} FROM {table.full_name} GROUP BY ALL HAVING count(*) > 1 LIMIT 1")
        wrong += [f"{table.full_name} {_text(row)}" for row in rows]
    return Finding("no key is doubled", not wrong, "; ".join(wrong) or f"{len(TABLES)} tables")


CHECKS = (accounts, gaps, aggregates, weather, revisions, quarantined, kpi_runs, kpi_values, doubled)
"""Those that ask the published file."""


def published_is_lake(settings: Settings, _: Truth) -> Finding:
    """The published file shows every row of the lake, and no other."""
    from etl_assets.lake.connection import read_lake
    from etl_assets.lake.tables import TABLES

    def counts(connection: "DuckDBPyConnection", name: Callable[[Any], str]) -> dict[str, tuple[Any, ...]]:
        # The order of rows plays no part in a sum of hashes.
        asked = {t.full_name: ", ".join(f'"{c.name}"' for c in t.stored_columns) for t in TABLES}
        return {
            t.full_name: _rows(
                connection, f"SELECT count(*), sum(hash(({asked[t.full_name]}))) FROM {name(t)}"
            )[0]
            for t in TABLES
        }  # fmt: skip

    with read_lake(settings) as lake, published(settings) as warehouse:
        lake.execute("SET TimeZone = 'UTC'")
        of_lake, of_file = counts(lake, lambda t: t.lake_name), counts(warehouse, lambda t: t.full_name)
    wrong = [
        f"{name}: {of_lake[name][0]:,} against {of_file[name][0]:,}"
        for name in of_lake
        if of_lake[name] != of_file[name]
    ]
    return Finding(
        "warehouse.duckdb is the lake", not wrong, "; ".join(wrong) or f"{sum(n for n, _ in of_lake.values()):,} rows"
    )


def nothing_ails(settings: Settings, truth: Truth) -> Finding:
    """What the gap sensors look for is not there."""
    from etl_assets.ace.automation import find_ailing_sites
    from etl_assets.aemo.automation import find_ailing
    from etl_assets.kpi.automation import find_ailing_kpis
    from etl_assets.lake.resource import Lake

    class OfFolder(Lake):
        @property
        def settings(self) -> Settings:
            return settings

    now = truth.plan.end
    found = [ailing.name for ailing in find_ailing(OfFolder(), now)]
    found += [ailing.name for ailing in find_ailing_sites(settings, truth.world.sites, now)]
    found += [ailing.name for ailing in find_ailing_kpis(settings, now)]
    return Finding("the gap sensors find nothing", not found, ", ".join(found) or "nothing")


def compact(settings: Settings, truth: Truth) -> Finding:
    """Closed market days lie in few files, and nothing lies on the disk that the catalog does not know or expect."""
    from etl_assets.lake.connection import read_lake

    with read_lake(settings) as lake:
        many = _rows(
            lake,
            f"""
            WITH files AS (
                SELECT t.table_name, list(v.partition_value ORDER BY v.partition_key_index) AS part
                FROM __ducklake_metadata_lake.ducklake_data_file AS f
                JOIN __ducklake_metadata_lake.ducklake_table AS t ON t.table_id = f.table_id AND t.end_snapshot IS NULL
                JOIN __ducklake_metadata_lake.ducklake_file_partition_value AS v USING (data_file_id)
                WHERE f.end_snapshot IS NULL
                GROUP BY t.table_name, f.data_file_id
            )
            SELECT table_name, part, count(*) FROM files
            WHERE part[1] < '{(truth.plan.end - DAY).date()}'
            GROUP BY ALL HAVING count(*) > {FILES_OF_A_CLOSED_DAY}
            """,
        )
        files = _one(
            lake, "SELECT count(*) FROM __ducklake_metadata_lake.ducklake_data_file WHERE end_snapshot IS NULL"
        )
    told = f"{len(many)} closed days in more, such as {_text(many[0])}" if many else f"{files:,} files"
    return Finding(f"closed days lie in {FILES_OF_A_CLOSED_DAY} files a part at most", not many, told)


def forgotten(settings: Settings, truth: Truth) -> Finding:
    """The lake remembers no snapshot, and the disk holds no file, that is older than retention has it."""
    from etl_assets.lake.connection import read_lake

    # Maintenance is daily, and its limit is a whole UTC day: two days beyond retention.
    limit = truth.plan.end - settings.lake_retention - 3 * DAY
    with read_lake(settings) as lake:
        asked = f"SELECT count(*) FROM ducklake_snapshots('lake') WHERE snapshot_time < TIMESTAMPTZ '{limit}'"
        snapshots = _one(lake, asked)
        known = {
            Path(path).name
            for table in ("data_file", "delete_file", "files_scheduled_for_deletion")
            for (path,) in _rows(lake, f"SELECT path FROM __ducklake_metadata_lake.ducklake_{table}")
        }
        orphans = _one(
            lake,
            """
            SELECT count(*) FROM __ducklake_metadata_lake.ducklake_delete_file
            ANTI JOIN __ducklake_metadata_lake.ducklake_data_file USING (data_file_id)
            """,
        )
    files = (settings.catalog_path.parent / "files").rglob("*.parquet")
    lost = [file for file in files if file.name not in known and file.stat().st_mtime < limit.timestamp()]
    told = (
        f"{snapshots} old snapshots, {len(lost)} old files that nothing names, {orphans} deletes of files that are gone"
    )
    return Finding("the lake's past is bounded", not (snapshots or lost or orphans), told)
