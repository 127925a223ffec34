"""Run records and checkpoints: written by many processes, kept in UTC, shown to analysts."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from etl_assets.lake.publish import publish
from etl_assets.market_time import NEM_TIME
from etl_assets.ops import database
from etl_assets.ops.alerts import Condition, evaluate
from etl_assets.ops.site_state import SiteWindow, advance_last_sync, record_window, windows
from etl_assets.ops.state import (
    SyncRun,
    clear_checkpoint,
    copies_for_analysts,
    forget_old,
    load_checkpoint,
    load_checkpoints,
    new_sync_id,
    record_sync_run,
    save_checkpoint,
    sync_runs,
)
from etl_assets.settings import Settings

PROCESS = Path(__file__).parents[1] / "lake" / "process.py"
STARTED = datetime(2026, 11, 22, 1, 59, 30, 250_000, tzinfo=UTC)
RUN = SyncRun(
    run_id="run-1",
    attempt=1,
    dataset="aemo.dispatch_region",
    partition="2026-11-22",
    started_at=STARTED,
    finished_at=STARTED + timedelta(seconds=2.5),
    duration_seconds=2.5,
    fetched=21,
    filtered=1,
    invalid=2,
    duplicate=3,
    unchanged=4,
    inserted=5,
    updated=6,
    missing_before=9,
    missing_after=7,
    files_read=2,
    files_refused=1,
    requests_by_status={"200": 3, "403": 1},
    retries=1,
    bytes_received=5_000_000_000,
    errors=("b.zip is cut off.",),
)


@pytest.fixture
def state_file(settings: Settings) -> Iterator[Path]:
    yield settings.etl_data / "state.sqlite"
    forget_engine(settings)


def forget_engine(settings: Settings) -> None:
    """As if the process had just started."""
    if engine := database._engines.pop(settings.state_url, None):
        engine.dispose()


def test_a_run_is_read_back_as_it_was_recorded(settings):
    record_sync_run(settings, RUN)

    [row] = sync_runs(settings)

    assert SyncRun(**{**row, "errors": tuple(row["errors"])}) == replace(RUN, status="partial")
    assert row["started_at"].tzinfo is UTC


def test_a_run_recorded_again_replaces_its_row(settings):
    record_sync_run(settings, RUN)
    record_sync_run(settings, replace(RUN, inserted=50, errors=()))

    rows = sync_runs(settings)

    assert [(row["inserted"], row["errors"]) for row in rows] == [(50, [])]


@pytest.mark.parametrize("other", [{"run_id": "run-2"}, {"dataset": "aemo.unit_scada"}, {"partition": "2026-11-21"}])
def test_another_run_dataset_or_partition_is_another_row_oldest_first(settings, other):
    record_sync_run(settings, RUN)
    record_sync_run(settings, replace(RUN, started_at=STARTED - timedelta(minutes=5), inserted=50, **other))

    assert [row["inserted"] for row in sync_runs(settings)] == [50, 5]


def test_a_site_sync_is_read_back_with_all_that_it_counted(settings):
    run = replace(
        RUN,
        sync_id="sync_1795399170_0a1b2c",
        site_name="building-a",
        status="failed",
        pages=3,
        cursor_repairs=2,
        points_processed=4_500,
        points_skipped=12,
        failed_batches=1,
        database_errors=1,
        windows_complete=22,
        windows_failed=1,
        windows_deferred=1,
        stack="Traceback (most recent call last): …",
    )

    record_sync_run(settings, run)

    [row] = sync_runs(settings)
    assert SyncRun(**{**row, "errors": tuple(row["errors"])}) == run


@pytest.mark.parametrize(
    ("status", "errors", "stored"),
    [
        (None, (), "complete"),
        (None, ("cut off",), "partial"),
        ("failed", (), "failed"),
        ("complete", ("x",), "complete"),
    ],
)
def test_a_run_that_does_not_say_how_it_ended_is_partial_where_there_were_errors(settings, status, errors, stored):
    record_sync_run(settings, replace(RUN, status=status, errors=errors))

    assert [row["status"] for row in sync_runs(settings)] == [stored]


def test_what_is_kept_and_what_is_dropped_make_what_was_fetched():
    assert (RUN.kept, RUN.dropped, RUN.requests) == (20, 1, 4)


def test_a_sync_id_names_its_second_and_is_no_other_syncs(now):
    ids = {new_sync_id(now) for _ in range(100)}

    assert len(ids) == 100
    assert all(re.fullmatch(r"sync_1795312800_[0-9a-z]{3,}", sync_id) for sync_id in ids)


def test_checkpoints_are_found_by_the_beginning_of_their_name_taken_literally(settings, now):
    names = ("walk:a_b:1", "walk:a_b:2", "walk:A_B:1", "walk:axb:1", "walk:a_b%:1", "other")
    for number, name in enumerate(names):
        save_checkpoint(settings, name, {"n": number}, now=now, keep=timedelta(hours=number + 1))

    assert load_checkpoints(settings, "walk:a_b:", now=now) == {"walk:a_b:1": {"n": 0}, "walk:a_b:2": {"n": 1}}
    assert load_checkpoints(settings, "walk:a_b:", now=now + timedelta(hours=1)) == {"walk:a_b:2": {"n": 1}}


def test_an_instant_in_another_zone_stays_the_same_instant(settings):
    record_sync_run(settings, replace(RUN, started_at=STARTED.astimezone(NEM_TIME)))

    [row] = sync_runs(settings)

    assert row["started_at"] == STARTED
    assert row["started_at"].utcoffset() == timedelta(0)


@pytest.mark.parametrize("zone", [UTC, NEM_TIME])
def test_a_checkpoint_is_a_fact_for_less_than_its_time(settings, now, zone):
    save_checkpoint(settings, "walk", {"page": 7}, now=now, keep=timedelta(hours=24))
    end = (now + timedelta(hours=24)).astimezone(zone)

    assert load_checkpoint(settings, "walk", now=end - timedelta(microseconds=1)) == {"page": 7}
    assert load_checkpoint(settings, "walk", now=end) is None


def test_a_checkpoint_saved_again_replaces_the_former_one_and_lives_on(settings, now):
    save_checkpoint(settings, "walk", {"page": 7}, now=now, keep=timedelta(hours=24))
    save_checkpoint(settings, "walk", {"page": 8}, now=now + timedelta(hours=23), keep=timedelta(hours=24))

    assert load_checkpoint(settings, "walk", now=now + timedelta(hours=46)) == {"page": 8}


def test_a_cleared_checkpoint_is_gone_and_another_one_stays(settings, now):
    for name in ("walk", "other"):
        save_checkpoint(settings, name, {"of": name}, now=now, keep=timedelta(hours=24))

    clear_checkpoint(settings, "walk")
    clear_checkpoint(settings, "walk")

    assert load_checkpoint(settings, "walk", now=now) is None
    assert load_checkpoint(settings, "other", now=now) == {"of": "other"}


def test_an_unknown_checkpoint_is_none(settings, now):
    assert load_checkpoint(settings, "never saved", now=now) is None


@pytest.mark.parametrize("zone", [UTC, NEM_TIME])
def test_forgetting_removes_what_is_past_its_time_and_nothing_else(settings, now, zone):
    kept = now - timedelta(days=30)
    record_sync_run(settings, replace(RUN, run_id="kept", finished_at=kept))
    record_sync_run(settings, replace(RUN, run_id="old", finished_at=kept - timedelta(microseconds=1)))
    save_checkpoint(settings, "expired", {}, now=now - timedelta(hours=24), keep=timedelta(hours=24))
    save_checkpoint(settings, "alive", {}, now=now - timedelta(hours=23), keep=timedelta(hours=24))

    gone = forget_old(settings, now=now.astimezone(zone))

    assert gone == 2
    assert [row["run_id"] for row in sync_runs(settings)] == ["kept"]
    assert load_checkpoint(settings, "alive", now=now) == {}
    assert forget_old(settings, now=now) == 0


def test_alerts_are_forgotten_once_they_have_been_resolved_for_as_long(settings, now):
    condition = Condition("duration:a", "duration", "slow", {}, firing=True)
    evaluate(settings, [condition, replace(condition, key="duration:b")], now=now)
    evaluate(settings, [replace(condition, firing=False)], now=now)

    assert forget_old(settings, now=now + timedelta(days=30)) == 0
    assert forget_old(settings, now=now + timedelta(days=30, seconds=1)) == 1
    assert [alert for (alert,) in published(settings, "SELECT key FROM ops.alerts")] == ["duration:b"]


def test_forgetting_keeps_every_window_but_makes_whole_hours_of_old_ones(settings, now):
    long_ago = now - timedelta(days=400)
    for minute in (0, 20, 40):
        start = long_ago + timedelta(minutes=minute)
        record_window(settings, SiteWindow("a", start, start + timedelta(minutes=20), "complete", now))

    assert forget_old(settings, now=now) == 2
    assert [(w.start, w.end) for w in windows(settings, "a", start=long_ago, end=now)] == [
        (long_ago, long_ago + timedelta(hours=1))
    ]


def published(settings: Settings, sql: str) -> list[tuple]:
    publish(settings, now=STARTED, extra=copies_for_analysts(settings))
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(sql).fetchall()


def test_an_older_database_gets_the_column_that_it_lacks(settings, state_file):
    record_sync_run(settings, RUN)
    forget_engine(settings)
    with sqlite3.connect(state_file) as connection:
        connection.execute("ALTER TABLE sync_runs DROP COLUMN files_refused")
        connection.execute("ALTER TABLE sync_runs DROP COLUMN windows_failed")
        connection.execute("DROP TABLE site_windows")
        connection.execute("DROP TABLE checkpoints")
    connection.close()

    record_sync_run(settings, replace(RUN, run_id="run-2", started_at=STARTED + timedelta(minutes=5)))

    assert [row["files_refused"] for row in sync_runs(settings)] == [None, 1]
    assert [row["windows_failed"] for row in sync_runs(settings)] == [None, 0]
    assert load_checkpoint(settings, "walk", now=STARTED) is None
    assert copies_for_analysts(settings)[0].rows["files_refused"].to_pylist() == [None, 1]


def test_processes_that_make_and_write_the_database_at_once_do_not_lock_each_other_out(settings):
    line = [sys.executable, str(PROCESS), "checkpoints", str(settings.etl_data)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    writers = [subprocess.Popen([*line, f"w{n}", "30"], text=True, **pipes) for n in range(3)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"

    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    errors = [writer.communicate()[1] for writer in writers]

    now = datetime.now(UTC)
    saved = [load_checkpoint(settings, f"w{n} {i}", now=now) for n in range(3) for i in range(30)]
    assert errors == ["", "", ""]
    assert saved == [{"page": i} for _ in range(3) for i in range(30)]


def test_analysts_find_the_runs_in_their_file_and_no_checkpoint(settings, now):
    record_sync_run(settings, replace(RUN, started_at=STARTED.astimezone(NEM_TIME)))
    save_checkpoint(settings, "walk", {"cursor": "not for analysts"}, now=now, keep=timedelta(hours=24))

    publish(settings, now=now, extra=copies_for_analysts(settings))

    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        rows = connection.execute(
            "SELECT run_id, started_at, finished_at, duration_seconds, inserted, bytes_received, "
            "requests_by_status->>'403', errors->>0 FROM ops.sync_runs"
        ).fetchall()
        types = dict(connection.execute("SELECT column_name, column_type FROM (DESCRIBE ops.sync_runs)").fetchall())
        ops = connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'ops' ORDER BY 1"
        ).fetchall()
    finished = STARTED + timedelta(seconds=2.5)
    assert rows == [("run-1", STARTED, finished, 2.5, 5, 5_000_000_000, "1", "b.zip is cut off.")]
    assert types["started_at"] == "TIMESTAMP WITH TIME ZONE"
    exports = {"cache_metadata", "job_history", "queue_jobs", "request_analytics"}
    assert {name for (name,) in ops} == exports | {"alerts", "publication", "site_sync", "site_windows", "sync_runs"}
    assert b"not for analysts" not in settings.warehouse_path.read_bytes()


def test_analysts_see_what_a_run_kept_and_dropped_and_no_traceback(settings):
    record_sync_run(settings, replace(RUN, stack="Traceback: not for analysts"))

    assert published(settings, "SELECT kept, dropped, kept + dropped = fetched FROM ops.sync_runs") == [(20, 1, True)]
    assert b"not for analysts" not in settings.warehouse_path.read_bytes()


def test_analysts_see_where_sites_stand_and_which_windows_failed_however_long_ago(settings, now):
    hour = timedelta(hours=1)
    advance_last_sync(settings, "a", now, now=now, sync_id="sync_1_abc")
    for days_ago, status in ((400, "failed"), (31, "complete"), (29, "complete"), (0, "complete")):
        end = now - timedelta(days=days_ago)
        record_window(settings, SiteWindow("a", end - hour, end, status, now, error="cut off"))

    sites = published(settings, "SELECT site_name, last_sync, sync_id FROM ops.site_sync")
    found = published(
        settings, "SELECT status, error, window_end - window_start FROM ops.site_windows ORDER BY window_start"
    )

    assert sites == [("a", now, "sync_1_abc")]
    assert found == [("failed", "cut off", hour), ("complete", "", hour), ("complete", "", hour)]


def test_a_file_without_any_run_still_has_the_table(settings, now):
    publish(settings, now=now, extra=copies_for_analysts(settings))

    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        assert connection.execute("SELECT count(*), sum(fetched) FROM ops.sync_runs").fetchall() == [(0, None)]


def test_a_named_database_is_used_instead_of_the_one_in_the_data_folder(settings, tmp_path, now):
    elsewhere = settings.model_copy(update={"state_database": f"sqlite:///{tmp_path / 'elsewhere.sqlite'}"})

    save_checkpoint(elsewhere, "walk", {"page": 1}, now=now, keep=timedelta(hours=1))

    assert (tmp_path / "elsewhere.sqlite").exists()
    assert load_checkpoint(settings, "walk", now=now) is None
