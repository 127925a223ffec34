"""What the API keeps for its clients, bounded: results of jobs, cached answers."""

import dagster as dg

from etl_assets.asset_specs import EVERY_HOUR, OWNERS
from etl_assets.lake.resource import Lake
from etl_assets.market_time import utc_now


@dg.asset(group_name="ops", kinds={"python"}, owners=OWNERS, freshness_policy=EVERY_HOUR)
def exports_tidied(lake: Lake) -> dg.MaterializeResult[None]:
    """The API's folder without results older than `JOB_RESULT_LIFE` and cached answers past their time. Hourly.

    Jobs whose results are gone are in `ops.job_history`.
    """
    from etl_assets.exports.cache import ResultCache
    from etl_assets.exports.results import tidy_results
    from etl_assets.ops.job_records import put_away

    now = utc_now()
    moved = put_away(lake.settings, now=now)
    cache = ResultCache(lake.settings)
    gone = cache.cleanup()
    return dg.MaterializeResult(
        metadata={
            "jobs_put_away": len(moved),
            "results_removed": tidy_results(lake.settings),
            "cached_answers_removed": gone,
            "cache_bytes": cache.statistics().compressed_bytes,
        }
    )


EXPORT_ASSETS: list[dg.AssetsDefinition] = [exports_tidied]
