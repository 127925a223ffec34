"""``etl-assets backup`` and ``restore`` as they are typed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from etl_assets.settings import Settings
from etl_assets_tests.backup.conftest import settings, whole_folder  # noqa: F401 (fixtures)


def etl_assets(*arguments: object, data: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    line = [sys.executable, "-m", "etl_assets.cli", *map(str, arguments)]
    return subprocess.run(
        line, env=environment | {"ETL_DATA": str(data)}, cwd=data.parent, text=True, capture_output=True, check=False
    )


def test_a_backup_is_checked_restored_elsewhere_and_looked_at(settings: Settings) -> None:  # noqa: F811
    data = settings.etl_data
    made = etl_assets("backup", data=data)
    [folder] = data.with_name("data-backups").glob("2*")

    checked = etl_assets("restore", folder, "--check", data=data)
    restored = etl_assets("restore", folder, "--to", data.with_name("drill"), data=data)
    asked = etl_assets("sql", "SELECT count(*) AS n FROM aemo.price", "--csv", data=data.with_name("drill"))

    assert made.returncode == checked.returncode == restored.returncode == 0, made.stderr + restored.stderr
    assert made.stdout.startswith(f"{folder}: snapshot ")
    assert "578 rows" in made.stdout
    assert checked.stdout.startswith("Whole: snapshot ")
    assert "Marked failed, as they were at work when it was taken: 1 runs" in restored.stdout
    assert asked.stdout == "n\n576\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["restore", "nowhere"], "etl-assets: {cwd}/nowhere is no backup: it has no manifest.json\n"),
        (["backup", "data/in"], "etl-assets: {cwd}/data/in lies in {cwd}/data, which a restore replaces"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(settings: Settings, arguments: list[str], said: str) -> None:  # noqa: F811
    done = etl_assets(*arguments, data=settings.etl_data)

    assert (done.returncode, done.stdout) == (1, "")
    assert said.format(cwd=settings.etl_data.parent) in done.stderr
