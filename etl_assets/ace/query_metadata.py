"""``ace.query_metadata``: first and last reading of each point, how many there are, when it was last aggregated."""

from datetime import datetime
from typing import TYPE_CHECKING

from etl_assets.ace.derived import replace_slice, statement
from etl_assets.lake.sql import literal
from etl_assets.lake.tables import QUERY_METADATA
from etl_assets.lake.upsert import UpsertCounts
from etl_assets.market_time import instant_day

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def refresh_query_metadata(
    connection: "DuckDBPyConnection", site: str, *, since: datetime, until: datetime, now: datetime
) -> UpsertCounts:
    """Rows of the points that have readings in [``since``, ``until``]; call inside ``transaction``, after aggregating.

    The number of readings is the sum of the daily aggregates, so it is right whatever happened before, and counts
    archived readings. Bounds only widen: a reading that was removed again still counts for them.
    """
    first_day, last_day = (instant_day(moment) for moment in (since, until))
    connection.execute(
        statement(
            "query_metadata",
            site=site,
            first_day=first_day,
            last_day=last_day,
            since=since,
            until=until,
            now=now,
        )
    )
    return replace_slice(connection, QUERY_METADATA, f"site_name = {literal(site)}", remove=False)
