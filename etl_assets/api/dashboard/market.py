"""Prices, demand and flows over time, as columns on a grid of intervals: a missing interval is a null.

A price is that of dispatch where there is one, else of the aggregated files, which reach back to 1998. Prices are
AUD/MWh, demand and flows MW; intervals are named by their end.
"""

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from etl_assets.aemo.feeds import INTERCONNECTORS, MARKET_FLOOR, REGIONS, market_cap, settlement_length
from etl_assets.api.dashboard.replies import seconds, span
from etl_assets.api.parameters import TimeRange
from etl_assets.lake.tables import DISPATCH_REGION, PRICE_AND_DEMAND, REGION_FORECAST
from etl_assets.market_time import DAY, DISPATCH_INTERVAL

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from etl_assets.api.warehouse import Warehouse

MOST_DAYS = 35
"""A month with some days around it."""

USUAL_S = int(DAY.total_seconds())
STEP_S = int(DISPATCH_INTERVAL.total_seconds())

PRICES = """
    WITH grid AS (
        SELECT ended, region_id
        FROM (SELECT unnest(range($first, $last + 1, $step)) AS ended), (SELECT unnest($regions) AS region_id)
    ),
    dispatched AS (
        SELECT epoch_us(interval_end) // 1000000 AS ended, region_id, rrp, total_demand
        FROM warehouse.aemo.dispatch_region
        WHERE intervention = 0 AND market_day BETWEEN $first_day AND $last_day
    ),
    aggregated AS (
        SELECT epoch_us(interval_end) // 1000000 AS ended, region_id, rrp, total_demand
        FROM warehouse.aemo.price_and_demand
        WHERE market_day BETWEEN $first_day AND $last_day
    )
    SELECT region_id,
           list(coalesce(dispatched.rrp, aggregated.rrp) ORDER BY ended),
           list(coalesce(dispatched.total_demand, aggregated.total_demand) ORDER BY ended)
    FROM grid LEFT JOIN dispatched USING (ended, region_id) LEFT JOIN aggregated USING (ended, region_id)
    GROUP BY region_id
    ORDER BY region_id
"""
IS_DISPATCHED = """
    SELECT 1 FROM warehouse.aemo.dispatch_region WHERE market_day BETWEEN $first_day AND $last_day LIMIT 1
"""
FORECAST = """
    WITH newest AS (
        SELECT max(issued_at) AS issued_at FROM warehouse.aemo.region_forecast WHERE market_day >= $since
    )
    SELECT epoch_us(issued_at) // 1000000, region_id,
           list(epoch_us(interval_end) // 1000000 ORDER BY interval_end),
           list(rrp ORDER BY interval_end), list(total_demand ORDER BY interval_end)
    FROM warehouse.aemo.region_forecast JOIN newest USING (issued_at)
    WHERE market_day >= $since AND interval_end > issued_at
    GROUP BY issued_at, region_id
    ORDER BY region_id
"""
FLOWS = """
    WITH physical AS (
        SELECT epoch_us(interval_end) // 1000000 AS ended, interconnector_id,
               last(mw_flow ORDER BY intervention) AS flow
        FROM warehouse.aemo.dispatch_interconnector
        WHERE market_day BETWEEN $first_day AND $last_day
        GROUP BY ALL
    ),
    grid AS (
        SELECT ended, interconnector_id
        FROM (SELECT unnest(range($first, $last + 1, $step)) AS ended),
             (SELECT unnest($interconnectors) AS interconnector_id)
    )
    SELECT interconnector_id, list(flow ORDER BY ended)
    FROM grid LEFT JOIN physical USING (ended, interconnector_id)
    GROUP BY interconnector_id
    ORDER BY interconnector_id
"""
"""Flows are those of the physical run, where an intervention has one."""


