"""What should be true of a site's market day, asked of the lake after each collection.

Pure questions and answers: Dagster's names for them are in ``assets``. A check asks in SQL and answers the reader's
next question in its metadata: how many, the first offenders, and a query for all. A closed day that falls short is an
error; an open one only warns.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from etl_assets.ace.derived import statement
from etl_assets.lake.sql import Value
from etl_assets.market_time import DAY, day_start
from etl_assets.quality.outcome import FIRST_OFFENDERS, Outcome
from etl_assets.quality.scores import SiteDayQuality, site_day_quality
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

COLDEST, HOTTEST = -30.0, 55.0
"""Air temperature in degC: Australia's records are -23.0 and 50.7."""

WETTEST = 500.0
"""Precipitation in mm of one observation: the record of a few hours."""

WINDIEST = 115.0
"""Wind speed in m/s: the strongest gust ever measured was 113 m/s, at Barrow Island."""

UNIT_JUMP = 100.0
"""Of a day's largest reading against the week before: kW for W is 1,000, a share for % is 100. The largest and not the
mean, because what is on for an hour one day and all of the next has another mean in the same unit."""

USUAL_DAYS, LEAST_USUAL_DAYS = 7, 3
"""Days before that say what is usual, and how many of them a point must have readings on."""


@dataclass(frozen=True, slots=True)
class SiteInquiry:
    """What a check is asked about: a site's market day, as of a moment, in an open lake."""

    lake: "DuckDBPyConnection"
    site: str
    day: date
    settings: Settings
    now: datetime
    quality: SiteDayQuality

    @property
    def is_closed(self) -> bool:
        """Whether the market day is over."""
        return self.now >= day_start(self.day) + DAY

    def ask(self, name: str, **values: Value) -> tuple[list[tuple[Any, ...]], str]:
        """The rows that a question finds, and the question as an analyst may ask it."""
        sql = statement(name, site=self.site, day=self.day, **values)
        return self.lake.execute(sql).fetchall(), sql.replace("lake.", "")


def site_outcomes(
    connection: "DuckDBPyConnection", site: str, day: date, *, settings: Settings, now: datetime
) -> dict[str, Outcome]:
    """The answers to all questions about a site's market day, by name; its scores must be there already."""
    quality = site_day_quality(
        connection, site, day, alert_below=settings.quality_alert_below, target=settings.quality_target
    )
    asked = SiteInquiry(connection, site, day, settings, now, quality)
    return {question.__name__: question(asked) for question in QUESTIONS}


def readings_are_complete(asked: SiteInquiry) -> Outcome:
    """No point lies below the alert threshold, and the mean reaches the target.

    An error where a point of a closed day lies below the threshold.
    """
    found, query = asked.ask("points_below", share=asked.settings.quality_target)
    quality, target = asked.quality, asked.settings.quality_target
    mean = quality.mean_score
    if mean is None:
        described = "no point owed a reading: none was ever heard, or none is collected"
    else:
        described = f"mean score {mean:.3f}, {quality.below_alert} of {quality.scored} points below the alert"
    return Outcome(
        passed=mean is not None and mean >= target and not quality.below_alert,
        description=f"{asked.site} {asked.day}: {described}",
        metadata={
            "points": quality.points,
            "points_scored": quality.scored,
            "mean_score": mean if mean is not None else "none",
            "points_below_alert": quality.below_alert,
            "points_below_target": quality.below_target,
            "readings_missing": quality.missing,
            "first": _first([(point, f"{score:.3f}") for point, score, *_ in found]),
            "query": query,
        },
        is_error=asked.is_closed and (mean is None or quality.below_alert > 0),
    )


def points_have_not_fallen_silent(asked: SiteInquiry) -> Outcome:
    """Every point that was heard the day before is heard now."""
    found, query = asked.ask("silent_points")
    return _outcome(found, len(found), f"of {asked.quality.points} points fell silent", query, is_error=asked.is_closed)


def readings_are_plausible(asked: SiteInquiry) -> Outcome:
    """No outliers and no flat lines, as ``quality/scores.py`` defines them. A person should look, no more."""
    found, query = asked.ask("implausible_points")
    counts = {"outliers": asked.quality.outliers, "readings_in_flat_lines": asked.quality.flat}
    return _outcome(found, len(found), "points with outliers or flat lines", query, is_error=False, **counts)


def units_have_not_changed(asked: SiteInquiry) -> Outcome:
    """No point reads a hundred times as much, or as little, as in the week before: a gateway that sends W for kW.

    Judged by each day's largest reading. A person should look: a plant may have been off.
    """
    first = asked.day - USUAL_DAYS * DAY
    found, query = asked.ask("changed_units", first=first, days=LEAST_USUAL_DAYS, factor=UNIT_JUMP)
    named = [(point, f"{extent:g}", "after", f"{usual:g}") for point, extent, usual in found]
    return _outcome(named, len(found), "points with readings of another magnitude", query, is_error=False)


