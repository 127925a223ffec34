"""Collecting a site of the simulated account: the lake holds what there is, whatever the API does on the way."""

import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qs

import pytest
from filelock import FileLock

from etl_assets.ace.collect import DayResult
from etl_assets.ace.plan import SyncWindow
from etl_assets.lake.connection import writer_lock
from etl_assets.ops.site_state import last_sync, load_walk, unfinished_walks
from etl_assets.simulator.app import SimulatorServer
from etl_assets_tests.ace.conftest import HOUR, NOW, TODAY, Building

MINUTE, LATE = timedelta(minutes=1), timedelta(minutes=42)
WINDOW = SyncWindow(NOW - HOUR, NOW)
MIDNIGHT = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)
PAGES = "*/timeseries/paginated"


def asked(server: SimulatorServer, since: int = 0) -> list[dict[str, str]]:
    """The queries for pages of readings that were answered."""
    pages = (r for r in server.requests[since:] if r.path.endswith("/timeseries/paginated"))
    return [{name: values[0] for name, values in parse_qs(r.query).items()} for r in pages]


def only(results: list[DayResult]) -> DayResult:
    [result] = results
    return result


# --- what there is --------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", ["ace_url", "ace_v1_url"])
def test_the_lake_holds_what_there_is_to_the_microsecond_in_both_shapes(real_building: Building, root: str) -> None:
    building = real_building.changed(ace_api_url=getattr(real_building.server, root))

    result = only(building.collect(WINDOW))

    truth = building.truth(WINDOW.start, WINDOW.end)
    assert building.stored() == truth
    assert (result.readings.inserted, result.windows_complete, result.errors) == (len(truth), 1, [])
    assert result.points == len({name for name, _, _ in truth})
    assert any(at.microsecond for _, at, _ in truth)
    building.assert_aggregates()


def test_ten_points_for_an_hour_are_six_hundred_readings_in_two_pages(building: Building) -> None:
    before = len(building.server.requests)

    result = only(building.collect(WINDOW))

    assert len(building.stored()) == result.readings.fetched == 600
    assert (result.pages, [query["page_size"] for query in asked(building.server, before)]) == (2, ["500", "500"])


def test_what_is_not_a_number_lies_in_quarantine_on_its_day(real_building: Building) -> None:
    start = MIDNIGHT - 6 * HOUR
    table = real_building.server.ace.table("real", start, MIDNIGHT + 6 * HOUR, NOW)
    nan = [
        (name, at)
        for name, at, value in zip(*(c.to_pylist() for c in table.columns), strict=True)
        if value != value  # noqa: PLR0124 - NaN
    ]

    building = real_building.changed(page_size=100_000)
    results = building.collect(SyncWindow(start, MIDNIGHT), SyncWindow(MIDNIGHT, MIDNIGHT + 6 * HOUR))

    expected = Counter((at + timedelta(hours=10)).date() for _, at in nan)
    assert nan
    assert sum(result.readings.invalid for result in results) == len(nan)
    assert dict(real_building.query("SELECT day, count(*) FROM lake.quality.quarantine GROUP BY ALL")) == expected
    assert real_building.query("SELECT DISTINCT dataset, source, reason FROM lake.quality.quarantine") == [
        ("ace.timeseries_raw", "real", "value is NaN")
    ]


def test_a_second_time_all_is_unchanged_and_nothing_is_derived_again(real_building: Building) -> None:
    first = only(real_building.collect(WINDOW))
    aggregates = real_building.query("FROM lake.ace.timeseries_agg ORDER BY ALL")

    again = only(real_building.collect(WINDOW))

    assert again.readings.unchanged == first.readings.inserted
    assert (again.readings.inserted, again.readings.updated) == (0, 0)
    assert again.aggregates.total == 0
    assert real_building.query("FROM lake.ace.timeseries_agg ORDER BY ALL") == aggregates


def test_what_comes_late_is_inserted_when_its_window_is_read_again(real_building: Building) -> None:
    real_building.collect(WINDOW)
    late = set(real_building.truth(WINDOW.start, WINDOW.end, NOW + LATE)) - set(real_building.stored())

    result = only(real_building.collect(WINDOW, now=NOW + LATE))

    assert late
    assert result.readings.inserted == len(late)
    assert real_building.stored() == real_building.truth(WINDOW.start, WINDOW.end, NOW + LATE)
    real_building.assert_aggregates()


