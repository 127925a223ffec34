"""Of a soak's verdict: the published file is the lake, the lake is compact, and nothing is left to heal."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etl_assets.market_time import DAY
from etl_assets.settings import Settings
from soak.findings import Finding, all_rows, as_text, one_value, published
from soak.truth import Truth

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FILES_OF_A_CLOSED_DAY = 2
"""Of a table, and there of a site and kind: one, and what came after the last merge."""


def published_is_lake(settings: Settings, _: Truth) -> Finding:
    """The published file shows every row of the lake, and no other."""
    from etl_assets.lake.connection import read_lake
    from etl_assets.lake.tables import TABLES

    def counts(connection: "DuckDBPyConnection", name: Callable[[Any], str]) -> dict[str, tuple[Any, ...]]:
        # The order of rows plays no part in a sum of hashes.
        asked = {t.full_name: ", ".join(f'"{c.name}"' for c in t.stored_columns) for t in TABLES}
        return {
            t.full_name: all_rows(
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
    """Closed market days lie in few files."""
    from etl_assets.lake.connection import read_lake

    with read_lake(settings) as lake:
        many = all_rows(
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
        files = one_value(
            lake, "SELECT count(*) FROM __ducklake_metadata_lake.ducklake_data_file WHERE end_snapshot IS NULL"
        )
    told = f"{len(many)} closed days in more, such as {as_text(many[0])}" if many else f"{files:,} files"
    return Finding(f"closed days lie in {FILES_OF_A_CLOSED_DAY} files a part at most", not many, told)


def forgotten(settings: Settings, truth: Truth) -> Finding:
    """The lake remembers no snapshot, and the disk holds no file, that is older than retention has it."""
    from etl_assets.lake.connection import read_lake

    # Maintenance is daily, and what it removes is of whole UTC days.
    limit = truth.plan.end - settings.lake_retention - 2 * DAY
    with read_lake(settings) as lake:
        asked = f"SELECT count(*) FROM ducklake_snapshots('lake') WHERE snapshot_time < TIMESTAMPTZ '{limit}'"
        snapshots = one_value(lake, asked)
        known = {
            Path(path).name
            for table in ("data_file", "delete_file", "files_scheduled_for_deletion")
            for (path,) in all_rows(lake, f"SELECT path FROM __ducklake_metadata_lake.ducklake_{table}")
        }
        orphans = one_value(
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
