"""Dagster's own history, bounded: a run costs 140 to 200 KB of event log, and nothing in Dagster removes it.

Only superseded runs go. The run of the newest materialisation of any asset or partition stays, because removing it
would make that partition look as if it had never been made.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import dagster as dg

from etl_assets.asset_specs import EVERY_DAY, OWNERS
from etl_assets.market_time import NEM_ZONE_NAME, utc_now
from etl_assets.settings import settings

FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]

RUNS_PER_DAY = 2_000
"""Removed at most in one go, oldest first: some five days of ticks and their neighbours."""

RUNS_PER_READ = 500
"""Looked at together; those that stay grow in number for ever, so the look goes on behind them."""


def superseded_runs(instance: dg.DagsterInstance, before: datetime) -> list[str]:
    """Ids of finished runs, created before a moment, that hold no asset's or partition's newest materialisation."""
    newest: dict[dg.AssetKey, frozenset[str]] = {}
    found = []
    for run_id in _finished_runs(instance, before):
        made = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
        if not any(_is_newest(instance, event, newest) for event in made):
            found.append(run_id)
        if len(found) == RUNS_PER_DAY:
            break
    return found


def _finished_runs(instance: dg.DagsterInstance, before: datetime) -> Iterator[str]:
    """Ids of finished runs, oldest first."""
    filters, last = dg.RunsFilter(statuses=FINISHED, created_before=before), None
    while records := instance.get_run_records(filters=filters, limit=RUNS_PER_READ, ascending=True, cursor=last):
        yield from (record.dagster_run.run_id for record in records)
        last = records[-1].dagster_run.run_id


def _is_newest(
    instance: dg.DagsterInstance, event: dg.EventLogRecord, newest: dict[dg.AssetKey, frozenset[str]]
) -> bool:
    key = event.asset_key
    if key is None:
        return False
    if key not in newest:
        newest[key] = _newest(instance, key)
    return event.run_id in newest[key]


def _newest(instance: dg.DagsterInstance, key: dg.AssetKey) -> frozenset[str]:
    """The runs that made an asset, or any partition of it, last.

    Compared by run: SQLite storage numbers an event twice, in its run's file and in the index of all runs.
    """
    storage = instance.event_log_storage
    by_partition = storage.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
    records = list(instance.fetch_materializations(key, limit=1).records)
    for ids in _batches(sorted(by_partition.values())):
        chosen = dg.AssetRecordsFilter(asset_key=key, storage_ids=ids)
        records += instance.fetch_materializations(chosen, limit=len(ids)).records
    return frozenset(record.run_id for record in records)


def _batches(ids: list[int]) -> list[list[int]]:
    return [ids[start : start + RUNS_PER_READ] for start in range(0, len(ids), RUNS_PER_READ)]


def forget_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Delete a run with all that it left: its events, what it printed, and the file that held its events.

    Dagster deletes the rows alone: in SQLite storage each run has a file of its own, which stays as large as it was.
    """
    from dagster._core.storage.event_log import SqliteEventLogStorage

    instance.delete_run(run_id)
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        shard = Path(storage.path_for_shard(run_id))
        for path in (shard, shard.with_name(f"{shard.name}-wal"), shard.with_name(f"{shard.name}-shm")):
            path.unlink(missing_ok=True)


@dg.asset(group_name="ops", kinds={"python"}, owners=OWNERS, freshness_policy=EVERY_DAY)
def dagster_history_trimmed(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """Dagster's run history without superseded runs older than `RUN_RETENTION`. Daily.

    Every partition keeps the run that made it last, however old.
    """
    before = utc_now() - settings().run_retention
    runs = superseded_runs(context.instance, before)
    for run_id in runs:
        forget_run(context.instance, run_id)
    return dg.MaterializeResult(metadata={"runs_removed": len(runs)})


trim_history = dg.define_asset_job(
    "trim_history",
    selection=dg.AssetSelection.assets(dagster_history_trimmed),
    executor_def=dg.in_process_executor,
    description="Removes superseded runs from Dagster's storage.",
)
trim_history_schedule = dg.ScheduleDefinition(
    name="trim_history_schedule",
    job=trim_history,
    cron_schedule="43 4 * * *",
    execution_timezone=NEM_ZONE_NAME,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Daily at 04:43 NEM time: removes superseded runs older than `RUN_RETENTION` from Dagster's storage.",
)
