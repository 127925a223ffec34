"""How good a point's market day is: readings due and there, outliers, flat lines, clocks ahead, silence, gaps.

Everything is worked out from the readings, the whole day anew, by the readings' own time (market day, UTC+10), and in
the lake: a day of 4,500 points is 6.5 million readings. The rules:

- **Due**: one reading every ``collect_interval`` of the point, 60 s where the account says none, for the part of the
  day that is past; of points that are collected (``collect_enabled`` is not false, and ``CONFIGURED_POINTS``
  has them or is empty), and from the first reading ever. A point that never gave a reading owes
  none: its score is null.
  Polls jitter by seconds, so readings are counted and not looked for in slots.
- **Outlier**: further from the day's median than 6 x 1.4826 x MAD, the median absolute deviation. Where MAD is 0
  (more than half of the readings are one value) 1.2533 x the mean absolute deviation stands in for it. Of a counter
  (a signal that never falls and keeps rising) the steps between readings are judged. A point with two states has
  none, and neither has one where more than 2 % of the day (and more than 5 readings) lie so far out: that is another
  way of operation, such as a chiller by day.
- **Flat line**: the same value for an hour or longer and in 10 readings or more, in a signal whose other
  readings mostly differ from the one before; states and setpoints do not. Runs of 0 and of 100 are plant that
  stands or runs in full. A point that is flat all day is judged by the day before: whether it moved in three of
  four half-hours.
- **Future**: stamped more than a minute later than it was collected.
- **Silent**: heard the day before and not on this day; on the open day, not heard for a quarter of an hour and three
  intervals.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from etl_assets.ace.aggregates import WIDTHS, has_readings
from etl_assets.ace.derived import replace_slice, statement
from etl_assets.lake.sql import Value, literal
from etl_assets.lake.tables import DATA_QUALITY, GAPS, TIMESERIES_AGG, TIMESERIES_RAW
from etl_assets.lake.upsert import UpsertCounts
from etl_assets.market_time import DAY, day_start
from etl_assets.quality.gaps import Gap

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

OUTLIER_LIMIT = 6.0
"""Standard deviations of a normal signal: beyond lie 2 of 10⁹ readings. A daily sine stays within 1.4/1.05 of them."""

FEW_OUTLIERS = 5
OUTLIER_SHARE = 0.02
"""More than both is no accident of a sensor but operation: half an hour of a day."""

LEAST_READINGS = 10
"""Fewer readings say nothing about what is usual, and no run of them is long."""

WORST = 10
"""Points named where only some can be."""


@dataclass(frozen=True, slots=True)
class SiteDayQuality:
    """A site's market day in figures: numbers of points, sums of their readings, and the worst points with scores.

    ``scored`` are points that owed readings; ``mean_score`` is null where none did.
    """

    points: int
    scored: int
    mean_score: float | None
    below_alert: int
    below_target: int
    missing: int
    outliers: int
    flat: int
    future: int
    silent: int
    worst: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class GapCounts:
    """Gaps of a site's market day that are on record as open, and how many were closed just now."""

    open: int
    healed: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """Share of due readings that came, 0 to 1, by point (rows, by name) and interval; None where none was due."""

    labels: tuple[str, ...]
    points: tuple[str, ...]
    shares: tuple[tuple[float | None, ...], ...]


def score_day(
    connection: "DuckDBPyConnection",
    site: str,
    day: date,
    *,
    now: datetime,
    configured: Collection[str] = (),
) -> UpsertCounts:
    """Score every point of a site's market day from its readings; call inside ``transaction``.

    ``configured`` is ``CONFIGURED_POINTS``: no other point owes readings; empty means all. A day whose readings are
    archived keeps its scores.
    """
    if _is_archived(connection, site, day):
        return UpsertCounts()
    about: dict[str, Value] = {"site": site, "day": day}
    connection.execute(statement("half_hours", **about))
    connection.execute(statement("heard_before", site=site, day_before=day - DAY))
    connection.execute(statement("seen_by_half_hour"))
    _find_due(connection, site, (day_start(day), day_start(day) + DAY), now, configured)
    connection.execute(statement("spread", **about, least_readings=LEAST_READINGS))
    connection.execute(statement("suspects", **about, limit=OUTLIER_LIMIT))
    connection.execute(statement("outliers", limit=OUTLIER_LIMIT, few=FEW_OUTLIERS, share=OUTLIER_SHARE))
    connection.execute(statement("flat_lines", **about, least_readings=LEAST_READINGS))
    connection.execute(statement("data_quality", **about, finish=day_start(day) + DAY, now=now))
    return replace_slice(connection, DATA_QUALITY, f"site_name = {literal(site)} AND market_day = {literal(day)}")


def _find_due(
    connection: "DuckDBPyConnection",
    site: str,
    stretch: tuple[datetime, datetime],
    now: datetime,
    configured: Collection[str],
) -> None:
    start, finish = stretch
    connection.execute(statement("due", site=site, start=start, finish=finish, now=now, configured=configured))


def _is_archived(connection: "DuckDBPyConnection", site: str, day: date) -> bool:
    """Whether only the aggregates of a day are left."""
    if has_readings(connection, site, day):
        return False
    found = connection.execute(
        f"SELECT 1 FROM {TIMESERIES_AGG.lake_name} "
        f"WHERE site_name = {literal(site)} AND market_day = {literal(day)} AND \"interval\" = '1d' LIMIT 1"
    ).fetchone()
    return found is not None


