"""Peak memory of streaming readings, each format in a process: ``python -m benchmarks.api_memory FOLDER COUNT``."""

import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from benchmarks.buildings import CONSTANT, DAY_MINUTES, _readings, _settings, _store
from etl_assets.api.formats import Format, render
from etl_assets.api.parameters import TimeRange
from etl_assets.api.reading import Reading
from etl_assets.api.site_queries import timeseries_query
from etl_assets.api.warehouse import Warehouse
from etl_assets.lake.connection import write_lake
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import POINTS, QUERY_METADATA, SITES
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.market_time import day_start

LAST, DAYS = date(2026, 11, 20), 7
SITE = CONSTANT["site_name"]


def main() -> None:
    """Publish so many readings and say what streaming them takes."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    if len(sys.argv) > 3:  # noqa: PLR2004 (the third is the format)
        _stream(folder, Format(sys.argv[3]), count)
        return
    if not folder.exists():
        _publish(folder, count)
    for form in (Format.CSV, Format.JSON, Format.ARROW, Format.PARQUET):
        command = [sys.executable, "-m", "benchmarks.api_memory", str(folder), str(count), form.value]
        subprocess.run(command, check=True)
    print()


def _publish(folder: Path, count: int) -> None:
    import pyarrow as pa

    settings, points = _settings(folder), -(-count // (DAYS * DAY_MINUTES))
    for n in range(DAYS):
        _store(settings, _readings(LAST - timedelta(days=n), points, range(DAY_MINUTES)))
    names = _readings(LAST, points, range(1))["point_name"]
    first, last = (
        day_start(LAST - timedelta(days=DAYS - 1)),
        day_start(LAST + timedelta(days=1)) - timedelta(seconds=55),
    )
    listed = {"site_name": [SITE] * points, "point_name": names}
    known = {
        "data_start": [first] * points,
        "data_end": [last] * points,
        "total_samples": [DAYS * DAY_MINUTES] * points,
    }
    now = datetime(2026, 11, 22, tzinfo=UTC)
    with write_lake(settings, "a benchmark") as lake, transaction(lake):
        upsert(lake, SITES, pa.table({"site_name": [SITE]}), now=now)
        upsert(lake, POINTS, pa.table(listed), now=now)
        upsert(lake, QUERY_METADATA, pa.table(listed | known), now=now)
    publish(settings, now=now)


def _stream(folder: Path, form: Format, count: int) -> None:
    wanted = TimeRange(day_start(LAST - timedelta(days=DAYS - 1)), day_start(LAST + timedelta(days=1)))
    with closing(Warehouse(_settings(folder))) as warehouse:
        query = timeseries_query(warehouse, SITE, pattern="*", wanted=wanted)
        reading, start = Reading(warehouse, query), time.perf_counter()
        size = sum(map(len, render(reading, form)))
        spent = time.perf_counter() - start
    assert reading.rows >= count, (reading.rows, count)  # noqa: S101
    # Not getrusage, whose peak a process takes over from the one that started it.
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    print(f"{form} {size / 1e6:,.0f} MB in {spent:.1f} s, peak {peak:,.0f} MiB; ", end="", flush=True)


if __name__ == "__main__":
    main()
