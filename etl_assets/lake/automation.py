"""What keeps the lake small and its published file current without a hand."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from etl_assets.automation_specs import sensor
from etl_assets.healing import UNFINISHED
from etl_assets.lake.assets import lake_maintained, readings_archived, small_files_merged, warehouse_file
from etl_assets.lake.connection import read_lake
from etl_assets.lake.publish import lake_snapshot, published_at, published_snapshot
from etl_assets.lake.resource import Lake
from etl_assets.market_time import NEM_ZONE_NAME, utc_now

lake_hourly = dg.define_asset_job(
    "lake_hourly",
    selection=dg.AssetSelection.assets(small_files_merged, warehouse_file),
    executor_def=dg.in_process_executor,
    description="Merges small files, mostly those of the open day, and publishes.",
)
lake_daily = dg.define_asset_job(
    "lake_daily",
    selection=dg.AssetSelection.assets(readings_archived, lake_maintained, warehouse_file),
    executor_def=dg.in_process_executor,
    description="Archives old readings, merges, forgets old snapshots, removes their files, and publishes.",
)
lake_publish = dg.define_asset_job(
    "lake_publish",
    selection=dg.AssetSelection.assets(warehouse_file),
    executor_def=dg.in_process_executor,
    description="Publishes `warehouse.duckdb`. Requested after backfills.",
)

lake_hourly_schedule = dg.ScheduleDefinition(
    name="lake_hourly_schedule",
    job=lake_hourly,
    cron_schedule="33 * * * *",
    execution_timezone=NEM_ZONE_NAME,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="At minute 33, between two ticks: merges small files, mostly those of the open day, and publishes.",
)
lake_daily_schedule = dg.ScheduleDefinition(
    name="lake_daily_schedule",
    job=lake_daily,
    cron_schedule="23 3 * * *",
    execution_timezone=NEM_ZONE_NAME,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Daily at 03:23 NEM time, when closed days have settled: archives readings older than `RAW_RETENTION`, "
    "merges files, forgets old snapshots, removes what nothing names.",
)

PATIENCE = timedelta(minutes=3)
EARLIEST = datetime(1998, 1, 1, tzinfo=UTC)


@sensor(job=lake_publish, minimum_interval_seconds=60)
def publish_sensor(context: dg.SensorEvaluationContext, lake: Lake) -> dg.RunRequest | dg.SkipReason:
    """Publishes when the lake is ahead of `warehouse.duckdb`: after a backfill, a crash, or a tick that failed.

    While runs are at work it leaves the publishing to them, but not for longer than three minutes.
    """
    busy = context.instance.get_runs_count(filters=dg.RunsFilter(statuses=UNFINISHED))
    publishing = context.instance.get_runs_count(filters=dg.RunsFilter(statuses=UNFINISHED, job_name=lake_publish.name))
    age = utc_now() - (published_at(lake.settings) or EARLIEST)
    if publishing or (busy and age < PATIENCE):
        return dg.SkipReason(f"{busy} runs are queued or at work; they or the next look will publish")
    with read_lake(lake.settings) as connection:
        newest = lake_snapshot(connection)
    published = published_snapshot(lake.settings)
    if published == newest:
        return dg.SkipReason(f"warehouse.duckdb shows the lake's newest snapshot, {newest}")
    return dg.RunRequest(tags={"dagster/priority": "5"})


LAKE_JOBS = [lake_hourly, lake_daily, lake_publish]
LAKE_SCHEDULES = [lake_hourly_schedule, lake_daily_schedule]
LAKE_SENSORS = [publish_sensor]
