"""The state of KPI jobs: a job a market day, each KPI in one run's hands, no workflow called twice."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import duckdb
import pytest
from sqlalchemy import update

from etl_assets.lake.publish import publish
from etl_assets.market_time import NEM_TIME
from etl_assets.ops.database import begin
from etl_assets.ops.kpi_records import LEFT_AFTER, failed_days, job_record
from etl_assets.ops.kpi_state import (
    UNANSWERED_PAUSE,
    UnknownRunError,
    accepted,
    claim,
    finish,
    job,
    last_job,
    new_trace_id,
    newest_job,
    open_job,
    record_call,
    runs_of,
)
from etl_assets.ops.state import KPI_HISTORY, copies_for_analysts, forget_old
from etl_assets.ops.tables import KPI_RUNS
from etl_assets_tests.ops.conftest import DAY, MINUTE, SECOND, TICK, Working


def test_a_trace_id_names_its_time_in_utc_and_is_no_other_jobs():
    moment = datetime(2025, 8, 14, 22, 0, tzinfo=NEM_TIME)

    names = {new_trace_id(moment) for _ in range(100)}

    assert len(names) == 100
    assert all(re.fullmatch(r"trace_20250814_120000_[0-9a-z]{8}", name) for name in names)


def test_a_new_job_has_its_kpis_pending_each_once(settings):
    made = open_job(settings, DAY, ["b", "a", "b"], moment=TICK, now=TICK + SECOND)

    assert (made.date, made.status, made.total_kpis, made.completed_kpis, made.failed_kpis) == (DAY, "pending", 2, 0, 0)
    assert (made.created_at, made.updated_at, made.scheduled_for) == (TICK + SECOND, TICK + SECOND, TICK)
    assert made.trace_id.startswith("trace_20261122_120000_")
    assert [(run.kpi_id, run.status, run.date) for run in runs_of(settings, made.trace_id)] == [
        ("a", "pending", DAY),
        ("b", "pending", DAY),
    ]
    assert job(settings, made.trace_id) == newest_job(settings, DAY) == last_job(settings) == made


def test_a_market_days_job_is_taken_up_again_and_gets_what_it_lacks(working):
    former = working.open("a")

    same = working.open("a")
    grown = working.open("b")

    assert same == former
    assert (grown.trace_id, grown.total_kpis) == (former.trace_id, 2)
    assert grown.updated_at > former.updated_at


def test_a_market_day_has_one_job_also_when_it_is_forced_and_another_day_has_its_own(settings, working):
    forced = working.open("a", forced_by="run-2")
    other = working.open("a", day=DAY - timedelta(days=1))

    assert working.trace_id == forced.trace_id != other.trace_id
    assert newest_job(settings, DAY) == forced
    assert last_job(settings) == other
    assert newest_job(settings, DAY + timedelta(days=1)) is None


def test_without_any_job_there_is_none_and_a_job_without_kpis_is_pending(settings):
    assert last_job(settings) is None
    assert job(settings, "trace_x") is None
    assert open_job(settings, DAY, [], moment=TICK, now=TICK).status == "pending"


@pytest.mark.parametrize(
    ("ends", "status", "counts"),
    [
        ((None, None), "pending", (0, 0)),
        (("claimed", None), "running", (0, 0)),
        (("completed", None), "running", (1, 0)),
        (("completed", "claimed"), "running", (1, 0)),
        (("completed", "completed"), "completed", (2, 0)),
        (("failed", "failed"), "failed", (0, 2)),
        (("completed", "failed"), "partial", (1, 1)),
    ],
)
def test_a_jobs_status_and_counts_are_those_of_its_kpis(settings, ends, status, counts):
    working = Working(settings, "a", "b")
    for kpi_id, end in zip("ab", ends, strict=True):
        if end:
            working.claim(kpi_id)
        if end in {"completed", "failed"}:
            working.finish(kpi_id, end)

    found = job(settings, working.trace_id)

    assert (found.status, found.total_kpis, (found.completed_kpis, found.failed_kpis)) == (status, 2, counts)


def test_a_job_is_told_as_the_predecessors_json(settings):
    production = settings.model_copy(update={"environment": "production"})
    working = Working(production, "cmc-btc-price", "eth")
    working.claim("cmc-btc-price")
    working.call("cmc-btc-price")
    working.claim("eth")
    working.finish("eth", "failed", error="status 500", retries=2)

    assert job_record(production, working.trace_id) == {
        "traceId": working.trace_id,
        "status": "partial",
        "createdAt": "2026-11-22T12:00:01Z",
        "updatedAt": "2026-11-22T12:00:06Z",
        "kpis": {
            "cmc-btc-price": {
                "kpiId": "cmc-btc-price",
                "status": "completed",
                "completedAt": "2026-11-22T12:00:04Z",
                "error": None,
                "retryCount": 0,
            },
            "eth": {
                "kpiId": "eth",
                "status": "failed",
                "completedAt": "2026-11-22T12:00:06Z",
                "error": "status 500",
                "retryCount": 2,
            },
        },
        "metadata": {"totalKPIs": 2, "completedKPIs": 1, "failedKPIs": 1, "environment": "production"},
    }


def test_a_pending_kpi_is_told_with_nulls_as_in_the_predecessors_json(settings, working):
    told = job_record(settings, working.trace_id)["kpis"]["a"]

    assert told == {"kpiId": "a", "status": "pending", "completedAt": None, "error": None, "retryCount": 0}


def test_a_kpi_in_one_runs_hands_is_no_other_runs_until_its_time_is_over(settings, working):
    first = working.claim()
    end = working.now + MINUTE

    again = working.claim()
    taken = claim(settings, working.trace_id, "a", run_id="run-2", now=end, until=end + MINUTE)
    late = working.now + MINUTE
    free = claim(settings, working.trace_id, "a", run_id="run-2", now=late, until=late + MINUTE)

    assert first.must_call
    assert again.must_call
    assert taken is None, "the run that claimed it again has it for longer"
    assert free.must_call
    assert (free.run.status, free.run.run_id, free.run.claimed_until) == ("running", "run-2", late + MINUTE)


def test_a_kpi_that_was_finished_is_free_at_once(working):
    working.claim()
    working.finish()

    assert working.claim(run_id="run-2") is not None


def test_a_completed_kpi_is_claimed_for_its_value_alone_and_stays_completed(working):
    working.claim()
    working.call()
    working.finish(value=1.5)
    former = working.run()

    again = working.claim()
    working.finish(value=2.5)

    assert not again.must_call
    assert again.run.status == working.status == "completed"
    assert (working.run().value, working.run().completed_at) == (2.5, former.completed_at)


def test_a_kpi_whose_call_failed_is_called_again_and_its_error_is_gone(working):
    working.claim()
    working.finish(status="failed", error="status 500", retries=2)
    failed = working.run()

    again = working.claim()

    assert (failed.status, failed.error, failed.retry_count) == ("failed", "status 500", 2)
    assert again.must_call
    assert (again.run.status, again.run.error, again.run.completed_at) == ("running", None, None)


def test_a_kpi_that_fails_without_a_reason_still_has_one(working):
    working.finish(status="failed")

    assert working.run().error == "it failed without saying why"


def test_a_value_that_fails_after_its_workflow_accepted_does_not_call_the_workflow_again(working):
    working.claim()
    working.call()
    working.finish(status="failed", error="the lake is busy")

    again = working.claim()
    working.finish(value=1.0)

    assert not again.must_call
    assert (working.run().status, working.run().error, working.run().value) == ("completed", None, 1.0)


def test_every_try_of_a_webhook_beyond_the_first_counts_and_each_once(settings, working):
    working.claim()
    record_call(settings, working.trace_id, "a", payload={}, now=working.tick())
    working.finish(status="failed", error="time-out", retries=2)
    working.claim()
    working.call(retries=1)
    working.finish(retries=1)

    # Three tries in the first run, two in the second.
    assert working.run().retry_count == 4


def test_what_a_workflow_is_sent_is_on_record_before_it_answers(settings, working):
    working.claim()

    record_call(settings, working.trace_id, "a", payload={"traceId": "t", "metadata": {"é": 1}}, now=working.tick())

    assert working.run().payload == {"traceId": "t", "metadata": {"é": 1}}
    assert working.run().triggered_at is None


def test_a_kpi_that_waits_for_its_report_stays_running_whatever_its_own_part(settings, working):
    working.claim()
    working.call(waits=True)
    waiting = working.run()

    working.finish(value=3.0)
    again = working.claim(run_id="run-2")

    assert (waiting.is_waiting, waiting.report_due) == (True, waiting.triggered_at + timedelta(hours=6))
    assert (working.run().status, working.run().value, working.run().is_waiting) == ("running", 3.0, True)
    assert not again.must_call
    assert failed_days(settings, since=DAY, now=TICK + timedelta(days=9)) == {}


def test_a_value_that_failed_beside_a_workflow_that_is_to_report_waits_again_once_it_is_there(working):
    working.claim()
    working.call(waits=True)
    working.finish(status="failed", error="the lake is busy")

    again = working.claim()
    working.finish(value=3.0)

    assert not again.must_call
    assert (working.run().status, working.run().error, working.run().is_waiting) == ("running", None, True)


def test_a_number_that_is_computed_no_more_is_taken_away(working):
    working.claim()
    working.finish(value=3.0)

    working.claim()
    working.finish(value=None)

    assert working.run().value is None


@pytest.mark.parametrize("name", ["job", "KPI"])
def test_a_job_or_kpi_that_is_not_there_is_named(settings, working, name):
    trace_id, kpi_id = ("trace_gone", "a") if name == "job" else (working.trace_id, "gone")
    changes = (
        lambda: claim(settings, trace_id, kpi_id, run_id="r", now=TICK, until=TICK + MINUTE),
        lambda: record_call(settings, trace_id, kpi_id, payload={}, now=TICK),
        lambda: accepted(settings, trace_id, kpi_id, retries=0, now=TICK, waits=False),
        lambda: finish(settings, trace_id, kpi_id, status="completed", now=TICK),
    )

    for change in changes:
        with pytest.raises(UnknownRunError, match=f"no (KPI job 'trace_gone'|{name} 'gone')"):
            change()
    with pytest.raises(UnknownRunError, match="'trace_gone'"):
        job_record(settings, "trace_gone")
    assert runs_of(settings, "trace_gone") == []


def test_a_refused_change_changes_nothing(settings, working):
    before = (job(settings, working.trace_id), working.run())

    with pytest.raises(UnknownRunError):
        finish(settings, working.trace_id, "gone", status="failed", now=working.tick())

    assert (job(settings, working.trace_id), working.run()) == before


def test_failed_days_name_what_failed_and_what_a_killed_run_left(settings):
    working = Working(settings, "completed", "failed", "killed", "at work", "waits")
    for kpi_id in ("completed", "failed", "killed"):
        working.claim(kpi_id)
    working.claim("at work", lasting=timedelta(hours=1))
    working.claim("waits")
    working.call("waits", waits=True)
    working.finish("completed")
    working.finish("failed", "failed")

    assert failed_days(settings, since=DAY, now=working.now) == {DAY: ["failed"]}
    assert failed_days(settings, since=DAY, now=working.now + MINUTE) == {DAY: ["failed", "killed"]}
    assert failed_days(settings, since=DAY + timedelta(days=1), now=working.now) == {}


def test_a_failed_kpi_that_a_run_has_in_hand_needs_no_other(settings, working):
    working.claim()
    working.call()
    working.finish(status="failed")
    working.claim()

    assert failed_days(settings, since=DAY, now=working.now) == {}


def test_failed_days_come_in_order(settings, working):
    for day in (DAY, DAY - timedelta(days=1)):
        working.trace_id = working.open("a", day=day).trace_id
        working.finish(status="failed")

    found = failed_days(settings, since=DAY - timedelta(days=1), now=working.now)

    assert list(found.items()) == [(DAY - timedelta(days=1), ["a"]), (DAY, ["a"])]


# --- by force -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waits", [True, False])
def test_a_forced_kpi_is_as_if_it_had_not_been_called_but_for_its_key(settings, waits):
    working = Working(settings, "a", "b")
    for kpi_id in "ab":
        working.claim(kpi_id)
        working.call(kpi_id, retries=2, waits=waits)
        working.finish(kpi_id)
    working.report("failed", error="no data")
    untouched, first = working.run("b"), working.run()

    working.open("a", forced_by="run-2")

    forced = working.run()
    assert (forced.status, forced.error, forced.retry_count, forced.forced_by) == ("pending", None, 0, "run-2")
    assert [forced.triggered_at, forced.report, forced.reported_at, forced.report_due, forced.completed_at] == [
        None
    ] * 5
    assert forced.payload is None
    assert (first.call_key, forced.call_key) == (f"{working.trace_id}:a", f"{working.trace_id}:a:2")
    assert working.run("b") == untouched
    assert working.status == "running"
    assert working.claim().must_call


def test_forcing_some_kpis_forgets_none_of_the_others_that_failed(settings):
    working = Working(settings, "well", "ill")
    working.claim("well")
    working.call("well")
    working.finish("well")
    working.finish("ill", "failed")

    working.open("well", forced_by="run-2")

    assert failed_days(settings, since=DAY, now=working.now) == {DAY: ["ill"]}


def test_a_run_that_is_tried_again_forces_nothing_twice_and_another_run_does(working):
    working.open("a", forced_by="run-2")
    working.claim(run_id="run-2")
    working.call()
    working.finish()

    working.open("a", forced_by="run-2")
    tried_again = working.run()
    working.open("a", forced_by="run-3")

    assert (tried_again.status, working.run().status) == ("completed", "pending")


def test_a_kpi_that_came_with_the_force_is_called_once_under_its_first_key(working):
    working.open("new", forced_by="run-2")
    working.claim("new", run_id="run-2")
    working.call("new")
    working.finish("new")

    working.open("new", forced_by="run-2")

    assert (working.run("new").status, working.run("new").calls) == ("completed", 1)


def test_a_key_changes_with_each_call_that_was_forced_and_with_no_force_before_a_call(working):
    keys = []
    for n in range(3):
        working.open("a", forced_by=f"run-{n}")
        working.open("a", forced_by=f"run-{n}, once more")
        keys.append(working.run().call_key.removeprefix(working.trace_id))
        working.claim()
        working.call()
        working.finish()

    assert keys == [":a", ":a:2", ":a:3"]


def test_a_kpi_that_a_run_has_in_hand_is_left_to_it_by_force(working):
    working.claim()
    before = working.run()

    working.open("a", forced_by="run-2")

    assert working.run() == before


def test_the_columns_that_came_later_mean_the_same_where_they_are_empty(settings, working):
    with begin(settings) as connection:
        connection.execute(update(KPI_RUNS).values(calls=None, unanswered=None, forced_by=None))

    assert (working.run().calls, working.run().unanswered) == (1, 0)
    assert working.run().call_key == f"{working.trace_id}:a"


# --- calls without an answer ----------------------------------------------------------------------------


def unanswered_calls(working, number: int) -> None:
    for _ in range(number):
        working.claim(run_id=f"run at {working.now}")
        working.finish(status="failed", error="no answer", is_unanswered=True)


def test_a_call_without_an_answer_is_repeated_once_and_then_only_if_somebody_asks(settings, working):
    seen = []
    for _ in range(3):
        unanswered_calls(working, 1)
        seen.append(failed_days(settings, since=DAY, now=working.now))

    assert seen == [{DAY: ["a"]}, {}, {}]
    assert working.claim().must_call


def test_a_run_that_is_tried_again_does_not_repeat_a_call_without_an_answer_at_once(working):
    working.claim()
    working.finish(status="failed", error="no answer", is_unanswered=True)
    ended = working.run().completed_at

    at_once = working.claim()
    working.now = ended + UNANSWERED_PAUSE - 2 * SECOND
    just_before = working.claim()
    then = working.claim()

    for claimed in (at_once, just_before):
        assert (claimed.must_call, claimed.not_before) == (False, ended + timedelta(minutes=5))
        assert (claimed.run.status, claimed.run.error, claimed.run.completed_at) == ("failed", "no answer", ended)
    assert (then.must_call, then.not_before, then.run.status) == (True, None, "running")


def test_another_run_may_repeat_a_call_without_an_answer_at_once(working):
    unanswered_calls(working, 1)

    assert working.claim(run_id="of the sensor, or by hand").must_call


def test_a_call_that_was_refused_may_be_repeated_at_once(working):
    working.claim()
    working.finish(status="failed", error="status 503")

    assert working.claim().must_call


def test_a_workflow_that_reported_before_its_call_went_without_an_answer_is_not_waited_for(working):
    working.claim()
    working.report("completed")
    working.finish(status="failed", error="no answer", is_unanswered=True)

    claimed = working.claim()
    working.finish()

    assert (claimed.must_call, claimed.not_before) == (False, None)
    assert working.run().status == "completed"


@pytest.mark.parametrize("cleared_by", ["acceptance", "report", "force"])
def test_what_is_known_of_a_workflow_ends_the_count_of_calls_without_an_answer(settings, working, cleared_by):
    unanswered_calls(working, 2)

    match cleared_by:
        case "acceptance":
            working.claim()
            working.call()
        case "report":
            working.report("failed")
        case "force":
            working.open("a", forced_by="run-2")

    assert working.run().unanswered == 0
    working.finish(status="failed", error="no answer", is_unanswered=True)
    assert failed_days(settings, since=DAY, now=working.now) == {DAY: ["a"]}


def test_a_kpi_that_a_killed_run_left_is_called_again_whatever_the_calls_before(settings, working):
    unanswered_calls(working, 2)

    working.claim()

    assert failed_days(settings, since=DAY, now=working.now + MINUTE) == {DAY: ["a"]}


def test_kpis_that_were_never_claimed_were_left_behind_once_nothing_of_their_job_has_changed_for_long(
    settings, working
):
    opened = working.now

    assert failed_days(settings, since=DAY, now=opened + LEFT_AFTER - SECOND) == {}
    assert failed_days(settings, since=DAY, now=opened + LEFT_AFTER) == {DAY: ["a"]}


def test_64_threads_at_once_work_off_a_job_and_lose_nothing(settings):
    kpi_ids = [f"kpi-{n:02}" for n in range(64)]
    trace_id = open_job(settings, DAY, kpi_ids, moment=TICK, now=TICK).trace_id

    def work_off(kpi_id: str) -> bool:
        claimed = claim(settings, trace_id, kpi_id, run_id="run-1", now=TICK, until=TICK + MINUTE)
        record_call(settings, trace_id, kpi_id, payload={}, now=TICK)
        if kpi_id.endswith("0"):
            finish(settings, trace_id, kpi_id, status="failed", error="refused", now=TICK)
        else:
            accepted(settings, trace_id, kpi_id, retries=0, now=TICK, waits=False)
            finish(settings, trace_id, kpi_id, status="completed", value=1.0, now=TICK)
        return claimed.must_call

    with ThreadPoolExecutor(64) as pool:
        called = list(pool.map(work_off, kpi_ids))

    found = job(settings, trace_id)
    assert called == [True] * 64
    assert (found.status, found.total_kpis, found.completed_kpis, found.failed_kpis) == ("partial", 64, 57, 7)


def published(settings, sql: str) -> list[tuple]:
    publish(settings, now=TICK, extra=copies_for_analysts(settings))
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(sql).fetchall()


def test_analysts_see_jobs_and_runs_with_what_was_sent_and_reported_and_no_claim(settings, working):
    working.claim()
    working.call(waits=True)
    working.report("completed", value=42.5)

    jobs = published(settings, "SELECT trace_id, date, status, total_kpis, scheduled_for FROM kpi.kpi_jobs")
    runs = published(settings, "SELECT kpi_id, date, value, payload->>'kpiId', report->>'status' FROM kpi.kpi_runs")
    types = dict(published(settings, "SELECT column_name, column_type FROM (DESCRIBE kpi.kpi_runs)"))

    assert jobs == [(working.trace_id, DAY, "completed", 1, TICK)]
    assert runs == [("a", DAY, 42.5, "a", "completed")]
    assert (types["date"], types["value"], types["report_due"]) == ("DATE", "DOUBLE", "TIMESTAMP WITH TIME ZONE")
    assert "claimed_until" not in types


def test_a_file_without_any_job_still_has_the_tables(settings):
    assert published(settings, "SELECT count(*) FROM kpi.kpi_jobs UNION ALL SELECT count(*) FROM kpi.kpi_runs") == [
        (0,),
        (0,),
    ]


def test_jobs_are_forgotten_with_all_their_runs_some_time_after_they_were_made(settings, working):
    long_ago = DAY - timedelta(days=1000)
    late = TICK + KPI_HISTORY
    kept = open_job(settings, long_ago, ["a"], moment=late, now=late).trace_id

    working.now = late
    working.open("b")

    # The day's job is as old as it is, although a KPI came to it later.
    assert forget_old(settings, now=TICK + KPI_HISTORY + SECOND) == 0
    assert forget_old(settings, now=TICK + KPI_HISTORY + 2 * SECOND) == 3
    assert job(settings, working.trace_id) is None
    assert runs_of(settings, working.trace_id) == []
    assert [run.kpi_id for run in runs_of(settings, kept)] == ["a"]
