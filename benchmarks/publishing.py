"""Publishing with ten times the rows in the same number of files: the cost is the files', not the rows'."""

import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa

from benchmarks.ratio import Ratio, compare
from etl_assets.lake.connection import write_lake
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import UNIT_SCADA
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.market_time import DAY, interval_ends
from etl_assets.settings import Settings

DAYS = 30
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def lake(folder: Path, units: int) -> Settings:
    """A lake with a file a day, each of 288 rows for each of ``units``."""
    settings = Settings(_env_file=None, etl_data=folder)  # type: ignore[call-arg]  # pydantic-settings' own argument
    for number in range(DAYS):
        ends = interval_ends(date(2026, 10, 1) + number * DAY)
        duids = [f"UNIT{n}" for n in range(units)]
        rows = pa.table(
            {
                "interval_end": [end for end in ends for _ in duids],
                "duid": duids * len(ends),
                "scada_value": [1.0] * (len(ends) * units),
            }
        )
        with write_lake(settings, "a benchmark") as connection, transaction(connection):
            upsert(connection, UNIT_SCADA, rows, now=NOW)
    return settings


def run() -> Iterator[Ratio]:
    """Publish both lakes by turns."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = lake(Path(folder) / "small", 20), lake(Path(folder) / "large", 200)
        yield compare(
            f"publishing 10x the rows / 1x, both in {DAYS} files",
            lambda: publish(large, now=NOW),
            lambda: publish(small, now=NOW),
            aim="<= 1.2",
            turns=7,
        )
