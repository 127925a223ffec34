"""A published site whose readings can be worked out by hand: point ``n`` reads ``n * 1000 + minute`` each minute."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from etl_assets.exports.automation import export_job
from etl_assets.lake.connection import write_lake
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import POINTS, QUERY_METADATA, SITES, TIMESERIES_RAW
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.ops.job_state import ExportJob
from etl_assets.ops.state import copies_for_analysts
from etl_assets.settings import Settings
from etl_assets.settings import settings as process_settings

SITE = "tower"
DAY = date(2026, 11, 20)
START = datetime(2026, 11, 19, 14, 0, tzinfo=UTC)
"""The market day 2026-11-20 begins: 00:00 NEM time."""
NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
MINUTES = 1_440
POINT_COUNT = 200
NAMES = tuple(f"north/{SITE}/device/{number:04}" for number in range(POINT_COUNT))


def total(points: int, minutes: int = MINUTES) -> float:
    """The sum of the first points' readings over the first minutes of the day."""
    return minutes * 1_000 * points * (points - 1) / 2 + points * minutes * (minutes - 1) / 2


def readings(points: int = POINT_COUNT, minutes: int = MINUTES, start: datetime = START) -> pa.Table:
    stamps = np.datetime64(start.replace(tzinfo=None), "us") + np.arange(minutes) * np.timedelta64(60, "s")
    count = points * minutes
    return pa.table(
        {
            "site_name": pa.array([SITE]).take(pa.array(np.zeros(count, np.int8))),
            "point_name": pa.array(NAMES[:points]).take(pa.array(np.repeat(np.arange(points), minutes))),
            "timestamp": pa.array(np.tile(stamps, points)).cast(pa.timestamp("us", "UTC")),
            "value": (np.repeat(np.arange(points), minutes) * 1_000 + np.tile(np.arange(minutes), points)).astype(
                float
            ),
            "quality": pa.array(["good"]).take(pa.array(np.zeros(count, np.int8))),
        }
    )


def store(settings: Settings, *tables: tuple[object, pa.Table]) -> None:
    with write_lake(settings, "a test") as lake:
        for table, rows in tables:
            with transaction(lake):
                upsert(lake, table, rows, now=NOW)
    publish(settings, now=NOW, extra=copies_for_analysts(settings))


def fill(settings: Settings, points: int = POINT_COUNT, minutes: int = MINUTES) -> None:
    """Publish a day of the site."""
    names = list(NAMES[:points])
    end = START + timedelta(minutes=minutes - 1)
    known = {"site_name": [SITE] * points, "point_name": names}
    counts = known | {"data_start": [START] * points, "data_end": [end] * points, "total_samples": [minutes] * points}
    listed = known | {"client": ["north"] * points, "collect_enabled": [True] * points}
    store(
        settings,
        (SITES, pa.table({"site_name": [SITE], "client": ["north"], "archived": [False]})),
        (POINTS, pa.table(listed | {"is_listed": [True] * points, "is_configured": [True] * points})),
        (QUERY_METADATA, pa.table(counts)),
        (TIMESERIES_RAW, readings(points, minutes)),
    )


@pytest.fixture(scope="session")
def tower_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a published site, made once: tests that publish more make their own."""
    folder = tmp_path_factory.mktemp("tower") / "data"
    fill(Settings(_env_file=None, etl_data=folder))
    return folder


@pytest.fixture
def tower(tower_folder: Path, tmp_path: Path) -> Settings:
    """A published site of 200 points by 1,440 readings, and a state database and API folder of the test's own."""
    data = tmp_path / "tower"
    data.mkdir()
    (data / "warehouse.duckdb").symlink_to(tower_folder / "warehouse.duckdb")
    (data / "lake").symlink_to(tower_folder / "lake")
    return Settings(_env_file=None, etl_data=data)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage with the project's configuration, and no process of Dagster at work on it."""
    home = tmp_path_factory.mktemp("home")
    shutil.copyfile(Path(__file__).parents[2] / "dagster.yaml", home / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(home)) as opened:
        yield opened


@pytest.fixture
def dequeue(
    tower: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[ExportJob], dg.DagsterRun]]:
    """Does what Dagster's daemon and code server do with a queued run: starts it, in this process."""
    monkeypatch.setenv("ETL_DATA", str(tower.etl_data))
    process_settings.cache_clear()

    def dequeue(job: ExportJob) -> dg.DagsterRun:
        run = instance.get_run_by_id(str(job.run_id))
        assert run is not None
        starting = dg.DagsterEvent(dg.DagsterEventType.PIPELINE_STARTING.value, run.job_name)
        instance.report_dagster_event(starting, run_id=run.run_id)
        run = instance.get_run_by_id(run.run_id)
        assert run is not None
        execute_run(InMemoryJob(export_job), run, instance)
        ended = instance.get_run_by_id(run.run_id)
        assert ended is not None
        return ended

    yield dequeue
    process_settings.cache_clear()
