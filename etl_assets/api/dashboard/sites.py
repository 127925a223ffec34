"""Buildings: their sites and points, what a point measures, the weather, and the heat map of a day."""

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from etl_assets.api.dashboard.freshness import newest_readings
from etl_assets.api.dashboard.lake_names import as_lake, published_files
from etl_assets.api.dashboard.replies import span
from etl_assets.api.dashboard.titles import UNITS
from etl_assets.api.figures import quality_scores
from etl_assets.api.parameters import TimeRange, calendar_day
from etl_assets.api.site_queries import known_site
from etl_assets.lake.tables import TIMESERIES_AGG, WEATHER_RAW
from etl_assets.market_time import DAY
from etl_assets.quality.scores import hourly_coverage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duckdb import DuckDBPyConnection

    from etl_assets.api.warehouse import Warehouse
    from etl_assets.settings import Settings

MOST_DAYS = 62
"""Two months of a point, or of the weather, at once."""

USUAL_S = int(DAY.total_seconds())

MOST_MAP_POINTS = 200
"""Rows of a heat map: the worst, since the others look alike."""

POINTS = r"""
    WITH described AS (
        SELECT site_name, point_name, point_type, collect_interval,
               CASE WHEN json_valid(kv_tags) THEN kv_tags END AS kv,
               CASE WHEN json_valid(marker_tags) THEN marker_tags END AS markers,
               CASE WHEN json_valid(bacnet_data) THEN bacnet_data END AS bacnet
        FROM warehouse.ace.points
    ),
    told AS (
        SELECT site_name, point_name, collect_interval,
               coalesce(
                   kv ->> '$.meaning',
                   list_filter(markers ->> '$[*]', lambda marker: marker <> 'point')[1],
                   nullif(bacnet ->> '$.object_type', 'property: unknown-property'),
                   point_type,
                   'other'
               ) AS kind,
               coalesce(kv ->> '$.unit', nullif(bacnet ->> '$.object_units', 'property: unknown-property'), '') AS unit
        FROM described
    )
"""
"""What the account says of a point: its kind by its tags, else by its type; its unit by its tags, else by BACnet's."""

KINDS = f"""
    {POINTS}
    SELECT site_name, kind, count(*) FROM told GROUP BY ALL ORDER BY site_name, count(*) DESC, kind
"""
SITES = """
    SELECT site_name, coalesce(time_zone, 'UTC') FROM warehouse.ace.sites ORDER BY site_name
"""
WEATHER_NOW = """
    SELECT site_name, epoch_us(max("timestamp")) // 1000000, last(temperature ORDER BY "timestamp"),
           last(humidity ORDER BY "timestamp"), last(wind_speed ORDER BY "timestamp"),
           last(precipitation ORDER BY "timestamp"), last(conditions ORDER BY "timestamp")
    FROM warehouse.ace.weather_raw
    WHERE market_day >= $since
    GROUP BY site_name
"""
"""Not by QUALIFY row_number() … = 1: DuckDB 1.5.5 fails on that with so many columns (an internal error, inequal
types)."""

WEATHER = """
    SELECT list(epoch_us("timestamp") // 1000000 ORDER BY "timestamp"), list(temperature ORDER BY "timestamp"),
           list(humidity ORDER BY "timestamp"), list(wind_speed ORDER BY "timestamp"),
           list(precipitation ORDER BY "timestamp")
    FROM warehouse.ace.weather_raw
    WHERE site_name = $site AND market_day BETWEEN $first_day AND $last_day
      AND "timestamp" >= $start AND "timestamp" < $finish
"""
WEATHER_COLUMNS = ("observed_at", "temperature", "humidity", "wind_speed", "precipitation")

SITE_POINTS = f"""
    {POINTS},
    scored AS (
        SELECT point_name, date, quality_score
        FROM warehouse.quality.data_quality
        WHERE site_name = $site
        QUALIFY date = max(date) OVER ()
    )
    SELECT point_name, coalesce(kind, 'other'), coalesce(unit, ''), collect_interval, quality_score, date,
           epoch_us(data_end) // 1000000
    FROM (FROM told WHERE site_name = $site) AS p
    FULL JOIN (FROM warehouse.ace.query_metadata WHERE site_name = $site) AS m USING (point_name)
    LEFT JOIN scored USING (point_name)
    ORDER BY point_name
"""


def sites(warehouse: "Warehouse") -> dict[str, Any]:
    """Every site: its points by kind, its newest reading and score, the weather as last observed."""
    newest = newest_readings(warehouse)
    scores = {site: (day, score) for site, day, score in warehouse.once("quality scores", quality_scores)}
    weather = _weather_now(warehouse)
    return warehouse.once(
        "sites at a glance",
        lambda connection: {
            "sites": [
                {
                    "site": site,
                    "time_zone": zone,
                    "points": sum(kinds.get(site, {}).values()),
                    "kinds": kinds.get(site, {}),
                    "newest_at": newest.get(site),
                    "score": scores.get(site, (None, None))[1],
                    "day": str(scores[site][0]) if site in scores else None,
                    "weather": weather.get(site),
                }
                for kinds in [_kinds(connection)]
                for site, zone in connection.execute(SITES).fetchall()
            ]
        },
    )


