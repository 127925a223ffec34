"""Requests by size: direct, cached or queued; and twenty equal ones at once, never stale, whatever the cache does."""

import asyncio
import json
import threading
from datetime import timedelta

import pytest
from fastapi import Response

from etl_assets.api.formats import Format, render
from etl_assets.api.parameters import TimeRange
from etl_assets.api.problems import Problem
from etl_assets.api.site_queries import timeseries_query
from etl_assets.api.warehouse import Warehouse
from etl_assets.exports.cache import Payload
from etl_assets.exports.routing import Exports, answer, route_of
from etl_assets.lake.tables import TIMESERIES_RAW
from etl_assets.ops.job_records import list_jobs
from etl_assets.ops.job_state import MOST_UNFINISHED, Order, open_job
from etl_assets_tests.exports.conftest import NAMES, NOW, SITE, START, fill, readings, store


class Asked:
    """A client's request, and how often its result was computed."""

    def __init__(self, settings, points=1, minutes=1_440, start=START) -> None:
        self.exports = Exports(settings, Warehouse(settings), lambda: NOW)
        wanted = TimeRange(start, start + timedelta(minutes=minutes))
        self.query = timeseries_query(self.exports.warehouse, SITE, NAMES[:points], wanted=wanted)
        self.computed = 0
        self.may_compute = threading.Event()
        self.may_compute.set()
        self.computes = threading.Event()

    def compute(self) -> Payload:
        self.computes.set()
        assert self.may_compute.wait(60)
        self.computed += 1
        with self.exports.warehouse.connection() as connection:
            batches = list(self.query.batches(connection))
        body = b"".join(render(batches, Format.JSON))
        return Payload(body, len(self.query.points), sum(batch.num_rows for batch in batches))

    async def ask(self, client="north"):
        def respond(payload, meta):
            return Response(json.dumps({"rows": len(json.loads(payload.body)["data"]), **meta.as_json()}))

        found = await answer(self.exports, self.query, "json", client, compute=self.compute, respond=respond)
        return found, json.loads(found.body)

    def said(self, client="north"):
        return asyncio.run(self.ask(client))[1]


@pytest.mark.parametrize(
    ("samples", "route"),
    [(0, "direct"), (999, "direct"), (1_000, "cached"), (100_000, "cached"), (100_001, "queued")],
)
def test_the_thresholds_themselves_are_cached(settings, samples, route):
    assert route_of(samples, settings) == route


def test_a_small_request_is_computed_each_time_and_not_kept(tower):
    asked = Asked(tower, minutes=900)
    # By its share of the time: 900 of 1,439 minutes, of 1,440 readings.
    expected = {"rows": 900, "route": "direct", "cacheHit": False, "estimatedSamples": 901, "samples": 900}

    assert [asked.said(), asked.said()] == [expected, expected]
    assert (asked.computed, asked.exports.cache.list()) == (2, [])


def test_a_middling_request_is_computed_once_and_then_comes_from_the_cache(tower):
    asked = Asked(tower, points=2)
    expected = {"rows": 2_880, "route": "cached", "estimatedSamples": 2_880, "samples": 2_880}

    assert asked.said() == expected | {"cacheHit": False}
    assert asked.said("south") == expected | {"cacheHit": True}
    assert asked.computed == 1


def test_a_large_request_becomes_a_job_of_the_client(tower):
    asked = Asked(tower, points=70)

    response, said = asyncio.run(asked.ask())

    [job] = list_jobs(tower, client_id="north")
    assert (response.status_code, response.headers["Location"]) == (202, f"/jobs/{job.job_id}")
    assert said == {
        "jobId": job.job_id,
        "status": "queued",
        "statusUrl": f"/jobs/{job.job_id}",
        "_meta": {"route": "queued", "cacheHit": False, "estimatedSamples": 100_800, "jobId": job.job_id},
    }
    assert (asked.computed, job.points_total, job.site_name, job.result_format) == (0, 70, SITE, "json")


def test_a_large_request_again_is_answered_with_the_job_that_is_not_done(tower):
    asked = Asked(tower, points=70)

    first, again, others = asked.said("north"), asked.said("north"), asked.said("south")

    assert first["jobId"] == again["jobId"] != others["jobId"]
    assert len(list_jobs(tower)) == 2


