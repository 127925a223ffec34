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
from dagster._core.execution.plan.objects import StepFailureData

import etl_assets.asset_specs

STEP_RETRY_DELAY_S = 0.05
"""Instead of ten seconds: what a step waits before it is tried again is real time, and a simulated day is a minute."""

# Before the definitions are loaded, which take it as it is.
etl_assets.asset_specs.FETCH_RETRIES = dg.RetryPolicy(max_retries=2, delay=STEP_RETRY_DELAY_S)

from etl_assets.dagster_home import dagster_instance  # noqa: E402
from etl_assets.definitions import defs  # noqa: E402
from etl_assets.market_time import use_clock  # noqa: E402
from etl_assets.settings import settings  # noqa: E402
from soak.clock import SharedClock  # noqa: E402
from soak.growth import resident_mb  # noqa: E402


class Done(NamedTuple):
    """A run that ended by itself, and the memory that the worker holds after it, in MB."""

    run_id: str
    success: bool
    errors: tuple[str, ...]
    resident_mb: float


def work(orders: Connection, clock: Path, log: Path) -> None:
    """Execute the runs whose ids come, until None comes."""
    _log_to(log)
    use_clock(SharedClock(clock))
    with dagster_instance(settings()) as instance:
        while (run_id := orders.recv()) is not None:
            orders.send(_execute(instance, run_id))


def _execute(instance: dg.DagsterInstance, run_id: str) -> Done:
    run = instance.get_run_by_id(run_id)
    if run is None:
        return Done(run_id, success=False, errors=("no such run",), resident_mb=resident_mb())
    result = execute_run(InMemoryJob(defs.resolve_job_def(run.job_name)), run, instance)
    failed = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return Done(run_id, result.success, tuple(map(_reason, failed)), resident_mb())


def _reason(failed: StepFailureData) -> str:
    """What made a step fail: the description it gave, or the innermost error under Dagster's own wrapping."""
    if failed.user_failure_data and failed.user_failure_data.description:
        return failed.user_failure_data.description
    error = failed.error
    while error and error.cause:
        error = error.cause
    return error.message if error else ""


def _log_to(file: Path) -> None:
    """Let what Dagster and the runs print go into a file."""
    target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sys.stdout.flush()
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