def test_a_day_is_the_market_s_and_a_reading_at_midnight_belongs_to_the_day_that_begins(building: Building) -> None:
    start, end = MIDNIGHT - HOUR, MIDNIGHT + HOUR

    results = building.collect(SyncWindow(start, MIDNIGHT), SyncWindow(MIDNIGHT, end))

    assert [(r.day, r.readings.inserted) for r in results] == [(date(2026, 11, 21), 600), (TODAY, 600)]
    days = "SELECT market_day, count(*), min(\"timestamp\") >= TIMESTAMPTZ '2026-11-21 14:00:00Z' FROM lake.ace."
    found = building.query(f"{days}timeseries_raw GROUP BY ALL ORDER BY ALL")
    assert found == [(date(2026, 11, 21), 600, False), (TODAY, 600, True)]
    assert building.stored() == building.truth(start, end)
    daily = "SELECT market_day, sum(sample_count) FROM lake.ace.timeseries_agg WHERE \"interval\" = '1d' GROUP BY ALL"
    assert sorted(building.query(daily)) == [(date(2026, 11, 21), 600), (TODAY, 600)]


def test_only_configured_points_are_stored_and_the_others_are_counted_and_named_once(
    building: Building, caplog: pytest.LogCaptureFixture
) -> None:
    wanted, *others = sorted({name for name, _, _ in building.truth(WINDOW.start, WINDOW.end)})
    half = SyncWindow(WINDOW.start, WINDOW.start + HOUR / 2)

    with caplog.at_level(logging.DEBUG, logger="etl_assets.ace.collect"):
        result = only(building.changed(configured_points=frozenset({wanted})).collect(half, WINDOW))

    assert {name for name, _, _ in building.stored()} == {wanted}
    assert (result.readings.fetched, result.readings.filtered, result.readings.inserted) == (900, 810, 60)
    assert (result.skipped, result.points) == (set(others), 1)
    assert [record.getMessage() for record in caplog.records] == [
        f"Skipped unconfigured point: {name}" for name in others
    ]


# --- faults ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("page_size", "pages"), [(50, 24), (100, 12), (500, 3)])
def test_a_cursor_that_stalls_loses_nothing_and_doubles_nothing(
    new_building: Callable[..., Building], page_size: int, pages: int
) -> None:
    building, window = new_building("wide", page_size=page_size), SyncWindow(NOW - 2 * MINUTE, NOW)
    building.server.faults.switch_on("stalling_cursor")

    result = only(building.collect(window))

    assert building.stored() == building.truth(window.start, window.end)
    assert (result.readings.fetched, result.readings.inserted, result.pages) == (1200, 1200, pages)
    assert (result.repairs > 0) == (page_size < 500)


@pytest.mark.parametrize(
    "name",
    ["empty_pages", "epoch_times", "extra_keys", "duplicate_records", "empty_window_not_found", "expired_cursor"],
)
def test_what_can_be_understood_is_all_there(building: Building, name: str) -> None:
    building.server.faults.switch_on(name, times=3 if name == "empty_pages" else None)

    result = only(building.collect(WINDOW))

    assert result.errors == []
    assert building.stored() == building.truth(WINDOW.start, WINDOW.end)
    assert building.windows == [(WINDOW.start, WINDOW.end, "complete")]
    assert (result.readings.duplicate > 0) == (name == "duplicate_records")


def test_broken_pages_are_asked_for_in_smaller_ones(building: Building) -> None:
    building.server.faults.switch_on("large_pages_break", limit=1_000)

    result = only(building.changed(page_size=100_000).collect(WINDOW))

    assert (result.errors, result.readings.inserted) == ([], 600)


