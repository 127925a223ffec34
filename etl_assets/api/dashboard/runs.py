"""What is at work and what was: collections with their counts, runs of Dagster, export jobs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from etl_assets.api.dashboard.links import Links
from etl_assets.api.dashboard.replies import seconds
from etl_assets.ops.database import begin
from etl_assets.ops.job_records import list_jobs
from etl_assets.ops.tables import SYNC_RUNS

if TYPE_CHECKING:
    import dagster as dg
    from starlette.datastructures import State

    from etl_assets.settings import Settings

SYNCS_SHOWN = 100
RUNS_SHOWN = 30
EXPORTS_SHOWN = 50
UNFINISHED_SHOWN = 100

COUNTS = ("fetched", "inserted", "updated", "unchanged", "invalid")
PARTITION_TAG = "dagster/partition"
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def runs_of(state: "State") -> dict[str, Any]:
    """The last collections with their means, what Dagster does and did, and the newest export jobs."""
    settings: Settings = state.settings
    links = Links(settings)
    syncs = _last_syncs(settings)
    return {
        "summary": summary_of(syncs),
        "syncs": [_sync(row, links) for row in syncs],
        "runs": [_run(record, links) for record in _records(state.health.instance())],
        "exports": _exports(settings),
        "dagster": "running" if state.health.daemon().facts.get("isRunning") else "down",
    }


def summary_of(syncs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of some collections: how many, how long and how many new rows on average, how many failed."""
    count = len(syncs)
    return {
        "count": count,
        "mean_duration_s": sum(row["duration_seconds"] for row in syncs) / count if count else None,
        "mean_inserted": sum(row["inserted"] for row in syncs) / count if count else None,
        "failed": sum(row["status"] == "failed" for row in syncs),
    }


def metrics_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a collection did, by its row of ``sync_runs``."""
    return {
        "dataset": row["dataset"],
        "partition": row["partition"],
        "started_at": seconds(row["started_at"]),
        "duration_s": row["duration_seconds"],
        **{name: row[name] for name in COUNTS},
        "errors": len(row["errors"]),
        "status": row["status"],
    }


def sync_id_of(row: Mapping[str, Any]) -> str:
    """The sync that a collection was part of; outside sites it is Dagster's run."""
    return str(row["sync_id"] or row["run_id"])


def _last_syncs(settings: "Settings") -> list[Mapping[str, Any]]:
    newest = select(SYNC_RUNS).order_by(SYNC_RUNS.c.finished_at.desc(), SYNC_RUNS.c.dataset).limit(SYNCS_SHOWN)
    with begin(settings) as connection:
        return [dict(row) for row in connection.execute(newest).mappings()]


def _sync(row: Mapping[str, Any], links: Links) -> dict[str, Any]:
    return {"sync_id": sync_id_of(row), **metrics_of(row), "dagster_url": links.run(row["run_id"])}


def _records(instance: "dg.DagsterInstance") -> "list[dg.RunRecord]":
    """What is at work or waits, and the newest of the others; the newest first."""
    import dagster as dg

    from etl_assets.healing import IN_PROGRESS

    at_work = instance.get_run_records(dg.RunsFilter(statuses=IN_PROGRESS), limit=UNFINISHED_SHOWN)
    newest = instance.get_run_records(limit=RUNS_SHOWN)
    by_id = {record.dagster_run.run_id: record for record in (*newest, *at_work)}
    return sorted(by_id.values(), key=lambda record: record.create_timestamp, reverse=True)


def _run(record: "dg.RunRecord", links: Links) -> dict[str, Any]:
    run = record.dagster_run
    return {
        "run_id": run.run_id,
        "job": run.job_name,
        "partition": _partition(run.tags),
        "status": run.status.value,
        "started_at": int(record.start_time) if record.start_time else None,
        "ended_at": int(record.end_time) if record.end_time else None,
        "dagster_url": links.run(run.run_id),
    }


def _partition(tags: Mapping[str, str]) -> str:
    """The partition that a run is for, the first and last of several, or nothing."""
    if PARTITION_TAG in tags:
        return tags[PARTITION_TAG]
    return " to ".join(tags[name] for name in RANGE_TAGS if name in tags)


def _exports(settings: "Settings") -> list[dict[str, Any]]:
    """Jobs without who asked, and for which points: the page is for everybody who may read."""
    return [
        {
            "job_id": job.job_id,
            "site": job.site_name,
            "status": job.status,
            "progress": job.points_done / job.points_total if job.points_total else None,
            "samples": job.samples,
            "created_at": seconds(job.created_at),
        }
        for job in list_jobs(settings, limit=EXPORTS_SHOWN)
    ]