def points(warehouse: "Warehouse", site: str) -> dict[str, Any]:
    """The points of a site by name. Raises ``Problem`` 404 for an unknown site."""
    known_site(warehouse, site)
    with warehouse.connection() as connection, warehouse.timed(connection):
        rows = connection.execute(SITE_POINTS, {"site": site}).fetchall()
    return {
        "points": [
            {
                "point": name,
                "label": label_of(name, site),
                "kind": kind,
                "unit": UNITS.get(unit, unit),
                "interval_s": interval,
                "score": score,
                "day": str(day) if day else None,
                "newest_at": newest,
            }
            for name, kind, unit, interval, score, day, newest in rows
        ]
    }


def label_of(point: str, site: str) -> str:
    """A point's name without the client and site that all points of the site begin with."""
    _, inside, rest = f"/{point}".partition(f"/{site}/")
    return rest if inside and rest else point


def weather(warehouse: "Warehouse", site: str, start: int | None, end: int | None) -> dict[str, Any]:
    """Observations at a site in [start, end), epoch seconds: degrees Celsius, per cent, metres a second, millimetres.

    The last 24 hours to the newest where no stretch is said. Raises ``Problem``: 404 for an unknown site, 422 for more
    than 62 days.
    """
    known_site(warehouse, site)
    newest = (_weather_now(warehouse).get(site) or {}).get("observed_at")
    latest = int(warehouse.snapshot.published_at.timestamp()) if newest is None else newest + 1
    wanted = stretch(*span(start, end, latest, usual_s=USUAL_S, most_s=MOST_DAYS * USUAL_S))
    days = wanted.instant_days
    named = {"site": site, "first_day": days[0], "last_day": days[1], "start": wanted.start, "finish": wanted.end}
    with warehouse.connection() as connection, warehouse.timed(connection):
        row = connection.execute(WEATHER, named).fetchone()
    columns = row or [None] * len(WEATHER_COLUMNS)
    return {name: column or [] for name, column in zip(WEATHER_COLUMNS, columns, strict=True)}


def heat(warehouse: "Warehouse", settings: "Settings", site: str, day: str | None) -> dict[str, Any]:
    """Share of the due readings that came, by point and hour of a market day, the worst points first.

    Due is what was due when the file was published. The newest day where none is said. Raises ``Problem``: 404 for an
    unknown site, 422 for what is no day.
    """
    known_site(warehouse, site)
    days = _days_of(warehouse, site)
    wanted = calendar_day("day", day) if day is not None else max(days, default=None)
    hours = list(range(24))
    if wanted is None:
        return {"day": None, "days": [], "hours": hours, "points": [], "share": []}
    now = warehouse.snapshot.published_at
    with as_lake(warehouse) as lake:
        coverage = hourly_coverage(lake, site, wanted, now=now, configured=settings.configured_points)
    worst = sorted(zip(coverage.points, coverage.shares, strict=True), key=lambda row: (_mean(row[1]), row[0]))
    shown = worst[:MOST_MAP_POINTS]
    return {
        "day": str(wanted),
        "days": [str(each) for each in days],
        "hours": hours,
        "points": [point for point, _ in shown],
        "share": [shares for _, shares in shown],
    }


def stretch(start: int, end: int) -> TimeRange:
    """A stretch of epoch seconds as instants."""
    return TimeRange(datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC))


def _mean(shares: "Iterable[float | None]") -> float:
    """Of hours in which something was due; points that owed nothing come last."""
    due = [share for share in shares if share is not None]
    return sum(due) / len(due) if due else 2.0


def _kinds(connection: "DuckDBPyConnection") -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for site, kind, count in connection.execute(KINDS).fetchall():
        found.setdefault(site, {})[kind] = count
    return found


def _days_of(warehouse: "Warehouse", site: str) -> list[date]:
    files = published_files(warehouse).get(TIMESERIES_AGG.full_name, [])
    return sorted({file.day for file in files if file.day and file.site == site})


def _weather_now(warehouse: "Warehouse") -> dict[str, dict[str, Any]]:
    last = warehouse.last_day(WEATHER_RAW.full_name)
    if last is None:
        return {}
    names = (*WEATHER_COLUMNS, "conditions")
    return warehouse.once(
        "weather now",
        lambda connection: {
            site: dict(zip(names, row, strict=True))
            for site, *row in connection.execute(WEATHER_NOW, {"since": last - DAY}).fetchall()
        },
    )
