"""The verdict on a soak: its data folder, the people beside it, its runs, its faults, its growth."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from etl_assets.settings import Settings
from etl_assets.simulator.faults import CATALOGUE, Scope
from soak.checks import examine
from soak.findings import Finding
from soak.growth import bounded
from soak.truth import Truth

if TYPE_CHECKING:
    from soak.queue import Tally
    from soak.report import Report

FEWEST_JOBS_KILLED = 8
"""Of some fifteen that a week has runs of."""


def verdict(report: "Report", settings: Settings, truth: Truth) -> list[Finding]:
    """Everything that was looked at."""
    tally = report.course.tally
    return [
        *examine(settings, truth),
        analyst(report),
        clients(report),
        faults(report),
        kills(tally, is_short=report.plan.is_short),
        deaths(tally),
        errors(tally),
        *bounded(report.course.sizes, tally.memory),
    ]


def analyst(report: "Report") -> Finding:
    """What was open went on showing what it showed at first."""
    wrong, asked = report.study.wrong, report.study.asked
    return Finding(
        "the analyst's open files never changed", bool(asked) and not wrong, _such(wrong, f"{asked:,} questions")
    )


def clients(report: "Report") -> Finding:
    """Every answer was right, and in a week tokens had to be refreshed, and exports came."""
    load = report.load
    lacking = [] if report.plan.is_short else [name for name in ("refreshed", "exports") if not getattr(load, name)]
    count = load.answers.total()
    told = _such([*load.wrong, *(f"none {name}" for name in lacking)], f"{count:,} answers")
    return Finding("every answer of the API is right", bool(count) and not (load.wrong or lacking), told)


def faults(report: "Report") -> Finding:
    """Every kind of fault of the plan was on, and in a week those of requests spoilt one at least."""
    unmet = {spell.name for spell in report.plan.spells} - set(report.faults)
    if not report.plan.is_short:
        unmet |= {
            name for name, (_, spoilt) in report.faults.items()
            if not spoilt and CATALOGUE[name].scope is not Scope.WORLD
        }  # fmt: skip
    return Finding("every fault was met", not unmet, ", ".join(sorted(unmet)) or f"{len(report.faults)} kinds")


def kills(tally: "Tally", *, is_short: bool) -> Finding:
    """Runs of many jobs were killed, most of them at work."""
    jobs = {job for (job, outcome), count in tally.outcomes.items() if outcome == "killed" and count}
    told = f"{tally.kills}, of {len(jobs)} jobs; {tally.in_mid_run} after the run had begun"
    enough = len(jobs) >= (1 if is_short else FEWEST_JOBS_KILLED)
    return Finding("kills met runs at work", enough and 2 * tally.in_mid_run >= tally.kills, told)


def deaths(tally: "Tally") -> Finding:
    """No worker died but those that were killed."""
    return Finding(
        "no worker died by itself", not tally.deaths, _such(tally.deaths, f"{sum(tally.outcomes.values()):,} runs")
    )


def errors(tally: "Tally") -> Finding:
    """Where a step failed, the pipeline said why: nothing was raised that it had not foreseen."""
    unforeseen = [text for (text, is_said) in tally.errors if not is_said]
    return Finding(
        "every failure is one that says what to do", not unforeseen, _such(unforeseen, f"{len(tally.errors):,} kinds")
    )


def _such(wrong: Sequence[str], seen: str) -> str:
    return f"{len(wrong)}, such as {'; '.join(wrong[:3])}" if wrong else seen