@pytest.mark.parametrize("name", ["bad_values", "missing_names", "bad_times"])
def test_bad_records_are_counted_and_kept_and_the_others_stored(building: Building, name: str) -> None:
    building.server.faults.switch_on(name)

    result = only(building.collect(WINDOW))

    # Every tenth.
    assert (result.readings.invalid, result.readings.inserted) == (60, 540)
    assert set(building.stored()) < set(building.truth(WINDOW.start, WINDOW.end))
    [(rows, records)] = building.query("SELECT count(*), count(DISTINCT raw || reason) FROM lake.quality.quarantine")
    # Without its time, the same value of a point is the same record.
    assert rows == records
    assert (rows < 60) == (name == "bad_times")
    building.assert_aggregates()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unknown_shape", "'rows', 'next_cursor', 'has_more'"),
        ("both_shapes", "two lists of records"),
        ("missing_cursor", "no cursor to reach it"),
        ("repeated_page", "came twice"),
        ("empty_pages", "empty pages in a row"),
        ("record_outside_window", "outside the window"),
        ("html_with_200", "html"),
        ("site_error", "API error 500"),
        ("unknown_site", "shows no site 'plain'"),
        ("too_many_requests_silent", "API error 429"),
    ],
)
def test_what_cannot_be_understood_fails_its_window_and_says_why(building: Building, name: str, words: str) -> None:
    building.server.faults.switch_on(name, PAGES)

    result = only(building.collect(WINDOW))

    [error] = result.errors
    assert words.lower() in error.lower()
    assert building.windows == [(WINDOW.start, WINDOW.end, "failed")]
    assert (result.windows_complete, result.windows_failed) == (0, 1)
    assert "Traceback" in result.stack
    assert set(building.stored()) <= set(building.truth(WINDOW.start, WINDOW.end))
    assert last_sync(building.settings, "plain") is None

    building.server.faults.switch_off()
    assert only(building.collect(WINDOW)).errors == []
    assert building.stored() == building.truth(WINDOW.start, WINDOW.end)
    assert building.windows == [(WINDOW.start, WINDOW.end, "complete")]
    building.assert_aggregates()


def test_one_window_that_fails_leaves_the_others_alone(building: Building) -> None:
    thirds = [SyncWindow(WINDOW.start + n * HOUR / 3, WINDOW.start + (n + 1) * HOUR / 3) for n in range(3)]
    building.server.faults.switch_on("unknown_shape", times=1)

    result = only(building.collect(*thirds))

    assert [status for _, _, status in building.windows] == ["failed", "complete", "complete"]
    assert (result.windows_failed, result.windows_complete, result.readings.inserted) == (1, 2, 400)


def test_a_walk_that_ace_broke_off_goes_on_where_it_was(building: Building) -> None:
    building = building.changed(page_size=100)
    before = len(building.server.requests)
    building.collect(WINDOW, limit=250)

    building.server.faults.switch_on("server_error", PAGES)
    only(building.collect(WINDOW))
    building.server.faults.switch_off()
    result = only(building.collect(WINDOW))

    cursors = [query.get("cursor") for query in asked(building.server, before)]
    assert [n for n, cursor in enumerate(cursors) if cursor is None] == [0]
    assert Counter(cursors).most_common(1)[0][1] == 2
    assert (result.readings.inserted, result.readings.unchanged) == (300, 0)
    assert building.stored() == building.truth(WINDOW.start, WINDOW.end)
    assert unfinished_walks(building.settings, "plain", now=NOW) == []


# --- a limit, and going on ------------------------------------------------------------------------------


def test_a_limit_defers_the_rest_by_whole_pages_and_the_next_time_goes_on(building: Building) -> None:
    building = building.changed(page_size=100)
    half = SyncWindow(WINDOW.start, WINDOW.start + HOUR / 2)
    other = SyncWindow(half.end, WINDOW.end)

    first = only(building.collect(half, other, limit=150))
    before = len(building.server.requests)
    second = only(building.collect(half, limit=150))

    assert (first.readings.fetched, first.windows_deferred, first.windows_complete) == (200, 2, 0)
    assert (second.readings.inserted, second.readings.unchanged, second.windows_complete) == (100, 0, 1)
    assert len(asked(building.server, before)) == 1
    assert building.windows == [(half.start, half.end, "complete"), (other.start, other.end, "deferred")]
    building.assert_aggregates()


def test_what_is_to_be_read_anew_is_not_taken_up_from_an_earlier_walk(building: Building) -> None:
    building = building.changed(page_size=100)
    building.collect(WINDOW, limit=150)

    later = only(building.collect(WINDOW, now=NOW + MINUTE, anew=True))

    assert later.readings.fetched == 600


