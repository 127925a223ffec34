"""The export job in Dagster: what a run does with its job, the sensor, and the hourly clean-up."""

import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from etl_assets.definitions import defs
from etl_assets.exports import automation, export
from etl_assets.exports.assets import exports_tidied
from etl_assets.exports.automation import export_sensor
from etl_assets.exports.cache import Payload, ResultCache
from etl_assets.exports.dagster_runs import submit_due
from etl_assets.exports.results import result_path, results_folder
from etl_assets.exports.submitter import Submitter
from etl_assets.lake.resource import Lake
from etl_assets.ops.job_records import find_job
from etl_assets.ops.job_state import claim_due, complete, open_job, request_cancel
from etl_assets_tests.exports.conftest import MINUTES, NAMES, NOW
from etl_assets_tests.exports.test_export import order

SUCCESS, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE
PATIENCE_S = 60


def submitted(settings, instance, **more):
    job = open_job(settings, order(NAMES[:2], **more), now=NOW)
    submit_due(settings, instance, now=NOW)
    return find_job(settings, job.job_id)


def test_a_queued_run_does_its_job(tower, instance, dequeue):
    job = submitted(tower, instance)

    assert dequeue(job).status == SUCCESS

    done = find_job(tower, job.job_id)
    assert (done.status, done.samples) == ("completed", 2 * MINUTES)
    assert result_path(tower, done).exists()


def test_a_run_that_fails_gives_its_job_back_with_the_error(tower, instance, dequeue):
    job = submitted(tower, instance, site="demolished")

    assert dequeue(job).status == FAILURE

    found = find_job(tower, job.job_id)
    assert (found.status, found.attempts) == ("queued", 1)
    assert found.error == "Not Found: There is no site 'demolished'; GET /sites lists them."


def test_what_fails_inside_the_machine_is_told_by_its_class_and_the_log_has_the_rest(
    tower, instance, dequeue, monkeypatch
):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "/srv/secret/draft")

    job = submitted(tower, instance)
    monkeypatch.setattr(export, "draft_of", full)

    assert dequeue(job).status == FAILURE

    assert find_job(tower, job.job_id).error == "OSError"
    said = [entry.user_message for entry in instance.all_logs(job.run_id)]
    assert any("/srv/secret/draft" in message for message in said)


def test_a_run_whose_job_was_cancelled_ends_quietly(tower, instance, dequeue):
    job = submitted(tower, instance)
    request_cancel(tower, job.job_id, now=NOW)

    assert dequeue(job).status == SUCCESS

    assert find_job(tower, job.job_id).status == "cancelled"
    assert not list(results_folder(tower).glob("*"))


def test_a_run_that_comes_too_late_leaves_the_job_alone(tower, instance, dequeue):
    job = submitted(tower, instance)
    complete(tower, job.job_id, job.run_id, samples=7, result_bytes=1, now=NOW, put_in_place=lambda: None)
    done = find_job(tower, job.job_id)

    assert dequeue(job).status == SUCCESS

    assert find_job(tower, job.job_id) == done


@pytest.mark.parametrize(
    ("is_stopped_by_an_operator", "status"), [(True, "cancelled"), (False, "queued")], ids=["operator", "shutdown"]
)
def test_a_run_that_is_interrupted_cancels_its_job_only_where_an_operator_stopped_it(
    tower, instance, dequeue, monkeypatch, is_stopped_by_an_operator, status
):
    job = submitted(tower, instance)

    def interrupted(*_, **__):
        if is_stopped_by_an_operator:
            instance.report_run_canceling(instance.get_run_by_id(job.run_id))
        raise dg.DagsterExecutionInterruptedError

    monkeypatch.setattr(export, "draft_of", interrupted)
    dequeue(job)
    submit_due(tower, instance, now=NOW)

    assert find_job(tower, job.job_id).status == status


def test_the_sensor_submits_what_is_due_and_skips(settings, instance):
    job = open_job(settings, order(NAMES[:2]), now=datetime.now(UTC) - timedelta(seconds=1))
    context = dg.build_sensor_context(instance=instance, resources={"lake": Lake(database=str(settings.etl_data))})

    with context:
        skipped = export_sensor(context)

    assert skipped.skip_message == "1 export jobs were due and are in the queue now"
    assert find_job(settings, job.job_id).status == "submitted"


def test_the_clean_up_removes_results_and_cached_answers_past_their_time(settings):
    open_job(settings, order(NAMES[:1]), now=NOW - timedelta(days=400))
    [job] = claim_due(settings, now=NOW, limit=1)
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    done = complete(
        settings, job.job_id, job.run_id, samples=1, result_bytes=1, now=long_ago, put_in_place=lambda: None
    )
    results_folder(settings).mkdir(parents=True)
    result_path(settings, done).write_bytes(b"x")
    ResultCache(settings, now=lambda: long_ago).put("timeseries/tower/1.json", "v1", Payload(b"[]", 1, 0), site="tower")

    result = dg.materialize([exports_tidied], resources={"lake": Lake(database=str(settings.etl_data))})

    [made] = result.asset_materializations_for_node("exports_tidied")
    figures = {name: value.value for name, value in made.metadata.items()}
    assert figures == {"jobs_put_away": 1, "results_removed": 1, "cached_answers_removed": 1, "cache_bytes": 0}
    assert not result_path(settings, done).exists()


def test_what_is_loaded_by_dagster_is_the_job_that_is_submitted():
    assert defs.resolve_job_def("export_job").get_job_snapshot_id() == automation.export_job.get_job_snapshot_id()


def test_loading_the_job_loads_no_web_framework():
    code = "import sys, etl_assets.exports.automation; print('fastapi' in sys.modules, 'pyarrow' in sys.modules)"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said == "False False\n"


class Watched:
    """Opens the instance, and tells how often; fails as often as it is told to."""

    def __init__(self, instance, failures=0):
        self.instance = instance
        self.failures = failures
        self.opened = threading.Event()

    @contextmanager
    def __call__(self, _settings):
        if self.failures:
            self.failures -= 1
            raise OSError("the storage is away")
        self.opened.set()
        yield self.instance


def until_submitted(settings, job):
    deadline = time.monotonic() + PATIENCE_S
    while (found := find_job(settings, job.job_id)).status == "queued":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("failures", [0, 1])
def test_the_submitter_starts_jobs_until_it_is_stopped_whatever_fails_in_between(settings, instance, failures):
    watched = Watched(instance, failures)
    submitter = Submitter(settings, now=lambda: NOW, open_instance=watched)
    job = open_job(settings, order(NAMES[:1]), now=NOW)

    submitter.start()
    found = until_submitted(settings, job)
    submitter.stop()

    assert instance.get_run_by_id(found.run_id) is not None


def test_a_submitter_that_was_never_started_stops(settings):
    Submitter(settings).stop()
