"""What workflows report back: read strictly, taken once, the later one wins; who does not report has failed."""

from datetime import UTC, datetime, timedelta

import pytest

from etl_assets.ops.kpi_records import failed_days, job_record, reported_since
from etl_assets.ops.kpi_reports import (
    LONGEST_ERROR,
    MOST_VALUES,
    Report,
    ReportError,
    expire_reports,
    parse_report,
    report_back,
)
from etl_assets.ops.kpi_state import UnknownRunError, accepted, job, record_call
from etl_assets_tests.ops.conftest import DAY, SECOND, TICK, Working

BODY = {"traceId": "trace_20261122_120000_abc12345", "kpiId": "a", "status": "completed"}
BEFORE = "2026-11-22T11:59:00Z"


@pytest.fixture
def waiting(working):
    """Its workflow has accepted the call, and is to report back."""
    working.claim()
    working.call(waits=True)
    working.finish()
    return working


def test_a_report_has_the_names_of_the_job_record_and_what_else_it_says_is_left_out():
    report = parse_report(
        {
            **BODY,
            "completedAt": "2026-11-22T22:05:00+10:00",
            "error": None,
            "retryCount": 2,
            "values": {"NSW1": 81, "VIC1": -3.5},
            "executionId": "n8n-77",
        }
    )

    assert (report.trace_id, report.kpi_id, report.status) == (BODY["traceId"], "a", "completed")
    assert report.completed_at == datetime(2026, 11, 22, 12, 5, tzinfo=UTC)
    assert (report.error, report.retry_count, report.value) == (None, 2, None)
    assert report.values == {"NSW1": 81.0, "VIC1": -3.5}


def test_a_report_may_say_no_more_than_how_it_stands():
    report = parse_report(BODY)

    assert report == Report(trace_id=BODY["traceId"], kpi_id="a", status="completed")
    assert (report.completed_at, report.error, report.retry_count, report.value, report.values) == (
        None,
        None,
        None,
        None,
        {},
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": "done"}, "status: Input should be 'running', 'completed' or 'failed'"),
        ({"status": None}, "status: "),
        ({"traceId": 7}, "traceId: "),
        ({"traceId": ""}, "traceId: "),
        ({"traceId": "t" * 201}, "traceId: "),
        ({"kpiId": "a\x00b"}, "kpiId: must have printable characters only"),
        ({"completedAt": 1795348800}, "completedAt: must be a text such as 2025-08-14T12:00:00Z"),
        ({"completedAt": "2026-11-22T12:00:00"}, "completedAt: must be a time with its offset"),
        ({"completedAt": "yesterday"}, "completedAt: must be a time with its offset"),
        ({"completedAt": "0001-01-01T00:00:00+14:00"}, "completedAt: must be a time with its offset"),
        ({"retryCount": -1}, "retryCount: "),
        ({"retryCount": 10**30}, "retryCount: "),
        ({"retryCount": True}, "retryCount: "),
        ({"error": {"message": "x"}}, "error: "),
        ({"value": float("nan")}, "value: Input should be a finite number"),
        ({"value": float("-inf")}, "value: Input should be a finite number"),
        ({"value": 10**400}, "value: "),
        ({"value": "81.5"}, "value: "),
        ({"value": True}, "value: "),
        ({"values": {"NSW1": float("inf")}}, "values.NSW1: Input should be a finite number"),
        ({"values": {"NSW1": None}}, "values.NSW1: "),
        ({"values": {"": 1.0}}, "values"),
        ({"values": {"\ud800": 1.0}}, "values"),
        ({"values": [1.0]}, "values: "),
        ({"values": {str(n): 1.0 for n in range(MOST_VALUES + 1)}}, "values: Dictionary should have at most 1000"),
        ({"value": 1.0, "values": {"NSW1": 1.0}}, "value and values: "),
    ],
)
def test_a_report_that_cannot_be_accepted_names_the_field(change, said):
    with pytest.raises(ReportError) as refused:
        parse_report({**BODY, **change})

    assert said in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("name", ["traceId", "kpiId", "status"])
