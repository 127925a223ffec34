"""One try of an export job: the result is exactly what was published, whole, in the format that was asked for."""

import io
import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from etl_assets.api.warehouse import Warehouse
from etl_assets.exports.export import run_export
from etl_assets.exports.results import result_path, results_folder, tidy_results
from etl_assets.lake.tables import TIMESERIES_RAW
from etl_assets.ops.job_records import find_job, put_away
from etl_assets.ops.job_state import (
    JobCancelledError,
    JobLostError,
    Order,
    claim_due,
    give_back,
    open_job,
    request_cancel,
)
from etl_assets_tests.exports.conftest import MINUTES, NAMES, NOW, SITE, START, fill, readings, store, total

PROCESS = Path(__file__).with_name("process.py")
DAY_AHEAD = START + timedelta(days=1)


def order(points=NAMES, form="arrow", start: datetime = START, end: datetime = DAY_AHEAD, **more):
    wanted = {"site": SITE, "points": list(points), "interval": "raw", "from": start.isoformat(), "to": end.isoformat()}
    return Order("north", "timeseries", wanted | more, form, 1, SITE, len(points))


def claimed(settings, *arguments, **more):
    open_job(settings, order(*arguments, **more), now=NOW)
    [job] = claim_due(settings, now=NOW, limit=1)
    return job


def run(settings, job, now=lambda: NOW):
    return run_export(settings, job.job_id, job.run_id, now=now)


def rows_of(settings, job) -> pa.Table:
    body = result_path(settings, job).read_bytes()
    match job.result_format:
        case "arrow":
            return pa.ipc.open_stream(body).read_all()
        case "parquet":
            return pq.read_table(io.BytesIO(body))
        case "csv":
            return pa.csv.read_csv(io.BytesIO(body))
        case _:
            return pa.Table.from_pylist(json.loads(body)["data"])


@pytest.mark.parametrize("form", ["json", "csv", "arrow", "parquet"])
def test_the_result_is_exact_in_every_format(tower, form):
    done = run(tower, claimed(tower, NAMES[:20], form))

    rows = rows_of(tower, done)
    assert (done.status, done.samples, rows.num_rows) == ("completed", 20 * MINUTES, 20 * MINUTES)
    assert pc.sum(rows["value"]).as_py() == total(20)
    assert sorted(rows["point_name"].unique().to_pylist()) == list(NAMES[:20])
    assert done.result_bytes == result_path(tower, done).stat().st_size


def test_288_thousand_samples_are_exact_by_count_and_sum(tower):
    done = run(tower, claimed(tower))

    rows = rows_of(tower, done)
    assert (done.samples, rows.num_rows) == (288_000, 288_000)
    assert pc.sum(rows["value"]).as_py() == total(200)
    assert (done.points_done, done.points_total) == (200, 200)


def test_the_rows_are_those_that_were_published_in_order(tower):
    rows = rows_of(tower, run(tower, claimed(tower, NAMES[:3])))

    expected = readings(3).select(["point_name", "timestamp", "value", "quality"])
    assert rows.to_pylist() == expected.to_pylist()


def test_the_range_includes_its_start_and_excludes_its_end(tower):
    job = claimed(tower, NAMES[:2], start=START + timedelta(minutes=10), end=START + timedelta(minutes=20))

    assert sorted(rows_of(tower, run(tower, job))["value"].to_pylist()) == [*range(10, 20), *range(1010, 1020)]


@pytest.mark.parametrize("form", ["json", "csv", "arrow", "parquet"])
def test_an_empty_range_gives_an_empty_result(tower, form):
    later = START + timedelta(days=30)
    done = run(tower, claimed(tower, NAMES[:2], form, start=later, end=later + timedelta(days=1)))

    assert (done.samples, rows_of(tower, done).num_rows) == (0, 0)


def test_json_says_how_it_was_come_by(tower):
    job = claimed(tower, NAMES[:1], "json")

    meta = json.loads(result_path(tower, run(tower, job)).read_bytes())["_meta"]

    assert meta == {
        "route": "queued",
        "cacheHit": False,
        "estimatedSamples": 1,
        "samples": MINUTES,
        "jobId": job.job_id,
    }


def test_progress_is_on_record_after_every_batch_of_points(tower):
    tower = tower.model_copy(update={"job_batch_points": 64})
    job, seen = claimed(tower, NAMES[:150]), []

    def watched() -> datetime:
        found = find_job(tower, job.job_id)
        seen.append((found.status, found.points_done, found.samples))
        return NOW

    run(tower, job, watched)

    # Asked for before each change: at the start, after 64, 128 and 150 points, at the end.
    counts = [(points, points * MINUTES) for points in (0, 64, 128)]
    assert seen == [("submitted", 0, None), *(("running", *each) for each in counts), ("running", 150, 150 * MINUTES)]


