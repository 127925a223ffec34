"""Dagster's own storage in a backup: what of DAGSTER_HOME is taken, and what becomes of runs that were at work.

Ticks, runs, the index of events, and a file of events a run. Not what runs printed, and nothing of the processes.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from etl_assets.backup.draft import Draft
from etl_assets.backup.places import DAGSTER

RUNS = "history/runs.db"
WHOLE = ("schedules/schedules.db", RUNS, "history/runs/index.db")
EVENTS = "history/runs/{}.db"

INTERRUPTED = "It was at work when the backup was taken that this storage was restored from."


def add_dagster(draft: Draft, home: Path) -> None:
    """Ticks, runs and the index of events as of one moment, then the events of each of these runs."""
    databases = {home / name: f"{DAGSTER}/{name}" for name in WHOLE}
    draft.add_databases({source: name for source, name in databases.items() if source.exists()})
    for run_id in _run_ids(draft.path(f"{DAGSTER}/{RUNS}")):
        source = home / EVENTS.format(run_id)
        # The trimming of old runs may remove it meanwhile.
        if source.exists():
            draft.add_settled_database(source, f"{DAGSTER}/{EVENTS.format(run_id)}")
    if (configuration := home / "dagster.yaml").exists():
        draft.add_file(configuration, f"{DAGSTER}/{configuration.name}")


def _run_ids(copy: Path) -> list[str]:
    if not copy.exists():
        return []
    with closing(sqlite3.connect(copy)) as connection:
        return [run_id for (run_id,) in connection.execute("SELECT run_id FROM runs ORDER BY id")]


def end_interrupted_runs(home: Path) -> int:
    """Mark runs that no process works on any more as failed; returns how many.

    Dagster's run monitoring asks its launcher, and the one for runs on this machine cannot say: such a run would hold
    its place for two hours. Failed, it is tried again as dagster.yaml says, and the sensors ask for what it lacks.
    What waits in the queue is left there.
    """
    import dagster as dg

    at_work = [
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        runs = instance.get_runs(filters=dg.RunsFilter(statuses=at_work))
        for run in runs:
            instance.report_run_failed(run, INTERRUPTED)
    return len(runs)
