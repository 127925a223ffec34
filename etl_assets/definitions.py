"""The whole graph: what there is, in one place. Each domain's folder says how."""

import dagster as dg

from etl_assets.aemo.assets import EXTERNAL_SOURCES, MARKET_ASSETS
from etl_assets.aemo.resource import Aemo
from etl_assets.lake.assets import LAKE_ASSETS
from etl_assets.lake.resource import Lake

defs = dg.Definitions(
    assets=[*EXTERNAL_SOURCES, *MARKET_ASSETS, *LAKE_ASSETS],
    resources={"lake": Lake(), "aemo": Aemo()},
    executor=dg.in_process_executor,
)
