"""The short soak: six simulated hours around a midnight, a handful of faults, kills, an analyst, clients."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LONGEST_S = 1200


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One soak for all of the tests below."""
    folder = tmp_path_factory.mktemp("soak")
    command = [sys.executable, "-m", "soak", "--short", "--every", "60", "--seed", "1", "--folder", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    assert (folder / "report.json").exists(), done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads((folder / "report.json").read_text()) | {"exit_code": done.returncode}


def test_everything_is_as_it_must_be(report: dict[str, Any]) -> None:
    assert [finding for finding in report["findings"] if not finding["holds"]] == []
    assert (report["clean"], report["exit_code"]) == (True, 0)


def test_workers_were_killed_in_mid_run(report: dict[str, Any]) -> None:
    assert report["kills"]["workers"] >= 1
    assert sum(count for run, count in report["runs"].items() if run.endswith(" killed")) == report["kills"]["workers"]


def test_faults_were_met(report: dict[str, Any]) -> None:
    assert len(report["faults"]) == 8
    assert sum(spoilt > 0 for _, spoilt in report["faults"].values()) >= 3


def test_the_day_that_ended_has_its_kpis(report: dict[str, Any]) -> None:
    assert report["runs"]["kpi_daily success"] >= 1


def test_the_analyst_and_the_clients_had_their_answers(report: dict[str, Any]) -> None:
    assert report["analyst"]["asked"] > 0
    assert report["api"]["answers"]["/data/latest 200"] > 0
