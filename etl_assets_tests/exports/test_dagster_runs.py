"""Export jobs as Dagster runs: one run a try, whoever submits it and whatever happens in between."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import dagster as dg
import pytest

from etl_assets.exports.dagster_runs import submit_due
from etl_assets.ops.job_records import find_job
from etl_assets.ops.job_state import claim_due, open_job, request_cancel
from etl_assets_tests.exports.conftest import NAMES, NOW
from etl_assets_tests.exports.test_export import order

SECOND = timedelta(seconds=1)
QUEUED = dg.DagsterRunStatus.QUEUED


def ordered(settings, **more):
    return open_job(settings, order(NAMES[:2], **more), now=NOW)


def runs_of(instance, job):
    return instance.get_runs(filters=dg.RunsFilter(tags={"etl_assets/export": job.job_id}))


def submitted(settings, instance, job, now=NOW):
    submit_due(settings, instance, now=now)
    return find_job(settings, job.job_id)


def test_a_job_that_is_due_becomes_a_run_in_dagsters_queue(settings, instance):
    job = submitted(settings, instance, ordered(settings))

    [run] = runs_of(instance, job)
    assert (run.run_id, run.status, run.job_name) == (job.run_id, QUEUED, "export_job")
    assert run.remote_job_origin.location_name == "etl_assets"
    expected = {"etl_assets/client": "north", "dagster/priority": "-10", "dagster/max_retries": "0"}
    assert expected.items() <= run.tags.items()


def test_rounds_without_a_job_do_nothing(settings, instance):
    assert submit_due(settings, instance, now=NOW) == 0


def test_many_submitters_at_once_start_one_run_a_job(settings, instance):
    jobs = [ordered(settings, number=number) for number in range(6)]

    with ThreadPoolExecutor(4) as pool:
        rounds = list(pool.map(lambda _: submit_due(settings, instance, now=NOW), range(12)))

    assert sum(rounds) == 6
    assert [[run.status for run in runs_of(instance, job)] for job in jobs] == [[QUEUED]] * 6


def test_a_job_that_was_claimed_by_a_submitter_that_died_is_started_under_the_same_id(settings, instance):
    job = ordered(settings)
    [claimed] = claim_due(settings, now=NOW, limit=1)

    again = submitted(settings, instance, job)

    assert (again.attempts, again.run_id) == (1, claimed.run_id)
    assert [(run.run_id, run.status) for run in runs_of(instance, job)] == [(claimed.run_id, QUEUED)]


def test_a_run_that_was_made_and_not_queued_is_queued_by_the_next_round(settings, instance, monkeypatch):
    job = ordered(settings)
    with monkeypatch.context() as patch:
        patch.setattr(instance, "submit_run", lambda *_, **__: pytest.fail("as if killed here"))
        with pytest.raises(pytest.fail.Exception):
            submit_due(settings, instance, now=NOW)
    [made] = runs_of(instance, job)
    assert made.status == dg.DagsterRunStatus.NOT_STARTED

    submit_due(settings, instance, now=NOW)

    assert [(run.run_id, run.status) for run in runs_of(instance, job)] == [(made.run_id, QUEUED)]


def test_a_job_that_dagster_does_not_take_keeps_no_other_from_starting(settings, instance, monkeypatch, caplog):
    first, second = ordered(settings, number=1), ordered(settings, number=2)
    original = instance.create_run_for_job

    def refusing(*arguments, **options):
        if options["tags"]["etl_assets/export"] == first.job_id:
            raise OSError("the disk is full")
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(instance, "create_run_for_job", refusing)
        submit_due(settings, instance, now=NOW)
    assert (runs_of(instance, first), len(runs_of(instance, second))) == ([], 1)
    assert "the next round tries" in caplog.text

    submit_due(settings, instance, now=NOW)
    assert len(runs_of(instance, first)) == 1


def test_a_run_that_died_is_followed_by_another_when_the_back_off_is_over(settings, instance):
    job = submitted(settings, instance, ordered(settings))
    instance.report_run_failed(instance.get_run_by_id(job.run_id))

    waiting = submitted(settings, instance, job, NOW)
    assert (waiting.status, waiting.not_before) == ("queued", NOW + SECOND)
    assert "ended without a result (FAILURE)" in waiting.error

    again = submitted(settings, instance, job, NOW + SECOND)
    assert (again.status, again.attempts) == ("submitted", 2)
    assert [run.status for run in runs_of(instance, job)] == [QUEUED, dg.DagsterRunStatus.FAILURE]


def test_a_job_has_four_runs_at_most(settings, instance):
    job, now = ordered(settings), NOW
    for _ in range(10):
        found = submitted(settings, instance, job, now)
        if found.status == "submitted":
            instance.report_run_failed(instance.get_run_by_id(found.run_id))
        now += 10 * SECOND

    assert (found.status, found.attempts, len(runs_of(instance, job))) == ("failed", 4, 4)


def test_a_run_that_an_operator_cancels_in_dagster_cancels_the_job(settings, instance):
    job = submitted(settings, instance, ordered(settings))
    instance.report_run_canceled(instance.get_run_by_id(job.run_id))

    assert submitted(settings, instance, job).status == "cancelled"


def test_a_job_that_is_cancelled_before_its_run_began_takes_the_run_out_of_the_queue(settings, instance):
    job = submitted(settings, instance, ordered(settings))
    request_cancel(settings, job.job_id, now=NOW)

    submit_due(settings, instance, now=NOW)
    submit_due(settings, instance, now=NOW)

    assert find_job(settings, job.job_id).status == "cancelled"
    assert [run.status for run in runs_of(instance, job)] == [dg.DagsterRunStatus.CANCELED]


def test_a_job_that_is_cancelled_before_dagster_had_its_run_never_gets_one(settings, instance):
    job = ordered(settings)
    claim_due(settings, now=NOW, limit=1)
    request_cancel(settings, job.job_id, now=NOW)

    assert submitted(settings, instance, job).status == "cancelled"
    assert runs_of(instance, job) == []
