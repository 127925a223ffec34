"""Queries of the smaller tables: sites, points, weather, KPIs, scores, gaps. Each is one statement."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date
from enum import StrEnum

from etl_assets.api.parameters import TimeRange, wrong
from etl_assets.api.site_queries import facts_of, known_site, matching
from etl_assets.api.statements import Statement, TableQuery
from etl_assets.api.warehouse import Warehouse

MOST_DAYS = 366

SITES = """
    WITH read AS (
        SELECT site_name, min(data_start) AS data_start, max(data_end) AS data_end,
               CAST(sum(total_samples) AS BIGINT) AS total_samples
        FROM warehouse.ace.query_metadata GROUP BY site_name
    ), listed AS (
        SELECT site_name, count(*) AS points FROM warehouse.ace.points WHERE is_listed GROUP BY site_name
    )
    SELECT site_name, client, nice_name, latitude, longitude, archived, time_zone, region_id,
           power_points, coalesce(points, 0) AS points,
           data_start, data_end, coalesce(total_samples, 0) AS total_samples
    FROM warehouse.ace.sites LEFT JOIN read USING (site_name) LEFT JOIN listed USING (site_name)
    ORDER BY site_name
"""
POINTS = """
    SELECT point_name, point_type, collect_enabled, collect_interval, is_configured, is_listed,
           kv_tags, marker_tags,
           data_start, data_end, coalesce(total_samples, 0) AS total_samples
    FROM (FROM warehouse.ace.points WHERE site_name = $1) AS p
    FULL JOIN (FROM warehouse.ace.query_metadata WHERE site_name = $1) AS m USING (point_name)
    WHERE point_name IN (SELECT unnest($2::VARCHAR[]))
    ORDER BY point_name
"""
WEATHER = """
    SELECT site_name, "timestamp", temperature, humidity, precipitation, wind_speed, conditions
    FROM warehouse.ace.weather_raw
    WHERE site_name = ? AND market_day BETWEEN ? AND ? AND "timestamp" >= ? AND "timestamp" < ?
    ORDER BY "timestamp"
"""
KPIS = """
    SELECT kpi_id, date, entity, value, unit, threshold_status, source, computed_at
    FROM warehouse.kpi.kpi_values
    WHERE date BETWEEN $1 AND $2 AND ($3::VARCHAR[] IS NULL OR list_contains($3::VARCHAR[], kpi_id))
      AND ($4::VARCHAR IS NULL OR entity = $4)
    ORDER BY kpi_id, date, entity
"""
QUALITY = """
    SELECT site_name, point_name, date, expected_samples, actual_samples, missing_samples, outlier_count, flat_count,
           future_count, quality_score, is_silent, scored_at
    FROM warehouse.quality.data_quality
    WHERE market_day BETWEEN $1 AND $2 AND ($3::VARCHAR IS NULL OR site_name = $3)
      AND ($4::VARCHAR IS NULL OR point_name = $4)
    ORDER BY site_name, date, point_name
"""
GAPS = """
    SELECT dataset, entity, gap_start, gap_end, missing_intervals, first_seen, healed_at
    FROM warehouse.quality.gaps
    WHERE ($1 = 'all' OR ($1 = 'open') = (healed_at IS NULL)) AND ($2::VARCHAR IS NULL OR dataset = $2)
    ORDER BY gap_start, dataset, entity
"""


class GapState(StrEnum):
    """Gaps that are there still, that were healed, or both."""

    OPEN = "open"
    HEALED = "healed"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the points of a site; ``following`` is the cursor of those after them, None where there are no more."""

    query: TableQuery
    total: int
    following: str | None


def sites_query() -> TableQuery:
    """All sites, with how many points they list and what of them was read."""
    return TableQuery("ace.sites", Statement(SITES, holds_json=("power_points",)), {})


def points_page(
    warehouse: Warehouse,
    site: str,
    limit: int,
    *,
    pattern: str | None = None,
    point_type: str | None = None,
    cursor: str | None = None,
) -> Page:
    """The next points of a site by name: those after ``cursor``, of a type, or that a glob matches.

    Raises ``Problem`` 404 for an unknown site, 422 for a cursor that is none.
    """
    facts = facts_of(warehouse, site)
    names = tuple(name for name, fact in facts.items() if point_type is None or fact.point_type == point_type)
    found = matching(names, pattern) if pattern is not None else names
    after = _name_of(cursor) if cursor is not None else ""
    rest = [name for name in found if name > after]
    page = rest[:limit]
    statement = Statement(POINTS, (site, page), holds_json=("kv_tags", "marker_tags"))
    query = TableQuery("ace.points", statement, {"site": site, "points": page}, site=site)
    return Page(query, len(found), _cursor_of(page[-1]) if len(rest) > limit else None)


def weather_query(warehouse: Warehouse, site: str, wanted: TimeRange) -> TableQuery:
    """Observations at a site in [start, end)."""
    values = (known_site(warehouse, site), *wanted.instant_days, wanted.start, wanted.end)
    asked = {"from": _text(wanted, "start"), "to": _text(wanted, "end")}
    return TableQuery("ace.weather_raw", Statement(WEATHER, values), asked, days=wanted.instant_days, site=site)


def kpis_query(days: tuple[date, date], ids: Sequence[str], entity: str | None) -> TableQuery:
    """Values of KPIs by market day; all KPIs where none is named."""
    asked = {"days": [str(day) for day in days], "id": list(ids), "entity": entity}
    return TableQuery("kpi.kpi_values", Statement(KPIS, (*days, list(ids) or None, entity)), asked)


def quality_query(warehouse: Warehouse, days: tuple[date, date], site: str | None, point: str | None) -> TableQuery:
    """Scores of points by market day. Raises ``Problem`` 404 for an unknown site."""
    if site is not None:
        known_site(warehouse, site)
    asked = {"days": [str(day) for day in days], "site": site, "point": point}
    statement = Statement(QUALITY, (*days, site, point))
    return TableQuery("quality.data_quality", statement, asked, days=days, site=site)


def gaps_query(state: GapState, dataset: str | None) -> TableQuery:
    """Runs of missing intervals, the oldest first."""
    asked = {"state": state.value, "dataset": dataset}
    return TableQuery("quality.gaps", Statement(GAPS, (state.value, dataset)), asked)


def _text(wanted: TimeRange, end: str) -> str:
    return str(getattr(wanted, end).astimezone(UTC).isoformat())


def _cursor_of(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _name_of(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        raise wrong("cursor", "is none that this API gave: begin without one") from None
