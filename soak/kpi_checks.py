"""Of a soak's verdict: the daily runs of KPIs, and their values."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from soak.findings import Finding, all_rows, as_text
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


OWN_OF_THE_MARKET = """
    WITH prices AS (
        SELECT (interval_end - INTERVAL 1 MICROSECOND + INTERVAL 10 HOUR)::DATE AS date, region_id AS entity,
               rrp, total_demand
        FROM truth WHERE intervention = 0
    )
    SELECT 'average-price' AS kpi_id, date, entity, avg(rrp) AS value FROM prices GROUP BY ALL
    UNION ALL SELECT 'peak-price', date, entity, max(rrp) FROM prices GROUP BY ALL
    UNION ALL SELECT 'volume-weighted-price', date, entity, sum(rrp * total_demand) / sum(total_demand)
        FROM prices GROUP BY ALL
    UNION ALL SELECT 'negative-price-hours', date, entity, count(*) FILTER (rrp < 0) / 12 FROM prices GROUP BY ALL
    UNION ALL SELECT 'price-volatility', date, entity, stddev_pop(rrp) FROM prices GROUP BY ALL
    UNION ALL SELECT 'completeness', date, unnest(['aemo.dispatch_region', 'aemo.dispatch_interconnector',
        'aemo.unit_scada', 'aemo.trading_price', 'aemo.rooftop_pv']), 100 FROM (SELECT DISTINCT date FROM prices)
"""
OWN_OF_LINKS = """
    SELECT 'interconnector-utilisation' AS kpi_id, date, entity,
           avg(100 * abs(flow) / bound) FILTER (bound > 0) AS value
    FROM (
        SELECT (interval_end - INTERVAL 1 MICROSECOND + INTERVAL 10 HOUR)::DATE AS date, interconnector_id AS entity,
               arg_max(mw_flow, intervention) AS flow,
               arg_max(CASE WHEN mw_flow < 0 THEN -import_limit ELSE export_limit END, intervention) AS bound
        FROM truth GROUP BY interval_end, interconnector_id
    )
    GROUP BY ALL
"""
OWN_OF_SITES = """
    WITH means AS (
        SELECT (r."timestamp" + INTERVAL 10 HOUR)::DATE AS date, site_name AS entity, point_name,
               time_bucket(INTERVAL 5 MINUTE, r."timestamp") AS start, avg(value) AS mean
        FROM ace.timeseries_all AS r GROUP BY ALL
    ),
    power AS (FROM means SEMI JOIN (SELECT site_name AS entity, unnest(power_points) AS point_name FROM sites)
        USING (entity, point_name)),
    five_minutes AS (SELECT date, entity, start, sum(mean) AS kw FROM power GROUP BY ALL),
    halves AS (
        SELECT date, entity, sum(mean) AS kw FROM (
            SELECT date, entity, point_name, time_bucket(INTERVAL 30 MINUTE, start) AS half, avg(mean) AS mean
            FROM power GROUP BY ALL
        ) GROUP BY date, entity, half
    ),
    peaks AS (SELECT date, entity, max(kw) AS kw FROM halves GROUP BY ALL),
    air AS (
        SELECT date, entity, (max(degrees) + min(degrees)) / 2 AS degrees FROM (
            SELECT date, entity, mean AS degrees FROM means WHERE point_name = entity || '/weather/temp'
            UNION ALL SELECT ("timestamp" + INTERVAL 10 HOUR)::DATE, site_name, temperature FROM ace.weather_raw
        ) GROUP BY ALL
    )
    SELECT 'site-energy' AS kpi_id, date, entity, sum(kw) / 12 AS value FROM five_minutes GROUP BY ALL
    UNION ALL SELECT 'site-peak-demand', date, entity, kw FROM peaks
    UNION ALL SELECT 'site-load-factor', date, entity, 100 * avg(five_minutes.kw) / any_value(peaks.kw)
        FROM five_minutes JOIN peaks USING (date, entity) GROUP BY ALL
    UNION ALL SELECT 'energy-cost', date, entity, sum(kw / 12 * rrp / 1000)
        FROM five_minutes JOIN sites ON site_name = entity
        JOIN truth ON truth.region_id = sites.region_id AND interval_end = start + INTERVAL 5 MINUTE
            AND intervention = 0
        GROUP BY ALL
    UNION ALL SELECT 'heating-degree-days', date, entity, greatest(0, 18 - degrees) FROM air
    UNION ALL SELECT 'cooling-degree-days', date, entity, greatest(0, degrees - 24) FROM air
"""
DIFFERING = """
    WITH own AS ({own}),
    kept AS (
        SELECT kpi_id, date, entity, value FROM kpi.kpi_values
        WHERE kpi_id IN (SELECT kpi_id FROM own) AND (kpi_id <> 'completeness' OR entity IN (SELECT entity FROM own))
    )
    SELECT kpi_id, date, entity, own.value, kept.value
    FROM own FULL JOIN kept USING (kpi_id, date, entity)
    WHERE date IN (SELECT unnest($days::DATE[]))
        AND (own.value IS NULL OR kept.value IS NULL
             OR abs(own.value - kept.value) > 1e-6 * greatest(1, abs(own.value)))
"""


def market_kpis(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """The market's KPIs of every day are those of the true prices and flows, and nothing of the market was missing."""
    days = _days(truth)
    wrong = _differing(connection, OWN_OF_THE_MARKET, days, truth=truth.regions.rows)
    wrong += _differing(connection, OWN_OF_LINKS, days, truth=truth.interconnectors.rows)
    return _told("KPI values of the market are those of the truth", days, wrong)


def building_kpis(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """The buildings' KPIs of every day are those of their readings, which are compared themselves, and true prices."""
    days, sites = _days(truth), pa.Table.from_pylist(truth.sites)
    wrong = _differing(connection, OWN_OF_SITES, days, truth=truth.regions.rows, sites=sites)
    return _told("KPI values of the buildings are those of their readings", days, wrong)


def _days(truth: Truth) -> list[str]:
    return [str(day) for day in truth.plan.kpi_days()]


def _differing(connection: "DuckDBPyConnection", own: str, days: list[str], **given: pa.Table) -> list[tuple[Any, ...]]:
    """The values that are not those of ``own``, a query of the published file and the tables that are given."""
    for name, rows in given.items():
        connection.register(name, rows)
    try:
        return connection.execute(DIFFERING.format(own=own), {"days": days}).fetchall()
    finally:
        for name in given:
            connection.unregister(name)


def _told(name: str, days: list[str], wrong: list[tuple[Any, ...]]) -> Finding:
    told = f"{len(wrong)} differ, such as {as_text(wrong[0])}" if wrong else f"of {len(days)} days"
    return Finding(name, bool(days) and not wrong, told)
