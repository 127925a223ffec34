"""Export jobs in Dagster: the job itself, what starts jobs while the API is down, and the hourly clean-up."""

from collections.abc import Callable
from datetime import datetime

import dagster as dg
from pydantic import ConfigDict

from etl_assets.automation_specs import sensor
from etl_assets.exports.assets import exports_tidied
from etl_assets.exports.dagster_runs import CLIENT_TAG, EXPORT_TAG, submit_due
from etl_assets.exports.jobs import error_for_clients
from etl_assets.lake.resource import Lake
from etl_assets.market_time import NEM_ZONE_NAME, utc_now
from etl_assets.ops.job_state import ExportJob, JobCancelledError, JobLostError, cancelled, give_back

EXPORT_OP = "export"

BEHIND = 10
"""Subtracted from a job's priority (0 to 9): a backfill has Dagster's own, 0."""


class ExportConfig(dg.Config):
    """Which job a run is for."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    job_id: str
    """As the API gave it to the client: `job_…`."""


@dg.op(name=EXPORT_OP, description="Reads what a job asks for from the published file, and writes its result.")
def export(context: dg.OpExecutionContext, config: ExportConfig, lake: Lake) -> None:
    """One try of an export job. What the job's record says decides: a run that was given up changes nothing."""
    from etl_assets.exports.export import run_export

    job_id, run_id = config.job_id, context.run_id
    try:
        done = run_export(lake.settings, job_id, run_id, now=utc_now)
    except JobLostError as error:
        context.log.warning("%s", error)
    except JobCancelledError as error:
        cancelled(lake.settings, job_id, run_id, now=utc_now())
        context.log.warning("%s; no result is kept", error)
    except dg.DagsterExecutionInterruptedError:
        _interrupted(context, lambda now: cancelled(lake.settings, job_id, run_id, now=now))
        raise
    except Exception as error:
        context.log.warning("%s: this try failed: %s: %s", job_id, type(error).__name__, error)
        give_back(lake.settings, job_id, run_id, error=error_for_clients(error), now=utc_now())
        raise
    else:
        context.log.info("%s: %d samples, %d bytes", job_id, done.samples or 0, done.result_bytes or 0)


def _interrupted(context: dg.OpExecutionContext, cancel: Callable[[datetime], object]) -> None:
    """An operator who stops a run means the job; a server that shuts down does not, and the job is tried again."""
    run = context.instance.get_run_by_id(context.run_id)
    if run is not None and run.status == dg.DagsterRunStatus.CANCELING:
        cancel(utc_now())


@dg.job(
    name="export_job",
    executor_def=dg.in_process_executor,
    resource_defs={"lake": Lake()},
    description="One try of a large request to the API. Started by the API, or by `export_sensor` while that is down.",
)
def export_job() -> None:
    """An op and no asset: a result is a client's, fetched once and gone in a week."""
    export()


def run_config(job_id: str) -> dict[str, object]:
    """The configuration of a run for a job."""
    return {"ops": {EXPORT_OP: {"config": {"job_id": job_id}}}}


def export_tags(job: ExportJob) -> dict[str, str]:
    """The tags of a run for a job: which, whose, and how it queues: behind everything that collects and publishes."""
    priority = str(job.priority - BEHIND)
    # Tries are the job's own, with its own back-off: see `ops/job_state.py`.
    return {EXPORT_TAG: job.job_id, CLIENT_TAG: job.client_id, "dagster/priority": priority, "dagster/max_retries": "0"}


@sensor(job=export_job, minimum_interval_seconds=30)
def export_sensor(context: dg.SensorEvaluationContext, lake: Lake) -> dg.SkipReason:
    """Does what the API's own submitter does each half second: a job is tried again also while the API is down."""
    started = submit_due(lake.settings, context.instance, now=utc_now())
    return dg.SkipReason(f"{started} export jobs were due and are in the queue now")


exports_hourly = dg.define_asset_job(
    "exports_hourly",
    selection=dg.AssetSelection.assets(exports_tidied),
    executor_def=dg.in_process_executor,
    description="Removes results and cached answers that are past their time.",
)
exports_hourly_schedule = dg.ScheduleDefinition(
    name="exports_hourly_schedule",
    job=exports_hourly,
    cron_schedule="51 * * * *",
    execution_timezone=NEM_ZONE_NAME,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="At minute 51: removes results and cached answers that are past their time.",
)

EXPORT_JOBS = [export_job]
EXPORT_ASSET_JOBS = [exports_hourly]
EXPORT_SCHEDULES = [exports_hourly_schedule]
EXPORT_SENSORS = [export_sensor]
