"""A point's curve: mean, lowest, highest and count by bucket, its daily quality, and its open gaps."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from etl_assets.api.dashboard.replies import seconds, span
from etl_assets.api.dashboard.sites import MOST_DAYS, POINTS, USUAL_S, stretch
from etl_assets.api.dashboard.titles import UNITS
from etl_assets.api.parameters import quoted
from etl_assets.api.problems import Problem
from etl_assets.api.site_queries import LENGTHS, Interval, facts_of
from etl_assets.lake.tables import TIMESERIES_RAW
from etl_assets.market_time import DAY

if TYPE_CHECKING:
    from etl_assets.api.parameters import TimeRange
    from etl_assets.api.warehouse import Warehouse

LONGEST = ((timedelta(days=7), Interval.FIVE_MINUTES), (timedelta(days=MOST_DAYS), Interval.HOUR))
"""Of a curve, by the interval that it is drawn with: some 2,000 buckets, more than a screen has columns."""

CURVE = """
    SELECT list(epoch_us("timestamp") // 1000000 ORDER BY "timestamp"), list(avg_value ORDER BY "timestamp"),
           list(min_value ORDER BY "timestamp"), list(max_value ORDER BY "timestamp"),
           list(sample_count ORDER BY "timestamp")
    FROM warehouse.ace.timeseries_agg
    WHERE site_name = $site AND point_name = $point AND "interval" = $interval
      AND market_day BETWEEN $first_day AND $last_day AND "timestamp" >= $start AND "timestamp" < $finish
"""
COLUMNS = ("timestamp", "mean", "min", "max", "count")

ABOUT = f"""
    {POINTS}
    SELECT kind, unit FROM told WHERE site_name = $site AND point_name = $point
"""
QUALITY = """
    SELECT date, quality_score, expected_samples, actual_samples, outlier_count
    FROM warehouse.quality.data_quality
    WHERE site_name = $site AND point_name = $point AND market_day BETWEEN $first_day AND $last_day
    ORDER BY date
"""
GAPS = """
    WITH known AS (
        SELECT entity, gap_start, gap_end, (gap_end - gap_start) / nullif(missing_intervals - 1, 0) AS length
        FROM warehouse.quality.gaps
        WHERE dataset = $dataset AND entity IN ($site, $site || '/' || $point) AND healed_at IS NULL
    )
    SELECT epoch_us(gap_start - coalesce(length, INTERVAL 1 MINUTE)) // 1000000 AS began,
           epoch_us(gap_end) // 1000000 AS ended
    FROM known
    WHERE gap_end > $start AND gap_start < $finish
    ORDER BY began
"""
"""A gap is on record by the ends of its first and last interval; it begins an interval before the first."""


def curve(warehouse: "Warehouse", site: str, point: str, start: int | None, end: int | None) -> dict[str, Any]:
    """A point in [start, end), epoch seconds; the last 24 hours to its newest reading where no stretch is said.

    Raises ``Problem``: 404 for an unknown site or point, 422 for more than 62 days.
    """
    known = facts_of(warehouse, site).get(point)
    if known is None:
        raise Problem(404, "Not Found", f"Site {quoted(site)} has no point {quoted(point)}.")
    newest = known.data_end or warehouse.snapshot.published_at
    latest = (seconds(newest) or 0) + 1
    wanted = stretch(*span(start, end, latest, usual_s=USUAL_S, most_s=MOST_DAYS * USUAL_S))
    interval = next(interval for longest, interval in LONGEST if wanted.length <= longest)
    # Buckets are named by their start: the one that the stretch begins in belongs to it.
    step = int(LENGTHS[interval].total_seconds())
    return {
        "point": point,
        "step": step,
        "interval": interval.value,
        **_figures(warehouse, site, point, wanted, interval),
    }


def _figures(warehouse: "Warehouse", site: str, point: str, wanted: "TimeRange", interval: Interval) -> dict[str, Any]:
    days = wanted.instant_days
    of = {"site": site, "point": point}
    in_days = {**of, "first_day": days[0], "last_day": days[1]}
    within = {"start": wanted.start - LENGTHS[interval] + timedelta(seconds=1), "finish": wanted.end}
    with warehouse.connection() as connection, warehouse.timed(connection):
        about = connection.execute(ABOUT, of).fetchone() or ("other", "")
        early = {**in_days, "first_day": days[0] - DAY}
        row = connection.execute(CURVE, {**early, **within, "interval": interval.value}).fetchone()
        quality = connection.execute(QUALITY, in_days).fetchall()
        gaps = connection.execute(
            GAPS, {**of, "start": wanted.start, "finish": wanted.end, "dataset": TIMESERIES_RAW.full_name}
        ).fetchall()
    columns = row or [None] * len(COLUMNS)
    return {
        "kind": about[0],
        "unit": UNITS.get(about[1], about[1]),
        **{name: column or [] for name, column in zip(COLUMNS, columns, strict=True)},
        "quality": [
            {"day": str(day), "score": score, "expected": expected, "actual": actual, "outliers": outliers}
            for day, score, expected, actual, outliers in quality
        ],
        "gaps": [{"from": began, "to": ended} for began, ended in gaps],
    }
