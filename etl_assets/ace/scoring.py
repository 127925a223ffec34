"""The quality of a site's market day: scores, gaps, answers to the checks, pictures, and the alert that they raise."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from etl_assets.ace.checks import site_outcomes
from etl_assets.lake.connection import read_lake, write_lake
from etl_assets.lake.tables import DATA_QUALITY, GAPS, TIMESERIES_RAW
from etl_assets.lake.upsert import transaction
from etl_assets.market_time import market_day
from etl_assets.ops.alerts import Alert, evaluate, gap_conditions, quality_conditions
from etl_assets.quality.outcome import Outcome
from etl_assets.quality.plots import calendar, heat_map, small_heat_map
from etl_assets.quality.scores import hourly_coverage, monthly_coverage, record_site_gaps, score_day
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


JUDGED_AFTER = timedelta(hours=1)
"""Of a day that has just begun one late reading is a fifth: until an hour of it is past, the day before speaks."""


@dataclass(frozen=True, slots=True)
class ScoredDay:
    """What came of scoring: metadata for Dagster, the answers to the checks, and the alerts that began or cleared."""

    quality_metadata: dict[str, Any]
    gap_metadata: dict[str, Any]
    outcomes: dict[str, Outcome]
    alerts: list[Alert] = field(default_factory=list)


def score_site_day(settings: Settings, site: str, day: date, *, now: datetime) -> ScoredDay:
    """Score every point of a site's market day as of ``now``, and bring the record of its gaps to what is found."""
    wanted = settings.configured_points
    with write_lake(settings, f"scoring {site}") as lake, transaction(lake):
        counts = score_day(lake, site, day, now=now, configured=wanted)
        gaps = record_site_gaps(lake, site, day, now=now, configured=wanted)
    with read_lake(settings) as lake:
        outcomes = site_outcomes(lake, site, day, settings=settings, now=now)
        covered = hourly_coverage(lake, site, day, now=now, configured=wanted)
        by_day = monthly_coverage(lake, site, day, now=now, configured=wanted)
        month = _scores_of_month(lake, site, day)
        scores = lake.execute(
            f"SELECT point_name, quality_score FROM {DATA_QUALITY.lake_name} "
            f"WHERE site_name = ? AND market_day = DATE '{day}' AND quality_score IS NOT NULL",
            [site],
        ).fetchall()
        still_open = _open_gaps(lake, site)
    complete = outcomes["readings_are_complete"]
    pictures = {
        "at_a_glance": small_heat_map(covered.shares, f"{site} {day}, points by hour"),
        "points_by_hour": heat_map(covered.points, covered.shares, covered.labels, f"{site} {day}, points by hour"),
        "points_by_day": heat_map(by_day.points, by_day.shares, by_day.labels, f"{site} {day:%B %Y}, points by day"),
        "month": calendar(month, f"{site}, {day:%B %Y}"),
    }
    outcomes["readings_are_complete"] = Outcome(
        complete.passed, complete.description, complete.metadata, complete.is_error, pictures
    )
    alerts = []
    if day == market_day(now - JUDGED_AFTER):
        # An older day that is scored anew says nothing of how things are.
        conditions = quality_conditions(settings, site, day, scores) + gap_conditions(
            settings, site, still_open, now=now
        )
        alerts = evaluate(settings, conditions, now=now)
    mean = sum(score for _, score in scores) / len(scores) if scores else None
    quality: dict[str, Any] = {
        "points_scored": len(scores),
        "rows_inserted": counts.inserted,
        "rows_updated": counts.updated,
    }
    if mean is not None:
        quality["mean_score"] = mean
        quality["points_below_alert"] = sum(score < settings.quality_alert_below for _, score in scores)
    return ScoredDay(quality, {"gaps_open": gaps.open, "gaps_healed": gaps.healed}, outcomes, alerts)


def _scores_of_month(lake: "DuckDBPyConnection", site: str, day: date) -> dict[date, float | None]:
    """The mean score of each day of a month; the first of the month is there in any case."""
    rows = lake.execute(
        f"SELECT market_day, avg(quality_score) FROM {DATA_QUALITY.lake_name} "
        f"WHERE site_name = ? AND market_day BETWEEN DATE '{day.replace(day=1)}' AND DATE '{day}' GROUP BY 1",
        [site],
    ).fetchall()
    return {day.replace(day=1): None, **dict(rows)}


def _open_gaps(lake: "DuckDBPyConnection", site: str) -> list[tuple[datetime, datetime]]:
    """The gaps of the whole site that are on record as open."""
    return lake.execute(
        f"SELECT gap_start, gap_end FROM {GAPS.lake_name} WHERE dataset = ? AND entity = ? AND healed_at IS NULL",
        [TIMESERIES_RAW.full_name, site],
    ).fetchall()
