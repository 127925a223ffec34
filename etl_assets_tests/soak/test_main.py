"""A soak that is ended from outside ends its processes, too."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from etl_assets_tests.watching import processes_with, until

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
        published = tmp_path / "data" / "warehouse.duckdb"
        until(lambda: published.exists() or soak.poll() is not None, "something published", LONGEST_S)
        assert len(_of_the_soak(tmp_path)) > 4, "the API, its clients, the analyst, the workers and what they come from"
        soak.terminate()
        said, _ = soak.communicate(timeout=LONGEST_S)
        assert soak.returncode == INTERRUPTED, said
        assert said.splitlines()[-1].startswith("Stopped. What there is stays in "), said
        until(lambda: not _of_the_soak(tmp_path), "the end of all processes", LONGEST_S)
    finally:
        soak.kill()
        for pid in _of_the_soak(tmp_path):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _of_the_soak(folder: Path) -> list[int]:
    """The processes that were started to work with the soak's data folder."""
    return processes_with("ETL_DATA", folder / "data")
