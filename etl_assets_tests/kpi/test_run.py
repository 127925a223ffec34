"""KPIs worked off: each by itself, its workflow after its value, none called twice, whatever breaks on the way."""

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pytest

from etl_assets.kpi import run as run_module
from etl_assets.kpi.callback import take_report
from etl_assets.kpi.query import MOST_PROCESSES, KpiValue
from etl_assets.kpi.registry import Kpi
from etl_assets.kpi.run import DAYS_PER_COMMIT, Done, compute_days
from etl_assets.kpi.values import day_values
from etl_assets.lake.connection import write_lake
from etl_assets.market_time import utc_now
from etl_assets.ops.kpi_records import failed_days, job_record
from etl_assets.ops.kpi_state import UNANSWERED_PAUSE, claim, job, runs_of
from etl_assets.settings import Settings
from etl_assets_tests.kpi.conftest import (
    BY_REGION,
    DAY,
    FORTY,
    PRICE,
    STARTED,
    TICK,
    WRONG,
    Receivers,
    hangs_up,
    kpi,
    price_of,
    says,
    statuses,
    time_later,
    with_workflows,
    work_off,
)
from etl_assets_tests.kpi.triggering import nobody

ENDLESS = "SELECT count(*) FROM range(1000000) a, range(1000000) b, aemo.price WHERE market_day = $market_day"
EMPTY_DAY = date(2025, 11, 22)


# --- one day --------------------------------------------------------------------------------------------


def test_a_day_is_computed_stored_and_told_to_the_workflow_in_this_order(market: Settings, receivers: Receivers):
    [both] = with_workflows(receivers, ["price"], sql=BY_REGION, type="price", description="Mean.")
    stored_at_the_call = []

    def look(handler):
        stored_at_the_call.append(day_values(market, ["price"], [DAY]))
        STARTED(handler)

    receivers.answers["price"] = look

    trace_id, done = work_off(market, [both])

    expected = [KpiValue("NSW1", 139.0), KpiValue("SA1", 278.0)]
    assert sorted(done["price"].values, key=lambda value: value.entity) == expected
    assert (done["price"].workflow, done["price"].error) == ("triggered", "")
    assert stored_at_the_call == [{("price", DAY): expected}]
    assert receivers.calls == [
        (
            "price",
            {
                "traceId": trace_id,
                "kpiId": "price",
                "timestamp": "2025-11-22T12:00:00Z",
                "kpiType": "price",
                "metadata": {
                    "schedulerWorker": "scheduler-worker",
                    "environment": "development",
                    "kpiName": "Price",
                    "kpiDescription": "Mean.",
                },
            },
        )
    ]
    assert trace_id.startswith("trace_20251122_120000_")


def test_a_kpi_of_one_number_has_it_in_its_run_and_one_by_entity_has_not(market: Settings):
    trace_id, _ = work_off(market, [kpi("one", sql=PRICE), kpi("many", sql=BY_REGION)])

    assert {run.kpi_id: run.value for run in runs_of(market, trace_id)} == {"one": 139.0, "many": None}


def test_a_query_that_is_wrong_fails_its_kpi_alone_and_its_workflow_is_not_called(
    market: Settings, receivers: Receivers
):
    wrong = kpi("wrong", sql=WRONG, webhookUrl=receivers.url("wrong"))
    others = [kpi("price", sql=PRICE, webhookUrl=receivers.url("price")), *with_workflows(receivers, ["report"])]

    trace_id, done = work_off(market, [wrong, *others])

    assert "no_such_column" in done["wrong"].error
    assert done["wrong"].values is None
    assert receivers.called == {"price": 1, "report": 1}
    assert statuses(market, trace_id) == {"wrong": "failed", "price": "completed", "report": "completed"}
    assert job(market, trace_id).status == "partial"


def test_a_query_without_end_fails_its_kpi_alone(market: Settings):
    hasty = market.model_copy(update={"kpi_sql_timeout": timedelta(seconds=1)})

    _, done = work_off(hasty, [kpi("endless", sql=ENDLESS), kpi("price", sql=PRICE)])

    assert "KPI_SQL_TIMEOUT" in done["endless"].error
    assert done["price"].values == (KpiValue("", 139.0),)


