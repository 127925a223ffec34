"""A run of an export in a process of its own: ``python process.py DATA_FOLDER JOB RUN POINTS``.

It stops for good before it would note that so many points are done, for a test to kill it there; with -1 it goes on to
its end, and says its peak memory as the system counts it.
"""

import resource
import sys
from pathlib import Path
from typing import Any

from etl_assets.exports import export
from etl_assets.market_time import utc_now
from etl_assets.settings import Settings


def stop_before(points: int) -> None:
    original = export.advance

    def stopping(*arguments: Any, points_done: int, **options: Any) -> None:
        if points_done == points:
            print("stopped", flush=True)  # noqa: T201
            sys.stdin.readline()
        original(*arguments, points_done=points_done, **options)

    export.advance = stopping


if __name__ == "__main__":
    data, job_id, run_id, points = sys.argv[1:]
    stop_before(int(points))
    export.run_export(Settings(_env_file=None, etl_data=Path(data)), job_id, run_id, now=utc_now)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)  # noqa: T201
