"""Run records and checkpoints: written by many processes, kept in UTC, shown to analysts."""

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
from etl_assets.ops import state
from etl_assets.ops.state import (
    SyncRun,
    clear_checkpoint,
    copies_for_analysts,
    forget_old,
    load_checkpoint,
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
    if engine := state._engines.pop(settings.state_url, None):
        engine.dispose()


def test_a_run_is_read_back_as_it_was_recorded(settings):
    record_sync_run(settings, RUN)

    [row] = sync_runs(settings)

    assert SyncRun(**{**row, "errors": tuple(row["errors"])}) == RUN
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


def test_an_older_database_gets_the_column_that_it_lacks(settings, state_file):
    record_sync_run(settings, RUN)
    forget_engine(settings)
    with sqlite3.connect(state_file) as connection:
        connection.execute("ALTER TABLE sync_runs DROP COLUMN files_refused")
        connection.execute("DROP TABLE checkpoints")
    connection.close()

    record_sync_run(settings, replace(RUN, run_id="run-2", started_at=STARTED + timedelta(minutes=5)))

    assert [row["files_refused"] for row in sync_runs(settings)] == [None, 1]
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
    assert ops == [("publication",), ("sync_runs",)]
    assert b"not for analysts" not in settings.warehouse_path.read_bytes()


def test_a_file_without_any_run_still_has_the_table(settings, now):
    publish(settings, now=now, extra=copies_for_analysts(settings))

    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        assert connection.execute("SELECT count(*), sum(fetched) FROM ops.sync_runs").fetchall() == [(0, None)]


def test_a_named_database_is_used_instead_of_the_one_in_the_data_folder(settings, tmp_path, now):
    elsewhere = settings.model_copy(update={"state_database": f"sqlite:///{tmp_path / 'elsewhere.sqlite'}"})

    save_checkpoint(elsewhere, "walk", {"page": 1}, now=now, keep=timedelta(hours=1))

    assert (tmp_path / "elsewhere.sqlite").exists()
    assert load_checkpoint(settings, "walk", now=now) is None
