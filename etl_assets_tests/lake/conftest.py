"""A lake that is there already, older lakes, and other processes."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from etl_assets.lake.connection import connected, migrate, read_lake, write_lake
from etl_assets.lake.tables import DISPATCH_REGION, ROOFTOP_PV, TABLES, Table
from etl_assets.lake.upsert import UpsertCounts, transaction, upsert
from etl_assets.settings import Settings

PROCESS = Path(__file__).with_name("process.py")


@pytest.fixture
def settings(empty_lake: Path, tmp_path: Path) -> Settings:
    shutil.copytree(empty_lake, tmp_path / "data")
    return Settings(_env_file=None, etl_data=tmp_path / "data")


@pytest.fixture
def older_lake(tmp_path: Path, region_rows: Callable[..., pa.Table]) -> Settings:
    """A lake made before ``dispatch_region`` had ``uigf`` and before there was ``rooftop_pv``; one interval in it."""
    older = Settings(_env_file=None, etl_data=tmp_path / "older")
    older.catalog_path.parent.mkdir(parents=True)
    region = replace(DISPATCH_REGION, columns=tuple(c for c in DISPATCH_REGION.columns if c.name != "uigf"))
    tables = [region if t is DISPATCH_REGION else t for t in TABLES if t is not ROOFTOP_PV]
    with connected(older, read_only=False) as lake:
        migrate(lake, tables)
        with transaction(lake):
            upsert(lake, region, region_rows(date(2026, 11, 20), intervals=1), now=datetime(2026, 11, 20, tzinfo=UTC))
    return older


@pytest.fixture
def store(settings: Settings) -> Callable[..., UpsertCounts]:
    def store(rows: pa.Table, table: Table = DISPATCH_REGION, **options: object) -> UpsertCounts:
        now = options.pop("now", datetime(2026, 11, 22, 2, 0, tzinfo=UTC))
        with write_lake(settings, "a test") as lake, transaction(lake):
            return upsert(lake, table, rows, now=now, **options)

    return store


@pytest.fixture
def query(settings: Settings) -> Callable[[str], list[tuple]]:
    def query(sql: str) -> list[tuple]:
        with read_lake(settings) as lake:
            return lake.execute(sql).fetchall()

    return query


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command of ``process.py`` on the test's data folder; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start(command: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
        line = [sys.executable, str(PROCESS), command, str(settings.etl_data), *map(str, arguments)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(line, text=True, **pipes, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()


@pytest.fixture
def finish() -> Callable[[subprocess.Popen[str]], list[str]]:
    """Waits for the end of a process that must succeed; returns the lines that it said."""

    def finish(process: subprocess.Popen[str]) -> list[str]:
        said, errors = process.communicate()
        assert process.returncode == 0, errors
        return said.splitlines()

    return finish


@pytest.fixture
def await_line() -> Callable[[subprocess.Popen[str], str], None]:
    """Reads what a process says up to a line; fails with its error where it ends before."""

    def await_line(process: subprocess.Popen[str], line: str) -> None:
        for said in process.stdout:
            if said.strip() == line:
                return
        pytest.fail(f"ended before {line!r}: {process.stderr.read()}")

    return await_line
