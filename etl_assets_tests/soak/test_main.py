"""A soak that is ended from outside ends its processes, too."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST_S = 120
IN_THE_BACKGROUND = """trap '' INT; exec "$@" """
"""As a shell without job control starts what is followed by ``&``."""
INTERRUPTED = 130
"""The exit code of a program that was stopped by hand, as shells have it."""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_a_soak_in_the_background_can_be_ended(tmp_path: Path) -> None:
    soak = subprocess.Popen(
        ["sh", "-c", IN_THE_BACKGROUND, "sh", sys.executable, "-m", "soak", "--short", "--folder", str(tmp_path)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        _wait_until(lambda: (tmp_path / "data" / "warehouse.duckdb").exists() or soak.poll() is not None)
        assert len(_of_the_soak(tmp_path)) > 4, "the API, its clients, the analyst, the workers and what they come from"
        soak.terminate()
        said, _ = soak.communicate(timeout=LONGEST_S)
        assert soak.returncode == INTERRUPTED, said
        assert said.splitlines()[-1].startswith("Stopped. What there is stays in "), said
        _wait_until(lambda: not _of_the_soak(tmp_path))
    finally:
        soak.kill()
        for pid in _of_the_soak(tmp_path):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _of_the_soak(folder: Path) -> list[int]:
    """The processes that work with the soak's data folder."""
    setting = f"ETL_DATA={folder / 'data'}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if setting in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)
