"""Gaps: runs of neighbours, and the record of when they were seen and healed."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as run_with
from hypothesis import strategies as st

from etl_assets.lake.connection import read_lake, write_lake
from etl_assets.lake.upsert import transaction
from etl_assets.market_time import DISPATCH_INTERVAL, HALF_HOUR, NEM_TIME, interval_ends
from etl_assets.quality.gaps import Gap, differ, open_gaps, record_gaps
from etl_assets.settings import Settings

DAY = date(2026, 11, 22)
ENDS = interval_ends(DAY)
NAME = "aemo.dispatch_region"
FIRST = datetime(2026, 11, 22, 2, tzinfo=NEM_TIME)
SECOND, THIRD = FIRST + timedelta(minutes=5), FIRST + timedelta(minutes=10)


def gaps(*numbers: int, entity: str = "*") -> list[Gap]:
    return Gap.runs(NAME, entity, [ENDS[n] for n in numbers], DISPATCH_INTERVAL)


def test_neighbours_are_one_run_in_whatever_order_they_come() -> None:
    assert gaps(7, 3, 2, 4) == [Gap(NAME, "*", ENDS[2], ENDS[4], 3), Gap(NAME, "*", ENDS[7], ENDS[7], 1)]


def test_half_hours_have_neighbours_of_their_own() -> None:
    ends = interval_ends(DAY, HALF_HOUR)[:3]

    assert [gap.missing_intervals for gap in Gap.runs(NAME, "*", ends, HALF_HOUR)] == [3]


@run_with(deadline=None)
@given(st.sets(st.integers(0, 287)))
def test_runs_lose_and_invent_nothing(numbers: set[int]) -> None:
    found = gaps(*numbers)

    covered = [n for gap in found for n in range(ENDS.index(gap.gap_start), ENDS.index(gap.gap_end) + 1)]
    assert covered == sorted(numbers)
    assert sum(gap.missing_intervals for gap in found) == len(numbers)


@run_with(deadline=None)
@given(st.sets(st.integers(0, 287)))
def test_runs_are_never_neighbours(numbers: set[int]) -> None:
    found = gaps(*numbers)

    assert all(b.gap_start - a.gap_end > DISPATCH_INTERVAL for a, b in pairwise(found))


def test_the_record_is_compared_by_what_it_says_not_by_zone() -> None:
    [here] = gaps(1)
    there = Gap(NAME, "*", here.gap_start.astimezone(), here.gap_end.astimezone(), 1)

    assert not differ([here], [there])
    assert differ([here], [])


@pytest.fixture
def record(settings: Settings) -> Callable[..., int]:
    def record(found: list[Gap], now: datetime) -> int:
        with write_lake(settings, "a test") as lake, transaction(lake):
            return record_gaps(lake, NAME, [DAY], found, now=now)

    return record


@pytest.fixture
def recorded(settings: Settings) -> Callable[[], list[tuple]]:
    def recorded() -> list[tuple]:
        with read_lake(settings) as lake:
            return lake.execute(
                "SELECT entity, gap_start, missing_intervals, first_seen, healed_at FROM lake.quality.gaps ORDER BY 2"
            ).fetchall()

    return recorded


def test_a_gap_is_recorded_once_and_stamped_when_it_is_healed(
    record: Callable[..., int], recorded: Callable[[], list[tuple]]
) -> None:
    record(gaps(1, 2), FIRST)
    record(gaps(1, 2), SECOND)
    open_since = recorded()

    closed = record([], THIRD)

    assert open_since == [("*", ENDS[1], 2, FIRST, None)]
    assert closed == 1
    assert recorded() == [("*", ENDS[1], 2, FIRST, THIRD)]


def test_a_gap_that_grows_keeps_its_first_sighting(
    record: Callable[..., int], recorded: Callable[[], list[tuple]]
) -> None:
    record(gaps(1, 2), FIRST)

    record(gaps(1, 2, 3), SECOND)

    assert recorded() == [("*", ENDS[1], 3, FIRST, None)]


def test_what_remains_of_a_gap_keeps_its_first_sighting(
    record: Callable[..., int], recorded: Callable[[], list[tuple]]
) -> None:
    record(gaps(1, 2, 3), FIRST)

    record(gaps(3), SECOND)

    assert recorded() == [("*", ENDS[1], 3, FIRST, SECOND), ("*", ENDS[3], 1, FIRST, None)]


def test_a_gap_that_opens_again_is_a_new_sighting(
    record: Callable[..., int], recorded: Callable[[], list[tuple]]
) -> None:
    record(gaps(1), FIRST)
    record([], SECOND)

    record(gaps(1), THIRD)

    assert recorded() == [("*", ENDS[1], 1, THIRD, None)]


def test_gaps_of_other_entities_and_datasets_are_left_alone(settings: Settings, record: Callable[..., int]) -> None:
    record([*gaps(1), *gaps(1, entity="SA1")], FIRST)

    record(gaps(1, entity="SA1"), SECOND)

    with read_lake(settings) as lake:
        assert open_gaps(lake, NAME, [DAY]) == gaps(1, entity="SA1")
        assert open_gaps(lake, "aemo.unit_scada", [DAY]) == []


def test_a_days_gaps_include_midnight_and_not_the_next_days(settings: Settings, record: Callable[..., int]) -> None:
    next_day = Gap.runs(NAME, "*", interval_ends(DAY + timedelta(days=1))[:1], DISPATCH_INTERVAL)
    record(gaps(287), FIRST)
    with write_lake(settings, "a test") as lake, transaction(lake):
        record_gaps(lake, NAME, [DAY + timedelta(days=1)], next_day, now=FIRST)

    with read_lake(settings) as lake:
        assert open_gaps(lake, NAME, [DAY]) == gaps(287)
        assert open_gaps(lake, NAME, [DAY + timedelta(days=1)]) == next_day


def test_nothing_to_record_is_nothing_written(record: Callable[..., int]) -> None:
    assert record([], FIRST) == 0
