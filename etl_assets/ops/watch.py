"""The watch on the pipeline itself: an asset that measures it every hour, so that drift shows as a plot.

What it asks is in ``measures``. Alerts come from ``failures``, within a minute; this is the standing inventory.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from etl_assets.asset_specs import EVERY_HOUR, OWNERS, check_result
from etl_assets.lake.resource import Lake
from etl_assets.market_time import NEM_ZONE_NAME, utc_now
from etl_assets.ops.measures import (
    LATEST,
    Disk,
    LockWait,
    failed_partitions,
    in_runs,
    lags_in_minutes,
    measure_disk,
    measure_lock,
)
from etl_assets.quality.outcome import FIRST_OFFENDERS, Outcome

PIPELINE = dg.AssetKey("pipeline_measured")

LEAST_FREE_SHARE = 0.1
"""Of the disk. Merging writes files anew before the old ones go, and a full disk stops SQLite and the lake alike."""

LONGEST_WAIT_S = 30.0
"""A tick's own writing takes some seconds; who waits longer waits for a backfill, or for a process that hangs."""

GB = 1e9
"""Bytes: Dagster's pages take whole numbers of 32 bits, and plot nothing that is larger."""

ASSETS_NAMED = 8
"""In the table of failed partitions, so that it stays short enough to be shown in place."""


def left_failed(found: Mapping[dg.AssetKey, list[str]]) -> Outcome:
    """No partition's last run failed: what did is listed, until it is materialised again."""
    count = sum(len(names) for names in found.values())
    rows = [f"| {key.to_user_string()} | {in_runs(names)} |" for key, names in sorted(found.items())[:ASSETS_NAMED]]
    table = "\n".join(["| asset | partitions |", "| --- | --- |", *rows])
    first = "; ".join(
        f"{key.to_user_string()} {in_runs(names)}" for key, names in sorted(found.items())[:FIRST_OFFENDERS]
    )
    described = (
        f"{count} partitions of {len(found)} assets are left failed, look at their run, materialise them: {first}"
    )
    return Outcome(
        passed=not found,
        description=described if found else "no partition is left failed",
        metadata={"partitions_failed": count, "assets_concerned": len(found)},
        is_error=False,
        pictures={"left_failed": table} if found else {},
    )


def newest_are_fresh(lags: Mapping[str, float | None]) -> Outcome:
    """The newest interval of every live table, and the last sync of every site, is at most three hours old.

    What has never come in is named: it may not be wanted, such as sites without a key. Where nothing has, that warns.
    """
    came = {name: lag for name, lag in lags.items() if lag is not None}
    late = {name: lag for name, lag in came.items() if lag > LATEST.total_seconds() / 60}
    never = ", ".join(name for name in lags if name not in came)
    named = ", ".join(f"{name} {lag:,.0f} min" for name, lag in sorted(late.items(), key=lambda item: -item[1]))
    behind = f"{named} behind: is the daemon running, and does the source answer? `etl-assets doctor` says"
    said = behind if late else f"{len(came)} of {len(lags)} datasets are current"
    return Outcome(
        passed=bool(came) and not late,
        description=said + (f"; never came in: {never}" if never else ""),
        metadata={"datasets_late": len(late), "never_came_in": never or "none"},
        is_error=bool(late),
    )


def disk_has_room(disk: Disk) -> Outcome:
    """A tenth is free of every disk of this machine on which `ETL_DATA`, `LAKE_DATA` or `ARCHIVE_DATA` lies."""
    has_room = disk.free_share >= LEAST_FREE_SHARE
    said = f"{disk.free_share:.0%} is free of the fullest disk, that of {disk.fullest} ({disk.free / GB:,.1f} GB)"
    to_do = "" if has_room else ": lower RAW_RETENTION, LAKE_RETENTION or RUN_RETENTION, or give it a larger disk"
    metadata = {"free_share": round(disk.free_share, 4), "fullest_disk": disk.fullest}
    return Outcome(has_room, said + to_do, metadata, is_error=False)


def lock_is_free(wait: LockWait) -> Outcome:
    """A writer gets the lake's lock within half a minute."""
    if wait.held_by:
        return Outcome(passed=False, description=f"Not within {wait.seconds:.0f} s: {wait.held_by} holds it")
    is_free = wait.seconds <= LONGEST_WAIT_S
    return Outcome(is_free, f"waited {wait.seconds:.1f} s", {"waited_seconds": wait.seconds}, is_error=False)


_CHECKS = {
    "no_partition_is_left_failed": left_failed,
    "newest_data_are_fresh": newest_are_fresh,
    "disk_has_room": disk_has_room,
    "lock_is_free": lock_is_free,
}


@dg.asset(
    key=PIPELINE,
    group_name="ops",
    kinds={"duckdb"},
    owners=OWNERS,
    freshness_policy=EVERY_HOUR,
    check_specs=[
        dg.AssetCheckSpec(name, asset=PIPELINE, description=question.__doc__) for name, question in _CHECKS.items()
    ],
)
def pipeline_measured(context: dg.AssetExecutionContext, lake: Lake) -> Iterator[dg.MaterializeResult[None]]:
    """How the pipeline stands, hourly: lag of each dataset (minutes), disk and storage (GB), wait for the lock (s).

    Each number is plotted over the hours. The check `no_partition_is_left_failed` is the standing inventory of what is
    broken now.
    """
    chosen = lake.settings
    lags, disk, wait = lags_in_minutes(chosen, utc_now()), measure_disk(chosen), measure_lock(chosen)
    failed = failed_partitions(context.instance, _partitioned())
    answers = (left_failed(failed), newest_are_fresh(lags), disk_has_room(disk), lock_is_free(wait))
    yield dg.MaterializeResult(
        metadata=_metadata(lags, disk, wait) | {"partitions_failed": sum(len(names) for names in failed.values())},
        check_results=[check_result(PIPELINE, name, answer) for name, answer in zip(_CHECKS, answers, strict=True)],
    )


def _metadata(lags: Mapping[str, float | None], disk: Disk, wait: LockWait) -> dict[str, Any]:
    return {
        **{f"lag_minutes {name}": lag for name, lag in lags.items() if lag is not None},
        "disk_free_gb": round(disk.free / GB, 3),
        "lake_gb": round(disk.lake / GB, 3),
        "dagster_storage_gb": round(disk.dagster_storage / GB, 3),
        "lock_waited_seconds": wait.seconds,
    }


def _partitioned() -> "dict[dg.AssetKey, dg.PartitionsDefinition[str]]":
    """Every asset of the graph that has partitions. Read at run time: this module is a part of that graph."""
    from etl_assets.definitions import defs

    graph = defs.resolve_asset_graph()
    found = {key: graph.get(key).partitions_def for key in graph.materializable_asset_keys}
    return {key: definition for key, definition in found.items() if definition is not None}


pipeline_watch = dg.define_asset_job(
    "pipeline_watch",
    selection=dg.AssetSelection.assets(pipeline_measured),
    executor_def=dg.in_process_executor,
    description="Measures lag, disk and lock, and lists the partitions that are left failed. Hourly.",
)
pipeline_watch_schedule = dg.ScheduleDefinition(
    name="pipeline_watch_schedule",
    job=pipeline_watch,
    cron_schedule="19 * * * *",
    execution_timezone=NEM_ZONE_NAME,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="At minute 19: how far data lag, room on the disk, wait for the lock, and what is left failed.",
)
