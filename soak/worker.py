"""A process that executes Dagster runs one after another, as Dagster's own launcher would each in a process of its own.

Forked from one that has loaded the definitions, so that a killed one is replaced within milliseconds.
"""

import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

import etl_assets.asset_specs

STEP_RETRY_DELAY_S = 0.05
"""Instead of ten seconds: what a step waits before it is tried again is real time, and a simulated day is a minute."""

# Before the definitions are loaded, which take it as it is.
etl_assets.asset_specs.FETCH_RETRIES = dg.RetryPolicy(max_retries=2, delay=STEP_RETRY_DELAY_S)

from etl_assets.dagster_home import dagster_instance  # noqa: E402
from etl_assets.definitions import defs  # noqa: E402
from etl_assets.market_time import use_clock  # noqa: E402
from etl_assets.runs import reason  # noqa: E402
from etl_assets.settings import settings  # noqa: E402
from soak.clock import SharedClock  # noqa: E402
from soak.growth import resident_mb  # noqa: E402


class StepError(NamedTuple):
    """Why a step failed, and whether the pipeline said so: with a failure of its own that names what to do."""

    text: str
    is_said: bool


class Done(NamedTuple):
    """A run that ended by itself, and the memory that the worker holds after it, in MB."""

    success: bool
    errors: tuple[StepError, ...]
    resident_mb: float


def work(orders: Connection, clock: Path, log: Path) -> None:
    """Execute the runs whose ids come, until it is killed."""
    _log_to(log)
    use_clock(SharedClock(clock))
    with dagster_instance(settings()) as instance:
        while True:
            orders.send(_execute(instance, orders.recv()))


def _execute(instance: dg.DagsterInstance, run_id: str) -> Done:
    run = instance.get_run_by_id(run_id)
    if run is None:
        return Done(success=False, errors=(StepError("no such run", is_said=False),), resident_mb=resident_mb())
    result = execute_run(InMemoryJob(defs.resolve_job_def(run.job_name)), run, instance)
    failed = [
        StepError(reason(event), is_said=bool(event.step_failure_data.user_failure_data))
        for event in result.all_events
        if event.is_step_failure
    ]
    if not (result.success or failed):
        failed = [StepError("The run failed, and no step of it", is_said=False)]
    return Done(result.success, tuple(failed), resident_mb())


def _log_to(file: Path) -> None:
    """Let what Dagster and the runs print go into a file."""
    target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
