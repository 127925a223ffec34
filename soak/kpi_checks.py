"""Of a soak's verdict: the daily runs of KPIs, and the market's values."""

from typing import TYPE_CHECKING

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


KPIS = """
    WITH prices AS (
        SELECT (interval_end - INTERVAL 1 MICROSECOND + INTERVAL 10 HOUR)::DATE AS date, region_id AS entity,
               rrp, total_demand
        FROM truth WHERE intervention = 0
    ),
    own AS (
        SELECT 'average-price' AS kpi_id, date, entity, avg(rrp) AS value FROM prices GROUP BY ALL
        UNION ALL SELECT 'peak-price', date, entity, max(rrp) FROM prices GROUP BY ALL
        UNION ALL SELECT 'volume-weighted-price', date, entity, sum(rrp * total_demand) / sum(total_demand)
            FROM prices GROUP BY ALL
        UNION ALL SELECT 'negative-price-hours', date, entity, count(*) FILTER (rrp < 0) / 12 FROM prices GROUP BY ALL
        UNION ALL SELECT 'price-volatility', date, entity, stddev_pop(rrp) FROM prices GROUP BY ALL
        UNION ALL SELECT 'completeness', date, unnest(['aemo.dispatch_region', 'aemo.dispatch_interconnector',
            'aemo.unit_scada', 'aemo.trading_price', 'aemo.rooftop_pv']), 100 FROM (SELECT DISTINCT date FROM prices)
    ),
    kept AS (
        SELECT kpi_id, date, entity, value FROM kpi.kpi_values
        WHERE kpi_id IN (SELECT kpi_id FROM own) AND entity IN (SELECT entity FROM own)
    )
    SELECT kpi_id, date, entity, own.value, kept.value
    FROM own FULL JOIN kept USING (kpi_id, date, entity)
    WHERE date IN (SELECT unnest($days::DATE[]))
        AND (own.value IS NULL OR kept.value IS NULL
             OR abs(own.value - kept.value) > 1e-6 * greatest(1, abs(own.value)))
"""


def kpi_values(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """The market's KPIs of every day are those of the true prices, and nothing of the market was missing.

    Those of buildings and interconnectors are compared by their own tests.
    """
    connection.register("truth", next(truth.tables()).rows)
    days = [str(day) for day in truth.plan.kpi_days()]
    try:
        wrong = connection.execute(KPIS, {"days": days}).fetchall()
    finally:
        connection.unregister("truth")
    told = f"{len(wrong)} differ, such as {as_text(wrong[0])}" if wrong else f"of {len(days)} days"
    return Finding("KPI values of the market are those of the truth", bool(days) and not wrong, told)
