"""``python -m soak``: a simulated week, its report, its verdict. Exit code 1 where anything is not as it must be."""

import argparse
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from etl_assets.demo import mark_simulated
from etl_assets.kpi.registry import refresh
from etl_assets.settings import Settings, settings
from etl_assets.simulator.faults import CATALOGUE, Scope
from soak.checks import Finding
from soak.plan import Plan
from soak.sources import Sources, environment

OUT = Console(width=None if sys.stdout.isatty() else 140)


def main() -> int:
    """Run, report, and say whether all is well."""
    arguments = _arguments()
    step = timedelta(minutes=arguments.every)
    plan = Plan.short(arguments.seed, step) if arguments.short else Plan.week(arguments.seed, arguments.days, step)
    folder = (arguments.folder or Path(tempfile.mkdtemp(prefix=f"soak-{plan.seed}-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        sys.exit(f"{folder} is not empty: a soak begins with nothing. Name another --folder.")
    OUT.print(f"Soak in {folder}; to look at its data: ETL_DATA={folder / 'data'} etl-assets doctor", highlight=False)
    logging.basicConfig(filename=folder / "driver.log", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # So that whoever ends it ends its processes, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sources = Sources(plan)
    try:
        return _soak(plan, sources, folder)
    except KeyboardInterrupt:
        OUT.print(f"Stopped. What there is stays in {folder}", highlight=False)
        return 130
    finally:
        sources.close()


def _soak(plan: Plan, sources: Sources, folder: Path) -> int:
    # Before the definitions are imported, which read the settings, and the registry of KPIs.
    os.environ.pop("DAGSTER_HOME", None)
    os.environ |= environment(plan, sources, folder)
    settings.cache_clear()
    mark_simulated(settings())
    refresh(settings(), now=plan.start)
    from etl_assets.processes import free_port
    from soak.checks import examine
    from soak.companions import Companions, api_environment
    from soak.growth import bounded
    from soak.report import Report, show, write
    from soak.truth import Truth
    from soak.week import week

    os.environ |= api_environment()
    settings.cache_clear()
    started = time.monotonic()
    with ExitStack() as stack:
        at_work = stack.enter_context(week(plan, sources, folder))
        companions = Companions(folder, free_port(), plan.seed)
        stack.callback(companions.close)
        course = at_work.run(companions, lambda line: OUT.print(line, highlight=False))
        study, load = companions.end()
    truth = Truth(plan, sources.simulator.site, sources.simulator.ace.world)
    OUT.print("Comparing with the truth …")
    people = [
        _people("the analyst's open files never changed", study.wrong, f"{study.asked:,} questions"),
        _people("every answer of the API is right", load.wrong, f"{load.answers.total():,} answers"),
        _met(plan, sources),
    ]
    report = Report(
        plan, time.monotonic() - started, course.steps, dict(course.tally.outcomes), dict(course.tally.errors),
        course.tally.kills, companions.api_kills,
        {name: (count, sources.spoilt().get(name, 0)) for name, count in sources.seen.items()},
        course.largest_lag_minutes, course.sizes, study, load,
        findings=[*examine(settings(), truth), *people, *bounded(course.sizes, course.tally.memory)],
    )  # fmt: skip
    if course.backup:
        OUT.print("Restoring the backup of the middle, and catching up …")
        report.restored = examine(restored(plan, folder, course.backup), truth)
    show(report, OUT)
    write(report, folder)
    return 1 if report.wrong else 0


def _people(name: str, wrong: list[str], seen: str) -> Finding:
    return Finding(name, not wrong, f"{len(wrong)}, such as {'; '.join(wrong[:3])}" if wrong else seen)


def _met(plan: Plan, sources: Sources) -> Finding:
    """Whether every kind of fault of the plan was on, and those of requests spoilt one at least."""
    unmet = {spell.name for spell in plan.spells} - set(sources.seen)
    if not plan.is_short:
        of_requests = {name for name in sources.seen if CATALOGUE[name].scope is not Scope.WORLD}
        unmet |= {name for name in of_requests if not sources.spoilt().get(name)}
    return Finding("every fault was met", not unmet, ", ".join(sorted(unmet)) or f"{len(sources.seen)} kinds")


def restored(plan: Plan, folder: Path, backup: Path) -> Settings:
    """The settings of a folder into which a backup was restored, and that has caught up; see ``recovery``."""
    from etl_assets.backup.restore import restore_backup

    again = folder / "restored"
    again.mkdir()
    found = Settings(_env_file=None, etl_data=again / "data")
    # Here, and not where it is caught up: what is restored is read as the definitions are loaded.
    taken = restore_backup(backup, found, found.dagster_home, now=plan.end).backup.manifest.made_at
    command = [sys.executable, "-m", "soak.recovery", str(again), taken.isoformat(), plan.end.isoformat()]
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    with (again / "recovery.log").open("wb") as log:
        subprocess.run(  # noqa: S603 (our own module)
            command, check=True, env={**environment, "ETL_DATA": str(again / "data")}, stdout=log, stderr=log
        )
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m soak", description="A simulated week with every fault.")
    parser.add_argument("--seed", type=int, default=1, help="What happens when.")
    parser.add_argument("--days", type=int, default=7, help="Simulated days, 4 at least.")
    parser.add_argument(
        "--every", type=int, default=60, help="Minutes between two steps; 5 is the cadence of production."
    )
    parser.add_argument("--short", action="store_true", help="Five hours around a midnight instead.")
    parser.add_argument("--folder", type=Path, help="An empty folder to work in; by default a temporary one.")
    found = parser.parse_args()
    if found.days < 4 or found.every < 5 or 60 % found.every:  # noqa: PLR2004
        parser.error("--days is 4 or more, --every a divisor of 60 from 5 on")
    return found


if __name__ == "__main__":
    sys.exit(main())
