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
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import DagsterExecutionInterruptedError
from rich.console import Console

from etl_assets.demo import mark_simulated
from etl_assets.kpi.registry import refresh
from etl_assets.settings import Settings, settings
from soak.findings import Finding
from soak.plan import SHORTEST_DAYS, Plan
from soak.sources import Sources, environment

if TYPE_CHECKING:
    from soak.report import Report
    from soak.truth import Truth

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
    _end_with_its_processes()
    sources = Sources(plan)
    try:
        return _soak(plan, sources, folder)
    except (KeyboardInterrupt, DagsterExecutionInterruptedError):
        OUT.print(f"Stopped. What there is stays in {folder}", highlight=False)
        return 130
    finally:
        sources.close()


def _end_with_its_processes() -> None:
    """Have whoever ends the soak end its processes, too.

    SIGINT as well as SIGTERM: a shell starts its background jobs with the former ignored, and Dagster gives the
    latter the former's handler.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def _soak(plan: Plan, sources: Sources, folder: Path) -> int:
    # Before the definitions are imported, which read the settings and the registry of KPIs.
    os.environ.pop("DAGSTER_HOME", None)
    os.environ |= environment(plan, sources, folder)
    settings.cache_clear()
    mark_simulated(settings())
    refresh(settings(), now=plan.start)
    from soak.report import show, write

    report, truth = _simulated(plan, sources, folder)
    write(report, folder)
    if report.course.backup:
        OUT.print("Restoring the backup of the middle, and catching up …")
        report.restored = _drill(folder, report.course.backup, truth)
        write(report, folder)
    show(report, OUT)
    return 1 if report.wrong else 0


def _simulated(plan: Plan, sources: Sources, folder: Path) -> "tuple[Report, Truth]":
    """Go through the time, and look at everything."""
    from etl_assets.processes import free_port
    from soak.companions import Companions, api_environment
    from soak.report import Report
    from soak.truth import Truth
    from soak.verdict import verdict
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
    OUT.print("Comparing with the truth …")
    faults = {name: (count, sources.spoilt().get(name, 0)) for name, count in sources.seen.items()}
    report = Report(plan, time.monotonic() - started, course, companions.api_kills, faults, study, load)
    spoilt = frozenset(name for name, count in sources.spoilt().items() if count)
    truth = Truth(plan, sources.simulator.site, sources.simulator.ace.world, tuple(sources.times()), spoilt)
    report.findings = verdict(report, settings(), truth)
    return report, truth


def _drill(folder: Path, backup: Path, truth: "Truth") -> list[Finding]:
    """What is found in a folder into which a backup was restored, and that has caught up."""
    from soak.checks import examine

    try:
        chosen, taken = restored(truth.plan, folder, backup)
    except Exception as error:  # noqa: BLE001 (whatever it is, the report tells it)
        return [Finding("a backup is restored and caught up", holds=False, seen=f"{type(error).__name__}: {error}")]
    return examine(chosen, replace(truth, met_until=taken))


def restored(plan: Plan, folder: Path, backup: Path) -> tuple[Settings, datetime]:
    """The settings of a folder into which a backup was restored, and that has caught up; and when it was taken.

    See ``recovery``.
    """
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
    return found, taken


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m soak", description="A simulated week with every fault.")
    parser.add_argument("--seed", type=int, default=1, help="What happens when.")
    parser.add_argument("--days", type=int, default=7, help=f"Simulated days, {SHORTEST_DAYS} at least.")
    parser.add_argument(
        "--every", type=int, default=60, help="Minutes between two steps; 5 is the cadence of production."
    )
    parser.add_argument("--short", action="store_true", help="Six hours around a midnight instead.")
    parser.add_argument("--folder", type=Path, help="An empty folder to work in; by default a temporary one.")
    found = parser.parse_args()
    if found.days < SHORTEST_DAYS or found.every < 5 or 60 % found.every:  # noqa: PLR2004
        parser.error(f"--days is {SHORTEST_DAYS} or more, --every a divisor of 60 from 5 on")
    return found


if __name__ == "__main__":
    sys.exit(main())
