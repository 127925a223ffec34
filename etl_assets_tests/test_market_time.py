"""Market time: what an interval's end means, whatever the zone of the machine."""

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import settings as run_with
from hypothesis import strategies as st

from etl_assets.market_time import (
    DISPATCH_INTERVAL,
    HALF_HOUR,
    NEM_TIME,
    ceil_interval,
    day_start,
    days_between,
    format_settlement_date,
    interval_ends,
    market_day,
    parse_settlement_date,
)

DAY = date(2026, 11, 22)
days = st.dates(date(1998, 12, 7), date(2100, 1, 1))


def nem(hour: int, minute: int = 0, second: int = 0, microsecond: int = 0) -> datetime:
    return datetime(2026, 11, 22, hour, minute, second, microsecond, tzinfo=NEM_TIME)


@pytest.mark.parametrize(
    ("end", "day"),
    [
        (nem(0), date(2026, 11, 21)),
        (nem(0, 0, 0, 1), DAY),
        (nem(0, 5), DAY),
        (nem(23, 55), DAY),
        (nem(0) + timedelta(days=1), DAY),
        (datetime(2026, 11, 21, 14, 0, tzinfo=UTC), date(2026, 11, 21)),
        (datetime(2026, 11, 21, 14, 5, tzinfo=UTC), DAY),
        (datetime(2028, 3, 1, tzinfo=NEM_TIME), date(2028, 2, 29)),
    ],
)
def test_an_interval_belongs_to_the_day_in_which_it_lies_and_midnight_to_the_day_before(
    end: datetime, day: date
) -> None:
    assert market_day(end) == day


def test_a_day_has_288_intervals_from_five_past_midnight_to_midnight() -> None:
    ends = interval_ends(DAY)

    assert (len(ends), ends[0], ends[-1]) == (288, nem(0, 5), nem(0) + timedelta(days=1))


def test_a_day_has_48_half_hours() -> None:
    ends = interval_ends(DAY, HALF_HOUR)

    assert (len(ends), ends[0], ends[-1]) == (48, nem(0, 30), nem(0) + timedelta(days=1))


def test_the_29th_of_february_is_a_day_like_any_other() -> None:
    ends = interval_ends(date(2028, 2, 29))

    assert ends[-1] == datetime(2028, 3, 1, tzinfo=NEM_TIME)
    assert list(days_between(date(2028, 2, 28), date(2028, 3, 1)))[1] == date(2028, 2, 29)


@pytest.mark.parametrize(
    ("now", "end"),
    [
        (nem(14, 40), nem(14, 40)),
        (nem(14, 40, 0, 1), nem(14, 45)),
        (nem(14, 41), nem(14, 45)),
        (nem(14, 44, 59, 999_999), nem(14, 45)),
        (nem(0), nem(0)),
        (nem(0, 1), nem(0, 5)),
        (nem(23, 56), nem(0) + timedelta(days=1)),
        (datetime(2026, 11, 22, 4, 41, tzinfo=UTC), nem(14, 45)),
    ],
)
def test_the_interval_of_a_moment_is_the_one_that_contains_it(now: datetime, end: datetime) -> None:
    assert ceil_interval(now) == end


def test_a_half_hour_contains_its_moments_too() -> None:
    assert ceil_interval(nem(14, 41), HALF_HOUR) == nem(15)


def test_a_stamp_is_read_and_written_as_aemo_writes_it() -> None:
    assert parse_settlement_date("2026/11/22 00:05:00") == nem(0, 5)
    assert format_settlement_date(datetime(2026, 11, 21, 14, 5, tzinfo=UTC)) == "2026/11/22 00:05:00"


@pytest.mark.parametrize("text", ["2026-11-22 00:05:00", "2026/11/22", "", "2026/02/30 00:00:00"])
def test_what_is_no_stamp_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"does not match|out of range|unconverted"):
        parse_settlement_date(text)


@run_with(deadline=None)
@given(days)
def test_every_interval_of_a_day_belongs_to_it(day: date) -> None:
    assert {market_day(end) for end in interval_ends(day)} == {day}


@run_with(deadline=None)
@given(days)
def test_days_follow_each_other_without_gap_or_overlap(day: date) -> None:
    assert interval_ends(day)[-1] == day_start(day + timedelta(days=1))


@run_with(deadline=None)
@given(st.datetimes(datetime(1999, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_the_interval_of_any_moment_is_less_than_an_interval_away(moment: datetime) -> None:
    end = ceil_interval(moment)

    assert timedelta() <= end - moment < DISPATCH_INTERVAL
    assert (end - datetime(1999, 1, 1, tzinfo=NEM_TIME)) % DISPATCH_INTERVAL == timedelta()


SAY_DAYS = """
import json
from datetime import UTC, date
from etl_assets.market_time import interval_ends, market_day, parse_settlement_date, format_settlement_date
days = {}
for day in (date(2025, 10, 5), date(2025, 4, 6)):
    ends = interval_ends(day)
    instants = {end.astimezone(UTC) for end in ends}
    stamps = [parse_settlement_date(format_settlement_date(end)) for end in ends]
    days[str(day)] = [len(instants), stamps == ends, {str(market_day(i)) for i in instants} == {str(day)},
                      min(instants).isoformat(), max(instants).isoformat()]
print(json.dumps(days))
"""


def test_days_on_which_sydney_changes_its_clocks_have_288_instants_there_too() -> None:
    said = subprocess.run(
        [sys.executable, "-c", SAY_DAYS],
        env={**os.environ, "TZ": "Australia/Sydney"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert json.loads(said) == {
        "2025-10-05": [288, True, True, "2025-10-04T14:05:00+00:00", "2025-10-05T14:00:00+00:00"],
        "2025-04-06": [288, True, True, "2025-04-05T14:05:00+00:00", "2025-04-06T14:00:00+00:00"],
    }
