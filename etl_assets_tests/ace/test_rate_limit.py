"""The rate limit, with real processes that share one file."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from etl_assets.ace.rate_limit import RateLimit

MANY = """
import sys, time
from pathlib import Path
from etl_assets.ace.rate_limit import RateLimit

with RateLimit(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])) as limit:
    for _ in range(int(sys.argv[4])):
        limit.acquire()
        print(time.time(), flush=True)
"""


def most_in(stamps: list[float], seconds: float) -> int:
    return max(sum(start <= stamp < start + seconds for stamp in stamps) for start in stamps)


def test_processes_share_one_limit(tmp_path: Path) -> None:
    file = tmp_path / "data" / "rate.sqlite"
    command = [sys.executable, "-c", MANY, str(file), "5", "1", "6"]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]

    stamps = [float(line) for process in started for line in process.communicate()[0].split()]

    assert [process.returncode for process in started] == [0, 0, 0]
    assert len(stamps) == 18
    # A stamp is taken a moment after its leave; a window shorter by a tenth allows for that.
    assert most_in(sorted(stamps), 0.9) <= 5


def test_threads_share_one_limit(tmp_path: Path) -> None:
    stamps: list[float] = []
    with RateLimit(tmp_path / "rate.sqlite", 4, 0.5) as limit:

        def ask() -> None:
            for _ in range(3):
                limit.acquire()
                stamps.append(time.time())

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(stamps) == 12
    assert most_in(sorted(stamps), 0.45) <= 4


def test_a_killed_process_leaves_its_count_and_no_lock(tmp_path: Path) -> None:
    file = tmp_path / "rate.sqlite"
    command = [sys.executable, "-c", MANY, str(file), "2", "600", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() != "" for _ in range(2)] == [True, True]
        process.kill()

    with RateLimit(file, 2, 600) as limit:
        assert limit._take() == pytest.approx(600, abs=60)


def test_waiting_is_one_sleep_that_an_exception_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    def interrupted(seconds: float) -> None:
        pauses.append(seconds)
        raise KeyboardInterrupt

    with RateLimit(tmp_path / "rate.sqlite", 1) as limit:
        limit.acquire()
        monkeypatch.setattr(time, "sleep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            limit.acquire()

    (pause,) = pauses
    assert 50 < pause <= 60.001


def test_a_clock_that_was_set_back_does_not_stop_the_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    with RateLimit(tmp_path / "rate.sqlite", 1) as limit:
        monkeypatch.setattr(time, "time_ns", lambda: now + 86_400 * 10**9)
        limit.acquire()
        monkeypatch.setattr(time, "time_ns", lambda: now)

        limit.acquire()

        assert limit._take() == pytest.approx(60, abs=0.01)


def test_no_thread_and_no_open_file_are_left_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    with RateLimit(tmp_path / "rate.sqlite", 9) as limit:
        limit.acquire()

        assert threading.active_count() == before

    assert limit._bucket is None
    limit.close()
