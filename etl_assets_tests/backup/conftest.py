"""A data folder with something of everything in it, and another file system to back it up to."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from etl_assets.api.clients import own_client
from etl_assets.exports.dagster_runs import remote_origin
from etl_assets.kpi.registry import refresh
from etl_assets.lake.archive import archive_old
from etl_assets.lake.connection import write_lake
from etl_assets.lake.tables import DISPATCH_REGION, TIMESERIES_RAW
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.ops.state import save_checkpoint
from etl_assets.settings import Settings
from etl_assets_tests.conftest import make_region_rows

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
PROCESS = Path(__file__).with_name("process.py")


@dg.op
def nothing() -> None:
    """An op without a result."""


@dg.job
def idle() -> None:
    nothing()


def readings(day: date) -> pa.Table:
    """Two readings of one point, at 02:00 and 03:00 UTC."""
    moments = [datetime(day.year, day.month, day.day, hour, tzinfo=UTC) for hour in (2, 3)]
    return pa.table(
        {
            "site_name": ["a", "a"],
            "point_name": ["p", "p"],
            "timestamp": moments,
            "value": [1.0, 2.0],
            "quality": ["good", "good"],
            "metadata": ["{}", "{}"],
            "collected_at": moments,
            "created_at": moments,
        }
    )


@pytest.fixture(scope="session")
def whole_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One market day of two regions, an archived and a current day of readings, state, two runs, secrets."""
    root = tmp_path_factory.mktemp("whole")
    registry = root / "registry.json"
    registry.write_text(json.dumps({"kpis": [{"id": "one", "name": "One", "webhookUrl": "http://localhost/hook"}]}))
    settings = Settings(_env_file=None, etl_data=root / "data", kpi_registry=str(registry))
    for table, rows in (
        (DISPATCH_REGION, make_region_rows(date(2026, 11, 20))),
        (TIMESERIES_RAW, readings(date(2026, 11, 20))),
        (TIMESERIES_RAW, readings(date(2026, 7, 1))),
    ):
        with write_lake(settings, "a test") as lake, transaction(lake):
            upsert(lake, table, rows, now=NOW)
    archive_old(settings, now=NOW)
    save_checkpoint(settings, "walk", {"cursor": 7}, now=NOW, keep=timedelta(days=9))
    refresh(settings, now=NOW)
    own_client(settings)
    results = settings.api_folder / "results"
    results.mkdir()
    (results / "job_1.json").write_text("[]")
    (results / "job_2.run.draft").write_text("half")
    settings.dagster_home.mkdir()
    (settings.dagster_home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        idle.execute_in_process(instance=instance)
        instance.create_run_for_job(idle, run_id="00000000-0000-0000-0000-000000000001", status=STARTED)
        waiting = "00000000-0000-0000-0000-000000000002"
        instance.create_run_for_job(idle, run_id=waiting, status=QUEUED, remote_job_origin=remote_origin(idle.name))
    return settings.etl_data


STARTED, QUEUED = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.QUEUED


@pytest.fixture
def settings(whole_folder: Path, tmp_path: Path) -> Settings:
    """Settings on a copy of the folder."""
    shutil.copytree(whole_folder, tmp_path / "data")
    return Settings(_env_file=None, etl_data=tmp_path / "data")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Settings:
    """Settings on a place that is not there yet."""
    return Settings(_env_file=None, etl_data=tmp_path / "other" / "place")


@pytest.fixture
def small_file_system(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB: more than a backup's smallest files, less than all."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root can make a file system that is small")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command of ``process.py`` on the test's data folder; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start(command: str, *arguments: object) -> subprocess.Popen[str]:
        line = [sys.executable, str(PROCESS), command, str(settings.etl_data), *map(str, arguments)]
        started.append(subprocess.Popen(line, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
