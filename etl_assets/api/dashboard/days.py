"""The calendar: of every dataset and day of a month, how much should be there and how much is.

The market's days are those of ``aemo/completeness.py``, as the checks see them. Of a building's day it is the readings
that were due and came, as ``quality/scores.py`` worked them out, and whether the check ``readings_are_complete`` holds.
"""

from calendar import monthrange
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from etl_assets.aemo.completeness import DayStatus, State, day_statuses
from etl_assets.aemo.feeds import FEEDS, PRICE_AND_DEMAND_FEED, Feed
from etl_assets.api.dashboard.lake_names import as_lake, published_files
from etl_assets.api.dashboard.links import Links, site_day
from etl_assets.api.dashboard.market import newest_interval
from etl_assets.api.dashboard.titles import TITLES
from etl_assets.api.parameters import YEARS, quoted, wrong
from etl_assets.lake.tables import DATA_QUALITY, DISPATCH_REGION, PRICE_AND_DEMAND, TIMESERIES_RAW
from etl_assets.market_time import NEM_TIME, days_between, market_day

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from etl_assets.api.published_file import NamedFile
    from etl_assets.api.warehouse import Warehouse
    from etl_assets.settings import Settings

CALENDAR_FEEDS = (*FEEDS, PRICE_AND_DEMAND_FEED)

MOST_KEPT = 10_000
"""Closed days of datasets that are kept: some four years, 5 MB."""

SITE_DAYS = """
    SELECT site_name, date, sum(expected_samples)::BIGINT, sum(least(actual_samples, expected_samples))::BIGINT,
           avg(quality_score) >= $target AND count(*) FILTER (quality_score < $alert_below) = 0
    FROM warehouse.quality.data_quality
    WHERE market_day BETWEEN $first AND $last
    GROUP BY site_name, date
"""


class Calendar:
    """Months of all datasets. What was found of a closed day holds until files with its rows are published.

    Threads share one.
    """

    def __init__(self, settings: "Settings", warehouse: "Warehouse") -> None:
        self._settings = settings
        self._warehouse = warehouse
        self._links = Links(settings)
        self._closed: dict[tuple[str, date, str], dict[str, Any]] = {}

    def month(self, month: str | None, *, now: datetime) -> dict[str, Any]:
        """Every dataset's days of a month, ``2026-11``; of the newest market day's where none is said.

        Raises ``Problem`` 422 for what is no month.
        """
        first = month_of(month) if month is not None else _newest_day(self._warehouse).replace(day=1)
        last = first.replace(day=monthrange(first.year, first.month)[1])
        days = list(days_between(first, last))
        files = published_files(self._warehouse)
        with as_lake(self._warehouse) as lake:
            datasets = [self._feed(lake, feed, days, _first_day(files, feed.name), now) for feed in CALENDAR_FEEDS]
            scored = self._scored(lake, first, last)
        today = market_day(now)
        datasets += [self._site(site, days, began, scored, today) for site, began in _sites(files).items()]
        return {
            "month": f"{first:%Y-%m}",
            "first": str(first),
            "last": str(last),
            "months": _months(files),
            "datasets": datasets,
        }

    def _feed(
        self, lake: "DuckDBPyConnection", feed: Feed, days: Sequence[date], began: date | None, now: datetime
    ) -> dict[str, Any]:
        past = [day for day in days if began is not None and began <= day <= market_day(now)]
        keys = {day: (feed.name, day, self._warehouse.version(feed.name, days=(day, day))) for day in past}
        # As of a moment: a clock that was set back has open days again.
        kept = {day: self._closed[key] for day, key in keys.items() if key in self._closed}
        known = {day: shown for day, shown in kept.items() if feed.is_closed(day, now)}
        asked = [day for day in past if day not in known]
        for status in day_statuses(lake, feed, asked, now) if asked else ():
            known[status.day] = _market_day(status, self._links)
            if status.is_closed:
                self._keep(keys[status.day], known[status.day])
        shown = [known.get(day) or _empty_day(feed, day, now, self._links) for day in days]
        return {"dataset": feed.name, "title": TITLES[feed.name], "entity": "", "days": shown}

    def _keep(self, key: tuple[str, date, str], shown: dict[str, Any]) -> None:
        if len(self._closed) >= MOST_KEPT:
            self._closed.clear()
        self._closed[key] = shown

    def _scored(self, lake: "DuckDBPyConnection", first: date, last: date) -> dict[tuple[str, date], list[Any]]:
        thresholds = {"target": self._settings.quality_target, "alert_below": self._settings.quality_alert_below}
        rows = lake.execute(SITE_DAYS, {"first": first, "last": last, **thresholds}).fetchall()
        return {(site, day): figures for site, day, *figures in rows}

    def _site(
        self,
        site: str,
        days: Sequence[date],
        began: date,
        scored: dict[tuple[str, date], list[Any]],
        today: date,
    ) -> dict[str, Any]:
        name = TIMESERIES_RAW.full_name
        shown = []
        for day in days:
            expected, there, is_complete = scored.get((site, day), (0, 0, None))
            shown.append(
                {
                    "day": str(day),
                    "expected": expected,
                    "there": there,
                    "state": _site_state(day, began, today, there, is_complete=is_complete),
                    "dagster_url": self._links.dataset(name, site_day(day, site)),
                }
            )
        return {"dataset": name, "title": TITLES[name], "entity": site, "days": shown}


