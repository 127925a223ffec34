"""Of a soak's verdict: what is derived from readings, weather, and the lists of sites and points."""

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from etl_assets.market_time import DAY, day_start
from soak.findings import INSTANT_DAY, Finding, all_rows, as_text, given, one_value
from soak.truth import Truth

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

DAYS_OF_POINTS = f"""
    WITH heard AS (
        SELECT site_name, point_name, {INSTANT_DAY} AS "date", count(*) AS number FROM ace.timeseries_all GROUP BY ALL
    ),
    firsts AS (SELECT site_name, point_name, min("timestamp") AS since FROM ace.timeseries_all GROUP BY ALL)
    SELECT site_name, point_name, "date", coalesce(number, 0) AS number,
           CASE WHEN collect_enabled AND since < finish
               THEN (epoch_us(finish) - epoch_us(greatest(since, start))) // (coalesce(collect_interval, 60) * 1000000)
               ELSE 0 END AS expected
    FROM points CROSS JOIN days LEFT JOIN firsts USING (site_name, point_name)
        LEFT JOIN heard USING (site_name, point_name, "date")
"""
"""Of each point and closed day: how many readings there are, and how many were due since its first."""


def described(truth: Truth, days: Iterable[date]) -> dict[str, pa.Table]:
    """What ``DAYS_OF_POINTS`` asks besides the readings: ``points`` and ``days``."""
    spans = [{"date": day, "start": day_start(day), "finish": day_start(day + DAY)} for day in days]
    named = ("site_name", "point_name", "collect_enabled", "collect_interval")
    points = [{name: point[name] for name in named} for point in truth.points]
    return {"points": pa.Table.from_pylist(points), "days": pa.Table.from_pylist(spans)}


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


MEASURES = ("temp", "humidity", "wind_speed", "feels_like", "pressure", "dew_point", "clouds", "wind_deg", "wet_bulb")
"""The weather points of a feed: the first three have columns in ``ace.weather_raw``, the others are in its metadata."""
COLUMNS = ("temperature", "humidity", "wind_speed")
TOLD = f"""
    SELECT site_name, name, "timestamp", site_name || '/weather/' || name AS point_name, value
    FROM ace.weather_raw CROSS JOIN LATERAL (VALUES
        {", ".join(f"({column}, '{name}')" for column, name in zip(COLUMNS, MEASURES, strict=False))},
        {", ".join(f"((metadata::JSON ->> '{name}')::DOUBLE, '{name}')" for name in MEASURES[len(COLUMNS) :])}
    ) AS t(value, name)
    WHERE value IS NOT NULL
"""


def weather(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """What was told at a time is what the site's weather point read then, and each point of a feed told daily."""
    key = 'site_name, point_name, "timestamp"'
    with given(connection, truth=truth.readings.rows):
        wrong = all_rows(
            connection,
            f"SELECT {key}, told.value FROM ({TOLD}) AS told LEFT JOIN truth USING ({key}) "
            "WHERE truth.value IS DISTINCT FROM told.value",
        )
    there = all_rows(connection, f"SELECT site_name, name, {INSTANT_DAY}, count(*) FROM ({TOLD}) GROUP BY ALL")
    days: dict[tuple[str, str], set[date]] = defaultdict(set)
    for site, name, day, _ in there:
        days[site, name].add(day)
    feeds = [(site, name) for site in truth.world.sites for name in truth.world.layout(site).weather]
    mute = [as_text(f) for f in feeds if not (heard := days.get(f)) or {*truth.watched_days} - heard]
    seen = f"{sum(count for *_, count in there):,} values of {len(days)} points"
    seen += f"; {len(wrong)} are not, such as {as_text(wrong[0])}" if wrong else ""
    seen += f"; not daily: {', '.join(mute)}" if mute else ""
    return Finding("ace.weather_raw is what the account told", not (wrong or mute), seen)


AS_JSON = ("power_points", "kv_tags", "marker_tags", "bacnet_data", "collect_config")
"""Columns that hold JSON."""


def listings(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """Sites and points are those of the account, with all that it says of each."""
    wrong = _unlike(connection, "ace.sites", ("site_name",), truth.sites)
    wrong += _unlike(connection, "ace.points", ("site_name", "point_name"), truth.points)
    told = f"{len(truth.sites)} sites, {len(truth.points)} points"
    told += f"; {len(wrong)} are not, such as {wrong[0]}" if wrong else ""
    return Finding("ace.sites and ace.points are those of the account", not wrong, told)


def _unlike(
    connection: "DuckDBPyConnection", table: str, key: tuple[str, ...], truth: list[dict[str, Any]]
) -> list[str]:
    """The rows of a table that are missing, or more, or say something else, by their keys."""
    columns = list(truth[0])
    kept = {}
    for row in all_rows(connection, f"SELECT {', '.join(columns)} FROM {table}"):
        said = {n: v if v is None or n not in AS_JSON else json.loads(v) for n, v in zip(columns, row, strict=True)}
        kept[as_text(tuple(said[name] for name in key))] = said
    told = {as_text(tuple(row[name] for name in key)): row for row in truth}
    return sorted(name for name in {*kept, *told} if kept.get(name) != told.get(name))


COUNTED = """
    SELECT site_name, point_name, own.number, kept.total_samples, own.first, kept.data_start, own.last, kept.data_end
    FROM (
        SELECT site_name, point_name, min("timestamp") AS first, max("timestamp") AS last, count(*) AS number
        FROM ace.timeseries_all GROUP BY ALL
    ) AS own FULL JOIN ace.query_metadata AS kept USING (site_name, point_name)
    WHERE own.number IS DISTINCT FROM kept.total_samples OR own.first IS DISTINCT FROM kept.data_start
        OR own.last IS DISTINCT FROM kept.data_end
"""
SCORED = f"""
    WITH own AS ({DAYS_OF_POINTS})
    SELECT site_name, point_name, "date", own.number, kept.actual_samples, own.expected, kept.expected_samples
    FROM own FULL JOIN quality.data_quality AS kept USING (site_name, point_name, "date")
    WHERE "date" IN (SELECT "date" FROM days)
        AND (own.number IS DISTINCT FROM kept.actual_samples OR own.expected IS DISTINCT FROM kept.expected_samples)
"""


def counted(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """What is said of each point's readings, over all and of each closed day, is what there is and what was due."""
    with given(connection, **described(truth, truth.days[:-1])):
        wrong = all_rows(connection, COUNTED) + all_rows(connection, SCORED)
    points = one_value(connection, "SELECT count(*) FROM ace.query_metadata")
    scored = one_value(connection, "SELECT count(*) FROM quality.data_quality")
    told = f"{len(wrong)} are wrong, such as {as_text(wrong[0])}; " if wrong else ""
    told += f"{points:,} points, {scored:,} days of points"
    return Finding("readings are counted as they are there and were due", not wrong and bool(scored), told)
