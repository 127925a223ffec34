"""One process that collects some sites, and prints what it took as JSON. ``buildings`` starts it.

Arguments: the API's address, the data folder, minutes of readings, sites side by side, sites one after the other.
"""

import json
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import SecretStr

from etl_assets.ace.client import AceClient
from etl_assets.ace.collect import SiteJob, collect_site
from etl_assets.ace.plan import SyncWindow
from etl_assets.settings import Settings
from etl_assets.simulator.ace import DEMO_ACE_KEY

START = datetime(2026, 11, 20, 14, tzinfo=UTC)
NOW = datetime(2026, 11, 22, 2, tzinfo=UTC)


def main(url: str, folder: str, minutes: int, beside: int, after: int) -> None:
    """Collect, and print seconds, rows, pages and the peak of memory in MiB."""
    settings = Settings(  # type: ignore[call-arg]  # pydantic-settings' own argument
        _env_file=None,
        etl_data=Path(folder),
        ace_api_url=url,
        ace_api_key=SecretStr(DEMO_ACE_KEY),
        ace_requests_per_minute=100_000,
    )
    window = SyncWindow(START, START + timedelta(minutes=minutes) - timedelta(microseconds=1))

    def collect(number: int) -> tuple[int, int]:
        with AceClient(settings) as client:
            job = SiteJob(f"site-{number:03d}", [window], [], NOW, "benchmark", "benchmark")
            [result] = collect_site(settings, client, job)
        assert not result.errors, result.errors  # noqa: S101
        return result.readings.inserted, result.pages

    started = time.perf_counter()
    with ThreadPoolExecutor(beside) as pool:
        done = list(pool.map(collect, range(1, beside * after + 1)))
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - started,
                "rows": sum(rows for rows, _ in done),
                "pages": sum(pages for _, pages in done),
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *(int(number) for number in sys.argv[3:]))
