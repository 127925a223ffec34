"""Collecting a day of many pages in a process that is killed, and going on in another."""

import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime
from urllib.parse import parse_qs

import pytest

from etl_assets.ace.plan import SyncWindow
from etl_assets.ace.sync import Mode
from etl_assets.market_time import DAY, day_start
from etl_assets_tests.ace.conftest import Building

YESTERDAY = date(2026, 11, 21)
START = day_start(YESTERDAY).astimezone(UTC)
PAGES = 15
"""10 points for 1,440 minutes, 1,000 readings a page."""

COLLECTOR = """
import json, sys
from datetime import date, datetime
from etl_assets.ace import collect as module
from etl_assets.ace.client import AceClient
from etl_assets.ace.sync import Mode, SyncRequest, sync_site
from etl_assets.settings import Settings

options = json.loads(sys.argv[1])
name, stop_at, calls = options["name"], options["stop_at"], 0
original = getattr(module, name)

def stopping(*arguments, **named):
    global calls
    if name == "upsert" and arguments[1].name != "timeseries_raw":
        return original(*arguments, **named)
    calls += 1
    # What writes to the lake stops before the commit, what follows it before it begins.
    result = original(*arguments, **named) if name == "upsert" else None
    if calls == stop_at:
        print("stopped", flush=True)
        sys.stdin.readline()
    return result if name == "upsert" else original(*arguments, **named)

setattr(module, name, stopping)
settings = Settings(_env_file=None, **options["settings"])
request = SyncRequest("plain", [date.fromisoformat(options["day"])], Mode.MISSING,
                      datetime.fromisoformat(options["now"]), "killed")
with AceClient(settings) as client:
    sync_site(settings, client, request)
"""


@pytest.mark.parametrize(
    ("name", "stop_at", "there", "unchanged"),
    [("upsert", 7, 6_000, 0), ("save_walk", 7, 7_000, 1_000), ("derive_aggregates", 1, 14_400, 0)],
    ids=["before a page is committed", "before its position is saved", "before anything is derived"],
)
def test_what_a_killed_process_left_is_taken_up_at_the_page_in_flight(
    building: Building, now: datetime, name: str, stop_at: int, there: int, unchanged: int
) -> None:
    building = building.changed(page_size=1_000)
    building.server.set_time(now)
    before = len(building.server.requests)
    killed = _started(building, now, name=name, stop_at=stop_at)
    assert killed.stdout.readline().strip() == "stopped", killed.stderr.read()
    killed.kill()
    killed.communicate()
    left = len(building.stored())
    asked_before = _asked(building, before)

    done = building.sync(now, Mode.MISSING, [YESTERDAY])

    [result] = done.results
    asked = _asked(building, before)
    assert left == there
    assert asked[: len(asked_before)] == asked_before
    # Each page once, and the one in flight once more.
    twice = [cursor for cursor, times in Counter(asked).items() if times > 1]
    assert (len(set(asked)), len(asked)) == (PAGES, PAGES + len(twice))
    assert twice == ([asked_before[-1]] if name != "derive_aggregates" else [])
    assert (result.readings.unchanged, result.errors) == (unchanged, [])
    assert building.stored() == building.truth(START, START + DAY)
    assert building.windows == [(START, START + DAY, "complete")]
    building.assert_aggregates()


def test_a_killed_day_that_is_still_open_is_taken_up_although_it_has_grown(building: Building, now: datetime) -> None:
    start, later = START + DAY, now.replace(minute=9)
    window = SyncWindow(start, now)
    building = building.changed(page_size=1_000)
    building.collect(window, limit=3_000, now=now)
    before = len(building.server.requests)

    done = building.sync(later, Mode.MISSING, [window.day])

    # 12 hours are 7,200 readings in 8 pages, of which 3 were there; nine minutes are one more.
    assert len(_asked(building, before)) == 6
    assert done.result(window.day).readings.inserted == 4_200 + 90
    assert building.stored() == building.truth(start, later, later)


def _asked(building: Building, since: int) -> list[str]:
    """The cursors that pages were asked for with, the first without one."""
    pages = [r for r in building.server.requests[since:] if r.path.endswith("/timeseries/paginated")]
    return [parse_qs(page.query).get("cursor", [""])[0] for page in pages]


def _started(building: Building, now: datetime, **options: object) -> "subprocess.Popen[str]":
    settings = building.settings
    given = {
        "etl_data": str(settings.etl_data),
        "ace_api_url": settings.ace_api_url,
        "ace_api_key": settings.ace_api_key.get_secret_value(),
        "ace_requests_per_minute": settings.ace_requests_per_minute,
        "page_size": settings.page_size,
    }
    told = {**options, "settings": given, "day": YESTERDAY.isoformat(), "now": now.isoformat()}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", COLLECTOR, json.dumps(told)], text=True, **pipes)
