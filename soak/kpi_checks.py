"""Of a soak's verdict: the daily runs of KPIs, and their values."""

from typing import TYPE_CHECKING

import pyarrow as pa

from etl_assets.market_time import market_day
from soak.building_checks import DAYS_OF_POINTS, described
from soak.findings import INSTANT_DAY, INTERVAL_DAY, Finding, all_rows, as_text, given
from soak.truth import Truth

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def kpi_runs(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """Every daily run that was due left its job, and every KPI of it is completed, however often it had to be asked."""
    found = all_rows(connection, "SELECT date, kpi_id, status, error FROM kpi.kpi_runs WHERE status <> 'completed'")
    dates = {date for (date,) in all_rows(connection, "SELECT date FROM kpi.kpi_jobs")}
    lacking = [day for day in truth.plan.kpi_days() if day not in dates]
    told = f"{len(found)} are not, such as {as_text(found[0])}" if found else f"{len(dates)} daily jobs"
    told += f"; none of {', '.join(map(str, lacking))}" if lacking else ""
    return Finding("every KPI's run is completed", not (found or lacking), told)


OWN_OF_THE_MARKET = f"""
    WITH prices AS (
        SELECT {INTERVAL_DAY} AS date, region_id AS entity, rrp, total_demand FROM regions WHERE intervention = 0
    )
    SELECT 'average-price' AS kpi_id, date, entity, avg(rrp) AS value FROM prices GROUP BY ALL
    UNION ALL SELECT 'peak-price', date, entity, max(rrp) FROM prices GROUP BY ALL
    UNION ALL SELECT 'volume-weighted-price', date, entity, sum(rrp * total_demand) / sum(total_demand)
        FROM prices GROUP BY ALL
    UNION ALL SELECT 'negative-price-hours', date, entity, count(*) FILTER (rrp < 0) / 12 FROM prices GROUP BY ALL
    UNION ALL SELECT 'price-volatility', date, entity, stddev_pop(rrp) FROM prices GROUP BY ALL
    UNION ALL SELECT 'completeness', date, unnest(['aemo.dispatch_region', 'aemo.dispatch_interconnector',
        'aemo.unit_scada', 'aemo.trading_price', 'aemo.rooftop_pv']), 100 FROM (SELECT DISTINCT date FROM prices)
    UNION ALL SELECT 'interconnector-utilisation', date, entity, avg(100 * abs(mw_flow) / bound) FILTER (bound > 0)
    FROM (
        SELECT {INTERVAL_DAY} AS date, interconnector_id AS entity, mw_flow,
               CASE WHEN mw_flow < 0 THEN -import_limit ELSE export_limit END AS bound
        FROM interconnectors WHERE intervention = 0
    ) GROUP BY ALL
"""
"""Flows are the same in both runs of an interval with an intervention."""

OWN_OF_BUILDINGS = f"""
    WITH means AS (
        SELECT {INSTANT_DAY} AS date, site_name AS entity, point_name,
               time_bucket(INTERVAL 5 MINUTE, "timestamp") AS begin, avg(value) AS mean
        FROM ace.timeseries_all GROUP BY ALL
    ),
    power AS (FROM means SEMI JOIN (SELECT site_name AS entity, unnest(power_points) AS point_name FROM sites)
        USING (entity, point_name)),
    five_minutes AS (SELECT date, entity, begin, sum(mean) AS kw FROM power GROUP BY ALL),
    halves AS (
        SELECT date, entity, sum(mean) AS kw FROM (
            SELECT date, entity, point_name, time_bucket(INTERVAL 30 MINUTE, begin) AS half, avg(mean) AS mean
            FROM power GROUP BY ALL
        ) GROUP BY date, entity, half
    ),
    peaks AS (SELECT date, entity, max(kw) AS kw FROM halves GROUP BY ALL),
    air AS (
        SELECT date, entity, begin AS instant, mean AS degrees FROM means WHERE point_name = entity || '/weather/temp'
        UNION ALL SELECT {INSTANT_DAY}, site_name, "timestamp", temperature FROM ace.weather_raw
    ),
    felt AS (
        SELECT date, entity, (max(degrees) + min(degrees)) / 2 AS degrees FROM air
        GROUP BY ALL HAVING count(degrees) > 0
    )
    SELECT 'site-energy' AS kpi_id, date, entity, sum(kw) / 12 AS value FROM five_minutes GROUP BY ALL
    UNION ALL SELECT 'site-peak-demand', date, entity, kw FROM peaks
    UNION ALL SELECT 'site-load-factor', date, entity, 100 * avg(five_minutes.kw) / any_value(peaks.kw)
        FROM five_minutes JOIN peaks USING (date, entity) WHERE peaks.kw > 0 GROUP BY ALL
    UNION ALL SELECT 'energy-cost', date, entity, sum(kw / 12 * rrp / 1000)
        FROM five_minutes JOIN sites ON site_name = entity
        JOIN regions ON regions.region_id = sites.region_id AND interval_end = begin + INTERVAL 5 MINUTE
            AND intervention = 0
        GROUP BY ALL
    UNION ALL SELECT 'heating-degree-days', date, entity, greatest(0, 18 - degrees) FROM felt
    UNION ALL SELECT 'cooling-degree-days', date, entity, greatest(0, degrees - 24) FROM felt
    UNION ALL SELECT 'completeness', "date", site_name, 100 * sum(least(number, expected)) / sum(expected)
        FROM ({DAYS_OF_POINTS}) GROUP BY ALL HAVING sum(expected) > 0
    UNION ALL SELECT 'completeness', date, entity || ' weather',
        100 * count(DISTINCT epoch_us(instant) // 3600000000) / 24 FROM air GROUP BY ALL
"""
DIFFERING = """
    WITH own AS ({own}),
    kept AS (
        SELECT kpi_id, date, entity, value FROM kpi.kpi_values
        WHERE kpi_id IN (SELECT kpi_id FROM own) AND (kpi_id <> 'completeness' OR starts_with(entity, 'aemo.') = {aemo})
    )
    SELECT kpi_id, date, entity, own.value, kept.value
    FROM own FULL JOIN kept USING (kpi_id, date, entity)
    WHERE date IN (SELECT unnest($days::DATE[])) AND own.value IS DISTINCT FROM kept.value
        AND coalesce(abs(own.value - kept.value) > 1e-6 * greatest(1, abs(own.value)), true)
"""


def market_kpis(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """The market's KPIs of every day are those of the true prices and flows, and nothing of the market was missing."""
    with given(connection, regions=truth.regions.rows, interconnectors=truth.interconnectors.rows):
        return _compared(connection, truth, "the market are those of the truth", OWN_OF_THE_MARKET, aemo=True)


def building_kpis(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """The buildings' KPIs of every day are those of their readings, which are compared themselves, and true prices."""
    tables = described(truth, truth.plan.kpi_days())
    with given(connection, regions=truth.regions.rows, sites=pa.Table.from_pylist(truth.sites), **tables):
        return _compared(connection, truth, "the buildings are those of their readings", OWN_OF_BUILDINGS, aemo=False)


def _compared(connection: "DuckDBPyConnection", truth: Truth, whose: str, own: str, *, aemo: bool) -> Finding:
    days = [str(day) for day in truth.plan.kpi_days()]
    found = connection.execute(DIFFERING.format(own=own, aemo=aemo), {"days": days}).fetchall()
    # Of a day with lost intervals the market's KPIs, and what is worked out with its prices, cannot be had.
    lost = {market_day(end) for end in truth.lost}
    wrong = [row for row in found if row[1] not in lost or not (aemo or row[0] == "energy-cost")]
    told = f"{len(wrong)} differ, such as {as_text(wrong[0])}" if wrong else f"of {len(days)} days"
    return Finding(f"KPI values of {whose}", bool(days) and not wrong, told)
