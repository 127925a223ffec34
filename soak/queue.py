"""The run queue: runs are put into Dagster's storage, handed to worker processes, and looked after when those die.

It does what ``dagster.yaml`` has Dagster's daemon do with priorities, limits by tag, and runs whose process died, which
it starts anew as a whole. The daemon itself cannot be used: it works by the wall clock.
"""

import multiprocessing
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

import dagster as dg
from dagster._core.storage.tags import PARENT_RUN_ID_TAG, REPOSITORY_LABEL_TAG, RETRY_NUMBER_TAG, ROOT_RUN_ID_TAG

from etl_assets.definitions import defs
from etl_assets.exports.dagster_runs import code_origin, remote_origin
from soak.worker import Done, work

WORKERS = 2
LOOK_S = 0.25
"""Between two looks for runs that the API has put into the queue."""
MAX_RETRIES = 2
"""As in ``dagster.yaml``."""
LONGEST_RUN_S = 600.0
"""On a machine that has much else to do."""
FIRST_RUN_S = 1.0
"""How long a job is taken to last that has not run yet."""
KILL_WITHIN = (0.05, 0.95)
"""Of a job's mean duration: when a worker is killed that executes it."""
QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}


class StuckRunError(RuntimeError):
    """A run did not end."""


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    run: dg.DagsterRun | None = None
    since: float = 0.0
    kill_at: float = inf
    is_killed: bool = False


