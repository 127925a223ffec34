"""What was collected, what Dagster does, and export jobs."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from etl_assets.api.dashboard.runs import summary_of
from etl_assets.ops.job_state import Order, open_job
from etl_assets.ops.state import SyncRun, record_sync_run
from etl_assets_tests.api.dashboard.conftest import UNLIMITED
from etl_assets_tests.api.dashboard.filled import NOW, epoch
from etl_assets_tests.api.operating import Operating, copied, operating

SECOND = timedelta(seconds=1)


def sync_run(number: int, **more: Any) -> SyncRun:
    """A collection that ended so many seconds after the beginning."""
    counts = {"fetched": 10, "filtered": 0, "invalid": 1, "duplicate": 0, "unchanged": 2, "inserted": 7, "updated": 0}
    told = {"requests_by_status": {}, "retries": 0, "bytes_received": 0, "errors": (), "duration_seconds": 2.0}
    ran = {"run_id": f"run-{number}", "attempt": 1, "dataset": "aemo.dispatch_region", "partition": "2025-11-21"}
    ended = {"started_at": NOW + number * SECOND, "finished_at": NOW + (number + 2) * SECOND}
    return SyncRun(**(counts | told | ran | ended | more))


@pytest.fixture(scope="module")
def own(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operating]:
    """With a state of these tests' own."""
    with operating(copied(published, tmp_path_factory.mktemp("runs") / "data"), **UNLIMITED) as it:
        it.now = NOW
        yield it


def test_before_the_first_collection_there_are_no_means() -> None:
    assert summary_of([]) == {"count": 0, "mean_duration_s": None, "mean_inserted": None, "failed": 0}


def test_what_is_not_at_work_is_said(own: Operating) -> None:
    own.beat(ago_s=3600)

    assert own.get("/dashboard/runs").json()["dagster"] == "down"


def test_the_last_hundred_collections_are_shown_the_newest_first_with_their_means(own: Operating) -> None:
    for number in range(101):
        # The first is the hundred-and-first, and so not among them.
        record_sync_run(own.settings, sync_run(number, inserted=0 if number == 0 else 7, fetched=10))
    record_sync_run(own.settings, sync_run(200, status="failed", errors=("it broke",), duration_seconds=12.0))

    found = own.get("/dashboard/runs").json()

    assert found["summary"] == {"count": 100, "mean_duration_s": 2.1, "mean_inserted": 7.0, "failed": 1}
    assert len(found["syncs"]) == 100
    assert found["syncs"][0] == {
        "sync_id": "run-200", "dataset": "aemo.dispatch_region", "partition": "2025-11-21",
        "started_at": epoch(NOW) + 200, "duration_s": 12.0, "fetched": 10, "inserted": 7, "updated": 0,
        "unchanged": 2, "invalid": 1, "errors": 1, "status": "failed",
        "dagster_url": "http://127.0.0.1:3000/runs/run-200",
    }  # fmt: skip


def test_a_run_of_dagster_says_how_it_ended(own: Operating) -> None:
    own.beat()

    @dg.op
    def nothing() -> None: ...

    @dg.job(executor_def=dg.in_process_executor)
    def small() -> None:
        nothing()

    run = own.instance.create_run_for_job(small, tags={"dagster/partition": "2025-11-21"})
    execute_run(InMemoryJob(small), run, own.instance)

    found = own.get("/dashboard/runs").json()

    (shown,) = found["runs"]
    assert (shown["run_id"], shown["job"], shown["partition"]) == (run.run_id, "small", "2025-11-21")
    assert (shown["status"], found["dagster"]) == ("SUCCESS", "running")
    assert shown["ended_at"] >= shown["started_at"] > 0
    assert shown["dagster_url"].endswith(f"/runs/{run.run_id}")


def test_an_export_job_is_shown_without_who_asked_and_for_what(own: Operating) -> None:
    order = Order("secretive", "timeseries", {"points": ["p1"]}, "json", 5, site_name="tower", points_total=4)
    job = open_job(own.settings, order, now=NOW)

    answer = own.get("/dashboard/runs")

    (shown,) = answer.json()["exports"]
    assert shown == {"job_id": job.job_id, "site": "tower", "status": "queued", "progress": 0.0, "samples": None,
                     "created_at": epoch(NOW)}  # fmt: skip
    assert "secretive" not in answer.text
