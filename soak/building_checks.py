"""Of a soak's verdict: what is derived from readings, weather, and the lists of sites and points."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from etl_assets.market_time import instant_day
from etl_assets.simulator import ace_wire
from soak.findings import Finding, all_rows, as_text, one_value
from soak.truth import Truth

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NEM_DAY = '("timestamp" + INTERVAL 10 HOUR)::DATE'
"""The market day of an instant, in a session in UTC."""

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


MEASURES = {"temperature": "temp", "humidity": "humidity", "wind_speed": "wind_speed"}
"""Columns of ``ace.weather_raw``, and the weather points that they are of."""


def weather(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """What was told at a time is what the site's weather point read then, and each feed told something daily.

    A site without a feed has no weather.
    """
    measures = ", ".join(f"({column}, '{name}')" for column, name in MEASURES.items())
    told = (
        f"SELECT site_name, \"timestamp\", site_name || '/weather/' || name AS point_name, value "
        f"FROM ace.weather_raw CROSS JOIN LATERAL (VALUES {measures}) AS t(value, name) WHERE value IS NOT NULL"
    )
    key = 'site_name, point_name, "timestamp"'
    connection.register("truth", truth.readings.rows)
    try:
        wrong = all_rows(
            connection,
            f"SELECT {key}, t.value FROM ({told}) AS t LEFT JOIN truth USING ({key}) "
            "WHERE truth.value IS DISTINCT FROM t.value",
        )
        there = all_rows(connection, f"SELECT site_name, count(*), count(DISTINCT {NEM_DAY}) FROM ({told}) GROUP BY 1")
    finally:
        connection.unregister("truth")
    days = {site: found for site, _, found in there}
    feeds = [site for site in truth.world.sites if truth.world.layout(site).weather]
    asked = (instant_day(truth.asked_until) - truth.days[0]).days
    mute = [site for site in feeds if days.get(site, 0) < max(asked, 1)]
    seen = f"{sum(count for _, count, _ in there):,} values of {len(there)} sites"
    seen += f"; {len(wrong)} are not, such as {as_text(wrong[0])}" if wrong else ""
    seen += f"; not daily: {', '.join(mute)}" if mute else ""
    return Finding("ace.weather_raw is what the account told", not (wrong or mute) and bool(there), seen)


POINTS = """
    SELECT site_name, point_name FROM ace.points AS kept FULL JOIN truth USING (site_name, point_name)
    WHERE kept.client IS DISTINCT FROM truth.client OR kept.collect_enabled IS DISTINCT FROM truth.collect_enabled
        OR kept.collect_interval IS DISTINCT FROM truth.collect_interval OR kept.is_listed IS NOT true
        OR (kept.kv_tags::JSON ->> 'unit') IS DISTINCT FROM truth.unit
        OR (kept.marker_tags::JSON ->> 1) IS DISTINCT FROM truth.marker OR kept.created IS DISTINCT FROM truth.created
"""
SITES = """
    SELECT site_name FROM ace.sites AS kept FULL JOIN truth USING (site_name)
    WHERE kept.client IS DISTINCT FROM truth.client OR kept.latitude IS DISTINCT FROM truth.latitude
        OR kept.longitude IS DISTINCT FROM truth.longitude OR kept.region_id IS DISTINCT FROM truth.region_id
        OR from_json(kept.power_points, '["VARCHAR"]') IS DISTINCT FROM truth.power_points OR kept.archived IS NOT false
"""


def listings(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """Sites and points are those of the account, with what it says of each."""
    sites, points = truth.sites, list(_points(truth))
    wrong = _differing(connection, SITES, sites) + _differing(connection, POINTS, points)
    told = f"{len(sites)} sites, {len(points)} points"
    told += f"; {len(wrong)} are not, such as {as_text(wrong[0])}" if wrong else ""
    return Finding("ace.sites and ace.points are those of the account", not wrong, told)


def _differing(connection: "DuckDBPyConnection", statement: str, truth: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    connection.register("truth", pa.Table.from_pylist(truth))
    try:
        return all_rows(connection, statement)
    finally:
        connection.unregister("truth")


def _points(truth: Truth) -> Iterator[dict[str, Any]]:
    for site in truth.world.sites:
        for told in ace_wire.points(truth.world.layout(site)):
            yield {
                "site_name": site, "point_name": told["name"], "client": told["client"],
                "collect_enabled": told["collect_enabled"], "collect_interval": told["collect_interval"],
                "unit": told["kv_tags"]["unit"], "marker": told["marker_tags"][1],
                "created": datetime.fromisoformat(told["created"]).replace(tzinfo=UTC),
            }  # fmt: skip


COUNTED = """
    SELECT site_name, point_name, 'total_samples', own.number, kept.total_samples
    FROM (
        SELECT site_name, point_name, min("timestamp") AS first, max("timestamp") AS last, count(*) AS number
        FROM ace.timeseries_all GROUP BY ALL
    ) AS own FULL JOIN ace.query_metadata AS kept USING (site_name, point_name)
    WHERE own.number IS DISTINCT FROM kept.total_samples OR own.first IS DISTINCT FROM kept.data_start
        OR own.last IS DISTINCT FROM kept.data_end
"""
SCORED = f"""
    WITH own AS (
        SELECT site_name, point_name, {NEM_DAY} AS "date", count(*) AS number FROM ace.timeseries_all GROUP BY ALL
    )
    SELECT site_name, point_name, "date", own.number, kept.actual_samples
    FROM own FULL JOIN quality.data_quality AS kept USING (site_name, point_name, "date")
    WHERE "date" IN (SELECT unnest($days::DATE[])) AND coalesce(own.number, 0) IS DISTINCT FROM kept.actual_samples
"""


def counted(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """What is said of each point's readings, over all and of each day, is what there is."""
    days = [str(day) for day in truth.days[:-1]]
    wrong = all_rows(connection, COUNTED) + connection.execute(SCORED, {"days": days}).fetchall()
    points = one_value(connection, "SELECT count(*) FROM ace.query_metadata")
    scored = one_value(connection, "SELECT count(*) FROM quality.data_quality")
    told = f"{len(wrong)} are not, such as {as_text(wrong[0])}; " if wrong else ""
    told += f"{points:,} points, {scored:,} days of points"
    return Finding("quality.data_quality and ace.query_metadata count the readings", not wrong and bool(scored), told)
