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

from etl_assets.settings import Settings, settings
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
    # Before the definitions are imported, which read the settings.
    os.environ.pop("DAGSTER_HOME", None)
    os.environ |= environment(plan, sources, folder)
    from etl_assets.processes import free_port
    from soak.checks import Finding, examine
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
        Finding(
            "the analyst's open files never changed",
            not study.wrong,
            "; ".join(study.wrong[:3]) or f"{study.asked:,} questions",
        ),
        Finding(
            "every answer of the API is right",
            not load.wrong,
            "; ".join(load.wrong[:3]) or f"{load.answers.total():,} answers",
        ),
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


def restored(plan: Plan, folder: Path, backup: Path) -> Settings:
    """The settings of a folder into which a backup was restored, and that has caught up; see ``recovery``."""
    again = folder / "restored"
    again.mkdir()
    command = [sys.executable, "-m", "soak.recovery", str(backup), str(again), plan.end.isoformat()]
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    with (again / "recovery.log").open("wb") as log:
        subprocess.run(  # noqa: S603 (our own module)
            command, check=True, env={**environment, "ETL_DATA": str(again / "data")}, stdout=log, stderr=log
        )
    return Settings(_env_file=None, etl_data=again / "data")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m soak", description="A simulated week with every fault.")
    parser.add_argument("--seed", type=int, default=1, help="What happens when.")
    parser.add_argument("--days", type=int, default=7, help="Simulated days, 3 at least.")
    parser.add_argument(
        "--every", type=int, default=60, help="Minutes between two steps; 5 is the cadence of production."
    )
    parser.add_argument("--short", action="store_true", help="Four hours around a midnight instead.")
    parser.add_argument("--folder", type=Path, help="An empty folder to work in; by default a temporary one.")
    found = parser.parse_args()
    if found.days < 3 or found.every < 5 or 60 % found.every:  # noqa: PLR2004
        parser.error("--days is 3 or more, --every a divisor of 60 from 5 on")
    return found


if __name__ == "__main__":
    sys.exit(main())
