"""Of a soak's verdict: what is derived from readings, and weather."""

from typing import TYPE_CHECKING

from soak.findings import Finding, all_rows, one_value
from soak.truth import Truth

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

AGGREGATED = """
    WITH readings AS (SELECT *, epoch_us("timestamp") AS us FROM ace.timeseries_all),
    sizes AS (FROM (VALUES ('1min', 60000000::BIGINT), ('5min', 300000000), ('1h', 3600000000)) AS s("interval", span)),
    again AS (
        SELECT site_name, point_name, "interval", us // span * span AS us,
               avg(value) AS avg_value, min(value) AS min_value, max(value) AS max_value, count(*) AS sample_count
        FROM readings CROSS JOIN sizes GROUP BY ALL
        UNION ALL
        SELECT site_name, point_name, '1d', (us + 36000000000) // 86400000000 * 86400000000 - 36000000000,
               avg(value), min(value), max(value), count(*)
        FROM readings GROUP BY ALL
    ),
    kept AS (SELECT *, epoch_us("timestamp") AS us FROM ace.timeseries_agg)
    SELECT count(*), count(*) FILTER (again.us IS NULL), count(*) FILTER (kept.us IS NULL),
           count(*) FILTER (again.us IS NOT NULL AND kept.us IS NOT NULL AND (
               again.sample_count IS DISTINCT FROM kept.sample_count OR again.min_value IS DISTINCT FROM kept.min_value
               OR again.max_value IS DISTINCT FROM kept.max_value OR kept.avg_value IS NULL
               OR abs(again.avg_value - kept.avg_value) > 1e-9 * greatest(1, abs(again.avg_value))))
    FROM again FULL JOIN kept USING (site_name, point_name, "interval", us)
"""


def aggregates(connection: "DuckDBPyConnection", _: Truth) -> Finding:
    """Aggregates are those of the readings, archived ones included."""
    count, extra, missing, differ = all_rows(connection, AGGREGATED)[0]
    wrong = f"{missing} missing, {extra} of no reading, {differ} different, of {count:,}"
    holds = not (extra or missing or differ)
    return Finding("ace.timeseries_agg is derived from every reading", holds, f"{count:,} rows" if holds else wrong)


def weather(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """The temperature that was told at a time is a reading of the site's weather point."""
    connection.register("truth", truth.readings.rows)
    try:
        there = one_value(connection, "SELECT count(temperature) FROM ace.weather_raw")
        wrong = one_value(
            connection,
            """
            SELECT count(*) FROM ace.weather_raw AS w WHERE temperature IS NOT NULL AND NOT EXISTS (
                FROM truth AS t WHERE t.site_name = w.site_name AND t.point_name = w.site_name || '/weather/temp'
                    AND t."timestamp" BETWEEN w."timestamp" - INTERVAL 2 HOUR AND w."timestamp"
                    AND t.value = w.temperature
            )
            """,
        )
    finally:
        connection.unregister("truth")
    return Finding(
        "ace.weather_raw is what the account told", not wrong and bool(there), f"{wrong} of {there:,} are not"
    )