@dataclass(slots=True)
class Tally:
    """What became of the runs."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By job and outcome: success, failure, killed."""
    errors: Counter[tuple[str, bool]] = field(default_factory=Counter)
    """Why steps failed, and whether the pipeline itself said so: whatever else was raised is a fault of its own."""
    kills: int = 0
    in_mid_run: int = 0
    """Of the kills: those after the run had begun."""
    deaths: list[str] = field(default_factory=list)
    """Workers that nobody killed."""
    memory: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """What each worker held after each of its runs, in MB."""
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Spent in runs that ended by themselves, by job."""

    def is_next(self, job: str) -> bool:
        """Whether runs of a job were killed no more often than those of a job are on average."""
        jobs = {name for name, _ in self.outcomes}
        return self.outcomes[job, "killed"] * len(jobs) <= self.kills

    def mean_seconds(self, job: str) -> float:
        """How long a run of a job takes."""
        count = self.outcomes[job, "success"] + self.outcomes[job, "failure"]
        return self.seconds[job] / count if count else FIRST_RUN_S


class RunQueue:
    """The queue of one Dagster instance, and its workers."""

    def __init__(self, instance: dg.DagsterInstance, folder: Path, random: Random) -> None:
        self.instance = instance
        self.tally = Tally()
        self._random = random
        self._arguments = (folder / "clock", folder / "workers.log")
        self._limits = _tag_limits(instance)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["soak.worker"])
        self._workers = [self._started() for _ in range(WORKERS)]
        self._kills_due = 0

    def request(self, job_name: str, asked: dg.RunRequest) -> None:
        """Put a run into the queue, as the daemon does for a tick's request."""
        job = defs.resolve_job_def(job_name)
        self._enqueue(job, dict(asked.run_config), {**job.run_tags, **asked.tags}, asked.asset_selection)

    def _enqueue(
        self, job: dg.JobDefinition, config: dict[str, Any], tags: Mapping[str, str],
        selection: Iterable[dg.AssetKey] | None, *, parent_run_id: str | None = None, root_run_id: str | None = None,
    ) -> None:  # fmt: skip
        keys = frozenset(selection) if selection else None
        origin = remote_origin(job.name)
        run = self.instance.create_run_for_job(
            job.get_subset(asset_selection=keys) if keys else job,
            run_config={**config, "loggers": QUIET},
            tags={**tags, REPOSITORY_LABEL_TAG: origin.repository_origin.get_label()},
            asset_selection=keys,
            remote_job_origin=origin,
            job_code_origin=code_origin(job.name),
            parent_run_id=parent_run_id,
            root_run_id=root_run_id,
        )
        self.instance.submit_run(run.run_id, workspace=None)  # type: ignore[arg-type]  # ours only puts it into the queue

    def kill_one(self) -> None:
        """Have a worker killed in the middle of a run, of a job that was met less than others so far."""
        self._kills_due += 1

    def spare_all(self) -> None:
        """Let those live for whom no run came."""
        self._kills_due = 0

    def drain(self) -> None:
        """Execute until nothing is queued and nothing runs. Raises ``StuckRunError`` where a run does not end."""
        while self._hand_out() or any(worker.run for worker in self._workers):
            busy = {worker.pipe: worker for worker in self._workers if worker.run}
            for pipe in wait(list(busy), timeout=self._patience()):
                self._take(busy[pipe])  # type: ignore[index]  # pipes only are waited for
            self._kill_where_due()
            self._look_for_stuck()

    def close(self) -> None:
        """Stop the workers."""
        for worker in self._workers:
            worker.process.kill()
            worker.process.join()

    @property
    def pids(self) -> list[int]:
        """The workers' process numbers."""
        return [worker.process.pid or 0 for worker in self._workers]

    def _patience(self) -> float:
        due = [worker.kill_at - time.monotonic() for worker in self._workers if worker.run]
        return max(0.0, min([LOOK_S, *due]))

    def _hand_out(self) -> bool:
        """Start what may start; returns whether anything is still queued or was started."""
        free = [worker for worker in self._workers if not worker.run]
        if not free:
            return True
        queued = self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]), ascending=True)
        queued = sorted(queued, key=lambda run: -int(run.tags.get("dagster/priority", "0")))
        for run in queued:
            if free and self._may_start(run):
                self._start(free.pop(), run)
        return bool(queued)

    def _may_start(self, run: dg.DagsterRun) -> bool:
        at_work = [worker.run for worker in self._workers if worker.run]
        return all(
            sum(tag in other.tags for other in at_work) < limit
            for tag, limit in self._limits.items()
            if tag in run.tags
        )

    def _start(self, worker: _Worker, run: dg.DagsterRun) -> None:
        event = dg.DagsterEvent(event_type_value=dg.DagsterEventType.PIPELINE_STARTING.value, job_name=run.job_name)
        self.instance.report_dagster_event(event, run_id=run.run_id)
        worker.run, worker.since = run, time.monotonic()
        worker.kill_at = inf
        if self._kills_due and self.tally.is_next(run.job_name):
            self._kills_due -= 1
            worker.kill_at = worker.since + self._random.uniform(*KILL_WITHIN) * self.tally.mean_seconds(run.job_name)
        worker.pipe.send(run.run_id)

    def _take(self, worker: _Worker) -> None:
        run, worker.run = worker.run, None
        if run is None:
            return
        try:
            done: Done = worker.pipe.recv()
        except (EOFError, OSError):
            self._look_after(worker, run)
            return
        if worker.is_killed:
            # It had ended by then: the kill met no run.
            self._replace(worker)
            self._kills_due += 1
        self._count(worker, run, done)

    def _count(self, worker: _Worker, run: dg.DagsterRun, done: Done) -> None:
        self.tally.seconds[run.job_name] += time.monotonic() - worker.since
        self.tally.memory[worker.process.pid or 0].append(done.resident_mb)
        self.tally.outcomes[run.job_name, "success" if done.success else "failure"] += 1
        self.tally.errors.update((error.text.splitlines()[0][:200], error.is_said) for error in done.errors)

    def _kill_where_due(self) -> None:
        for worker in self._workers:
            if worker.run and not worker.is_killed and worker.kill_at <= time.monotonic():
                worker.process.kill()
                worker.is_killed = True

    def _look_for_stuck(self) -> None:
        for worker in self._workers:
            if worker.run and time.monotonic() - worker.since > LONGEST_RUN_S:
                raise StuckRunError(
                    f"{worker.run.job_name}, run {worker.run.run_id}, has not ended in {LONGEST_RUN_S:g} s"
                )

    def _replace(self, worker: _Worker) -> None:
        worker.process.join()
        worker.pipe.close()
        self._workers[self._workers.index(worker)] = self._started()

    def _look_after(self, worker: _Worker, run: dg.DagsterRun) -> None:
        """What run monitoring and run retries do about a worker that died."""
        self._replace(worker)
        current = self.instance.get_run_by_id(run.run_id)
        if worker.is_killed:
            self.tally.kills += 1
            self.tally.in_mid_run += current is not None and current.status == dg.DagsterRunStatus.STARTED
            self.tally.outcomes[run.job_name, "killed"] += 1
        else:
            self.tally.deaths.append(f"{run.job_name}: exit code {worker.process.exitcode}")
        if current is None or current.is_finished:
            return
        self.instance.report_run_failed(current, "The run's worker process was killed.")
        self._try_again(run)

    def _try_again(self, run: dg.DagsterRun) -> None:
        number = int(run.tags.get(RETRY_NUMBER_TAG, "0"))
        if number < int(run.tags.get("dagster/max_retries", str(MAX_RETRIES))):
            root = run.root_run_id or run.run_id
            tags = {RETRY_NUMBER_TAG: str(number + 1), PARENT_RUN_ID_TAG: run.run_id, ROOT_RUN_ID_TAG: root}
            job = defs.resolve_job_def(run.job_name)
            self._enqueue(
                job, dict(run.run_config), {**run.tags, **tags}, run.asset_selection,
                parent_run_id=run.run_id, root_run_id=root,
            )  # fmt: skip

    def _started(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(theirs, *self._arguments), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)


def _tag_limits(instance: dg.DagsterInstance) -> dict[str, int]:
    limits = instance.get_concurrency_config().run_queue_config
    return {limit["key"]: limit["limit"] for limit in limits.tag_concurrency_limits} if limits else {}


Ask = Callable[[str, dg.RunRequest], None]
