"""Export jobs on record: what becomes of an order, try by try, and who may change it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from etl_assets.ops.job_records import count_jobs, dead_letters, find_job, list_jobs, put_away
from etl_assets.ops.job_state import (
    MOST_UNFINISHED,
    JobCancelledError,
    JobLostError,
    Order,
    OtherRequestError,
    TooManyJobsError,
    advance,
    cancelled,
    claim_due,
    complete,
    give_back,
    jobs_in_hand,
    open_job,
    request_cancel,
    take_up,
)

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ORDER = Order("north", "timeseries", {"site": "tower", "points": ["a"]}, "csv", 120_000, "tower", 1)


def nothing() -> None:
    """What a test puts in place."""


def order(number):
    """One that asks for another point than those of other numbers."""
    return replace(ORDER, request={"site": "tower", "points": [f"p{number}"]})


def claimed(settings, now=NOW):
    [job] = claim_due(settings, now=now, limit=1)
    return job


def fail(settings, now, error="the disk is full"):
    job = claimed(settings, now)
    return give_back(settings, job.job_id, job.run_id, error=error, now=now)


def test_an_order_is_queued_and_due_at_once(settings):
    job = open_job(settings, ORDER, now=NOW)

    assert (job.status, job.attempts, job.points_total, job.estimated_samples) == ("queued", 0, 1, 120_000)
    assert (job.created_at, job.not_before, job.finished_at) == (NOW, NOW, None)


def test_the_same_key_of_the_same_client_gives_the_same_job(settings):
    first = open_job(settings, ORDER, now=NOW, key="k-1")
    again = open_job(settings, ORDER, now=NOW + SECOND, key="k-1")

    assert again == first
    assert len(list_jobs(settings)) == 1


def test_the_same_key_of_two_clients_makes_two_jobs(settings):
    open_job(settings, ORDER, now=NOW, key="k-1")
    open_job(settings, replace(ORDER, client_id="south"), now=NOW, key="k-1")

    assert len(list_jobs(settings)) == 2


@pytest.mark.parametrize("changed", [{"result_format": "json"}, {"priority": 1}, {"request": {"site": "tower"}}])
def test_a_key_that_comes_with_another_request_is_refused(settings, changed):
    open_job(settings, ORDER, now=NOW, key="k-1")

    with pytest.raises(OtherRequestError, match="send a new key"):
        open_job(settings, replace(ORDER, **changed), now=NOW, key="k-1")


def test_a_key_compares_what_was_sent_and_not_what_it_stood_for(settings):
    first = open_job(settings, replace(ORDER, sent="all of the site"), now=NOW, key="k-1")
    grown = replace(ORDER, request={"site": "tower", "points": ["a", "b"]}, points_total=2)

    assert open_job(settings, replace(grown, sent="all of the site"), now=NOW, key="k-1") == first
    with pytest.raises(OtherRequestError):
        open_job(settings, replace(ORDER, sent="point a"), now=NOW, key="k-1")


def test_without_a_key_an_equal_order_gives_back_the_job_that_is_not_done(settings):
    first = open_job(settings, ORDER, now=NOW)
    assert open_job(settings, ORDER, now=NOW + SECOND) == first

    at_work = claimed(settings)
    assert open_job(settings, ORDER, now=NOW + SECOND) == at_work

    complete(settings, at_work.job_id, at_work.run_id, samples=9, result_bytes=80, now=NOW, put_in_place=nothing)
    assert open_job(settings, ORDER, now=NOW + SECOND).job_id != first.job_id


@pytest.mark.parametrize(
    "other",
    [
        {"client_id": "south"}, {"result_format": "json"}, {"priority": 5}, {"kind": "data"},
        {"request": {"site": "tower", "points": ["b"]}},
    ],
    ids=["client", "format", "priority", "kind", "points"],
)  # fmt: skip
def test_an_order_that_is_not_equal_makes_a_job(settings, other):
    first = open_job(settings, ORDER, now=NOW)

    assert open_job(settings, replace(ORDER, **other), now=NOW).job_id != first.job_id


def test_a_job_that_is_to_be_cancelled_is_given_to_nobody(settings):
    open_job(settings, ORDER, now=NOW)
    job = claimed(settings)
    request_cancel(settings, job.job_id, now=NOW)

    assert open_job(settings, ORDER, now=NOW).job_id != job.job_id


def test_a_client_may_have_twenty_jobs_that_are_not_done(settings):
    jobs = [open_job(settings, order(number), now=NOW) for number in range(MOST_UNFINISHED)]

    with pytest.raises(TooManyJobsError, match="20 jobs"):
        open_job(settings, ORDER, now=NOW)
    with pytest.raises(TooManyJobsError):
        open_job(settings, ORDER, now=NOW, key="k-1")
    assert open_job(settings, order(7), now=NOW) == jobs[7]
    assert open_job(settings, replace(ORDER, client_id="south"), now=NOW).status == "queued"

    request_cancel(settings, jobs[0].job_id, now=NOW)
    assert open_job(settings, ORDER, now=NOW).status == "queued"


def test_the_highest_priority_goes_first_and_then_the_oldest(settings):
    old = open_job(settings, order(1), now=NOW)
    new = open_job(settings, order(2), now=NOW + SECOND)
    urgent = open_job(settings, replace(ORDER, priority=5), now=NOW + 2 * SECOND)

    found = claim_due(settings, now=NOW + 2 * SECOND, limit=3)

    assert [job.job_id for job in found] == [urgent.job_id, old.job_id, new.job_id]


def test_two_submitters_at_once_claim_every_job_once(settings):
    orders = {open_job(settings, order(number), now=NOW).job_id for number in range(20)}

    with ThreadPoolExecutor(4) as pool:
        rounds = [pool.submit(claim_due, settings, now=NOW, limit=3) for _ in range(8)]
    found = [job.job_id for each in rounds for job in each.result()]

    assert sorted(found) == sorted(orders)


def test_a_claim_counts_a_try_and_names_its_run(settings):
    open_job(settings, ORDER, now=NOW)

    job = claimed(settings)

    assert (job.status, job.attempts) == ("submitted", 1)
    assert [(each.job_id, each.run_id) for each in jobs_in_hand(settings)] == [(job.job_id, job.run_id)]


def test_progress_is_on_record_as_it_is_made(settings):
    open_job(settings, ORDER, now=NOW)
    job = claimed(settings)

    take_up(settings, job.job_id, job.run_id, now=NOW + SECOND)
    advance(settings, job.job_id, job.run_id, points_done=1, samples=77, now=NOW + 2 * SECOND)

    found = find_job(settings, job.job_id)
    assert (found.status, found.points_done, found.samples) == ("running", 1, 77)
    assert (found.started_at, found.updated_at) == (NOW + SECOND, NOW + 2 * SECOND)


def test_a_completed_job_can_be_fetched_for_a_week(settings):
    open_job(settings, ORDER, now=NOW)
    job = claimed(settings)

    done = complete(settings, job.job_id, job.run_id, samples=9, result_bytes=80, now=NOW, put_in_place=nothing)

    assert (done.status, done.samples, done.result_bytes, done.points_done) == ("completed", 9, 80, 1)
    assert (done.finished_at, done.expires_at) == (NOW, NOW + timedelta(days=7))


def test_a_result_that_cannot_be_put_in_place_leaves_the_job_running(settings):
    open_job(settings, ORDER, now=NOW)
    job = claimed(settings)

    def full_disk():
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        complete(settings, job.job_id, job.run_id, samples=9, result_bytes=80, now=NOW, put_in_place=full_disk)
    assert find_job(settings, job.job_id).status == "submitted"


def test_failed_tries_are_due_again_after_one_two_and_four_seconds_and_then_no_more(settings):
    job = open_job(settings, ORDER, now=NOW)

    waits, now = [], NOW
    while (found := fail(settings, now)).status == "queued":
        waits.append((found.not_before - now).total_seconds())
        assert claim_due(settings, now=found.not_before - timedelta(milliseconds=1), limit=1) == []
        now = found.not_before

    assert waits == [1, 2, 4]
    assert (found.status, found.attempts, found.error) == ("failed", 4, "the disk is full")
    assert [each.job_id for each in dead_letters(settings)] == [job.job_id]


def test_a_run_that_was_given_up_changes_nothing_any_more(settings):
    job_id = open_job(settings, ORDER, now=NOW).job_id
    first = claimed(settings)
    give_back(settings, job_id, first.run_id, error="its process was killed", now=NOW)
    second = claimed(settings, NOW + SECOND)

    placed = []
    with pytest.raises(JobLostError, match=f"is submitted in run {second.run_id}"):
        advance(settings, job_id, first.run_id, points_done=1, samples=1, now=NOW)
    with pytest.raises(JobLostError):
        complete(
            settings, job_id, first.run_id, samples=1, result_bytes=1, now=NOW, put_in_place=lambda: placed.append(1)
        )
    assert give_back(settings, job_id, first.run_id, error="late", now=NOW) is None
    assert cancelled(settings, job_id, first.run_id, now=NOW) is None
    assert (placed, find_job(settings, job_id).run_id) == ([], second.run_id)


def test_a_job_that_no_run_has_is_cancelled_at_once(settings):
    job = open_job(settings, ORDER, now=NOW)

    assert request_cancel(settings, job.job_id, now=NOW).status == "cancelled"
    assert claim_due(settings, now=NOW, limit=1) == []


def test_a_job_at_work_is_cancelled_when_its_run_looks(settings):
    open_job(settings, ORDER, now=NOW)
    job = claimed(settings)

    asked = request_cancel(settings, job.job_id, now=NOW)

    assert (asked.status, asked.cancel_requested) == ("submitted", 1)
    with pytest.raises(JobCancelledError):
        take_up(settings, job.job_id, job.run_id, now=NOW)
    assert cancelled(settings, job.job_id, job.run_id, now=NOW).status == "cancelled"


def test_a_try_that_fails_after_the_job_was_cancelled_is_not_repeated(settings):
    open_job(settings, ORDER, now=NOW)
    job = claimed(settings)
    request_cancel(settings, job.job_id, now=NOW)

    assert give_back(settings, job.job_id, job.run_id, error="killed", now=NOW).status == "cancelled"


def test_a_job_that_has_ended_stays_as_it_is_when_it_is_cancelled(settings):
    open_job(settings, ORDER, now=NOW)
    job = claimed(settings)
    done = complete(settings, job.job_id, job.run_id, samples=9, result_bytes=80, now=NOW, put_in_place=nothing)

    assert request_cancel(settings, job.job_id, now=NOW + SECOND) == done
    assert request_cancel(settings, "job_unknown", now=NOW) is None


def test_an_ended_job_goes_into_the_history_when_its_result_expires(settings):
    open_job(settings, ORDER, now=NOW)
    job = claimed(settings)
    done = complete(settings, job.job_id, job.run_id, samples=9, result_bytes=80, now=NOW, put_in_place=nothing)

    assert put_away(settings, now=done.expires_at - SECOND) == []
    assert put_away(settings, now=done.expires_at) == [done]
    assert (list_jobs(settings), find_job(settings, job.job_id)) == ([], done)


def test_a_job_that_has_not_ended_is_never_put_away(settings):
    open_job(settings, ORDER, now=NOW)

    assert put_away(settings, now=NOW + timedelta(days=399)) == []
    assert count_jobs(settings) == {"queued": 1}


def test_the_history_is_forgotten_after_four_hundred_days(settings):
    job = open_job(settings, ORDER, now=NOW)
    request_cancel(settings, job.job_id, now=NOW)
    put_away(settings, now=NOW + timedelta(days=7))

    put_away(settings, now=NOW + timedelta(days=400))
    assert find_job(settings, job.job_id) is not None
    put_away(settings, now=NOW + timedelta(days=400) + SECOND)
    assert find_job(settings, job.job_id) is None


def test_a_key_may_be_used_again_once_what_it_made_is_history(settings):
    for start in (NOW, NOW + timedelta(days=8)):
        job = open_job(settings, ORDER, now=start, key="weekly")
        assert (job.status, job.created_at) == ("queued", start)
        request_cancel(settings, job.job_id, now=start)
        assert len(put_away(settings, now=start + timedelta(days=7))) == 1

    assert find_job(settings, job.job_id).created_at == NOW + timedelta(days=8)


def test_a_client_finds_and_lists_its_own_jobs_only(settings):
    north = open_job(settings, ORDER, now=NOW)
    south = open_job(settings, replace(ORDER, client_id="south"), now=NOW)

    assert find_job(settings, south.job_id, client_id="north") is None
    assert list_jobs(settings, client_id="north") == [north]
    assert {job.job_id for job in list_jobs(settings)} == {north.job_id, south.job_id}
    assert list_jobs(settings, status="running") == []
