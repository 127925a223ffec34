"""``ace.timeseries_agg``: minimum, maximum, mean and count of a point's readings by 1min, 5min, 1h and market day.

Minutes come from the readings, every longer interval from the next shorter one: a tick of five minutes reads some
minutes of readings, an hour of 5-minute rows and a day of hours, however long the day is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from etl_assets.ace.derived import replace_slice, statement
from etl_assets.lake.sql import Value, literal
from etl_assets.lake.tables import TIMESERIES_AGG, TIMESERIES_RAW
from etl_assets.lake.upsert import UpsertCounts
from etl_assets.market_time import DAY, day_start, days_between, instant_day

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MINUTE = "1min"

SHORTER = {"5min": MINUTE, "1h": "5min", "1d": "1h"}
"""What each longer interval is made of, in the order of making."""

WIDTHS = {"1min": timedelta(minutes=1), "5min": timedelta(minutes=5), "1h": timedelta(hours=1), "1d": DAY}

PIECE = timedelta(hours=4)
"""Minutes are derived so much at a time: 1.1 million rows of 4,500 points keep memory below that of a whole day,
and a day's minutes in six files."""

DIFFERS = """
    new.sample_count <> old.sample_count OR new.min_value <> old.min_value OR new.max_value <> old.max_value
    OR abs(new.avg_value - old.avg_value) > 1e-12 * greatest(abs(new.min_value), abs(new.max_value))
"""
"""A sum depends on the order of its terms in the last bits, and the order on threads and files: a mean that differs
by less is no change. The bound is some ten times the rounding of a day of readings a second apart."""


def derive_aggregates(
    connection: "DuckDBPyConnection", site: str, since: datetime, until: datetime, *, now: datetime
) -> UpsertCounts:
    """Aggregates of every interval that [``since``, ``until``], the range of readings just stored, touches.

    Call inside ``transaction``. Intervals are half open, [start, end), stamped by their start. Those whose readings are
    gone go too. A market day without any reading is left as it is: its readings are archived and its aggregates stay.
    """
    counts = UpsertCounts()
    for day in days_between(instant_day(since), instant_day(until)):
        if has_readings(connection, site, day):
            first, last = max(since, day_start(day)), min(until, day_start(day) + DAY - _INSTANT)
            counts += _derive_within(connection, _Stretch(site, day, first, last), now)
    return counts


_INSTANT = timedelta(microseconds=1)


def derive_day(connection: "DuckDBPyConnection", site: str, day: date, *, now: datetime) -> UpsertCounts:
    """Aggregates of a whole market day; call inside ``transaction``."""
    start = day_start(day)
    return derive_aggregates(connection, site, start, start + DAY - _INSTANT, now=now)


def aggregates_are_current(connection: "DuckDBPyConnection", site: str, since: datetime, until: datetime) -> bool:
    """Whether the minutes of a market day from ``since`` to ``until`` count as many readings as there are."""
    start, finish = _touched(since, until - _INSTANT, MINUTE)
    where = (
        f"site_name = {literal(site)} AND market_day = {literal(instant_day(start))} "
        f'AND "timestamp" >= {literal(start)} AND "timestamp" < {literal(finish)}'
    )
    counted = connection.execute(
        f"SELECT (SELECT count(*) FROM {TIMESERIES_RAW.lake_name} WHERE {where}) = "
        f"(SELECT coalesce(sum(sample_count), 0) FROM {TIMESERIES_AGG.lake_name} "
        f"WHERE {where} AND \"interval\" = '{MINUTE}')"
    ).fetchone()
    return counted == (True,)


def has_readings(connection: "DuckDBPyConnection", site: str, day: date) -> bool:
    """Whether the lake holds any reading of a site's market day."""
    condition = f"site_name = {literal(site)} AND market_day = {literal(day)}"
    found = connection.execute(f"SELECT 1 FROM {TIMESERIES_RAW.lake_name} WHERE {condition} LIMIT 1").fetchone()
    return found is not None


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A part of a site's market day: from ``start`` to before ``finish``, or the readings from first to last."""

    site: str
    day: date
    start: datetime
    finish: datetime

    @property
    def values(self) -> dict[str, Value]:
        """What a statement calls its bounds."""
        return {"site": self.site, "day": self.day, "start": self.start, "finish": self.finish}

    @property
    def condition(self) -> str:
        """The stretch as a filter of aggregates."""
        return (
            f"site_name = {literal(self.site)} AND market_day = {literal(self.day)} "
            f'AND "timestamp" >= {literal(self.start)} AND "timestamp" < {literal(self.finish)}'
        )


def _derive_within(connection: "DuckDBPyConnection", readings: _Stretch, now: datetime) -> UpsertCounts:
    counts = UpsertCounts()
    for start, finish in _pieces(*_touched(readings.start, readings.finish, MINUTE)):
        stretch = replace(readings, start=start, finish=finish)
        connection.execute(statement("aggregate_readings", **stretch.values, now=now))
        counts += _store(connection, MINUTE, stretch)
    for interval, shorter in SHORTER.items():
        start, finish = _touched(readings.start, readings.finish, interval)
        stretch = replace(readings, start=start, finish=finish)
        made: dict[str, Value] = {"interval": interval, "shorter": shorter, "width_us": WIDTHS[interval] // _INSTANT}
        connection.execute(statement("aggregate_aggregates", **stretch.values, **made, now=now))
        counts += _store(connection, interval, stretch)
    return counts


def _store(connection: "DuckDBPyConnection", interval: str, stretch: _Stretch) -> UpsertCounts:
    scope = f"\"interval\" = '{interval}' AND {stretch.condition}"
    return replace_slice(connection, TIMESERIES_AGG, scope, differs=DIFFERS)


def _touched(first: datetime, last: datetime, interval: str) -> tuple[datetime, datetime]:
    """Start of the interval that holds ``first``, and end of the one that holds ``last``, counted in NEM time."""
    width = WIDTHS[interval]
    midnight = day_start(instant_day(first))
    start = midnight + width * ((first - midnight) // width)
    return start.astimezone(UTC), (midnight + width * ((last - midnight) // width + 1)).astimezone(UTC)


def _pieces(start: datetime, finish: datetime) -> Iterator[tuple[datetime, datetime]]:
    while start < finish:
        yield start, min(start + PIECE, finish)
        start += PIECE