def market(warehouse: "Warehouse", start: int | None, end: int | None) -> dict[str, Any]:
    """Prices and demand of every region in (start, end], epoch seconds, and the newest forecast.

    Without a stretch the last 24 hours to the newest interval. Raises ``Problem`` 422 for one of more than 35 days.
    """
    first, last = span(start, end, newest_interval(warehouse), usual_s=USUAL_S, most_s=MOST_DAYS * USUAL_S)
    days = _days(first, last)
    with warehouse.connection() as connection, warehouse.timed(connection):
        step = _step(connection, days)
        ends = _ends(first, last, step)
        values = {"first": ends.start, "last": ends.stop - 1, "step": step, "regions": list(REGIONS)}
        rows = connection.execute(PRICES, {**values, **_named(days)}).fetchall()
        forecast = _forecast(connection, warehouse.last_day(REGION_FORECAST.full_name))
    moments = list(ends)
    return {
        "from": first,
        "to": last,
        "step": step,
        "regions": {region: _series(moments, prices, demand) for region, prices, demand in rows},
        "forecast": forecast,
        "price_cap": market_cap(days[1]),
        "price_floor": MARKET_FLOOR,
    }


def flows(warehouse: "Warehouse", start: int | None, end: int | None) -> dict[str, Any]:
    """Flows over every interconnector in (start, end]; positive runs in the direction of its name."""
    first, last = span(start, end, newest_interval(warehouse), usual_s=USUAL_S, most_s=MOST_DAYS * USUAL_S)
    ends = _ends(first, last, STEP_S)
    values = {"first": ends.start, "last": ends.stop - 1, "step": STEP_S, "interconnectors": list(INTERCONNECTORS)}
    with warehouse.connection() as connection, warehouse.timed(connection):
        rows = connection.execute(FLOWS, {**values, **_named(_days(first, last))}).fetchall()
    moments = list(ends)
    found = {name: {"interval_end": moments, "flow": series} for name, series in rows}
    return {"from": first, "to": last, "step": STEP_S, "interconnectors": found}


def newest_interval(warehouse: "Warehouse") -> int:
    """The end of the newest interval that has a price, in epoch seconds; of the publication, where none has."""
    newest = [newest_of(warehouse, table.full_name) for table in (DISPATCH_REGION, PRICE_AND_DEMAND)]
    there = [moment for moment in newest if moment is not None]
    return max(there) if there else int(warehouse.snapshot.published_at.timestamp())


def newest_of(warehouse: "Warehouse", table: str, column: str = "interval_end") -> int | None:
    """The newest instant in a table of the market that lies by day, in epoch seconds; None where it has no rows."""
    last = warehouse.last_day(table)
    if last is None:
        return None

    def look(connection: "DuckDBPyConnection") -> int | None:
        sql = f"SELECT max({column}) FROM warehouse.{table} WHERE market_day >= $since"
        row = connection.execute(sql, {"since": last}).fetchone()
        return seconds(row[0]) if row else None

    return warehouse.once(f"newest of {table}", look)


def _series(moments: list[int], prices: list[float | None], demand: list[float | None]) -> dict[str, Any]:
    return {"interval_end": moments, "price": prices, "demand": demand}


def _forecast(connection: "DuckDBPyConnection", last: date | None) -> dict[str, Any] | None:
    rows = connection.execute(FORECAST, {"since": last}).fetchall() if last else []
    if not rows:
        return None
    regions = {region: _series(moments, prices, demand) for _, region, moments, prices, demand in rows}
    return {"issued_at": rows[0][0], "regions": regions}


def _step(connection: "DuckDBPyConnection", days: tuple[date, date]) -> int:
    """Five minutes; half an hour where there are only aggregated intervals of the time before five-minute ones."""
    length: timedelta = settlement_length(days[1])
    if length == DISPATCH_INTERVAL or connection.execute(IS_DISPATCHED, _named(days)).fetchone():
        return STEP_S
    return int(length.total_seconds())


def _ends(first: int, last: int, step: int) -> range:
    """Ends of intervals in (first, last]. NEM time is whole hours from UTC: epoch seconds have the same grid."""
    return range((first // step + 1) * step, last + 1, step)


def _days(first: int, last: int) -> tuple[date, date]:
    return TimeRange(datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC)).interval_days


def _named(days: tuple[date, date]) -> dict[str, date]:
    return {"first_day": days[0], "last_day": days[1]}
