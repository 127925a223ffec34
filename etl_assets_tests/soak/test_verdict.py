"""What was met beside the tables fails the verdict where it must: analyst, clients, faults, kills, deaths, errors."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from etl_assets.simulator.faults import CATALOGUE
from soak.analyst import Study
from soak.clients import Load
from soak.plan import Plan
from soak.queue import Tally
from soak.report import Report
from soak.spells import Spell
from soak.verdict import FEWEST_JOBS_KILLED, analyst, clients, deaths, errors, faults, kills
from soak.week import Course

ANSWERED = Counter({("/data/latest", 200): 3})


@pytest.fixture
def report_of(plan: Plan) -> Callable[..., Report]:
    """A report of a week with three kinds of faults, all of them met."""

    def report_of(*, is_short: bool = False, **more: Any) -> Report:
        spells = [Spell(name, plan.start, plan.end) for name in ("blocked", "bad_values", "missing_interval")]
        met = {"blocked": (1, 5), "bad_values": (1, 2), "missing_interval": (1, 0)}
        told: dict[str, Any] = {
            "faults": met, "study": Study(asked=7), "load": Load(ANSWERED, refreshed=1, exports=1), **more,
        }  # fmt: skip
        chosen = replace(plan, is_short=is_short, spells=tuple(spells))
        return Report(chosen, 1.0, Course(Tally()), 0, **told)

    return report_of


def test_an_analyst_whose_answers_never_changed_holds(report_of: Callable[..., Report]) -> None:
    found = analyst(report_of())

    assert (found.holds, found.seen) == (True, "7 questions")


@pytest.mark.parametrize("study", [Study(asked=7, wrong=["it changed"]), Study()])
def test_an_analyst_who_met_a_change_or_asked_nothing_does_not(report_of: Callable[..., Report], study: Study) -> None:
    assert not analyst(report_of(study=study)).holds


def test_clients_with_right_answers_refreshed_tokens_and_exports_hold(report_of: Callable[..., Report]) -> None:
    found = clients(report_of())

    assert (found.holds, found.seen) == (True, "3 answers")


@pytest.mark.parametrize(
    ("load", "seen"),
    [
        (Load(ANSWERED, refreshed=1, exports=1, wrong=["/data: 500"]), "1, such as /data: 500"),
        (Load(ANSWERED, exports=1), "1, such as none refreshed"),
        (Load(ANSWERED, refreshed=1), "1, such as none exports"),
        (Load(refreshed=1, exports=1), "0 answers"),
    ],
)
def test_a_wrong_answer_and_what_a_week_lacks_are_told(report_of: Callable[..., Report], load: Load, seen: str) -> None:
    found = clients(report_of(load=load))

    assert (found.holds, found.seen) == (False, seen)


def test_a_short_soak_needs_no_refreshed_token_and_no_export(report_of: Callable[..., Report]) -> None:
    assert clients(report_of(is_short=True, load=Load(ANSWERED))).holds


def test_faults_that_were_all_met_hold_and_those_of_intervals_spoil_no_request(
    report_of: Callable[..., Report],
) -> None:
    found = faults(report_of())

    assert (found.holds, found.seen) == (True, "3 kinds")
    assert set(report_of().faults) <= set(CATALOGUE)


@pytest.mark.parametrize(
    ("met", "seen"),
    [
        ({"blocked": (1, 5), "bad_values": (1, 2)}, "missing_interval"),
        ({"blocked": (1, 0), "bad_values": (1, 2), "missing_interval": (1, 0)}, "blocked"),
    ],
)
def test_a_fault_that_never_was_on_or_spoilt_nothing_in_a_week_is_named(
    report_of: Callable[..., Report], met: dict[str, tuple[int, int]], seen: str
) -> None:
    found = faults(report_of(faults=met))

    assert (found.holds, found.seen) == (False, seen)


def test_in_a_short_soak_a_fault_may_spoil_nothing_but_must_have_been_on(report_of: Callable[..., Report]) -> None:
    unspoilt = {"blocked": (1, 0), "bad_values": (1, 0), "missing_interval": (1, 0)}

    assert faults(report_of(is_short=True, faults=unspoilt)).holds
    assert not faults(report_of(is_short=True, faults={"blocked": (1, 5)})).holds


def killed(jobs: int, in_mid_run: int) -> Tally:
    outcomes = Counter({(f"job {number}", "killed"): 1 for number in range(jobs)})
    return Tally(outcomes, kills=jobs, in_mid_run=in_mid_run)


def test_kills_of_many_jobs_half_of_them_at_work_hold() -> None:
    found = kills(killed(FEWEST_JOBS_KILLED, FEWEST_JOBS_KILLED // 2), is_short=False)

    assert (found.holds, found.seen) == (True, "8, of 8 jobs; 4 after the run had begun")


@pytest.mark.parametrize(
    "tally",
    [
        killed(FEWEST_JOBS_KILLED - 1, FEWEST_JOBS_KILLED - 1),
        killed(FEWEST_JOBS_KILLED, FEWEST_JOBS_KILLED // 2 - 1),
        Tally(Counter({("a job", "killed"): 20}), kills=20, in_mid_run=20),
        Tally(Counter({(f"job {n}", "success"): 1 for n in range(20)})),
    ],
)
def test_kills_of_few_jobs_or_before_the_run_had_begun_do_not(tally: Tally) -> None:
    assert not kills(tally, is_short=False).holds


def test_a_short_soak_needs_one_kill() -> None:
    assert kills(killed(1, 1), is_short=True).holds
    assert not kills(Tally(), is_short=True).holds


def test_a_worker_that_nobody_killed_is_found() -> None:
    assert deaths(Tally()).holds
    assert deaths(Tally(deaths=["market_tick: exit code -11"])).seen == "1, such as market_tick: exit code -11"
    assert not deaths(Tally(deaths=["market_tick: exit code -11"])).holds


def test_a_failure_that_the_pipeline_foresaw_holds_and_any_other_is_told() -> None:
    said = Tally(errors=Counter({("NEMWeb does not answer", True): 9}))
    raised = Tally(errors=Counter({("NEMWeb does not answer", True): 9, ("list index out of range", False): 1}))

    assert errors(said).holds
    assert (errors(raised).holds, errors(raised).seen) == (False, "1, such as list index out of range")