def test_a_report_that_lacks_a_field_names_it(name):
    with pytest.raises(ReportError, match=f"{name}: Field required"):
        parse_report({key: value for key, value in BODY.items() if key != name})


def test_of_many_problems_the_first_are_named_and_the_rest_counted():
    with pytest.raises(ReportError, match=r"values\.4: .*; and 95 more$"):
        parse_report({**BODY, "values": {str(n): "x" for n in range(100)}})


@pytest.mark.parametrize("body", [None, [], "x", 5])
def test_a_report_that_is_no_object_is_refused(body):
    with pytest.raises(ReportError):
        parse_report(body)


def test_a_long_error_is_cut_and_what_no_database_takes_is_taken_out(waiting):
    kept = waiting.report("failed", error="a\x00b\ud800" + "x" * 3000).error

    assert len(kept) == LONGEST_ERROR
    assert kept.startswith("ab?xxx")
    assert kept.endswith("x…")


def test_a_report_completes_the_kpi_and_with_the_last_one_its_job(settings):
    working = Working(settings, "a", "b")
    for kpi_id in "ab":
        working.claim(kpi_id)
        working.call(kpi_id, waits=True)
        working.finish(kpi_id)

    first = working.report("completed", "a", completedAt="2026-11-22T12:00:04.5Z", value=81.5, retryCount=3)
    between = working.status
    working.report("completed", "b")

    assert (first.status, first.value, first.retry_count, first.is_waiting) == ("completed", 81.5, 3, False)
    assert first.completed_at == TICK + 4.5 * SECOND
    assert (between, working.status) == ("running", "completed")
    assert first.report == {
        **BODY,
        "traceId": working.trace_id,
        "completedAt": "2026-11-22T12:00:04.500000Z",
        "value": 81.5,
        "retryCount": 3,
    }


def test_a_report_without_a_time_or_with_one_to_come_ends_when_it_came(waiting):
    assert waiting.report("completed").completed_at == waiting.now

    assert waiting.report("failed", completedAt="2099-01-01T00:00:00Z").completed_at == waiting.now


def test_the_same_report_again_changes_nothing(settings, waiting):
    first = waiting.report("failed", error="x", completedAt=BEFORE)
    of_job = job(settings, waiting.trace_id)

    assert waiting.report("failed", error="x", completedAt=BEFORE) == first
    assert job(settings, waiting.trace_id) == of_job


def test_a_failure_is_healed_by_a_later_report_and_its_error_is_gone(waiting):
    failed = waiting.report("failed", error="no data")

    healed = waiting.report("completed", value=1.0)

    assert (failed.status, failed.error) == ("failed", "no data")
    assert (healed.status, healed.error, waiting.status) == ("completed", None, "completed")
    assert not waiting.claim().must_call


def test_a_call_that_timed_out_is_healed_by_the_report_of_the_workflow_that_ran_whatever_its_clock_says(working):
    working.claim()
    working.finish(status="failed", error="time-out")

    working.report("completed", completedAt=BEFORE)

    assert working.run().status == "completed"


def test_a_workflow_that_finds_out_later_that_it_failed_is_called_again(waiting):
    waiting.report("completed", completedAt="2026-11-22T12:00:10Z")

    failed = waiting.report("failed", error="the data were of yesterday")

    assert (failed.status, failed.error) == ("failed", "the data were of yesterday")
    assert waiting.claim().must_call


@pytest.mark.parametrize(("first", "second"), [("completed", "failed"), ("failed", "completed")])
def test_a_report_that_ended_before_the_last_one_did_changes_nothing(waiting, first, second):
    taken = waiting.report(first, completedAt="2026-11-22T12:00:03Z")

    assert waiting.report(second, completedAt="2026-11-22T12:00:02Z") == taken


def test_a_failure_without_a_reason_says_so(waiting):
    assert waiting.report("failed").error == "the workflow reported failure without saying why"


def test_a_workflow_that_reports_that_it_runs_has_accepted_its_call(working):
    working.claim()
    running = working.report("running")
    working.finish(status="failed", error="no answer within 30 s")

    again = working.claim()

    assert (running.status, running.is_waiting) == ("running", True)
    assert not again.must_call


