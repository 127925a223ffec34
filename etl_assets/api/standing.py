"""How collections stand, and what there is of everything: what ``/status`` and ``/stats`` say. Times are UTC."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from etl_assets.api.figures import open_gaps, quality_scores, table_figures
from etl_assets.api.problems import Problem

if TYPE_CHECKING:
    from starlette.datastructures import State

    from etl_assets.api.warehouse import Warehouse
    from etl_assets.settings import Settings

COUNTED = ("fetched", "filtered", "invalid", "duplicate", "unchanged", "inserted", "updated")
RUNS_SHOWN = 50


def status_of(state: "State") -> dict[str, Any]:
    """How collections of every dataset and site stand, what is missing, what is wrong, and what is at work."""
    settings: Settings = state.settings
    now: datetime = state.now()
    return {
        "asOf": _stamp(now),
        "published": _published(state.warehouse, now),
        "collections": _collections(settings),
        "sites": _sites(settings, now),
        "gapsOpen": _gaps(state.warehouse),
        "quality": _quality(state.warehouse),
        "alertsOpen": _alerts(settings),
        "dagster": _dagster(state),
    }


def stats_of(state: "State") -> dict[str, Any]:
    """Rows, files and bytes by table; the published file, the state's jobs, and the cache."""
    from etl_assets.ops.cache_state import kept
    from etl_assets.ops.job_records import count_jobs

    warehouse: Warehouse = state.warehouse
    settings: Settings = state.settings
    tables = [_jsonable(asdict(figures)) for figures in warehouse.once("table figures", table_figures)]
    cache = kept(settings)
    return {
        "asOf": _stamp(state.now()),
        "published": _published(warehouse, state.now()),
        "publishedFileBytes": settings.warehouse_path.stat().st_size,
        "tables": tables,
        "rows": sum(table["rows"] for table in tables),
        "exportJobs": count_jobs(settings),
        "cache": {**asdict(cache), "hit_ratio": cache.hit_ratio},
    }


def _published(warehouse: "Warehouse", now: datetime) -> dict[str, Any] | None:
    try:
        snapshot = warehouse.snapshot
    except Problem:
        return None
    age = (now - snapshot.published_at).total_seconds()
    return {"snapshot": snapshot.id, "publishedAt": _stamp(snapshot.published_at), "ageSeconds": round(age, 1)}


def _collections(settings: "Settings") -> list[dict[str, Any]]:
    from etl_assets.ops.api_state import last_sync_runs

    return [
        {
            "dataset": run["dataset"],
            "site": run["site_name"] or None,
            "partition": run["partition"],
            "status": run["status"],
            "finishedAt": _stamp(run["finished_at"]),
            "durationSeconds": run["duration_seconds"],
            "records": {name: run[name] for name in COUNTED},
            "requests": sum(run["requests_by_status"].values()),
            "missing": run["missing_after"],
            "errors": len(run["errors"]),
            "runId": run["run_id"],
        }
        for run in last_sync_runs(settings)
    ]


def _sites(settings: "Settings", now: datetime) -> list[dict[str, Any]]:
    from etl_assets.ops.site_state import failed_windows, last_sync

    found = []
    for site in settings.sites:
        read = last_sync(settings, site.name)
        behind = round((now - read).total_seconds(), 1) if read else None
        failed = len(failed_windows(settings, site.name))
        found.append({"site": site.name, "readTo": _stamp(read), "behindSeconds": behind, "failedWindows": failed})
    return found


def _gaps(warehouse: "Warehouse") -> list[dict[str, Any]]:
    try:
        gaps = warehouse.once("open gaps", open_gaps)
    except Problem:
        return []
    return [{"dataset": dataset, "gaps": count, "intervals": intervals} for dataset, count, intervals in gaps]


def _quality(warehouse: "Warehouse") -> list[dict[str, Any]]:
    try:
        scores = warehouse.once("quality scores", quality_scores)
    except Problem:
        return []
    return [{"site": site, "date": str(day), "score": round(score, 4)} for site, day, score in scores]


def _alerts(settings: "Settings") -> list[dict[str, Any]]:
    from etl_assets.ops.alerts import open_alerts

    return [
        {"key": alert.key, "message": alert.message, "raisedAt": _stamp(alert.raised_at)}
        for alert in open_alerts(settings)
    ]


def _dagster(state: "State") -> dict[str, Any]:
    """The daemon, and the runs that have not ended, the newest first."""
    import dagster as dg

    from etl_assets.healing import UNFINISHED

    look = state.health.daemon()
    runs = state.health.instance().get_run_records(dg.RunsFilter(statuses=UNFINISHED), limit=RUNS_SHOWN)
    shown = [
        {"runId": r.dagster_run.run_id, "job": r.dagster_run.job_name, "status": r.dagster_run.status.value}
        for r in runs
    ]
    return {"daemonIsRunning": bool(look.facts.get("isRunning")), "runs": shown}


def _jsonable(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _stamp(value) if isinstance(value, date) else value for name, value in row.items()}


def _stamp(moment: date | None) -> str | None:
    """An instant in UTC to the second, or a day."""
    if isinstance(moment, datetime):
        return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z"
    return str(moment) if moment else None