def test_without_a_published_file_queries_fail_with_the_reason_and_workflows_go_on(
    settings: Settings, receivers: Receivers
):
    _, done = work_off(settings, [kpi("price", sql=PRICE), *with_workflows(receivers, ["report"])])

    assert "etl-assets publish" in done["price"].error
    assert (done["report"].error, done["report"].workflow) == ("", "triggered")
    assert receivers.called == {"report": 1}


def test_values_that_the_lake_does_not_take_fail_their_kpis_and_workflows_go_on(market: Settings, receivers: Receivers):
    impatient = market.model_copy(update={"lake_lock_timeout": timedelta(milliseconds=100)})
    both = with_workflows(receivers, ["price"], sql=PRICE)

    with write_lake(market, "another writer"):
        trace_id, done = work_off(impatient, [*both, *with_workflows(receivers, ["report"])])

    assert done["price"].error.startswith("its value could not be stored: LakeBusyError: ")
    assert receivers.called == {"report": 1}
    assert statuses(market, trace_id) == {"price": "failed", "report": "completed"}


def test_a_host_that_is_down_is_left_alone_and_no_other_host_with_it(market: Settings, receivers: Receivers):
    careful = market.model_copy(update={"kpi_breaker_failures": 2, "kpi_concurrency": 1})
    dead = nobody()
    down = [kpi(f"down-{n}", webhookUrl=f"{dead}/webhook/{n}") for n in range(4)]

    trace_id, done = work_off(careful, [*down, *with_workflows(receivers, ["report"])])

    assert sorted("left alone until" in done[each.id].error for each in down) == [False, False, True, True]
    assert statuses(market, trace_id) == {**dict.fromkeys((each.id for each in down), "failed"), "report": "completed"}


