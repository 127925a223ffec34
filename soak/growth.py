"""What must not grow: files, the catalog, Dagster's storage, the memory of processes. Measured once a simulated day.

Retention is set to one to four days in a soak, so that from the third day on what comes is matched by what goes.
"""

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from statistics import linear_regression, median

from etl_assets.market_time import DAY
from soak.findings import Finding

ROOM = 1.25
"""Of the end against two days before: some figures swing with the day."""
ROOM_MB, ROOM_FILES = 10.0, 300
"""Below which a figure may grow as it likes."""
SETTLED_DAYS = 5
"""After which what goes matches what comes."""
MB_PER_RUN = 3.0
"""By which a worker may grow with each run. In production each run has a process of its own."""
YOUNG_RUNS = 10
"""In which a worker loads what it needs."""
FEWEST_RUNS = 25
"""Of a worker whose growth says something."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """A folder's figures at a time."""

    moment: datetime
    lake_files: int
    lake_mb: float
    catalog_mb: float
    state_mb: float
    api_folder_mb: float
    published_mb: float
    dagster_files: int
    dagster_mb: float
    runs: int
    api_mb: float
    """Memory of the API's process."""
    driver_mb: float
    """Memory of the process that evaluates schedules and sensors."""


def resident_mb(process: int | str = "self") -> float:
    """Memory that a process holds, in MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(data: Path, moment: datetime, api_mb: float) -> Sizes:
    """The figures of a data folder, and the memory of the API's process."""
    lake, dagster = _files(data / "lake" / "files"), _files(data / "dagster")
    runs = data / "dagster" / "history" / "runs.db"
    with closing(sqlite3.connect(f"file:{runs}?mode=ro", uri=True)) as storage:
        count = storage.execute("SELECT count(*) FROM runs").fetchone()[0]
    return Sizes(
        moment, len(lake), sum(lake) / 1e6, _mb(data / "lake" / "catalog.sqlite"), _mb(data / "state.sqlite"),
        sum(_files(data / "api")) / 1e6, _mb(data / "warehouse.duckdb"),
        len(dagster), sum(dagster) / 1e6, count, api_mb, resident_mb(),
    )  # fmt: skip


def _files(folder: Path) -> list[int]:
    sizes = []
    for file in folder.rglob("*"):
        try:
            if file.is_file():
                sizes.append(file.stat().st_size)
        except FileNotFoundError:
            continue
    return sizes


def _mb(file: Path) -> float:
    """Of a database with what its journal has not handed over."""
    both = (file, file.with_name(f"{file.name}-wal"))
    return sum(each.stat().st_size for each in both if each.exists()) / 1e6


def bounded(sizes: list[Sizes], memory: Mapping[int, Sequence[float]]) -> list[Finding]:
    """Whether a soak's last two days left everything as large as it was, the lake but for its days.

    ``sizes`` are of midnights, and of the end. Of a soak too short to settle: the memory alone.
    """
    findings = [_memory(memory)]
    if len(sizes) <= SETTLED_DAYS:
        return findings
    settled, last = sizes[-3], sizes[-1]
    by_days = (last.moment - sizes[0].moment + DAY) / (settled.moment - sizes[0].moment + DAY)
    for name in (each.name for each in fields(Sizes) if each.name != "moment"):
        former, latter = getattr(settled, name), getattr(last, name)
        due = former * by_days if name.startswith(("lake", "catalog")) else former
        room = ROOM_FILES if name.endswith(("files", "runs")) else ROOM_MB
        told = f"{former:,.1f} on {settled.moment:%a %H:%M}, {latter:,.1f} at the end"
        findings.append(Finding(f"{name} is bounded", latter <= max(due * ROOM, due + room), told))
    return findings


def _memory(memory: Mapping[int, Sequence[float]]) -> Finding:
    """Workers that live long do not grow with each run."""
    slopes = sorted(_slope(held[YOUNG_RUNS:]) for held in memory.values() if len(held) >= FEWEST_RUNS)
    if not slopes:
        return Finding("workers' memory is bounded", holds=True, seen="no worker lived for long enough to tell")
    typical = median(slopes)
    told = f"{typical:.2f} MB a run, of {len(slopes)} workers; {max(map(max, memory.values())):.0f} MB at most"
    return Finding("workers' memory is bounded", typical <= MB_PER_RUN, told)


def _slope(values: Sequence[float]) -> float:
    """By how much values grow with their number, as a least squares line has it."""
    return linear_regression(range(len(values)), values).slope
