"""Query parameters as values: instants, market days, ranges, names out of closed lists.

Everything here raises ``Problem`` 422 that names the parameter, says what is wrong with it and what would be right.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from http import HTTPStatus

from etl_assets.api.problems import Problem
from etl_assets.market_time import DAY, NEM_TIME, day_start, instant_day, market_day

YEARS = range(1990, 2101)
"""Nothing is older than the market, and arithmetic on what is much later or earlier fails."""

QUOTED = 80
"""Of what a client sent, so many characters are said back to it."""

SHORT_OFFSET = re.compile(r"[ ]([0-9]{2}:?[0-9]{2})$")
"""An offset whose plus sign a URL has turned into a space."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From one instant to a later one, both aware. Which end belongs to it is for the query to say."""

    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return self.end - self.start

    @property
    def interval_days(self) -> tuple[date, date]:
        """First and last market day of the intervals that end in it: (start, end]."""
        return instant_day(self.start), market_day(self.end)

    @property
    def instant_days(self) -> tuple[date, date]:
        """First and last market day of the instants in it: [start, end)."""
        return instant_day(self.start), instant_day(self.end - timedelta(microseconds=1))


def wrong(name: str, detail: str) -> Problem:
    """The problem of one query parameter."""
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    errors = [{"in": "query", "name": name, "detail": detail}]
    return Problem(status, status.phrase, f"{name}: {detail}", errors=errors)


def quoted(text: str) -> str:
    """What a client sent, shortened, to be said back to it."""
    return repr(text if len(text) <= QUOTED else f"{text[:QUOTED]}…")


def instant(name: str, text: str) -> datetime:
    """An ISO 8601 instant; without an offset it is NEM time (UTC+10), and a date alone is its midnight."""
    try:
        found = datetime.fromisoformat(SHORT_OFFSET.sub(r"+\1", text.strip()))
    except ValueError:
        raise wrong(
            name, f"{quoted(text)} is no ISO 8601 instant such as 2026-11-20T00:00:00+10:00 or 2026-11-19T14:00:00Z"
        ) from None
    _refuse_other_times(name, found.year)
    return found if found.tzinfo else found.replace(tzinfo=NEM_TIME)


def calendar_day(name: str, text: str) -> date:
    """A market day such as 2026-11-20."""
    try:
        found = date.fromisoformat(text.strip())
    except ValueError:
        raise wrong(name, f"{quoted(text)} is no day such as 2026-11-20") from None
    _refuse_other_times(name, found.year)
    return found


def time_range(start: str | None, end: str | None, day: str | None, *, most: timedelta | None = None) -> TimeRange:
    """The range of ``from`` and ``to``, or of a market ``day``; no longer than ``most``."""
    if day is not None:
        if start is not None or end is not None:
            raise wrong("day", "goes without from and to: send the one or the others")
        first = day_start(calendar_day("day", day))
        return TimeRange(first, first + DAY)
    if start is None or end is None:
        raise wrong("from" if start is None else "to", "is missing: send from and to, or day")
    found = TimeRange(instant("from", start), instant("to", end))
    if found.length <= timedelta(0):
        raise wrong("to", "is to be later than from")
    if most is not None and found.length > most:
        raise wrong("to", f"is more than {most.days} days after from: ask for {most.days} days at a time")
    return found


def day_range(first: str | None, last: str | None, *, most: int) -> tuple[date, date]:
    """The market days of ``from`` and ``to``, both included; no more than ``most`` of them."""
    if first is None or last is None:
        raise wrong("from" if first is None else "to", "is missing: send the first and the last day")
    days = calendar_day("from", first), calendar_day("to", last)
    if days[1] < days[0]:
        raise wrong("to", "is before from")
    if (days[1] - days[0]).days >= most:
        raise wrong("to", f"makes more than {most} days: ask for {most} days at a time")
    return days


def listed(values: Sequence[str] | None) -> tuple[str, ...]:
    """A parameter that may be repeated, or have several values with commas; each once, in order."""
    parts = (part.strip() for value in values or () for part in value.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def chosen(name: str, values: Sequence[str] | None, allowed: Iterable[str], default: Iterable[str]) -> tuple[str, ...]:
    """Names out of a closed list, in the order they were asked for; ``default`` where none is."""
    known, asked = tuple(allowed), listed(values)
    if unknown := [value for value in asked if value not in known]:
        raise wrong(name, f"there is no {quoted(unknown[0])}; there are {', '.join(known)}")
    return asked or tuple(default)


def _refuse_other_times(name: str, year: int) -> None:
    if year not in YEARS:
        raise wrong(name, f"the year {year} is not between {YEARS.start} and {YEARS.stop - 1}")
