"""The loop: step by step through simulated time, everything that runs in production at work.

The environment must be the soak's when this is imported: the definitions are loaded with it, see ``sources``.
"""

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from random import Random

from etl_assets.dagster_home import dagster_instance
from etl_assets.market_time import NEM_TIME, use_clock
from etl_assets.settings import settings
from soak.clock import SharedClock
from soak.companions import Companions, back_up
from soak.growth import Sizes, measure
from soak.plan import SPARED_AT_END, Plan
from soak.queue import RunQueue, Tally
from soak.schedules import Automation
from soak.sources import Sources

AGED_EVERY = timedelta(hours=3)
Say = Callable[[str], None]


@dataclass(slots=True)
class Course:
    """What happened in a soak, but for what the tables hold."""

    tally: Tally
    started: float = field(default_factory=time.monotonic)
    steps: int = 0
    largest_lag_minutes: float = 0.0
    """At the end of a step without outage, from the newest published price to the simulated time."""
    sizes: list[Sizes] = field(default_factory=list)
    backup: Path | None = None

    @property
    def seconds(self) -> float:
        """Real time since the start."""
        return time.monotonic() - self.started


class Week:
    """A soak at work: the clock, the sources, the queue, what asks for runs."""

    def __init__(self, plan: Plan, sources: Sources, folder: Path, queue: RunQueue, automation: Automation) -> None:
        self.plan, self.sources, self.folder = plan, sources, folder
        self.queue, self.automation = queue, automation
        self.clock = SharedClock(folder / "clock")
        self.course = Course(queue.tally)
        self._kills, self._api_kills = list(plan.worker_kills), list(plan.api_kills)

    def run(self, companions: Companions | None, say: Say) -> Course:
        """Go through the plan's time."""
        former = self.plan.start - self.plan.step
        for moment in self.plan.steps():
            self.go_to(moment)
            if _crossed(former, moment, AGED_EVERY):
                _age(self.folder / "data", former)
            self._kill(moment, companions)
            with self._backing_up(moment, former):
                self.work(moment, former)
            self._look(moment, former, companions, say)
            former = moment
        return self.course

    def go_to(self, moment: datetime) -> None:
        """Bring everybody's time to an instant."""
        self.clock.set_time(moment, self.plan.step)
        self.sources.step_to(moment)

    def work(self, moment: datetime, former: datetime) -> None:
        """What is due, to its end; then what the sensors ask for.

        In this order: before a tick of half an hour, all that it is about to bring were a gap.
        """
        self.automation.schedules_until(moment, former)
        self.queue.drain()
        self.automation.sensors(moment)
        self.queue.drain()

    def _kill(self, moment: datetime, companions: Companions | None) -> None:
        while self._kills and self._kills[0] <= moment:
            self._kills.pop(0)
            self.queue.kill_one()
        if moment > self.plan.end - SPARED_AT_END:
            self.queue.spare_all()
        while companions and self._api_kills and self._api_kills[0] <= moment:
            self._api_kills.pop(0)
            companions.kill_api()

    @contextmanager
    def _backing_up(self, moment: datetime, former: datetime) -> Iterator[None]:
        """A backup where it is due, while runs, the API and its clients are at work."""
        if not (self.plan.backup_at and former < self.plan.backup_at <= moment):
            yield
            return
        with ProcessPoolExecutor(1, get_context("spawn")) as beside:
            taken = beside.submit(back_up, self.folder, moment)
            yield
            self.course.backup = taken.result()

    def _look(self, moment: datetime, former: datetime, companions: Companions | None, say: Say) -> None:
        self.course.steps += 1
        data = self.folder / "data"
        if not any(outage.holds(moment) for outage in self.plan.outages):
            self.course.largest_lag_minutes = max(self.course.largest_lag_minutes, _lag_minutes(moment))
        if _crossed(former, moment, timedelta(days=1)) or moment + self.plan.step > self.plan.end:
            self.course.sizes.append(measure(data, moment, companions.api_mb if companions else 0.0))
        if _crossed(former, moment, timedelta(hours=6)):
            runs = sum(self.course.tally.outcomes.values())
            kills = self.queue.tally.kills
            say(f"{moment:%a %d %b %H:%M}  after {self.course.seconds:5.0f} s: {runs:,} runs, {kills} killed")


@contextmanager
def week(plan: Plan, sources: Sources, folder: Path) -> Iterator[Week]:
    """A soak that is ready to go, on the data folder that is set; its workers are stopped at the end."""
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    clock = SharedClock(folder / "clock")
    clock.set_time(plan.start, plan.step)
    use_clock(clock)
    with dagster_instance(settings()) as instance:
        queue = RunQueue(instance, folder, Random(plan.seed))  # noqa: S311 (what it kills can be had again)
        try:
            yield Week(plan, sources, folder, queue, Automation(instance, queue.request))
        finally:
            queue.close()


def _crossed(former: datetime, moment: datetime, length: timedelta) -> bool:
    """Whether a whole multiple of a length, counted in NEM time, lies between."""
    offset = NEM_TIME.utcoffset(None).total_seconds()
    before, after = ((at.timestamp() + offset) // length.total_seconds() for at in (former, moment))
    return before < after


def _age(data: Path, moment: datetime) -> None:
    command = [sys.executable, "-m", "soak.ageing", str(data), moment.isoformat()]
    subprocess.run(command, check=True)  # noqa: S603 (our own module)


def _lag_minutes(moment: datetime) -> float:
    import duckdb

    if not settings().warehouse_path.exists():
        return 0.0
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{settings().warehouse_path}' AS warehouse (READ_ONLY)")
        newest = connection.execute("SELECT epoch(max(interval_end)) FROM warehouse.aemo.dispatch_region").fetchall()
    return (moment.timestamp() - newest[0][0]) / 60 if newest[0][0] else 0.0
