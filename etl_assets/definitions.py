"""The whole graph: what there is, in one place. Each domain's folder says how."""

import warnings

import dagster as dg

from etl_assets.ace.assets import SITE_ASSETS, SITE_SOURCES
from etl_assets.ace.automation import SITE_JOBS, SITE_SCHEDULES, SITE_SENSORS
from etl_assets.ace.resource import Ace
from etl_assets.aemo.assets import EXTERNAL_SOURCES, MARKET_ASSETS
from etl_assets.aemo.automation import MARKET_JOBS, MARKET_SCHEDULES, MARKET_SENSORS
from etl_assets.aemo.resource import Aemo
from etl_assets.exports.assets import EXPORT_ASSETS
from etl_assets.exports.automation import EXPORT_ASSET_JOBS, EXPORT_JOBS, EXPORT_SCHEDULES, EXPORT_SENSORS
from etl_assets.kpi.automation import KPI_JOBS, KPI_SCHEDULES, KPI_SENSORS
from etl_assets.kpi.loaded import KPI_ASSETS
from etl_assets.lake.assets import LAKE_ASSETS
from etl_assets.lake.automation import LAKE_JOBS, LAKE_SCHEDULES, LAKE_SENSORS
from etl_assets.lake.resource import Lake
from etl_assets.ops.failures import failure_sensor
from etl_assets.ops.retention import dagster_history_trimmed, trim_history, trim_history_schedule
from etl_assets.ops.watch import pipeline_measured, pipeline_watch, pipeline_watch_schedule

with warnings.catch_warnings():
    # "Open in editor" on every asset; Dagster 1.13 calls it a beta, and its minor version is pinned.
    warnings.simplefilter("ignore", dg.BetaWarning)
    ASSETS = dg.with_source_code_references(
        [
            *EXTERNAL_SOURCES,
            *MARKET_ASSETS,
            *SITE_SOURCES,
            *SITE_ASSETS,
            *KPI_ASSETS,
            *LAKE_ASSETS,
            *EXPORT_ASSETS,
            dagster_history_trimmed,
            pipeline_measured,
        ]
    )

defs = dg.Definitions(
    assets=ASSETS,
    jobs=[
        *MARKET_JOBS,
        *SITE_JOBS,
        *KPI_JOBS,
        *LAKE_JOBS,
        *EXPORT_JOBS,
        *EXPORT_ASSET_JOBS,
        trim_history,
        pipeline_watch,
    ],
    schedules=[
        *MARKET_SCHEDULES,
        *SITE_SCHEDULES,
        *KPI_SCHEDULES,
        *LAKE_SCHEDULES,
        *EXPORT_SCHEDULES,
        trim_history_schedule,
        pipeline_watch_schedule,
    ],
    sensors=[*MARKET_SENSORS, *SITE_SENSORS, *KPI_SENSORS, *LAKE_SENSORS, *EXPORT_SENSORS, failure_sensor],
    resources={"lake": Lake(), "aemo": Aemo(), "ace": Ace()},
    executor=dg.in_process_executor,
)
