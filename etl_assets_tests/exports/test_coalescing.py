"""Equal requests at once: one computation, and everybody gets what became of it."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from etl_assets.exports.coalescing import Coalescer, one_process

LONG = timedelta(minutes=1)


class Work:
    """A computation that waits to be let go, and counts how often it was begun."""

    def __init__(self, outcome: object = "made") -> None:
        self.outcome = outcome
        self.begun = 0
        self.has_begun = threading.Event()
        self.may_end = threading.Event()

    def __call__(self) -> object:
        self.begun += 1
        self.has_begun.set()
        assert self.may_end.wait(60)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


async def together(coalescer: Coalescer, work: Work, count: int) -> list[object]:
    waiting = [asyncio.create_task(coalescer.once("k", work)) for _ in range(count)]
    await asyncio.to_thread(work.has_begun.wait, 60)
    work.may_end.set()
    return await asyncio.gather(*waiting, return_exceptions=True)


def test_twenty_equal_requests_at_once_compute_once():
    work = Work()

    assert asyncio.run(together(Coalescer(), work, 20)) == ["made"] * 20
    assert work.begun == 1


def test_other_requests_compute_for_themselves():
    async def both():
        coalescer = Coalescer()
        return await asyncio.gather(coalescer.once("a", lambda: 1), coalescer.once("b", lambda: 2))

    assert asyncio.run(both()) == [1, 2]


def test_a_computation_that_fails_fails_for_all_who_wait_and_the_next_request_tries_again():
    async def then_again():
        coalescer = Coalescer()
        failed = await together(coalescer, Work(OSError("the disk is gone")), 3)
        return failed, len(coalescer), await coalescer.once("k", lambda: "made")

    failed, left, again = asyncio.run(then_again())

    assert [str(error) for error in failed] == ["the disk is gone"] * 3
    assert (left, again) == (0, "made")


def test_who_stops_waiting_stops_nobody_else():
    async def one_leaves():
        coalescer, work = Coalescer(), Work()
        first = asyncio.create_task(coalescer.once("k", work))
        second = asyncio.create_task(coalescer.once("k", work))
        await asyncio.to_thread(work.has_begun.wait, 60)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        work.may_end.set()
        return await second, work.begun

    assert asyncio.run(one_leaves()) == ("made", 1)


def test_a_failure_that_nobody_waits_for_any_more_is_not_reported(caplog):
    async def all_leave():
        coalescer, work = Coalescer(), Work(OSError("nobody asks"))
        only = asyncio.create_task(coalescer.once("k", work))
        await asyncio.to_thread(work.has_begun.wait, 60)
        only.cancel()
        await asyncio.gather(only, return_exceptions=True)
        work.may_end.set()
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)
        assert len(coalescer) == 0

    asyncio.run(all_leave())

    assert caplog.records == []


def test_a_request_after_the_computation_ended_computes_anew():
    async def one_after_the_other():
        coalescer = Coalescer()
        return [await coalescer.once("k", lambda made=made: made) for made in (1, 2)]

    assert asyncio.run(one_after_the_other()) == [1, 2]


def test_the_turns_of_one_key_exclude_each_other(tmp_path):
    inside, most = 0, 0

    def turn(_: int) -> None:
        nonlocal inside, most
        with one_process(tmp_path, "k", LONG) as alone:
            assert alone
            inside += 1
            most = max(most, inside)
            inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(turn, range(40)))

    assert most == 1


def test_who_waits_too_long_goes_on_without_a_turn(tmp_path):
    with one_process(tmp_path, "k", LONG), one_process(tmp_path, "k", timedelta(0)) as alone:
        assert not alone


def test_lock_files_do_not_grow_with_the_keys(tmp_path):
    for number in range(1_000):
        with one_process(tmp_path, f"timeseries/tower/{number}.json", LONG):
            pass

    assert len(list(tmp_path.iterdir())) <= 256