def test_what_nobody_foresaw_fails_the_kpi_that_met_it(
    market: Settings, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(run_module.Workflows, "trigger", broken)

    trace_id, done = work_off(market, with_workflows(receivers, ["report"]))

    assert done["report"].error == "RuntimeError: out of order"
    assert statuses(market, trace_id) == {"report": "failed"}


# --- turns ----------------------------------------------------------------------------------------------


def test_a_workflow_waits_behind_no_query(market: Settings, receivers: Receivers):
    narrow = market.model_copy(update={"kpi_concurrency": 1, "kpi_sql_timeout": timedelta(seconds=1.5)})
    endless = [kpi(f"endless-{n}", sql=ENDLESS) for n in range(2)]
    seen = []

    def look(handler):
        seen.append(statuses(market, receivers.calls[0][1]["traceId"]))
        STARTED(handler)

    receivers.answers["report"] = look

    work_off(narrow, [*endless, *with_workflows(receivers, ["report"])])

    assert [found["endless-1"] for found in seen] == ["running"]


def test_a_query_is_timed_from_its_turn_on(market: Settings):
    hasty = market.model_copy(update={"kpi_sql_timeout": timedelta(seconds=1)})
    endless = [kpi(f"endless-{n}", sql=ENDLESS) for n in range(MOST_PROCESSES)]

    _, done = work_off(hasty, [*endless, kpi("price", sql=PRICE)])

    # Whoever waited for one of the others would have taken as long as that one and its own.
    assert done["price"].seconds < min(done[each.id].seconds for each in endless)


def test_a_kpi_whose_query_waits_for_its_turn_is_in_hand_for_as_long_as_that_may_take(
    market: Settings, receivers: Receivers
):
    narrow = market.model_copy(update={"kpi_concurrency": 1, "kpi_sql_timeout": timedelta(seconds=1)})
    queries = [kpi(f"endless-{n}", sql=ENDLESS) for n in range(3)]
    ends = []

    def look(handler):
        found = {run.kpi_id: run.claimed_until for run in runs_of(market, receivers.calls[0][1]["traceId"])}
        ends.extend([found["report"], found["endless-2"]])
        STARTED(handler)

    receivers.answers["report"] = look

    work_off(narrow, [*with_workflows(receivers, ["report"]), *queries])

    # Two queries before it, of 1 s and 2 s of grace each.
    assert ends[1] - ends[0] >= timedelta(seconds=6)


# --- the same day again ---------------------------------------------------------------------------------


def test_the_same_day_again_computes_the_value_anew_and_calls_nobody(market: Settings, receivers: Receivers):
    kpis = [*with_workflows(receivers, ["report"]), *with_workflows(receivers, ["price"], sql=PRICE)]
    first, _ = work_off(market, kpis)

    second, done = work_off(market, kpis, "run-2")

    assert first == second
    assert receivers.called == {"report": 1, "price": 1}
    assert {each.workflow for each in done.values()} == {"triggered before"}
    assert done["price"].values == (KpiValue("", 139.0),)
    assert job(market, second).status == "completed"


def test_the_same_day_by_force_calls_again_in_the_same_job_under_another_key(market: Settings, receivers: Receivers):
    kpis = with_workflows(receivers, ["report"])
    first, _ = work_off(market, kpis)

    second, _ = work_off(market, kpis, "run-2", force=True)

    assert first == second
    assert [payload["traceId"] for _, payload in receivers.calls] == [first, first]
    assert receivers.keys == [f"{first}:report", f"{first}:report:2"]


def test_after_a_force_of_some_kpis_the_same_day_calls_none_of_the_others_again(market: Settings, receivers: Receivers):
    kpis = with_workflows(receivers, ["forced", "other"])
    work_off(market, kpis)
    work_off(market, kpis[:1], "run-2", force=True)

    work_off(market, kpis, "run-3")

    assert receivers.called == {"forced": 2, "other": 1}


def test_a_forced_run_that_is_tried_again_calls_only_those_that_failed(market: Settings, receivers: Receivers):
    kpis = with_workflows(receivers, ["well", "ill"])
    receivers.answers["ill"] = says(404)
    work_off(market, kpis)
    work_off(market, kpis, "run-2", force=True)

    work_off(market, kpis, "run-2", force=True)

    assert receivers.called == {"well": 2, "ill": 3}


def test_a_workflow_without_an_answer_is_called_once_a_run_and_by_itself_once_more(
    market: Settings, receivers: Receivers
):
    stubborn = market.model_copy(update={"kpi_webhook_retries": 2})
    kpis = with_workflows(receivers, ["report"])
    receivers.answers["report"] = hangs_up
    due = []
    for run_id in ("run-1", "run-2"):
        work_off(stubborn, kpis, run_id)
        due.append(failed_days(stubborn, since=DAY, now=utc_now()))

    assert receivers.called == {"report": 2}
    assert due == [{DAY: ["report"]}, {}]
    assert len(set(receivers.keys)) == 1
    receivers.answers.clear()
    _, done = work_off(stubborn, kpis, "by hand")
    assert done["report"].workflow == "triggered"


def test_a_run_that_is_tried_again_at_once_does_not_spend_the_second_call(market: Settings, receivers: Receivers):
    kpis = with_workflows(receivers, ["report"], sql=PRICE)
    receivers.answers["report"] = hangs_up
    trace_id, _ = work_off(market, kpis)

    _, done = work_off(market, kpis)

    record = job_record(market, trace_id)["kpis"]["report"]
    assert receivers.called == {"report": 1}
    assert done["report"].values is not None
    assert (record["status"], done["report"].workflow) == ("failed", "no answer")
    assert re.fullmatch(
        re.escape(record["error"]) + r" This run does not call it again before \d\d:\d\d:\d\dZ\.", done["report"].error
    )
    assert failed_days(market, since=DAY, now=utc_now()) == {DAY: ["report"]}
    receivers.answers.clear()
    with time_later(UNANSWERED_PAUSE):
        _, done = work_off(market, kpis)
    assert (done["report"].workflow, statuses(market, trace_id)) == ("triggered", {"report": "completed"})


def test_a_day_that_failed_in_part_calls_again_those_that_failed(market: Settings, receivers: Receivers):
    kpis = with_workflows(receivers, ["well", "ill"])
    receivers.answers["ill"] = says(404)
    trace_id, _ = work_off(market, kpis)
    before = job_record(market, trace_id)
    receivers.answers.clear()

    again, _ = work_off(market, kpis, "run-2")

    after = job_record(market, trace_id)
    assert trace_id == again
    assert receivers.called == {"well": 1, "ill": 2}
    assert (before["status"], after["status"]) == ("partial", "completed")
    assert "status 404" in before["kpis"]["ill"]["error"]
    assert (after["kpis"]["ill"]["error"], after["kpis"]["ill"]["retryCount"]) == (None, 1)


def test_two_runs_at_once_share_the_work_and_call_each_workflow_once(market: Settings, receivers: Receivers):
    kpis = with_workflows(receivers, [f"report-{n}" for n in range(12)])
    together = threading.Barrier(2)

    def run(run_id: str) -> dict[str, Done]:
        together.wait()
        return work_off(market, kpis, run_id)[1]

    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(run, ["run-1", "run-2"]))

    assert receivers.called == dict.fromkeys((each.id for each in kpis), 1)
    assert not [each.error for end in ends for each in end.values() if each.error]
    for each in kpis:
        said = sorted(end[each.id].workflow for end in ends)
        assert said in (["another run has it in hand", "triggered"], ["triggered", "triggered before"])


