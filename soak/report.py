"""The report of a soak: printed for people, and kept as JSON and Markdown in its folder."""

import json
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from etl_assets.simulator.faults import CATALOGUE, Scope
from soak.analyst import Study
from soak.clients import Load
from soak.findings import Finding
from soak.plan import Plan

if TYPE_CHECKING:
    from soak.week import Course


@dataclass(slots=True)
class Report:
    """Everything that a soak found out."""

    plan: Plan
    seconds: float
    course: "Course"
    api_kills: int
    faults: dict[str, tuple[int, int]]
    """By kind: spells, requests spoilt."""
    study: Study
    load: Load
    findings: list[Finding] = field(default_factory=list)
    restored: list[Finding] = field(default_factory=list)

    @property
    def wrong(self) -> list[Finding]:
        """What is not as it must be."""
        return [finding for finding in (*self.findings, *self.restored) if not finding.holds]

    def to_json(self) -> dict[str, Any]:
        """All of it but the plan's spells."""
        tally = self.course.tally
        return {
            "seed": self.plan.seed,
            "from": self.plan.start.isoformat(),
            "to": self.plan.end.isoformat(),
            "every_minutes": self.plan.step.total_seconds() / 60,
            "seconds": round(self.seconds, 1),
            "steps": self.course.steps,
            "runs": {f"{job} {outcome}": count for (job, outcome), count in sorted(tally.outcomes.items())},
            "errors": {text: count for (text, _), count in tally.errors.most_common()},
            "kills": {"workers": tally.kills, "in_mid_run": tally.in_mid_run, "api": self.api_kills},
            "worker_memory_mb": list(tally.memory.values()),
            "faults": self.faults,
            "largest_lag_minutes": self.course.largest_lag_minutes,
            "sizes": [{**asdict(size), "moment": size.moment.isoformat()} for size in self.course.sizes],
            "analyst": asdict(self.study),
            "api": {
                **asdict(self.load),
                "answers": {f"{route} {status}": n for (route, status), n in sorted(self.load.answers.items())},
            },
            "findings": [asdict(finding) for finding in self.findings],
            "restored": [asdict(finding) for finding in self.restored],
            "clean": not self.wrong,
        }


def show(report: Report, out: Console) -> None:
    """Print it."""
    plan = report.plan
    out.print(
        f"Simulated {plan.start:%a %Y-%m-%d %H:%M} to {plan.end:%a %Y-%m-%d %H:%M} NEM time, seed {plan.seed}: "
        f"{report.course.steps} steps of {plan.step.total_seconds() / 60:g} minutes "
        f"in {report.seconds / 60:.1f} minutes.",
        highlight=False,
    )
    out.print(_runs(report))
    out.print(_faults(report))
    if report.course.sizes:
        out.print(_sizes(report))
    by_status: dict[int, int] = {}
    for (_, status), count in report.load.answers.items():
        by_status[status] = by_status.get(status, 0) + count
    answers = ", ".join(f"{count:,} with {status}" for status, count in sorted(by_status.items()))
    out.print(
        f"Killed: {report.course.tally.kills} workers in mid-run, {report.api_kills} times the API. "
        f"Largest lag of the published prices: {report.course.largest_lag_minutes:.0f} minutes.\n"
        f"API: {answers}; {report.load.refreshed} refreshed tokens, {report.load.exports} exports fetched, "
        f"{report.load.away} requests while it restarted.\n"
        f"Analyst: {report.study.opened} times opened, {report.study.asked:,} questions, "
        f"held for up to {report.study.longest_hold_h:.0f} h.",
        highlight=False,
    )
    out.print(_findings("What must hold", report.findings))
    if report.restored:
        out.print(_findings("The same of a backup taken in the middle, restored and caught up", report.restored))
    verdict = "clean" if not report.wrong else f"{len(report.wrong)} things are not as they must be"
    out.print(f"Verdict: {verdict}.", style="green" if not report.wrong else "red", highlight=False)


def write(report: Report, folder: Path) -> None:
    """Keep it as ``report.json`` and ``report.md``."""
    (folder / "report.json").write_text(json.dumps(report.to_json(), indent=2, default=str))
    text = StringIO()
    show(report, Console(file=text, width=140, no_color=True))
    (folder / "report.md").write_text(f"# Soak, seed {report.plan.seed}\n\n```\n{text.getvalue()}```\n")


def _runs(report: Report) -> Table:
    table = Table("job", "success", "failure", "killed", title="Runs")
    outcomes = report.course.tally.outcomes
    for job in sorted({job for job, _ in outcomes}):
        counts = [outcomes.get((job, outcome), 0) for outcome in ("success", "failure", "killed")]
        table.add_row(job, *(f"{count:,}" for count in counts))
    return table


def _faults(report: Report) -> Table:
    table = Table("fault", "spells", "answers spoilt", title="Faults")
    for name, (spells, spoilt) in sorted(report.faults.items()):
        table.add_row(name, str(spells), "published so" if CATALOGUE[name].scope is Scope.WORLD else f"{spoilt:,}")
    return table


def _sizes(report: Report) -> Table:
    names = [name for name in asdict(report.course.sizes[0]) if name != "moment"]
    table = Table("", *(name.replace("_", " ") for name in names), title="Sizes")
    for size in report.course.sizes:
        table.add_row(f"{size.moment:%a %d %H:%M}", *(f"{getattr(size, name):,.4g}" for name in names))
    return table


def _findings(title: str, findings: list[Finding]) -> Table:
    table = Table("", "what", "seen", title=title)
    for finding in findings:
        table.add_row("✓" if finding.holds else "✗", finding.name, finding.seen)
    return table
