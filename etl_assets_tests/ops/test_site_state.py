"""Where a site stands: how far it was read, which windows were, and which walks wait to be resumed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from etl_assets.market_time import NEM_TIME
from etl_assets.ops import database
from etl_assets.ops.site_state import (
    COARSE_AFTER,
    SiteWindow,
    advance_last_sync,
    clear_walk,
    coarsen,
    complete_hours,
    deferred_windows,
    failed_windows,
    last_sync,
    load_walk,
    record_window,
    save_walk,
    unfinished_walks,
    windows,
)
from etl_assets.settings import Settings

START = datetime(2026, 11, 22, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
READING = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from etl_assets.ops.site_state import SiteWindow, advance_last_sync, record_window
from etl_assets.settings import Settings

settings, first = Settings(_env_file=None, etl_data=Path(sys.argv[1])), int(sys.argv[2])
start = datetime(2026, 11, 22, tzinfo=UTC)
print("ready", flush=True)
sys.stdin.readline()
for number in range(first, 60, 3):
    end = start + timedelta(minutes=number + 1)
    record_window(settings, SiteWindow("a", end - timedelta(minutes=3), end, "complete", end, sync_id=str(number)))
    record_window(settings, SiteWindow("a", start - timedelta(hours=1), start, "failed", end, error="cut off"))
    advance_last_sync(settings, "a", end, now=end, sync_id=str(number))
"""


def window(first: int, last: int, status: str = "complete", read_at: int | None = None, **more: object) -> SiteWindow:
    """From minute ``first`` to minute ``last``, read at a minute; unless said, at its end."""
    moment = START + MINUTE * (last if read_at is None else read_at)
    return SiteWindow("a", START + MINUTE * first, START + MINUTE * last, status, moment, **more)


