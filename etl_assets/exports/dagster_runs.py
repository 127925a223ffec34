"""Export jobs as Dagster runs: put into Dagster's queue, looked after, stopped.

Nothing of Dagster needs to be up for it: the run is written into Dagster's own storage as its webserver writes it, and
its daemon takes it from the queue as soon as there is one. Tried instead: GraphQL needs the webserver; a sensor looks
every five seconds at best.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING

from etl_assets.ops.job_state import ExportJob, cancelled, claim_due, give_back, jobs_in_hand
from etl_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg
    from dagster._core.origin import JobPythonOrigin
    from dagster._core.remote_origin import RemoteJobOrigin

logger = logging.getLogger(__name__)

LOCATION = "etl_assets"
"""The code location's name in ``workspace.yaml``, by which Dagster's daemon finds the code."""

EXPORT_TAG = "etl_assets/export"
CLIENT_TAG = "etl_assets/client"

JOBS_A_ROUND = 50
"""Put into Dagster's queue at once at most, so that a flood of jobs does not keep others from being looked after."""


def submit_due(settings: Settings, instance: "dg.DagsterInstance", *, now: datetime) -> int:
    """Start what is due, and see to what is in hand; returns how many runs were started.

    Submitters take turns, and one that finds another at work leaves it to that one.
    """
    from filelock import FileLock, Timeout

    settings.api_folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.api_folder / "submitter.lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return 0
    try:
        for job in jobs_in_hand(settings):
            with _left_for_the_next_round(job):
                _look_after(settings, instance, job, now)
        due = claim_due(settings, now=now, limit=JOBS_A_ROUND)
        for job in due:
            with _left_for_the_next_round(job):
                _start(instance, job)
        return len(due)
    finally:
        lock.release()


@contextmanager
def _left_for_the_next_round(job: ExportJob) -> Iterator[None]:
    """What fails for one job keeps no other from being started."""
    try:
        yield
    except Exception:
        logger.exception("Export %s could not be handed to Dagster or looked after; the next round tries", job.job_id)


def _look_after(settings: Settings, instance: "dg.DagsterInstance", job: ExportJob, now: datetime) -> None:
    """Bring a job in hand in line with what has become of its run."""
    import dagster as dg

    status = dg.DagsterRunStatus
    run_id = str(job.run_id)
    run = instance.get_run_by_id(run_id)
    if run is None or run.status == status.NOT_STARTED:
        # Claimed by a submitter that was killed before Dagster had the run, or had it in its queue.
        if job.cancel_requested:
            cancelled(settings, job.job_id, run_id, now=now)
        else:
            _start(instance, job)
    elif run.status == status.CANCELED:
        cancelled(settings, job.job_id, run_id, now=now)
    elif run.is_finished:
        reason = f"run {run_id} ended without a result ({run.status.value}): its process was stopped or could not start"
        give_back(settings, job.job_id, run_id, error=reason, now=now)
    elif run.status == status.QUEUED and job.cancel_requested:
        instance.run_coordinator.cancel_run(run_id)


def _start(instance: "dg.DagsterInstance", job: ExportJob) -> None:
    """Put a job's run into Dagster's queue, once however often it is asked."""
    from dagster._core.errors import DagsterRunAlreadyExists
    from dagster._core.storage.tags import REPOSITORY_LABEL_TAG

    from etl_assets.exports.automation import export_job, export_tags, run_config

    run_id, origin = str(job.run_id), remote_origin(export_job.name)
    with suppress(DagsterRunAlreadyExists):
        instance.create_run_for_job(
            export_job,
            run_id=run_id,
            run_config=run_config(job.job_id),
            tags={**export_tags(job), REPOSITORY_LABEL_TAG: origin.repository_origin.get_label()},
            remote_job_origin=origin,
            job_code_origin=code_origin(export_job.name),
        )
    # The workspace is for coordinators that start a run themselves; ours (dagster.yaml) puts it into the queue.
    instance.submit_run(run_id, workspace=None)  # type: ignore[arg-type]
    logger.info("Export %s, try %d, is in Dagster's queue as run %s", job.job_id, job.attempts, run_id)


def remote_origin(job_name: str) -> "RemoteJobOrigin":
    """Where the daemon finds the job: in the location of this name, wherever its server listens by then."""
    from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
    from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(LOCATION), SINGLETON_REPOSITORY_NAME)
    return RemoteJobOrigin(repository, job_name)


def code_origin(job_name: str) -> "JobPythonOrigin":
    """Where Python finds the job."""
    from dagster._core.code_pointer import ModuleCodePointer
    from dagster._core.origin import DEFAULT_DAGSTER_ENTRY_POINT, JobPythonOrigin, RepositoryPythonOrigin

    pointer = ModuleCodePointer("etl_assets.definitions", "defs")
    return JobPythonOrigin(
        job_name, RepositoryPythonOrigin(sys.executable, pointer, entry_point=DEFAULT_DAGSTER_ENTRY_POINT)
    )
