"""The clock that all processes of a soak share, and the one place where a process takes it up."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etl_assets import market_time
from etl_assets.market_time import use_clock, utc_now
from soak.clock import SharedClock

MOMENT = datetime(2025, 9, 29, 13, 1, tzinfo=UTC)
STEP = timedelta(minutes=5)


@pytest.fixture
def clock(tmp_path: Path) -> SharedClock:
    return SharedClock(tmp_path / "clock")


@pytest.fixture
def _wall_clock_again() -> Iterator[None]:
    yield
    use_clock()


def test_it_begins_at_the_moment_that_it_is_set_to_and_goes_on(clock: SharedClock) -> None:
    clock.set_time(MOMENT, STEP)

    first, second = clock(), clock()

    assert MOMENT <= first <= second < MOMENT + timedelta(seconds=30)


def test_it_stands_still_before_the_next_step_begins(clock: SharedClock) -> None:
    clock.set_time(MOMENT, STEP)
    moment, _, longest = clock.file.read_text().split()
    clock.file.write_text(f"{moment} {time.monotonic() - 3600} {longest}")

    assert clock() == MOMENT + STEP


def test_whoever_has_the_file_has_the_time(clock: SharedClock) -> None:
    clock.set_time(MOMENT, timedelta())

    assert SharedClock(clock.file)() == MOMENT


@pytest.mark.usefixtures("_wall_clock_again")
def test_a_process_takes_its_time_from_the_clock_that_it_is_given() -> None:
    use_clock(lambda: MOMENT)

    assert utc_now() == MOMENT


@pytest.mark.usefixtures("_wall_clock_again")
def test_without_a_clock_it_is_the_wall_clock_again() -> None:
    use_clock(lambda: MOMENT)
    use_clock()

    assert abs(market_time.utc_now() - datetime.now(UTC)) < timedelta(seconds=30)
    assert utc_now().tzinfo is UTC
