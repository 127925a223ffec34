"""A backup taken while runs are at work, restored after a crash: everything goes on from there by itself."""

from collections.abc import Callable
from pathlib import Path

import pytest

from etl_assets_tests.test_processes import START_PATIENCE_S, Up, until

pytestmark = pytest.mark.servers


@pytest.fixture
def start(tmp_path: Path) -> "Callable[[str], Up]":
    """Starts ``etl-assets up`` in a folder of its own; none outlives the test."""
    started: list[Up] = []

    def start(name: str) -> Up:
        (tmp_path / name).mkdir(exist_ok=True)
        started.append(Up(tmp_path / name))
        until(started[-1].answers, "Dagster's pages", START_PATIENCE_S)
        return started[-1]

    yield start
    for up in started:
        up.end()


def with_status(up: Up, status: str) -> list[str]:
    return [run["runId"] for run in up.runs() if run["status"] == status]


def test_what_was_interrupted_is_tried_again_and_new_runs_succeed(start, tmp_path: Path) -> None:
    former = start("former")
    until(lambda: with_status(former, "SUCCESS"), "a first run")
    until(lambda: with_status(former, "STARTED"), "a run at work")
    former_runs = former.runs()
    code, said = former.run("backup", str(tmp_path / "backups"))
    assert code == 0, said
    former.process.kill()
    former.end()

    [backup] = (tmp_path / "backups").glob("2*")
    (tmp_path / "later").mkdir()
    code, said = former.run("restore", str(backup), ETL_DATA=str(tmp_path / "later" / "data"))
    assert code == 0, said
    later = start("later")
    interrupted = with_status(later, "FAILURE")
    before = {run["runId"] for run in former_runs}

    for run in interrupted:
        until(
            lambda run=run: [r for r in later.runs(dagster__parent_run_id=run) if r["status"] == "SUCCESS"],
            "the run that was interrupted, tried again",
        )
    until(lambda: set(with_status(later, "SUCCESS")) - before, "a new run")
    assert later.published("SELECT count(*) FROM aemo.price") > [(0,)]
