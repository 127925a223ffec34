"""A sync of a site: what it reads, what it leaves for the next, its records and its alerts."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from filelock import FileLock

from etl_assets.ace.sync import Mode, SiteSync
from etl_assets.lake.connection import writer_lock
from etl_assets.ops.alerts import open_alerts
from etl_assets.ops.site_state import last_sync
from etl_assets.ops.state import sync_runs
from etl_assets_tests.ace.conftest import FIVE, HOUR, NOW, TODAY, Building

MINUTE, LATE = timedelta(minutes=1), timedelta(minutes=42)
MIDNIGHT = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)
READINGS = "ace.timeseries_raw"
PAGES = "*/timeseries/paginated"


def records(building: Building, dataset: str = READINGS) -> list[dict[str, Any]]:
    return [run for run in sync_runs(building.settings) if run["dataset"] == dataset]


def raised(building: Building) -> set[str]:
    return {alert.kind for alert in open_alerts(building.settings)}


def inserted(done: SiteSync) -> int:
    return sum(result.readings.inserted for result in done.results)


# --- what it reads --------------------------------------------------------------------------------------


def test_the_first_sync_reads_its_time_back_and_the_next_ones_from_ten_minutes_before(building: Building) -> None:
    first = building.sync(NOW)
    second = building.sync(NOW + FIVE)

    assert inserted(first) == 600
    account = second.result(TODAY).readings
    assert (account.unchanged, account.inserted) == (100, 50)
    assert building.stored() == building.truth(NOW - HOUR, NOW + FIVE, NOW + FIVE)
    assert last_sync(building.settings, "plain") == NOW + FIVE
    building.assert_aggregates()


def test_a_second_sync_of_the_same_moment_finds_all_unchanged(real_building: Building) -> None:
    real_building.sync(NOW)

    again = real_building.sync(NOW)

    account = again.result(TODAY).readings
    assert account.fetched == account.unchanged + account.invalid > 0


def test_what_comes_late_comes_in_by_the_look_back_or_by_reading_again(real_building: Building) -> None:
    for tick in range(4):
        real_building.sync(NOW + tick * FIVE)
    later = NOW + LATE + HOUR
    missed = set(real_building.truth(NOW - HOUR, NOW, later)) - set(real_building.stored())

    done = real_building.sync(later, Mode.REREAD, [TODAY], hours=3)

    assert missed
    assert missed <= set(real_building.stored())
    assert [result.windows_complete for result in done.results] == [4]
    assert real_building.stored() == real_building.truth(later - 3 * HOUR, later, later)


def test_of_a_day_that_is_complete_nothing_but_weather_is_asked_for_again(building: Building) -> None:
    yesterday = date(2026, 11, 21)
    building = building.changed(page_size=100_000)
    building.sync(NOW, Mode.MISSING, [yesterday])
    before = len(building.server.requests)

    done = building.sync(NOW, Mode.MISSING, [yesterday])

    assert building.stored() == building.truth(MIDNIGHT - 24 * HOUR, MIDNIGHT)
    assert [request.path.rpartition("/")[2] for request in building.server.requests[before:]] == ["weather"]
    assert done.problems(yesterday) == []


def test_a_sync_over_midnight_has_a_result_and_a_record_for_each_market_day(building: Building) -> None:
    done = building.sync(MIDNIGHT + HOUR / 2)

    assert [(r.day, r.readings.inserted) for r in done.results] == [(date(2026, 11, 21), 300), (TODAY, 300)]
    assert [(run["partition"], run["fetched"]) for run in records(building)] == [
        ("2026-11-21|plain", 300),
        ("2026-11-22|plain", 300),
    ]
    assert last_sync(building.settings, "plain") == MIDNIGHT + HOUR / 2


# --- what it leaves -------------------------------------------------------------------------------------


def test_last_sync_stays_before_a_window_that_failed_until_it_is_read(building: Building) -> None:
    building.sync(NOW)
    building.server.faults.switch_on("unknown_shape")
    failed = building.sync(NOW + FIVE)
    stayed = last_sync(building.settings, "plain")
    building.server.faults.switch_off()
    before = len(building.server.requests)

    building.sync(NOW + 2 * FIVE)

    assert "'rows'" in failed.problems(TODAY)[0]
    assert stayed == NOW
    # The failed one first, then what is new since.
    starts = [r.query for r in building.server.requests[before:] if r.path.endswith("/paginated")]
    assert ["01%3A50%3A00Z" in starts[0], "01%3A55%3A00Z" in starts[1], len(starts)] == [True, True, 2]
    assert last_sync(building.settings, "plain") == NOW + 2 * FIVE
    assert {status for _, _, status in building.windows} == {"complete"}
    assert building.stored() == building.truth(NOW - HOUR, NOW + 2 * FIVE, NOW + 2 * FIVE)


def test_what_a_limit_leaves_is_read_by_the_next_syncs_until_all_is_there(building: Building) -> None:
    building = building.changed(max_records_per_sync=250, page_size=100)
    syncs = [building.sync(NOW + tick * FIVE) for tick in range(5)]

    fetched = [sum(result.readings.fetched for result in done.results) for done in syncs]
    assert fetched[:2] == [300, 300]
    assert records(building)[0]["status"] == "partial"
    assert building.stored() == building.truth(NOW - HOUR, NOW + 4 * FIVE, NOW + 4 * FIVE)
    assert last_sync(building.settings, "plain") == NOW + 4 * FIVE
    building.assert_aggregates()


def test_a_lake_that_is_busy_makes_a_sync_partial_and_the_next_one_heals_it(building: Building) -> None:
    building.sync(NOW)
    impatient = building.changed(lake_lock_timeout=timedelta(milliseconds=30))

    with FileLock(writer_lock(building.settings).lock_file):
        busy = impatient.sync(NOW + FIVE)
    healed = building.sync(NOW + 2 * FIVE)

    [run] = [run for run in records(building) if run["sync_id"] == busy.request.sync_id]
    assert (run["status"], run["failed_batches"], run["database_errors"], run["windows_failed"]) == ("failed", 1, 1, 1)
    assert "was busy for" in run["errors"][0]
    assert healed.problems(TODAY) == []
    assert building.stored() == building.truth(NOW - HOUR, NOW + 2 * FIVE, NOW + 2 * FIVE)


def test_a_list_of_points_that_fails_does_not_keep_readings_from_coming(building: Building) -> None:
    building.server.faults.switch_on("server_error", "*/points")

    done = building.sync(NOW)

    assert "503" in done.problems(TODAY)[0]
    assert inserted(done) == 600
    assert last_sync(building.settings, "plain") == NOW
    assert [run["status"] for run in records(building)] == ["complete"]
    [listed] = records(building, "ace.points")
    assert (listed["status"], listed["errors"]) == ("failed", done.errors)


def test_a_site_that_the_account_does_not_show_is_not_asked_for_more(building: Building) -> None:
    building.server.faults.switch_on("unknown_site")
    before = len(building.server.requests)

    done = building.sync(NOW)

    assert "shows no site 'plain'" in done.problems(TODAY)[0]
    assert done.results == []
    assert not any(r.path.endswith("/paginated") for r in building.server.requests[before:])
    assert [run["status"] for run in records(building)] == ["failed"]


# --- its records ----------------------------------------------------------------------------------------


def test_a_sync_leaves_a_record_of_readings_weather_and_points(real_building: Building) -> None:
    before = len(real_building.server.requests)

    done = real_building.sync(NOW, run_id="run")

    [readings] = records(real_building)
    truth = real_building.truth(NOW - HOUR, NOW)
    assert {name: readings[name] for name in ("run_id", "partition", "site_name", "status", "errors", "stack")} == {
        "run_id": "run",
        "partition": "2026-11-22|real",
        "site_name": "real",
        "status": "complete",
        "errors": [],
        "stack": "",
    }
    assert (readings["inserted"], readings["points_processed"]) == (len(truth), len({name for name, _, _ in truth}))
    assert readings["requests_by_status"] == {"200": len(real_building.server.requests) - before}
    assert readings["sync_id"] == done.request.sync_id != ""
    assert [run["inserted"] for run in records(real_building, "ace.weather_raw")] == [1]
    assert [run["inserted"] for run in records(real_building, "ace.points")] == [40]


def test_each_sync_has_a_name_of_its_own(building: Building) -> None:
    names = {building.sync(NOW).request.sync_id for _ in range(2)}

    assert len(names) == 2


def test_weather_that_failed_is_told_in_its_own_record(real_building: Building) -> None:
    real_building.server.faults.switch_on("server_error", "*/weather")

    real_building.sync(NOW)

    assert [run["status"] for run in records(real_building)] == ["complete"]
    [weather] = records(real_building, "ace.weather_raw")
    assert (weather["status"], len(weather["errors"])) == ("failed", 1)


def test_a_sync_that_brings_half_is_partial_with_what_ended_it(building: Building) -> None:
    building = building.changed(page_size=100)
    building.server.faults.switch_on("expired_cursor")
    building.server.faults.switch_on("missing_cursor")

    building.sync(NOW)

    [run] = records(building)
    assert (run["status"], run["windows_failed"], run["fetched"]) == ("partial", 1, 100)
    assert "no cursor to reach it" in run["errors"][0]
    assert "WalkFailedError" in run["stack"]


# --- its alerts -----------------------------------------------------------------------------------------


def test_many_bad_records_raise_an_alert_that_clears(building: Building) -> None:
    building.server.faults.switch_on("bad_values")
    first = building.sync(NOW)
    while_bad = raised(building)
    building.server.faults.switch_off()

    second = building.sync(NOW + FIVE)

    assert [alert.kind for alert in first.alerts] == ["error_rate"]
    assert while_bad == {"error_rate"}
    assert [alert.status for alert in second.alerts] == ["resolved"]
    assert raised(building) == set()


def test_nothing_where_there_was_data_yesterday_raises_an_alert(building: Building) -> None:
    building.sync(MIDNIGHT - HOUR)
    later = MIDNIGHT + 2 * HOUR
    building.server.faults.switch_on("unknown_shape")

    building.sync(later)

    assert raised(building) == {"no_data"}


def test_requests_of_both_days_count_for_an_alert_at_midnight(building: Building) -> None:
    building.changed(sync_requests_alert=5, page_size=50).sync(MIDNIGHT + HOUR / 2)

    assert raised(building) == {"requests"}


def test_only_the_sync_of_what_is_new_speaks_of_alerts(building: Building) -> None:
    building.server.faults.switch_on("bad_values")

    done = building.changed(page_size=100_000).sync(NOW, Mode.MISSING, [TODAY])

    assert done.alerts == []
    assert raised(building) == set()