def test_a_kpi_that_waited_for_a_thread_longer_than_its_claim_is_not_taken_from_another_run(
    market: Settings, receivers: Receivers
):
    alone = market.model_copy(update={"kpi_concurrency": 1})
    kpis = with_workflows(receivers, ["first", "second"])
    later = utc_now() + timedelta(days=1)

    def another_run_claims(handler):
        trace_id = receivers.calls[0][1]["traceId"]
        assert claim(market, trace_id, waiting, run_id="run-2", now=later, until=later + timedelta(days=1))
        STARTED(handler)

    receivers.answers = {"first": another_run_claims, "second": another_run_claims}
    waiting = "second"

    _, done = work_off(alone, kpis)

    [called] = receivers.called
    assert called == "first"
    assert (done["second"].workflow, done["second"].is_pending) == ("another run has it in hand", True)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own answer to Ctrl-C, whatever ran in this process before."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("interruptible")
def test_a_run_that_is_interrupted_calls_no_further_workflow(market: Settings, receivers: Receivers):
    alone = market.model_copy(update={"kpi_concurrency": 1})
    kpis = with_workflows(receivers, ["first", "second"])

    def interrupt(handler):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        receivers.never(handler)

    receivers.answers["first"] = interrupt

    with pytest.raises(KeyboardInterrupt):
        work_off(alone, kpis)

    receivers.over.set()
    assert receivers.called == {"first": 1}


KILLED = """
import sys
from datetime import date, datetime
from pathlib import Path
from etl_assets.kpi.registry import Registry
from etl_assets.kpi.run import Order, run_day
from etl_assets.settings import Settings

settings = Settings(_env_file=None, etl_data=Path(sys.argv[1]), kpi_concurrency=1)
kpis = Registry.model_validate_json(sys.argv[2]).kpis
run_day(settings, kpis, date.fromisoformat(sys.argv[3]), Order("run-1", datetime.fromisoformat(sys.argv[4])))
"""


@pytest.fixture
def left_behind(market: Settings, receivers: Receivers) -> list[Kpi]:
    """KPIs of a run that was killed while the workflow of the third had not answered; a fourth waited."""
    kpis = with_workflows(receivers, ["a", "b", "c", "d"])
    arrived = threading.Event()

    def hold(handler):
        arrived.set()
        receivers.never(handler)

    receivers.answers["c"] = hold
    told = json.dumps({"kpis": [each.model_dump(mode="json", by_alias=True) for each in kpis]})
    arguments = [str(market.etl_data), told, DAY.isoformat(), TICK.isoformat()]
    with subprocess.Popen([sys.executable, "-c", KILLED, *arguments], stderr=subprocess.PIPE, text=True) as process:
        assert arrived.wait(60), process.stderr.read()
        process.kill()
    assert receivers.called == {"a": 1, "b": 1, "c": 1}
    receivers.answers.clear()
    return kpis


def test_the_run_that_takes_a_killed_ones_place_goes_on_at_once_where_that_one_stopped(
    market: Settings, receivers: Receivers, left_behind: list[Kpi]
):
    trace_id, done = work_off(market, left_behind, "run-1")

    assert receivers.called == {"a": 1, "b": 1, "c": 2, "d": 1}
    assert not [each for each in done.values() if each.error or each.is_pending]
    assert job(market, trace_id).status == "completed"


def test_another_run_leaves_a_killed_ones_kpis_until_its_claims_end_and_then_loses_none(
    market: Settings, receivers: Receivers, left_behind: list[Kpi]
):
    _, early = work_off(market, left_behind, "run-2")
    called_early = receivers.called

    with time_later(timedelta(hours=1)):
        trace_id, late = work_off(market, left_behind, "run-3")

    assert called_early == {"a": 1, "b": 1, "c": 1}
    assert {name for name, each in early.items() if each.is_pending} == {"c", "d"}
    assert receivers.called == {"a": 1, "b": 1, "c": 2, "d": 1}
    assert not [each for each in late.values() if each.error or each.is_pending]
    assert job(market, trace_id).status == "completed"