@pytest.mark.parametrize("end", ["completed", "failed"])
def test_a_kpi_that_has_ended_runs_no_more(waiting, end):
    ended = waiting.report(end)

    assert waiting.report("running") == ended


def test_a_running_workflow_has_no_longer_time_for_saying_so(waiting):
    due = waiting.run().report_due

    assert waiting.report("running").report_due == due


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("end", ["completed", "failed"])
def test_a_workflow_that_reports_before_its_webhook_answers_is_believed(settings, working, end, waits):
    working.claim()
    record_call(settings, working.trace_id, "a", payload={}, now=working.tick())
    working.report(end, error="no data" if end == "failed" else None)
    accepted(settings, working.trace_id, "a", retries=1, now=working.tick(), waits=waits)
    working.finish(retries=1)

    assert (working.run().status, working.run().retry_count) == (end, 1)
    assert working.claim().must_call == (end == "failed")


def test_the_failure_of_a_former_call_that_comes_once_more_does_not_fail_the_next_one(waiting):
    waiting.report("failed", error="x", completedAt=BEFORE)
    waiting.claim()

    waiting.report("failed", error="x", completedAt=BEFORE)

    assert waiting.run().status == "running"


def test_a_second_call_may_fail_as_the_first_one_did(waiting):
    waiting.report("failed", error="x")
    waiting.claim()
    waiting.call(waits=True)

    assert waiting.report("failed", error="x").status == "failed"


def test_a_number_that_was_reported_stays_when_the_run_has_none_of_its_own(waiting):
    waiting.report("completed", value=81.5)
    waiting.claim()
    waiting.finish()

    assert waiting.run().value == 81.5


@pytest.mark.parametrize("field", ["traceId", "kpiId"])
def test_a_report_of_a_job_or_kpi_that_is_not_there_is_refused(settings, waiting, field):
    body = {**BODY, "traceId": waiting.trace_id, field: "gone"}

    with pytest.raises(UnknownRunError, match=f"'gone'.*{field}"):
        report_back(settings, parse_report(body), now=TICK)


def test_reports_are_seen_once_in_their_order(settings):
    working = Working(settings, "b", "a")
    working.report("completed", "b")
    working.report("failed", "a")

    seen = reported_since(settings, TICK)

    assert [(run.kpi_id, run.status) for run in seen] == [("b", "completed"), ("a", "failed")]
    assert reported_since(settings, seen[0].reported_at) == seen[1:]
    assert reported_since(settings, seen[1].reported_at) == []


def test_who_does_not_report_back_in_time_has_failed_and_is_called_again(settings, waiting):
    due = waiting.run().report_due

    early = expire_reports(settings, now=due - SECOND)
    [expired] = expire_reports(settings, now=due)

    assert early == []
    assert (expired.kpi_id, expired.status, expired.completed_at) == ("a", "failed", due)
    assert expired.error == "the workflow did not report back within 6 hours"
    assert waiting.status == "failed"
    assert failed_days(settings, since=DAY, now=due) == {DAY: ["a"]}
    assert expire_reports(settings, now=due) == []
    assert waiting.claim().must_call


def test_who_has_reported_or_need_not_does_not_expire(settings):
    working = Working(settings, "reported", "accepted", "pending", "claimed")
    for kpi_id in ("reported", "accepted", "claimed"):
        working.claim(kpi_id)
    working.call("reported", waits=True)
    working.call("accepted")
    working.report("completed", "reported")

    assert expire_reports(settings, now=TICK + timedelta(days=9)) == []


@pytest.mark.parametrize("status", ["running", "completed", "failed"])
def test_what_comes_before_a_forced_call_is_of_the_call_before_and_changes_nothing(waiting, status):
    waiting.open("a", forced_by="run-2")
    waiting.claim(run_id="run-2")
    forced = waiting.run()

    assert waiting.report(status) == forced

    waiting.call(waits=True)
    assert waiting.report(status).status == status


def test_a_report_that_comes_after_its_time_still_heals(settings, waiting):
    expire_reports(settings, now=waiting.run().report_due)

    waiting.report("completed")

    assert job_record(settings, waiting.trace_id)["kpis"]["a"]["status"] == "completed"
    assert not waiting.claim().must_call