def test_a_job_that_is_cancelled_ends_after_the_batch_and_leaves_nothing(tower):
    job, looks = claimed(tower, NAMES), []

    def cancelling() -> datetime:
        looks.append(find_job(tower, job.job_id).points_done)
        if len(looks) == 3:
            request_cancel(tower, job.job_id, now=NOW)
        return NOW

    with pytest.raises(JobCancelledError):
        run(tower, job, cancelling)

    assert looks == [0, 0, 50]
    assert list(results_folder(tower).iterdir()) == []


def test_a_run_whose_job_went_to_another_leaves_that_ones_result_alone(tower):
    job = claimed(tower, NAMES[:1])
    give_back(tower, job.job_id, job.run_id, error="thought dead", now=NOW)
    [again] = claim_due(tower, now=NOW + timedelta(seconds=1), limit=1)
    done = run(tower, again)
    before = result_path(tower, done).read_bytes()

    with pytest.raises(JobLostError):
        run(tower, job)

    assert result_path(tower, done).read_bytes() == before


def test_a_site_that_is_gone_fails_with_what_is_missing(tower):
    job = claimed(tower, NAMES[:1], site="demolished")

    with pytest.raises(Exception, match="demolished"):
        run(tower, job)


def test_what_is_published_meanwhile_does_not_mix_into_the_result(settings):
    fill(settings, points=100, minutes=60)
    settings = settings.model_copy(update={"job_batch_points": 10})
    job, looks = claimed(settings, NAMES[:100]), []

    def publishing() -> datetime:
        looks.append(1)
        if len(looks) == 4:
            more = readings(100, 60, START + timedelta(hours=1))
            store(settings, (TIMESERIES_RAW, more))
        return NOW

    done = run(settings, job, publishing)

    assert (done.samples, pc.sum(rows_of(settings, done)["value"]).as_py()) == (6_000, total(100, 60))
    with Warehouse(settings).connection() as connection:
        assert connection.sql("SELECT count(*) FROM warehouse.ace.timeseries_all").fetchall() == [(12_000,)]


def started(settings, job, points_before_stop: int):
    command = [sys.executable, str(PROCESS), str(settings.etl_data), job.job_id, job.run_id, str(points_before_stop)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_run_that_is_killed_half_way_leaves_no_result_and_the_next_try_completes(tower):
    job = claimed(tower)
    with started(tower, job, 100) as process:
        assert process.stdout.readline() == "stopped\n"
        process.kill()
    half = find_job(tower, job.job_id)
    assert (half.status, half.points_done) == ("running", 50)
    assert not result_path(tower, job).exists()
    assert [path.suffix for path in results_folder(tower).iterdir()] == [".draft"]

    give_back(tower, job.job_id, job.run_id, error="its process was killed", now=NOW)
    [again] = claim_due(tower, now=NOW + timedelta(seconds=1), limit=1)
    done = run(tower, again)

    assert (done.attempts, done.samples, pc.sum(rows_of(tower, done)["value"]).as_py()) == (2, 288_000, total(200))
    assert tidy_results(tower) == 1
    assert [path.name for path in results_folder(tower).iterdir()] == [f"{job.job_id}.arrow"]


def test_tidying_keeps_results_and_drafts_at_work_and_removes_what_has_expired(tower):
    done = run(tower, claimed(tower, NAMES[:1]))
    at_work = claimed(tower, NAMES[:1])
    draft = results_folder(tower) / f"{at_work.job_id}.{at_work.run_id}.draft"
    draft.write_bytes(b"half")

    assert tidy_results(tower) == 0
    put_away(tower, now=done.expires_at)
    assert tidy_results(tower) == 1
    assert list(results_folder(tower).iterdir()) == [draft]


def test_memory_does_not_grow_with_the_result(tower):
    """The same process for a tenth of the points and for all of them: 288,000 rows as JSON are 30 MB."""
    peaks = []
    for points in (NAMES[:20], NAMES):
        job = claimed(tower, points, "json")
        with started(tower, job, -1) as process:
            peaks.append(int(process.stdout.readline()))
        assert find_job(tower, job.job_id).status == "completed"
    unit = 1_024 if sys.platform == "linux" else 1

    assert (peaks[1] - peaks[0]) * unit < result_path(tower, job).stat().st_size
