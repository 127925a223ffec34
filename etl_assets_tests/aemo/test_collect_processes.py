"""Collecting in several processes at once, and after one that was killed."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from etl_assets_tests.aemo.conftest import DAY, DUE, NOW, World, assert_balanced

COLLECTOR = """
import json, sys
from datetime import date, datetime
from etl_assets.aemo import collect as module
from etl_assets.aemo.account import Job
from etl_assets.aemo.feeds import DISPATCH_IS, feeds_of
from etl_assets.http import HttpClient
from etl_assets.settings import Settings

options = json.loads(sys.argv[1])
settings = Settings(_env_file=None, http_backoff=0, **options["settings"])
module.FILES_AT_ONCE = options["files_at_once"]
original, calls = module.upsert, 0

def upsert(*arguments, **named):
    global calls
    counts = original(*arguments, **named)
    calls += 1
    if calls == options["stop_after_upserts"]:
        print("stopped", flush=True)
        sys.stdin.readline()
    return counts

module.upsert = upsert
print("ready", flush=True)
sys.stdin.readline()
with HttpClient(settings) as http:
    day, now = date.fromisoformat(options["day"]), datetime.fromisoformat(options["now"])
    job = Job(feeds_of(DISPATCH_IS), [day], now, "run")
    results = module.collect(settings, http, job)
print(json.dumps([[r.account.fetched, r.account.inserted, r.account.unchanged, r.missing_after] for r in results]))
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(world: World) -> Iterator[Start]:
    """Starts another process that collects the day as of 00:41; it is ready, and waits for a line."""
    started: list[subprocess.Popen[str]] = []
    addresses = ("nemweb_url", "aemo_api_url", "price_and_demand_url")
    settings = {name: getattr(world.settings, name) for name in addresses}

    def start(stop_after_upserts: int = 0, files_at_once: int = 96) -> "subprocess.Popen[str]":
        options = {
            "settings": settings | {"etl_data": str(world.settings.etl_data)},
            "stop_after_upserts": stop_after_upserts,
            "files_at_once": files_at_once,
            "day": DAY.isoformat(),
            "now": NOW.isoformat(),
        }
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen([sys.executable, "-c", COLLECTOR, json.dumps(options)], text=True, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()


def await_line(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout.readline().strip() == line, process.stderr.read()


def test_two_processes_that_collect_one_day_double_nothing(world: World, start: Start) -> None:
    both = [start(), start()]
    for process in both:
        await_line(process, "ready")

    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate() for process in both]

    assert [process.returncode for process in both] == [0, 0], said
    world.assert_truth()
    assert world.query("SELECT count(*) FROM lake.aemo.dispatch_region") == [(5 * len(DUE),)]


@pytest.mark.parametrize(
    ("upserts", "intervals_there"),
    [(2, 0), (5, 6)],
    ids=["before its first commit", "in its third batch"],
)
def test_what_a_killed_process_left_is_completed_and_not_doubled(
    world: World, start: Start, upserts: int, intervals_there: int
) -> None:
    killed = start(upserts, files_at_once=3)
    await_line(killed, "ready")
    killed.stdin.write("go\n")
    killed.stdin.flush()
    await_line(killed, "stopped")

    killed.kill()
    killed.wait()
    left = world.query("SELECT count(DISTINCT interval_end) FROM lake.aemo.dispatch_region")
    results, requests = world.requests_of()

    assert left == [(intervals_there,)]
    assert len([r for r in requests if r.path.endswith(".zip")]) == len(DUE) - intervals_there
    assert_balanced(results)
    world.assert_truth()