def month_of(text: str) -> date:
    """The first day of a month such as ``2026-11``. Raises ``Problem`` 422."""
    year, dash, month = text.partition("-")
    is_written = dash and len(year) == len("2026") and len(month) == len("11") and (year + month).isascii()
    if not (is_written and (year + month).isdigit() and int(year) in YEARS and 1 <= int(month) <= 12):  # noqa: PLR2004
        raise wrong("month", f"{quoted(text)} is no month such as 2026-11")
    return date(int(year), int(month), 1)


def _market_day(status: DayStatus, links: Links) -> dict[str, Any]:
    return {
        "day": str(status.day),
        "expected": len(status.states) - status.count(State.EXPECTED),
        "there": status.count(State.COMPLETE, State.PROVISIONAL),
        "state": _market_state(status),
        "dagster_url": _link(status.feed, status.day, links),
    }


def _market_state(status: DayStatus) -> str:
    """Of a day since the first of all: a gap is one as soon as it is overdue, also on the day that is open."""
    if status.lacking:
        return "missing" if status.is_untouched else "partial"
    return "open" if status.count(State.EXPECTED) else "complete"


def _empty_day(feed: Feed, day: date, now: datetime, links: Links) -> dict[str, Any]:
    """A day to come, or one before the first that was ever collected: history that is not there yet is no gap."""
    state = "future" if day > market_day(now) else "before"
    return {"day": str(day), "expected": 0, "there": 0, "state": state, "dagster_url": _link(feed, day, links)}


def _link(feed: Feed, day: date, links: Links) -> str:
    """Aggregated files are of months."""
    return links.dataset(feed.name, str(day.replace(day=1) if feed is PRICE_AND_DEMAND_FEED else day))


def _site_state(day: date, began: date, today: date, there: int, *, is_complete: bool | None) -> str:
    """``is_complete`` is None where no point owed a reading: nothing was scored, or nobody collects it."""
    if day > today:
        return "future"
    if day < began:
        return "before"
    if day == today:
        return "open"
    if is_complete:
        return "complete"
    return "partial" if there else "missing"


def _newest_day(warehouse: "Warehouse") -> date:
    return market_day(datetime.fromtimestamp(newest_interval(warehouse), NEM_TIME))


def _first_day(files: "dict[str, list[NamedFile]]", table: str) -> date | None:
    return min((file.day for file in files.get(table, []) if file.day), default=None)


def _sites(files: "dict[str, list[NamedFile]]") -> dict[str, date]:
    """Sites that were ever scored or read, with their first day."""
    began: dict[str, date] = {}
    for name in (DATA_QUALITY.full_name, TIMESERIES_RAW.full_name):
        for file in files.get(name, []):
            if file.site and file.day:
                began[file.site] = min(file.day, began.get(file.site, file.day))
    return dict(sorted(began.items()))


def _months(files: "dict[str, list[NamedFile]]") -> list[str]:
    """Months with anything in them, the oldest first."""
    return sorted(set(_months_of(files)))


def _months_of(files: "dict[str, list[NamedFile]]") -> Iterator[str]:
    for name in (DISPATCH_REGION.full_name, PRICE_AND_DEMAND.full_name, DATA_QUALITY.full_name):
        yield from (f"{file.day:%Y-%m}" for file in files.get(name, []) if file.day)