def find_gaps(
    connection: "DuckDBPyConnection",
    site: str,
    day: date,
    *,
    now: datetime,
    configured: Collection[str] = (),
) -> list[Gap]:
    """Stretches of a market day without readings that were due, longer than three intervals and a quarter of an hour.

    The entity is ``site/point``, or ``site`` where no point of the site has a reading; what such a gap explains
    is not repeated point by point. A reading stands for the interval that it opens: the gap starts with the end of
    the first interval without one, and ends with the end of the last.
    """
    _find_gaps(connection, site, day, now, configured)
    rows = connection.execute(
        "SELECT dataset, entity, gap_start, gap_end, missing_intervals FROM gaps ORDER BY entity, gap_start"
    ).fetchall()
    return [Gap(*row) for row in rows]


def _find_gaps(
    connection: "DuckDBPyConnection", site: str, day: date, now: datetime, configured: Collection[str]
) -> None:
    connection.execute(statement("seen_in_readings", site=site, day=day, day_before=day - DAY))
    _find_due(connection, site, (day_start(day), day_start(day) + DAY), now, configured)
    connection.execute(statement("gaps", site=site, day=day, dataset=TIMESERIES_RAW.full_name))


def record_site_gaps(
    connection: "DuckDBPyConnection",
    site: str,
    day: date,
    *,
    now: datetime,
    configured: Collection[str] = (),
) -> GapCounts:
    """Bring the record of gaps for a site's market day to what is found now; call inside ``transaction``.

    As ``quality.gaps.record_gaps`` does, for thousands of gaps at once: those that are gone are stamped healed, those
    that grew or shrank keep their first sighting, and a run for an earlier moment than the sighting closes nothing.
    A day whose readings are archived keeps its record.
    """
    if _is_archived(connection, site, day):
        return GapCounts(0, 0)
    _find_gaps(connection, site, day, now, configured)
    # An interval's end: midnight belongs to the day that ends with it.
    scope = (
        f"dataset = {literal(TIMESERIES_RAW.full_name)} "
        f"AND (entity = {literal(site)} OR starts_with(entity, {literal(site + '/')})) "
        f"AND gap_start > {literal(day_start(day))} AND gap_start <= {literal(day_start(day) + DAY)}"
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE recorded AS FROM {GAPS.lake_name} WHERE {scope}")
    connection.execute(statement("gap_record", now=now))
    replace_slice(connection, GAPS, scope)
    counted = connection.execute(
        """
        SELECT count(*) FILTER (derived.healed_at IS NULL),
               count(*) FILTER (derived.healed_at IS NOT NULL AND recorded.healed_at IS NULL)
        FROM derived LEFT JOIN recorded USING (dataset, entity, gap_start)
        """
    ).fetchone()
    assert counted is not None  # noqa: S101 (an aggregate has one row)
    return GapCounts(*counted)


def site_day_quality(
    connection: "DuckDBPyConnection", site: str, day: date, *, alert_below: float, target: float
) -> SiteDayQuality:
    """The scores of a site's market day, summed up. All zero and null where it was never scored."""
    where = f"FROM {DATA_QUALITY.lake_name} WHERE site_name = {literal(site)} AND market_day = {literal(day)}"
    figures = connection.execute(
        f"""
        SELECT count(*), count(quality_score), avg(quality_score),
               count(*) FILTER (quality_score < $alert_below), count(*) FILTER (quality_score < $target),
               {", ".join(f"coalesce(CAST(sum({name}) AS BIGINT), 0)" for name in _SUMMED)},
               count(*) FILTER (is_silent)
        {where}
        """,
        {"alert_below": alert_below, "target": target},
    ).fetchone()
    assert figures is not None  # noqa: S101 (an aggregate has one row)
    worst = connection.execute(
        f"SELECT point_name, quality_score {where} AND quality_score < 1 ORDER BY 2, 1 LIMIT {WORST}"
    ).fetchall()
    return SiteDayQuality(*(*figures, tuple(worst)))


_SUMMED = ("missing_samples", "outlier_count", "flat_count", "future_count")


def hourly_coverage(
    connection: "DuckDBPyConnection", site: str, day: date, *, now: datetime, configured: Collection[str] = ()
) -> Coverage:
    """Share of due readings by point and hour of a market day (NEM time), from the hourly aggregates."""
    labels = tuple(f"{hour:02}" for hour in range(24))
    return _coverage(connection, site, (day, "1h", labels), now, configured)


def monthly_coverage(
    connection: "DuckDBPyConnection", site: str, month: date, *, now: datetime, configured: Collection[str] = ()
) -> Coverage:
    """Share of due readings by point and market day of the month that ``month`` lies in, from the daily aggregates."""
    first = month.replace(day=1)
    days = ((first + timedelta(days=31)).replace(day=1) - first).days
    labels = tuple(str(number) for number in range(1, days + 1))
    return _coverage(connection, site, (first, "1d", labels), now, configured)


def _coverage(
    connection: "DuckDBPyConnection",
    site: str,
    grid: tuple[date, str, tuple[str, ...]],
    now: datetime,
    configured: Collection[str],
) -> Coverage:
    first_day, interval, labels = grid
    start = day_start(first_day)
    finish = start + WIDTHS[interval] * len(labels)
    about: dict[str, Value] = {
        "site": site,
        "interval": interval,
        "first_day": first_day,
        "last_day": (finish - timedelta(microseconds=1)).date(),
    }
    connection.execute(statement("seen_in_aggregates", **about))
    _find_due(connection, site, (start, finish), now, configured)
    width_us = WIDTHS[interval] // timedelta(microseconds=1)
    rows = connection.execute(
        statement("coverage", **about, start=start, intervals=len(labels), width_us=width_us)
    ).fetchall()
    return Coverage(labels, tuple(point for point, _ in rows), tuple(tuple(shares) for _, shares in rows))