# --- workflows that report back -------------------------------------------------------------------------


def test_a_workflow_that_reports_back_keeps_its_kpi_running_until_it_has(market: Settings, receivers: Receivers):
    kpis = with_workflows(receivers, ["report"], reportsBack=True)
    trace_id, first = work_off(market, kpis)
    _, second = work_off(market, kpis, "run-2")
    take_report(market, {"traceId": trace_id, "kpiId": "report", "status": "completed", "value": 7.5}, now=utc_now())

    _, third = work_off(market, kpis, "run-3")

    assert receivers.called == {"report": 1}
    assert (first["report"].is_pending, first["report"].workflow) == (True, "triggered, is to report back")
    assert (second["report"].is_pending, second["report"].workflow) == (True, "has not reported back yet")
    assert (third["report"].is_pending, third["report"].workflow) == (False, "has reported back")
    assert third["report"].values == (KpiValue("", 7.5),)
    assert job(market, trace_id).status == "completed"


def test_a_workflow_that_reported_failure_is_called_again(market: Settings, receivers: Receivers):
    kpis = with_workflows(receivers, ["report"], reportsBack=True)
    trace_id, _ = work_off(market, kpis)
    take_report(market, {"traceId": trace_id, "kpiId": "report", "status": "failed", "error": "no"}, now=utc_now())

    work_off(market, kpis, "run-2")

    assert receivers.called == {"report": 2}


# --- many days ------------------------------------------------------------------------------------------


def test_the_values_of_a_range_are_those_of_its_days_one_by_one(market: Settings):
    kpis = [kpi("one", sql=PRICE), kpi("many", sql=BY_REGION)]

    at_once = {(each.kpi.id, each.day): each for each in compute_days(market, kpis, FORTY)}

    stored = day_values(market, ["one", "many"], FORTY)
    assert stored == {
        **{("one", day): [KpiValue("", price_of(day))] for day in FORTY},
        **{("many", day): [KpiValue("NSW1", price_of(day)), KpiValue("SA1", 2 * price_of(day))] for day in FORTY},
    }
    assert at_once.keys() == stored.keys()
    one_by_one = {}
    for day in FORTY[:5]:
        for each in compute_days(market, kpis, [day]):
            one_by_one[each.kpi.id, day] = sorted(each.values or (), key=lambda value: value.entity)
    assert one_by_one == {key: values for key, values in stored.items() if key[1] in FORTY[:5]}


def test_a_range_calls_no_workflow_and_leaves_out_kpis_that_are_workflows_alone(market: Settings, receivers: Receivers):
    both, report = with_workflows(receivers, ["both"], sql=PRICE) + with_workflows(receivers, ["report"])

    done = list(compute_days(market, [both, report], FORTY[:3]))

    assert [(each.kpi.id, each.day) for each in done] == [("both", day) for day in FORTY[:3]]
    assert not receivers.calls


def test_a_day_that_fails_fails_alone(market: Settings):
    fragile = kpi(sql=f"SELECT CAST(CASE WHEN $market_day = DATE '{FORTY[1]}' THEN 'x' ELSE '5' END AS INTEGER)")

    done = {each.day: each for each in compute_days(market, [fragile], FORTY[:3])}

    assert "'x'" in done[FORTY[1]].error
    assert [done[day].values for day in (FORTY[0], FORTY[2])] == [(KpiValue("", 5.0),)] * 2
    assert set(day_values(market, ["price"], FORTY[:3])) == {("price", FORTY[0]), ("price", FORTY[2])}


def test_a_day_without_data_has_an_empty_value_and_no_error(market: Settings):
    [done] = compute_days(market, [kpi(sql=PRICE)], [EMPTY_DAY])

    assert (done.values, done.error) == ((KpiValue("", None),), "")


def test_a_range_that_is_given_up_keeps_what_was_stored_and_computes_no_more(market: Settings):
    days = [DAY - timedelta(days=n) for n in range(DAYS_PER_COMMIT + 10)]
    computing = compute_days(market, [kpi(sql=PRICE)], days)

    next(computing)
    computing.close()

    assert set(day_values(market, ["price"], days)) == {("price", day) for day in sorted(days)[:DAYS_PER_COMMIT]}