def test_what_is_to_be_read_anew_goes_on_where_the_same_read_was_broken_off(building: Building) -> None:
    building = building.changed(page_size=100)
    building.collect(WINDOW, limit=150, anew=True)

    again = only(building.collect(WINDOW, anew=True))

    assert again.readings.fetched == 400


# --- the lake's own trouble -----------------------------------------------------------------------------


def test_a_batch_that_cannot_be_stored_fails_its_window_and_the_next_time_heals_it(building: Building) -> None:
    building.collect(SyncWindow(NOW - 3 * HOUR, NOW - 2 * HOUR))
    impatient = building.changed(lake_lock_timeout=timedelta(milliseconds=30))

    with held(building):
        failed = only(impatient.collect(WINDOW))

    assert (failed.failed_batches, failed.windows_failed, failed.readings.fetched) == (1, 1, 0)
    assert "was busy for" in failed.errors[0]
    assert (WINDOW.start, WINDOW.end, "failed") in building.windows

    healed = only(building.collect(WINDOW))
    assert (healed.readings.inserted, healed.errors) == (600, [])
    assert (WINDOW.start, WINDOW.end, "complete") in building.windows
    building.assert_aggregates()


def held(building: Building) -> FileLock:
    """The writers' lock, as another process would hold it."""
    return FileLock(writer_lock(building.settings).lock_file)


# --- weather --------------------------------------------------------------------------------------------


def weather_asked(server: SimulatorServer, since: int) -> int:
    return sum(r.path.endswith("/weather") for r in server.requests[since:])


def test_last_known_weather_is_asked_for_once_and_counts_for_the_newest_day(real_building: Building) -> None:
    windows = [SyncWindow(MIDNIGHT - HOUR, MIDNIGHT), SyncWindow(MIDNIGHT, MIDNIGHT + HOUR)]
    before = len(real_building.server.requests)

    [result] = real_building.collect(weather=windows)

    last = real_building.server.ace.weather("real", NOW)
    times = {found[1].time[0] for found in last.values()}
    assert weather_asked(real_building.server, before) == 1
    assert (result.day, result.weather.inserted) == (TODAY, len(times))
    [(temperature, rain, conditions)] = real_building.query(
        "SELECT temperature, precipitation, conditions FROM lake.ace.weather_raw"
    )
    assert (temperature, rain, conditions) == (last["temp"][1].values()[0], None, None)


def test_weather_of_a_range_is_asked_for_by_window(real_building: Building) -> None:
    building = real_building.changed(ace_api_url=real_building.server.ace_v1_url)
    windows = [SyncWindow(MIDNIGHT - HOUR, MIDNIGHT), SyncWindow(MIDNIGHT, MIDNIGHT + HOUR)]
    before = len(building.server.requests)

    results = building.collect(weather=windows)

    # Every five minutes.
    assert weather_asked(building.server, before) == 2
    assert [(r.day, r.weather.inserted) for r in results] == [(date(2026, 11, 21), 12), (TODAY, 12)]
    again = building.collect(weather=windows)
    assert [(r.weather.inserted, r.weather.unchanged) for r in again] == [(0, 12), (0, 12)]


def test_no_weather_is_no_failure(building: Building, real_building: Building) -> None:
    real_building.server.faults.switch_on("weather_null")

    results = [*building.collect(weather=[WINDOW]), *real_building.collect(weather=[WINDOW])]

    assert [(r.weather.fetched, r.weather_errors) for r in results] == [(0, []), (0, [])]


def test_weather_that_fails_does_not_keep_readings_from_being_stored(real_building: Building) -> None:
    real_building.server.faults.switch_on("server_error", "*/weather")

    result = only(real_building.collect(WINDOW, weather=[WINDOW]))

    assert (result.errors, result.windows_complete, len(result.weather_errors)) == ([], 1, 1)
    assert real_building.stored() == real_building.truth(WINDOW.start, WINDOW.end)


def test_a_walk_is_saved_with_each_page_and_forgotten_at_the_end(building: Building) -> None:
    building = building.changed(page_size=100)

    building.collect(WINDOW, limit=150)
    saved = load_walk(building.settings, "plain", WINDOW.start, WINDOW.end, now=NOW)
    building.collect(WINDOW)

    assert (saved["pages"], saved["fetched"], saved["complete"]) == (2, 200, False)
    assert load_walk(building.settings, "plain", WINDOW.start, WINDOW.end, now=NOW) is None
