"""What must not grow: files, the catalog, Dagster's storage, the memory of processes. Measured once a simulated day.

Retention is set to one to four days in a soak, so that from the third day on what comes is matched by what goes.
"""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path

from soak.checks import Finding

ROOM = 1.6
"""Of the end against the middle of a week: some figures swing with the day."""
MEMORY_ROOM = 1.35
ROOM_MB, ROOM_FILES = 10.0, 300
"""Below which a figure may grow as it likes."""
DAYS_TO_SETTLE = 6
"""Before what goes matches what comes."""
RUN_KB = 260
"""Of event log a run; a run costs 140 to 200 KB."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """A folder's figures at a time."""

    moment: datetime
    lake_files: int
    lake_mb: float
    catalog_mb: float
    state_mb: float
    dagster_files: int
    dagster_mb: float
    runs: int
    api_mb: float


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
        len(dagster), sum(dagster) / 1e6, count, api_mb,
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
    return file.stat().st_size / 1e6 if file.exists() else 0.0


def bounded(sizes: list[Sizes], memory: list[tuple[int, float]]) -> list[Finding]:
    """Whether the end of a soak is no larger than its middle, the lake but for its days. Of a short one: the memory."""
    findings = [_memory(memory)]
    if len(sizes) < DAYS_TO_SETTLE:
        return findings
    middle, last = sizes[len(sizes) // 2], sizes[-1]
    by_days = (last.moment - sizes[0].moment) / (middle.moment - sizes[0].moment)
    for name in (each.name for each in fields(Sizes) if each.name != "moment"):
        former, latter = getattr(middle, name), getattr(last, name)
        due = former * by_days if name.startswith("lake") else former
        room = ROOM_FILES if name.endswith(("files", "runs")) else ROOM_MB
        told = f"{former:,.1f} in the middle, {latter:,.1f} at the end"
        findings.append(Finding(f"{name} is bounded", latter <= max(due * ROOM, due + room), told))
    kilobytes = last.dagster_mb * 1000 / max(1, last.runs)
    findings.append(Finding("a run's record is small", kilobytes < RUN_KB, f"{kilobytes:.0f} KB a run"))
    return findings


def _memory(memory: list[tuple[int, float]]) -> Finding:
    """Workers of the same age hold as much late in the week as early."""
    half = len(memory) // 2
    early, late = (_grown([mb for age, mb in part if age > 3]) for part in (memory[:half], memory[half:]))  # noqa: PLR2004
    told = f"{early:.0f} MB in the first half, {late:.0f} MB in the second"
    return Finding("workers' memory is bounded", late <= max(early * MEMORY_ROOM, early + 60), told)


def _grown(megabytes: list[float]) -> float:
    return max(megabytes, default=0.0)
