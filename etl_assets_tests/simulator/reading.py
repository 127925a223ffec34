"""A reader for the simulator's files that shares nothing with the code under test."""

import csv
import io
import zipfile
from datetime import datetime
from pathlib import Path

import pytest

from etl_assets.market_time import NEM_TIME

NOW = datetime(2026, 4, 20, 14, 43, tzinfo=NEM_TIME)
REAL = Path(__file__).parents[2].parent / "shared" / "data" / "aemo"


def rows_of(report: bytes) -> list[list[str]]:
    """A report's rows as fields."""
    return list(csv.reader(io.StringIO(report.decode(), newline="")))


def table_of(report: bytes, name: str) -> list[dict[str, str]]:
    """The data rows of a report's table, by column."""
    rows = rows_of(report)
    header = next(row for row in rows if row[0] == "I" and row[2] == name)
    return [dict(zip(header, row, strict=True)) for row in rows if row[0] == "D" and row[2] == name]


def unzipped(container: bytes) -> bytes:
    """The only member of a zip."""
    with zipfile.ZipFile(io.BytesIO(container)) as opened:
        (name,) = opened.namelist()
        return opened.read(name)


def real(pattern: str) -> Path:
    """One of the market operator's own files; the test is skipped where they are not at hand."""
    found = sorted(REAL.glob(pattern))
    if not found:
        pytest.skip(f"no real file {pattern} beside the repository")
    return found[0]


def members(container: bytes) -> dict[str, bytes]:
    """A zip's members by name."""
    with zipfile.ZipFile(io.BytesIO(container)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}
