"""Which windows a sync asks for, told from what is recorded of the windows that were read."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_assets.ace.plan import (
    SyncWindow,
    live_windows,
    missing_windows,
    read_without_hole,
    reread_windows,
    split_by_day,
    within_days,
)
from etl_assets.market_time import NEM_TIME
from etl_assets.ops.site_state import (
    SiteWindow,
    advance_last_sync,
    deferred_windows,
    failed_windows,
    last_sync,
    record_window,
    save_walk,
)
from etl_assets.settings import Settings

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
"""12:00 of the market day 2026-11-22, which began at 14:00 UTC on the 21st."""
MIDNIGHT = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)
TODAY, YESTERDAY = date(2026, 11, 22), date(2026, 11, 21)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
instants = st.datetimes(datetime(2026, 1, 1), datetime(2026, 3, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds


def at(text: str, day: int = 22) -> datetime:
    """A time of a UTC day in November."""
    hour, minute = map(int, text.split(":"))
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def window(start: datetime, end: datetime) -> SyncWindow:
    return SyncWindow(start, end)


BY_A_SYNC = {"live": True}
"""What a live sync writes beside its position."""


@pytest.fixture
def record(settings: Settings):
    """Records a window of the site as read at its end, or when it is said."""

    def record(start: datetime, end: datetime, status: str = "complete", read_at: datetime | None = None) -> None:
        record_window(settings, SiteWindow("a", start, end, status, read_at or end))

    return record


@pytest.fixture
def live(settings: Settings):
    def live(now: datetime = NOW) -> list[SyncWindow]:
        return list(live_windows(settings, "a", now, sync_id="s"))

    return live


# --- market days ----------------------------------------------------------------------------------------


def test_a_stretch_is_cut_at_the_midnight_of_market_days_which_is_14_o_clock_utc() -> None:
    assert split_by_day(at("13:00", 20), at("15:00", 21)) == [
        window(at("13:00", 20), at("14:00", 20)),
        window(at("14:00", 20), at("14:00", 21)),
        window(at("14:00", 21), at("15:00", 21)),
    ]


@given(instants, instants)
def test_the_parts_of_a_stretch_make_it_up_again_and_lie_within_one_market_day_each(
    start: datetime, end: datetime
) -> None:
    parts = split_by_day(start, end)

    edges = [edge for part in parts for edge in (part.start, part.end)]
    assert edges[:1] + edges[-1:] == ([start, end] if start < end else [])
    assert edges[1:-1:2] == edges[2::2]
    for part in parts:
        assert part.start < part.end
        assert (part.end - timedelta(microseconds=1)).astimezone(NEM_TIME).date() == part.day


def test_windows_of_other_days_are_left_out() -> None:
    parts = split_by_day(MIDNIGHT - HOUR, MIDNIGHT + HOUR)

    assert list(within_days(parts, [TODAY])) == [window(MIDNIGHT, MIDNIGHT + HOUR)]


# --- the newest -----------------------------------------------------------------------------------------


def test_a_first_sync_reads_the_last_24_hours(live) -> None:
    assert live() == [window(NOW - DAY, MIDNIGHT), window(MIDNIGHT, NOW)]


def test_a_sync_reads_from_ten_minutes_before_the_end_of_what_was_read(live, record, settings: Settings) -> None:
    advance_last_sync(settings, "a", NOW, now=NOW, sync_id="s")
    record(MIDNIGHT, NOW)

    assert live(NOW + 5 * MINUTE) == [window(NOW - 10 * MINUTE, NOW + 5 * MINUTE)]


def test_what_a_backfill_has_read_is_not_read_again_by_the_first_sync(live, record) -> None:
    record(MIDNIGHT, NOW - HOUR)

    assert live() == [window(NOW - HOUR - 10 * MINUTE, NOW)]


def test_an_outage_longer_than_a_day_leaves_a_deferred_window_for_each_market_day(
    live, record, settings: Settings
) -> None:
    former = NOW - 2 * DAY
    advance_last_sync(settings, "a", former, now=former, sync_id="s")
    record(former - HOUR, former)

    found = live()

    assert found == [window(NOW - DAY, MIDNIGHT), window(MIDNIGHT, NOW)]
    assert [(w.start, w.end) for w in deferred_windows(settings, "a")] == [
        (former, MIDNIGHT - DAY),
        (MIDNIGHT - DAY, NOW - DAY),
    ]
    assert last_sync(settings, "a") == former


def test_of_an_outage_only_what_nobody_speaks_of_is_deferred(live, record, settings: Settings) -> None:
    former = NOW - DAY - 6 * HOUR
    advance_last_sync(settings, "a", former, now=former, sync_id="s")
    record(former + HOUR, former + 2 * HOUR, read_at=NOW)
    record(former + 2 * HOUR, former + 3 * HOUR, "failed", NOW)

    live()

    assert [(w.start, w.end) for w in deferred_windows(settings, "a")] == [
        (former, former + HOUR),
        (former + 3 * HOUR, NOW - DAY),
    ]


def test_an_hour_of_outage_is_simply_read(live, settings: Settings) -> None:
    advance_last_sync(settings, "a", NOW - HOUR, now=NOW, sync_id="s")

    assert live() == [window(NOW - HOUR - 10 * MINUTE, NOW)]
    assert deferred_windows(settings, "a") == []


def test_the_newest_window_is_worked_out_when_what_failed_was_read(record, settings: Settings) -> None:
    advance_last_sync(settings, "a", at("01:00"), now=NOW, sync_id="s")
    record(MIDNIGHT, at("01:00"))
    record(at("00:50"), at("01:05"), "failed")
    found: Iterator[SyncWindow] = live_windows(settings, "a", at("01:10"), sync_id="s")

    first = next(found)
    record(first.start, first.end, read_at=at("01:10"))

    assert first == window(at("00:50"), at("01:05"))
    assert list(found) == [window(at("00:55"), at("01:10"))]


# --- what failed or was left ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "minutes", "before"),
    [(1, 0, True), (2, 5, False), (3, 15, False), (4, 60, False), (7, 60, False)],
)
def test_a_window_that_failed_often_is_tried_again_later_and_later(
    live, record, settings: Settings, failures: int, minutes: int, before: bool
) -> None:
    failed = window(NOW - 30 * DAY, NOW - 30 * DAY + HOUR)
    advance_last_sync(settings, "a", NOW, now=NOW, sync_id="s")
    record(MIDNIGHT, NOW)
    for _ in range(failures):
        record(failed.start, failed.end, "failed", NOW)

    due = [failed in live(NOW + timedelta(minutes=wait)) for wait in (max(minutes - 1, 0), minutes)]

    assert due == [before, True]


def test_what_failed_comes_first_oldest_first(live, record, settings: Settings) -> None:
    advance_last_sync(settings, "a", NOW, now=NOW, sync_id="s")
    record(MIDNIGHT, NOW)
    for start in (at("03:00", 3), at("03:00", 2)):
        record(start, start + HOUR, "failed", NOW)

    assert [w.start for w in live(NOW + 5 * MINUTE)] == [at("03:00", 2), at("03:00", 3), NOW - 10 * MINUTE]


def test_the_walk_of_a_sync_that_was_killed_is_taken_up_before_the_newest(live, record, settings: Settings) -> None:
    advance_last_sync(settings, "a", NOW, now=NOW, sync_id="s")
    record(MIDNIGHT, NOW)
    save_walk(settings, "a", NOW - 10 * MINUTE, NOW + 5 * MINUTE, BY_A_SYNC, now=NOW)
    save_walk(settings, "a", NOW - 30 * DAY, NOW - 29 * DAY, {}, now=NOW)

    assert live(NOW + 10 * MINUTE) == [
        window(NOW - 10 * MINUTE, NOW + 5 * MINUTE),
        window(NOW - 10 * MINUTE, NOW + 10 * MINUTE),
    ]


def test_a_walk_that_a_backfill_began_is_left_to_it(live, record, settings: Settings) -> None:
    advance_last_sync(settings, "a", NOW, now=NOW, sync_id="s")
    record(MIDNIGHT, NOW)
    save_walk(settings, "a", MIDNIGHT, NOW + 5 * MINUTE, {"live": False}, now=NOW)

    assert live(NOW + 10 * MINUTE) == [window(NOW - 10 * MINUTE, NOW + 10 * MINUTE)]


def test_a_walk_whose_window_waits_after_failures_waits_too(live, record, settings: Settings) -> None:
    advance_last_sync(settings, "a", at("01:00"), now=NOW, sync_id="s")
    record(MIDNIGHT, at("01:00"))
    for _ in range(3):
        record(at("00:50"), at("01:05"), "failed")
    save_walk(settings, "a", at("00:50"), at("01:05"), BY_A_SYNC, now=at("01:05"))

    # And the newest does not begin before a window that failed more than once, but for its look-back.
    assert live(at("01:10")) == [window(at("00:55"), at("01:10"))]


@pytest.mark.parametrize("status", ["failed", "complete"])
def test_a_walk_within_a_window_that_was_read_later_is_not_taken_up(
    live, record, settings: Settings, status: str
) -> None:
    advance_last_sync(settings, "a", at("01:00"), now=NOW, sync_id="s")
    record(MIDNIGHT, at("01:00"))
    save_walk(settings, "a", at("00:50"), at("01:05"), BY_A_SYNC, now=at("01:05"))
    record(at("00:50"), at("01:10"), status)

    assert window(at("00:50"), at("01:05")) not in live(at("01:15"))


def test_a_walk_that_was_deferred_is_taken_up_although_a_later_window_was_deferred_whole(
    live, record, settings: Settings
) -> None:
    record(MIDNIGHT, at("01:05"), "deferred")
    save_walk(settings, "a", MIDNIGHT, at("01:05"), BY_A_SYNC, now=at("01:05"))
    record(MIDNIGHT, at("01:10"), "deferred")

    assert live(at("01:15"))[0] == window(MIDNIGHT, at("01:05"))


# --- how far without a hole -----------------------------------------------------------------------------


def test_before_the_first_sync_nothing_was_read(settings: Settings) -> None:
    assert read_without_hole(settings, "a", NOW) is None


def test_complete_windows_reach_on_to_the_first_hole(record, settings: Settings) -> None:
    advance_last_sync(settings, "a", at("00:00"), now=NOW, sync_id="s")
    record(at("00:00"), at("00:30"))
    record(at("00:20"), at("01:00"))
    record(at("01:01"), at("02:00"))

    assert read_without_hole(settings, "a", NOW) == at("01:00")


def test_a_failed_window_is_a_hole(record, settings: Settings) -> None:
    advance_last_sync(settings, "a", at("00:00"), now=NOW, sync_id="s")
    record(at("00:00"), at("00:30"), "failed")
    record(at("00:30"), at("01:00"))

    assert read_without_hole(settings, "a", NOW) == at("00:00")


# --- what is missing of a day, and reading it again -----------------------------------------------------


def test_a_day_that_was_never_read_is_one_window(settings: Settings) -> None:
    assert missing_windows(settings, "a", YESTERDAY, NOW) == [window(MIDNIGHT - DAY, MIDNIGHT)]


def test_the_open_day_is_missing_up_to_now_and_a_day_to_come_not_at_all(settings: Settings) -> None:
    assert missing_windows(settings, "a", TODAY, NOW) == [window(MIDNIGHT, NOW)]
    assert missing_windows(settings, "a", TODAY + DAY, NOW) == []


def test_hours_that_are_complete_are_not_missing_and_one_read_before_its_end_is(record, settings: Settings) -> None:
    start = MIDNIGHT - DAY
    record(start + 2 * HOUR, start + 5 * HOUR, read_at=NOW)
    record(start + 7 * HOUR, start + 8 * HOUR, read_at=start + 8 * HOUR - MINUTE)

    assert missing_windows(settings, "a", YESTERDAY, NOW) == [
        window(start, start + 2 * HOUR),
        window(start + 5 * HOUR, MIDNIGHT),
    ]


def test_a_day_that_was_read_is_not_missing(record, settings: Settings) -> None:
    record(MIDNIGHT - DAY, MIDNIGHT, read_at=NOW)

    assert missing_windows(settings, "a", YESTERDAY, NOW) == []


@pytest.mark.parametrize("status", ["failed", "deferred"])
def test_an_hour_that_failed_when_it_was_read_again_is_missing_until_it_is_read_since(record, settings, status) -> None:
    record(MIDNIGHT - DAY, MIDNIGHT)
    record(MIDNIGHT - 5 * HOUR, MIDNIGHT - 4 * HOUR, status, NOW)

    assert missing_windows(settings, "a", YESTERDAY, NOW) == [window(MIDNIGHT - 5 * HOUR, MIDNIGHT - 4 * HOUR)]

    record(MIDNIGHT - 5 * HOUR, MIDNIGHT - 4 * HOUR, read_at=NOW + MINUTE)

    assert missing_windows(settings, "a", YESTERDAY, NOW + HOUR) == []


def test_a_walk_through_the_open_day_can_be_resumed_later_that_day(settings: Settings) -> None:
    save_walk(settings, "a", MIDNIGHT, NOW, {}, now=NOW)

    assert missing_windows(settings, "a", TODAY, NOW + 7 * MINUTE) == [
        window(MIDNIGHT, NOW),
        window(NOW, NOW + 7 * MINUTE),
    ]


def test_a_re_read_of_the_last_24_hours_is_24_windows_of_an_hour(record, settings: Settings) -> None:
    now = at("00:00")
    record(MIDNIGHT - DAY, MIDNIGHT, read_at=now - MINUTE)

    found = [w for day in (YESTERDAY, TODAY) for w in reread_windows(settings, "a", day, now, 24)]

    assert found == [window(now - DAY + n * HOUR, now - DAY + (n + 1) * HOUR) for n in range(24)]


def test_a_re_read_of_a_day_that_was_killed_goes_on_with_the_hours_not_read(record, settings: Settings) -> None:
    record(MIDNIGHT - DAY, MIDNIGHT - DAY + 20 * HOUR, read_at=NOW)

    found = reread_windows(settings, "a", YESTERDAY, NOW, 0)

    assert found == [window(MIDNIGHT - n * HOUR, MIDNIGHT - (n - 1) * HOUR) for n in (4, 3, 2, 1)]


def test_failed_windows_do_not_count_as_read(record, settings: Settings) -> None:
    record(MIDNIGHT - DAY, MIDNIGHT, "failed", NOW)

    assert missing_windows(settings, "a", YESTERDAY, NOW) == [window(MIDNIGHT - DAY, MIDNIGHT)]
    assert len(reread_windows(settings, "a", YESTERDAY, NOW, 0)) == 24
    assert len(failed_windows(settings, "a")) == 1
