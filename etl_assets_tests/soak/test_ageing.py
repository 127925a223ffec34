"""Stamps of the wall clock get the simulated time, and then retention has work to do."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from etl_assets.lake.connection import read_lake, write_lake
from etl_assets.lake.maintenance import maintain
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import DISPATCH_REGION
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.settings import Settings
from etl_assets_tests.conftest import make_region_rows

MOMENT = datetime(2025, 10, 1, 3, 0, tzinfo=UTC)
DAY = date(2025, 9, 30)


def age(settings: Settings, moment: datetime) -> None:
    subprocess.run([sys.executable, "-m", "soak.ageing", str(settings.etl_data), moment.isoformat()], check=True)


def stored(settings: Settings, *prices: float) -> None:
    for price in prices:
        with write_lake(settings, "a test") as lake, transaction(lake):
            upsert(lake, DISPATCH_REGION, make_region_rows(DAY, price=price, intervals=2), now=MOMENT)


def stamps(settings: Settings) -> set[str]:
    with read_lake(settings) as lake:
        rows = lake.execute("SELECT snapshot_time::VARCHAR FROM ducklake_snapshots('lake')").fetchall()
    return {row[0] for row in rows}


def test_snapshots_of_the_wall_clock_get_the_moment_and_older_ones_stay(settings: Settings) -> None:
    stored(settings, 50.0)
    age(settings, MOMENT)
    stored(settings, 60.0)
    age(settings, MOMENT + timedelta(hours=3))

    with duckdb.connect() as connection:
        ages = {connection.execute("SELECT ?::TIMESTAMPTZ", [stamp]).fetchall()[0][0] for stamp in stamps(settings)}

    assert ages == {MOMENT, MOMENT + timedelta(hours=3)}


def test_maintenance_forgets_by_simulated_time_and_what_is_published_stays(settings: Settings) -> None:
    brief = settings.model_copy(update={"lake_retention": timedelta(days=1)})
    stored(brief, 50.0, 60.0, 70.0)
    publish(brief, now=MOMENT)
    age(brief, MOMENT)

    early = maintain(brief, now=MOMENT + timedelta(hours=20))
    age(brief, MOMENT + timedelta(hours=20))
    late = maintain(brief, now=MOMENT + timedelta(days=4))

    assert early.snapshots_expired == 0
    assert late.snapshots_expired > 0
    with read_lake(brief) as lake:
        assert lake.execute("SELECT DISTINCT rrp FROM lake.aemo.dispatch_region").fetchall() == [(70.0,)]


def test_files_are_as_old_as_the_moment(settings: Settings) -> None:
    stored(settings, 50.0)
    files = list((settings.etl_data / "lake" / "files").rglob("*.parquet"))
    os.utime(files[0], (1_000_000_000, 1_000_000_000))

    age(settings, MOMENT)

    assert {int(file.stat().st_mtime) for file in files} <= {1_000_000_000, int(MOMENT.timestamp())}
    assert int(files[0].stat().st_mtime) == 1_000_000_000


def test_runs_of_dagster_are_as_old_as_the_moment(settings: Settings) -> None:
    history = settings.etl_data / "dagster" / "history"
    history.mkdir(parents=True)
    with closing(sqlite3.connect(history / "runs.db")) as storage:
        storage.execute("CREATE TABLE runs (run_id TEXT, create_timestamp TIMESTAMP)")
        storage.execute("INSERT INTO runs VALUES ('old', '2025-09-30 00:00:00'), ('new', '2026-11-25 19:00:00.5')")
        storage.commit()

    age(settings, MOMENT)

    with closing(sqlite3.connect(history / "runs.db")) as storage:
        found = dict(storage.execute("SELECT run_id, create_timestamp FROM runs").fetchall())
    assert found == {"old": "2025-09-30 00:00:00", "new": "2025-10-01 03:00:00.000000"}


def test_a_folder_without_anything_is_left_as_it_is(tmp_path: Path, settings: Settings) -> None:
    age(settings, MOMENT)

    assert not list(tmp_path.rglob("*"))


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ``python -m soak`` is run."""
    monkeypatch.chdir(Path(__file__).parents[2])