@pytest.fixture
def stored(settings):
    """The windows there are: (first minute, last minute, status), oldest first."""

    def stored() -> list[tuple[int, int, str]]:
        found = windows(settings, "a", start=START - 1000 * HOUR, end=START + 1000 * HOUR)
        return [((w.start - START) // MINUTE, (w.end - START) // MINUTE, w.status) for w in found]

    return stored


@pytest.fixture
def record(settings):
    def record(*found: SiteWindow) -> None:
        for each in found:
            record_window(settings, each)

    return record


def test_the_last_sync_of_a_site_moves_on_and_never_back(settings):
    assert last_sync(settings, "a") is None

    for minute in (5, 10, 7):
        advance_last_sync(settings, "a", START + MINUTE * minute, now=START, sync_id="s")

    assert last_sync(settings, "a") == START + MINUTE * 10
    assert last_sync(settings, "a").utcoffset() == timedelta(0)
    assert last_sync(settings, "b") is None


def test_a_window_is_read_back_as_it_was_recorded(settings, record):
    recorded = window(0, 60, records=90_000, pages=2, sync_id="sync_1_abc")

    record(recorded)

    assert windows(settings, "a", start=START, end=START + HOUR) == [recorded]


@pytest.mark.parametrize(("start", "end", "found"), [(-1, 0, 0), (-1, 1, 1), (59, 90, 1), (60, 90, 0), (10, 20, 1)])
def test_windows_that_overlap_a_half_open_span_are_found(settings, record, start, end, found):
    record(window(0, 60))

    span = {"start": START + MINUTE * start, "end": START + MINUTE * end}
    assert len(windows(settings, "a", **span)) == found
    assert windows(settings, "b", **span) == windows(settings, "a", status="failed", **span) == []


def test_an_empty_window_is_refused(record):
    with pytest.raises(ValueError, match="is empty"):
        record(window(5, 5))


def test_each_failure_of_a_window_is_counted_and_a_complete_read_clears_its_error(settings, record):
    for minute, error in ((60, "cut off"), (61, "status 500")):
        record(window(0, 60, "failed", minute, error=error))

    [failed] = failed_windows(settings, "a")
    record(window(0, 60, read_at=62, error="never mind"))

    assert (failed.attempts, failed.error) == (2, "status 500")
    assert failed_windows(settings, "a") == []
    [complete] = windows(settings, "a", start=START, end=START + HOUR)
    assert (complete.attempts, complete.error) == (2, "")


def test_failed_windows_come_oldest_first_and_deferred_ones_apart(settings, record):
    record(window(60, 90, "failed"), window(0, 30, "failed"), window(120, 150, "deferred"))

    assert [w.start for w in failed_windows(settings, "a")] == [START, START + HOUR]
    assert [w.start for w in deferred_windows(settings, "a")] == [START + 2 * HOUR]


def test_a_deferred_window_is_no_failure_and_keeps_the_count_of_failures(settings, record):
    record(window(0, 60, "failed", 60, error="x"), window(0, 60, "deferred", 61))
    [deferred] = deferred_windows(settings, "a")
    record(window(0, 60, "failed", 62))
    [failed] = failed_windows(settings, "a")

    assert (deferred.attempts, failed.attempts, deferred_windows(settings, "a")) == (1, 2, [])


def test_a_failure_does_not_unmake_what_was_read_before(settings, record, stored):
    record(window(0, 60, read_at=60), window(0, 60, "failed", 90))

    assert stored() == [(0, 60, "complete"), (0, 60, "failed")]
    assert complete_hours(settings, "a", START, START + HOUR) == {START: START + HOUR}


def test_a_failure_is_healed_by_windows_that_cover_it_together_if_they_were_read_later(record, stored):
    record(window(10, 50, "failed", 100), window(0, 30, read_at=101), window(30, 60, read_at=99))
    assert (10, 50, "failed") in stored()

    record(window(30, 60, read_at=100))

    assert stored() == [(0, 30, "complete"), (30, 60, "complete")]


def test_a_failure_that_is_known_to_be_healed_already_is_not_stored(record, stored):
    record(window(0, 60, read_at=100), window(10, 50, "failed", 99))

    assert stored() == [(0, 60, "complete")]


def test_an_outage_leaves_one_failed_window_however_often_it_was_tried(settings, record, stored):
    record(*(window(0, minute, "failed") for minute in range(5, 300, 5)))

    assert stored() == [(0, 295, "failed")]
    assert failed_windows(settings, "a")[0].attempts == 59


def test_a_day_of_ticks_and_its_daily_read_leaves_a_row_for_each_hour(record, stored):
    ticks = [window(end - 15, end) for end in range(5, 181, 5)]
    record(*ticks)
    during = len(stored())
    record(*(window(hour * 60, hour * 60 + 60, read_at=200 + hour) for hour in range(3)))

    assert during == 36
    # The first tick reached back behind the first hour, which nothing else covers.
    assert stored() == [
        (-10, 5, "complete"),
        (-5, 10, "complete"),
        *((h * 60, h * 60 + 60, "complete") for h in range(3)),
    ]


def test_an_hour_is_complete_when_windows_cover_it_together_and_as_of_the_oldest_part(settings, record):
    record(window(0, 30, read_at=100), window(30, 60, read_at=80), window(45, 90, read_at=200), window(61, 200))

    hours = complete_hours(settings, "a", START.astimezone(NEM_TIME), START + 3 * HOUR)

    assert hours == {
        START: START + 80 * MINUTE,
        START + HOUR: START + 200 * MINUTE,
        START + 2 * HOUR: START + 200 * MINUTE,
    }


def test_hours_that_are_only_partly_asked_for_or_partly_read_are_not_complete(settings, record):
    record(window(0, 119))

    assert list(complete_hours(settings, "a", START, START + 2 * HOUR)) == [START]
    assert complete_hours(settings, "a", START + MINUTE, START + HOUR) == {}
    assert complete_hours(settings, "b", START, START + HOUR) == {}


def test_old_windows_are_made_whole_hours_and_young_ones_and_partial_hours_stay(settings, record, stored):
    record(*(window(end - 15, end, records=10, pages=1) for end in range(5, 131, 5)))
    hours = complete_hours(settings, "a", START, START + 3 * HOUR)

    fewer = coarsen(settings, now=START + 2 * HOUR + COARSE_AFTER)

    assert stored() == [
        (-10, 5, "complete"),
        (-5, 10, "complete"),
        (0, 60, "complete"),
        (60, 120, "complete"),
        (110, 125, "complete"),
        (115, 130, "complete"),
    ]
    assert fewer == 26 - 6
    assert complete_hours(settings, "a", START, START + 3 * HOUR) == hours
    # The windows that end in the hour, less the two that stay because they reach out of it: each counts once.
    [first] = windows(settings, "a", start=START + 10 * MINUTE, end=START + HOUR)
    assert (first.records, first.pages) == (100, 10)
    assert coarsen(settings, now=START + 2 * HOUR + COARSE_AFTER) == 0


def brute_force(recorded: list[SiteWindow], hours: int) -> dict[datetime, datetime]:
    """For each minute the newest complete read, for each hour the oldest of its minutes."""
    found = {}
    for hour in (START + HOUR * n for n in range(hours)):
        newest = [
            max((w.read_at for w in recorded if w.start <= minute < w.end and w.status == "complete"), default=None)
            for minute in (hour + MINUTE * m for m in range(60))
        ]
        if None not in newest:
            found[hour] = min(newest)
    return found


@contextmanager
def fresh_settings() -> Iterator[Settings]:
    with TemporaryDirectory() as folder:
        fresh = Settings(_env_file=None, etl_data=Path(folder))
        yield fresh
        database._engines.pop(fresh.state_url).dispose()


WINDOWS = st.lists(
    st.builds(
        lambda first, length, status, read_at: window(first, first + length, status, read_at),
        st.integers(-6, 17).map(lambda n: n * 10),
        st.sampled_from([10, 20, 30, 60, 90, 180]),
        st.sampled_from(["complete", "complete", "complete", "failed", "deferred"]),
        st.integers(0, 20),
    ),
    max_size=25,
)


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(WINDOWS, st.integers(0, 25), WINDOWS)
def test_complete_hours_are_those_that_counting_minutes_finds(first, cut, second):
    with fresh_settings() as fresh:
        for each in first:
            record_window(fresh, each)
        assert complete_hours(fresh, "a", START, START + 3 * HOUR) == brute_force(first, 3)

        coarsen(fresh, now=START + timedelta(minutes=cut * 10) + COARSE_AFTER)
        assert complete_hours(fresh, "a", START, START + 3 * HOUR) == brute_force(first, 3)

        for each in second:
            record_window(fresh, each)
        after, true = complete_hours(fresh, "a", START, START + 3 * HOUR), brute_force([*first, *second], 3)
        assert after.keys() == true.keys()
        assert all(after[hour] <= true[hour] for hour in true)


def test_processes_that_record_at_once_lose_nothing(settings):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    line = [sys.executable, "-c", READING, str(settings.etl_data)]
    readers = [subprocess.Popen([*line, str(n)], text=True, **pipes) for n in range(3)]
    for reader in readers:
        assert reader.stdout.readline() == "ready\n"
    for reader in readers:
        reader.stdin.write("\n")
        reader.stdin.flush()
    errors = [reader.communicate()[1] for reader in readers]

    assert errors == ["", "", ""]
    assert last_sync(settings, "a") == START + HOUR
    [failed] = failed_windows(settings, "a")
    assert failed.attempts == 60
    # Every minute but the last two was read again by the two windows after its own.
    assert complete_hours(settings, "a", START, START + HOUR) == {START: START + 3 * MINUTE}


def test_a_walk_is_resumed_by_its_site_and_window_whatever_the_zone_they_are_written_in(settings, now):
    save_walk(settings, "a", START, START + HOUR, {"cursor": "x", "pages": 3}, now=now)

    nem = START.astimezone(NEM_TIME)
    assert load_walk(settings, "a", nem, nem + HOUR, now=now) == {"cursor": "x", "pages": 3}
    assert load_walk(settings, "b", START, START + HOUR, now=now) is None
    assert load_walk(settings, "a", START, START + 2 * HOUR, now=now) is None
    assert load_walk(settings, "a", START, START + HOUR, now=now + settings.checkpoint_life) is None

    clear_walk(settings, "a", nem, nem + HOUR)
    assert load_walk(settings, "a", START, START + HOUR, now=now) is None


def test_unfinished_walks_are_the_sites_own_and_come_oldest_window_first(settings, now):
    for site, hour in (("a", 5), ("a", 3), ("a:b", 1), ("A", 2), ("ab", 4)):
        save_walk(settings, site, START + hour * HOUR, START + (hour + 1) * HOUR, {"of": site}, now=now)

    assert unfinished_walks(settings, "a", now=now) == [
        (START + 3 * HOUR, START + 4 * HOUR, {"of": "a"}),
        (START + 5 * HOUR, START + 6 * HOUR, {"of": "a"}),
    ]
    assert len(unfinished_walks(settings, "a:b", now=now)) == 1
    assert unfinished_walks(settings, "a", now=now + settings.checkpoint_life) == []


def test_a_window_of_another_site_changes_nothing(settings, record, stored):
    record(window(0, 60, "failed"))

    record_window(settings, replace(window(0, 60), site="b"))

    assert stored() == [(0, 60, "failed")]
