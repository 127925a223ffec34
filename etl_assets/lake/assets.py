"""The lake's own assets: the analysts' file, and maintenance.

What they do is in ``publish`` and ``maintenance``; here is how Dagster sees it.
"""

import dagster as dg

from etl_assets.asset_specs import EVERY_DAY, EVERY_HOUR, EVERY_TICK, OWNERS
from etl_assets.lake.archive import archive_old
from etl_assets.lake.maintenance import maintain, merge_small_files
from etl_assets.lake.publish import publish
from etl_assets.lake.resource import Lake
from etl_assets.lake.tables import TABLES
from etl_assets.market_time import utc_now
from etl_assets.ops.state import copies_for_analysts, forget_old

GROUP = "lake"


@dg.asset(
    group_name=GROUP,
    kinds={"duckdb"},
    owners=OWNERS,
    deps=[
        *(dg.AssetKey([table.schema, table.name]) for table in TABLES if table.schema in ("aemo", "ace")),
        dg.AssetKey(["quality", "data_quality"]),
        dg.AssetKey(["quality", "gaps"]),
        # Where both run, the file is published after maintenance, not before.
        "small_files_merged",
        "lake_maintained",
    ],
    metadata={"dagster/table_name": "warehouse.duckdb", "dagster/storage_kind": "duckdb"},
    freshness_policy=EVERY_TICK,
)
def warehouse_file(lake: Lake) -> dg.MaterializeResult[None]:
    """`data/warehouse.duckdb`: the newest snapshot of the lake as a plain DuckDB file for analysts.

    Views over the lake's files and copies of its small tables; opens in any DuckDB tool without an extension, and is
    replaced in one step, so nobody who has it open is disturbed. Made at the end of every live run.
    """
    published = publish(lake.settings, now=utc_now(), extra=copies_for_analysts(lake.settings))
    return dg.MaterializeResult(
        metadata={
            "path": dg.MetadataValue.path(str(lake.settings.warehouse_path.absolute())),
            "dagster/uri": lake.settings.warehouse_path.absolute().as_uri(),
            "lake_snapshot": published.snapshot_id,
            "lake_files": published.lake_files,
            "size_mb": round(published.bytes / 1e6, 1),
        }
    )


@dg.asset(group_name=GROUP, kinds={"duckdb", "parquet"}, owners=OWNERS, freshness_policy=EVERY_HOUR)
def small_files_merged(lake: Lake) -> dg.MaterializeResult[None]:
    """Small files, of which a tick writes one a table, merged by table and market day. Hourly; nobody is disturbed.

    Of every day, though mostly the open one has any.
    """
    merged, created = merge_small_files(lake.settings)
    return dg.MaterializeResult(metadata={"files_merged": merged, "files_created": created})


@dg.asset(group_name=GROUP, kinds={"duckdb", "parquet"}, owners=OWNERS, freshness_policy=EVERY_DAY)
def lake_maintained(lake: Lake) -> dg.MaterializeResult[None]:
    """The lake's past, bounded: files merged, old snapshots forgotten, files that nothing names removed. Daily.

    Files that a `warehouse.duckdb` of the last `LAKE_RETENTION` may name are kept.
    """
    now = utc_now()
    done = maintain(lake.settings, now=now)
    forgotten = forget_old(lake.settings, now=now)
    return dg.MaterializeResult(
        metadata={
            "tables_rewritten": done.tables_rewritten,
            "files_merged": done.files_merged,
            "files_created": done.files_created,
            "snapshots_expired": done.snapshots_expired,
            "files_removed": done.files_removed,
            "orphans_removed": done.orphans_removed,
            "state_rows_forgotten": forgotten,
        }
    )


@dg.asset(
    group_name=GROUP,
    kinds={"parquet"},
    owners=OWNERS,
    freshness_policy=EVERY_DAY,
    deps=[dg.AssetKey(["ace", "timeseries_raw"])],
)
def readings_archived(lake: Lake) -> dg.MaterializeResult[None]:
    """Readings older than `RAW_RETENTION` as Parquet files in the archive, verified, then out of the lake. Daily.

    Aggregates stay. `ace.timeseries_all` reads lake and archive together.
    """
    done = archive_old(lake.settings, now=utc_now())
    return dg.MaterializeResult(
        metadata={
            "site_days_archived": len(done),
            "readings_removed": sum(day.removed for day in done),
            "days": dg.MetadataValue.json(sorted({f"{day.market_day}|{day.site_name}" for day in done})),
            "archive": lake.settings.archive_files,
        }
    )


LAKE_ASSETS: list[dg.AssetsDefinition] = [
    warehouse_file,
    small_files_merged,
    lake_maintained,
    readings_archived,
]