def test_a_large_request_of_a_client_with_too_many_jobs_is_refused(tower):
    asked = Asked(tower, points=70)
    for number in range(MOST_UNFINISHED):
        open_job(tower, Order("north", "timeseries", {"points": [str(number)]}, "csv", 1), now=NOW)

    with pytest.raises(Problem, match="wait for one, or cancel one") as refused:
        asked.said("north")

    assert (refused.value.status_code, refused.value.headers["Retry-After"]) == (429, "10")
    assert asked.said("south")["status"] == "queued"


def test_twenty_equal_requests_at_once_compute_once(tower):
    asked = Asked(tower, points=2)
    asked.may_compute.clear()

    async def together():
        waiting = [asyncio.create_task(asked.ask()) for _ in range(20)]
        await asyncio.to_thread(asked.computes.wait, 60)
        asked.may_compute.set()
        return await asyncio.gather(*waiting)

    found = asyncio.run(together())

    assert {said["rows"] for _, said in found} == {2_880}
    assert asked.computed == 1


def test_two_processes_of_the_api_compute_once(tower):
    """Two applications over one folder share nothing but files: the second finds what the first has made."""
    first, second = Asked(tower, points=2), Asked(tower, points=2)
    first.may_compute.clear()

    async def together():
        ahead = asyncio.create_task(first.ask())
        await asyncio.to_thread(first.computes.wait, 60)
        behind = asyncio.create_task(second.ask())
        first.may_compute.set()
        return await asyncio.gather(ahead, behind)

    found = asyncio.run(together())

    assert [said["rows"] for _, said in found] == [2_880, 2_880]
    assert first.computed + second.computed == 1


def test_new_rows_in_the_range_make_a_cached_result_stale_at_once(settings):
    fill(settings, points=10, minutes=200)
    asked = Asked(settings, points=10)
    assert asked.said()["rows"] == 2_000

    store(settings, (TIMESERIES_RAW, readings(10, 50, START + timedelta(minutes=200))))

    assert (asked.said()["rows"], asked.said()["cacheHit"]) == (2_500, True)


def test_new_rows_of_another_day_leave_a_cached_result_good(settings):
    fill(settings, points=10, minutes=200)
    asked = Asked(settings, points=10)
    asked.said()

    store(settings, (TIMESERIES_RAW, readings(10, 50, START + timedelta(days=1))))

    assert asked.said()["cacheHit"]


def test_a_failing_computation_is_told_and_not_kept(tower, monkeypatch):
    asked = Asked(tower, points=2)
    with monkeypatch.context() as patch:
        patch.setattr(asked, "compute", lambda: (_ for _ in ()).throw(OSError("the file is gone")))
        with pytest.raises(OSError, match="the file is gone"):
            asked.said()

    assert (asked.said()["cacheHit"], asked.computed) == (False, 1)


def test_a_damaged_entry_is_made_anew(tower):
    asked = Asked(tower, points=2)
    asked.said()
    [entry] = asked.exports.cache.list()
    path = asked.exports.cache.path(entry.cache_key)
    path.write_bytes(path.read_bytes()[:-1])

    assert (asked.said()["cacheHit"], asked.said()["cacheHit"], asked.computed) == (False, True, 2)


def test_a_cache_that_does_not_answer_in_time_is_passed_by(tower):
    asked = Asked(tower.model_copy(update={"cache_timeout": timedelta(seconds=0.05)}), points=2)
    get, is_stuck = asked.exports.cache.get, threading.Event()

    def stuck(*arguments):
        is_stuck.wait(60)
        return get(*arguments)

    asked.exports.cache.get = stuck

    async def passed_by():
        found = await asked.ask()
        is_stuck.set()
        return found

    _, said = asyncio.run(passed_by())

    assert (said["rows"], said["cacheHit"], asked.computed) == (2_880, False, 1)


def test_a_full_disk_keeps_no_client_from_its_answer(tower, caplog):
    asked = Asked(tower, points=2)
    (tower.api_folder / "cache").mkdir(parents=True)
    (tower.api_folder / "cache" / "timeseries").write_bytes(b"a file where a folder should be")

    assert asked.said()["rows"] == 2_880
    assert "could not be put into the cache" in caplog.text