def no_reading_is_from_the_future(asked: SiteInquiry) -> Outcome:
    """No reading is stamped later than it was collected, but for a minute: a clock or a time zone is wrong."""
    found, query = asked.ask("readings_from_the_future")
    return _outcome(found, max(len(found), asked.quality.future), "readings from the future", query)


def nothing_is_quarantined(asked: SiteInquiry) -> Outcome:
    """No record of the day lies in quarantine; an error where their share exceeds ``ERROR_RATE_ALERT``."""
    found, query = asked.ask("quarantined")
    records = sum(count for _, count, _ in found)
    stored = _stored(asked)
    rate = records / (records + stored) if records else 0.0
    reasons = "; ".join(f"{count} {reason}" for reason, count, _ in found[:FIRST_OFFENDERS]) or "none"
    return _outcome(
        found,
        records,
        "records in quarantine",
        query,
        is_error=rate > asked.settings.error_rate_alert,
        error_rate=rate,
        reasons=reasons,
    )


def weather_is_plausible(asked: SiteInquiry) -> Outcome:
    """Temperature, humidity, precipitation and wind lie within what has ever been measured."""
    bounds = {"coldest": COLDEST, "hottest": HOTTEST, "wettest": WETTEST, "windiest": WINDIEST}
    found, query = asked.ask("implausible_weather", **bounds)
    stated = f"{COLDEST:g} to {HOTTEST:g} degC, 0 to 100 %, 0 to {WETTEST:g} mm, 0 to {WINDIEST:g} m/s"
    return _outcome(found, len(found), "implausible observations of the weather", query, is_error=False, bounds=stated)


def weather_is_there(asked: SiteInquiry) -> Outcome:
    """Every hour that is past has an observation. Last known values cannot be asked for later, so this only warns.

    A day before the site's first observation passes: it has no weather feed, or had none yet.
    """
    hours, query = asked.ask("weather_by_hour", start=day_start(asked.day))
    past = [(starts, observations) for starts, observations in hours if starts + timedelta(hours=1) <= asked.now]
    lacking = [(f"{starts.astimezone(day_start(asked.day).tzinfo):%H:%M}",) for starts, count in past if not count]
    if len(lacking) == len(past) and not _has_weather_before(asked):
        return _outcome([], 0, "hours without weather: the site has none so far", query, is_error=False)
    counts = {"observations": sum(count for _, count in hours)}
    return _outcome(lacking, len(lacking), f"of {len(past)} hours without weather", query, is_error=False, **counts)


def keys_are_unique(asked: SiteInquiry) -> Outcome:
    """No reading is there twice."""
    # Equal keys have equal hashes: only where hashes repeat are the keys themselves worth grouping, at twice the cost.
    repeated = asked.lake.execute(statement("repeated_hashes", site=asked.site, day=asked.day)).fetchone()
    assert repeated is not None  # noqa: S101 (an aggregate has one row)
    query = statement("repeated_readings", site=asked.site, day=asked.day)
    found = asked.lake.execute(query).fetchall() if repeated[0] else []
    return _outcome(found, len(found), "keys with more than one row", query.replace("lake.", ""))


QUESTIONS = (
    readings_are_complete,
    points_have_not_fallen_silent,
    readings_are_plausible,
    units_have_not_changed,
    no_reading_is_from_the_future,
    nothing_is_quarantined,
    weather_is_plausible,
    weather_is_there,
    keys_are_unique,
)


def _stored(asked: SiteInquiry) -> int:
    row = asked.lake.execute(
        "SELECT coalesce(sum(actual_samples), 0) FROM lake.quality.data_quality WHERE site_name = ? AND market_day = ?",
        [asked.site, asked.day],
    ).fetchone()
    assert row is not None  # noqa: S101 (an aggregate has one row)
    return int(row[0])


def _has_weather_before(asked: SiteInquiry) -> bool:
    row = asked.lake.execute(
        "SELECT 1 FROM lake.ace.weather_raw WHERE site_name = ? AND market_day < ? LIMIT 1", [asked.site, asked.day]
    ).fetchone()
    return row is not None


def _outcome(
    found: list[tuple[Any, ...]], count: int, what: str, query: str, *, is_error: bool = True, **more: float | str
) -> Outcome:
    first = _first(found)
    return Outcome(
        passed=not found,
        description=f"{count} {what}" + (f": {first}" if found else ""),
        metadata={"found": count, "first": first, **more, "query": query},
        is_error=is_error,
    )


def _first(found: list[tuple[Any, ...]]) -> str:
    return "; ".join(" ".join(_text(value) for value in row) for row in found[:FIRST_OFFENDERS]) or "none"


def _text(value: object) -> str:
    return value.isoformat(" ", "seconds") if isinstance(value, datetime) else str(value)
