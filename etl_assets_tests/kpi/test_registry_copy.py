"""What is in force: the built-in KPIs and the last good copy, whatever becomes of the registry that is configured."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from etl_assets.kpi.registry import (
    RegistryStatus,
    built_in,
    in_force,
    refresh,
    registry_digest,
    registry_status,
)
from etl_assets.settings import Settings

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
PROCESS = Path(__file__).with_name("registry_process.py")


def write(path: Path, *ids: str, version: str = "1", **fields: object) -> Path:
    """A registry of KPIs with workflows."""
    kpis = [{"id": kpi_id, "name": kpi_id, "webhookUrl": "http://localhost/hook"} | fields for kpi_id in ids]
    path.write_text(json.dumps({"kpis": kpis, "metadata": {"version": version, "totalKPIs": len(ids)}}))
    return path


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return write(tmp_path / "registry.json", "one", "two")


@pytest.fixture
def chosen(tmp_path: Path, registry: Path) -> Settings:
    return settings_of(tmp_path, kpi_registry=str(registry))


def settings_of(folder: Path, **changes: Any) -> Settings:
    return Settings(_env_file=None, etl_data=folder / "data", **{"kpi_built_in": False} | changes)


def ids(settings: Settings) -> list[str]:
    return [kpi.id for kpi in in_force(settings).kpis]


def copy_of(settings: Settings) -> Path:
    return settings.kpi_folder / "registry.json"


# --- what a refresh does


def test_a_good_registry_comes_into_force(chosen: Settings, registry: Path) -> None:
    status = refresh(chosen, now=NOW)

    assert ids(chosen) == ["one", "two"]
    assert status == RegistryStatus(
        source=str(registry),
        checked_at=NOW,
        is_good=True,
        error="",
        version="1",
        total=2,
        active=2,
        changed=True,
        copied_at=NOW,
        digest=registry_digest(chosen),
        copy_source=str(registry),
    )
    assert registry_status(chosen) == status


def test_nothing_comes_into_force_before_a_refresh(chosen: Settings, registry: Path) -> None:
    refresh(chosen, now=NOW)
    write(registry, "three")

    assert ids(chosen) == ["one", "two"]
    assert refresh(chosen, now=LATER).changed
    assert ids(chosen) == ["three"]


def test_the_same_registry_again_changes_nothing_and_is_fresh(chosen: Settings) -> None:
    refresh(chosen, now=NOW)

    status = refresh(chosen, now=LATER)

    assert (status.is_good, status.changed, status.checked_at, status.copied_at) == (True, False, LATER, LATER)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text('{"kpis": [{"id": "a"')])
def test_a_registry_that_is_away_or_broken_leaves_the_last_good_copy_in_force(
    chosen: Settings, registry: Path, spoil: Callable[[Path], object]
) -> None:
    refresh(chosen, now=NOW)
    before = copy_of(chosen).read_bytes()
    spoil(registry)

    status = refresh(chosen, now=LATER)

    assert ids(chosen) == ["one", "two"]
    assert copy_of(chosen).read_bytes() == before
    assert (status.is_good, status.changed, status.total, status.checked_at, status.copied_at) == (
        False,
        False,
        2,
        LATER,
        NOW,
    )
    assert status.error.startswith(f"{registry}: ")
    assert registry_status(chosen) == status


def test_a_failure_is_logged(chosen: Settings, registry: Path, caplog: pytest.LogCaptureFixture) -> None:
    registry.unlink()

    refresh(chosen, now=NOW)

    [warning] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.endswith(f"stays in force: {registry}: there is no such file")


def test_a_registry_that_is_good_again_comes_into_force_again(chosen: Settings, registry: Path) -> None:
    refresh(chosen, now=NOW)
    registry.write_text("{}")
    refresh(chosen, now=NOW)
    write(registry, "one", "two")

    status = refresh(chosen, now=LATER)

    assert (status.is_good, status.error, status.changed) == (True, "", False)


def test_the_copy_needs_no_other_file(tmp_path: Path, chosen: Settings, registry: Path) -> None:
    (tmp_path / "one.sql").write_text("SELECT 1 WHERE $market_day IS NOT NULL")
    write(registry, "one", sqlFile="one.sql")
    refresh(chosen, now=NOW)
    (tmp_path / "one.sql").unlink()
    registry.unlink()

    [kpi] = in_force(chosen).kpis

    assert kpi.sql == "SELECT 1 WHERE $market_day IS NOT NULL"
    assert "sqlFile" not in copy_of(chosen).read_text()


def test_a_changed_file_of_sql_is_a_change(tmp_path: Path, chosen: Settings, registry: Path) -> None:
    (tmp_path / "one.sql").write_text("SELECT 1 WHERE $market_day IS NOT NULL")
    write(registry, "one", sqlFile="one.sql")
    refresh(chosen, now=NOW)
    (tmp_path / "one.sql").write_text("SELECT 2 WHERE $market_day IS NOT NULL")

    assert refresh(chosen, now=LATER).changed


def test_all_fields_survive_the_copy(chosen: Settings, registry: Path) -> None:
    more = {
        "description": "é, 日本",
        "active": False,
        "webhookUrl": "https://n8n.example.com/webhook/t0ken",
        "analysisConfig": {"chartType": "bar", "alertThresholds": {"high": 1.25}},
        "metadata": {"source": "aemo", "updateFrequency": "daily", "category": "price"},
        "sql": "SELECT 1 WHERE $market_day IS NOT NULL",
        "unit": "MW",
        "entity": "region",
        "dependsOn": ["ace.sites"],
        "reportsBack": True,
    }
    write(registry, "one", **more)
    refresh(chosen, now=NOW)

    written = json.loads(copy_of(chosen).read_text())["kpis"][0]

    assert {name: written[name] for name in more} == more | {
        "analysisConfig": {"chartType": "bar", "alertThresholds": {"high": 1.25, "low": None}}
    }
    assert in_force(chosen).kpis[0].model_dump(by_alias=True, exclude={"sql_file"}, mode="json") == written


def test_a_copy_that_holds_tokens_is_for_its_owner_alone(chosen: Settings) -> None:
    refresh(chosen, now=NOW)

    assert copy_of(chosen).stat().st_mode & 0o777 == 0o600


def test_a_copy_that_could_not_be_read_again_is_not_made(tmp_path: Path, chosen: Settings, registry: Path) -> None:
    refresh(chosen, now=NOW)
    (tmp_path / "long.sql").write_text("SELECT 1 WHERE $market_day IS NOT NULL --" + "x" * 90_000)
    write(registry, *(f"k{n}" for n in range(60)), sqlFile="long.sql")

    status = refresh(chosen, now=LATER)

    assert status.error == f"{registry}, with its files of SQL: larger than 5 MB, which no registry is"
    assert ids(chosen) == ["one", "two"]


# --- built-in KPIs and the configured ones


def test_the_configured_kpis_are_there_beside_the_built_in_ones(tmp_path: Path, registry: Path) -> None:
    chosen = settings_of(tmp_path, kpi_registry=str(registry), kpi_built_in=True)

    status = refresh(chosen, now=NOW)

    assert ids(chosen) == [*(kpi.id for kpi in built_in().kpis), "one", "two"]
    assert status.total == len(built_in().kpis) + 2
    assert status.active == len(built_in().active) + 2


def test_a_configured_kpi_takes_the_place_of_the_built_in_one_of_its_id(tmp_path: Path, registry: Path) -> None:
    ours = built_in().kpis[0].id
    write(registry, ours, active=False)
    chosen = settings_of(tmp_path, kpi_registry=str(registry), kpi_built_in=True)

    refresh(chosen, now=NOW)

    assert sorted(ids(chosen)) == sorted(kpi.id for kpi in built_in().kpis)
    replaced = in_force(chosen).kpi(ours)
    assert replaced is not None
    assert (replaced.active, replaced.name) == (False, ours)


def test_a_configured_kpi_with_the_asset_of_a_built_in_one_under_another_id_is_refused(
    tmp_path: Path, registry: Path
) -> None:
    ours = next(kpi for kpi in built_in().kpis if "-" in kpi.id)
    write(registry, ours.asset_name)
    chosen = settings_of(tmp_path, kpi_registry=str(registry), kpi_built_in=True)

    status = refresh(chosen, now=NOW)

    assert status.error.startswith(
        f'{registry}: kpis[0] "{ours.asset_name}": id: names the same asset as the built-in KPI "{ours.id}"'
    )
    assert ids(chosen) == [kpi.id for kpi in built_in().kpis]


def test_assets_are_unique_also_where_the_built_in_kpis_came_after_the_copy(tmp_path: Path, registry: Path) -> None:
    ours = next(kpi for kpi in built_in().kpis if "-" in kpi.id)
    write(registry, ours.asset_name)
    refresh(settings_of(tmp_path, kpi_registry=str(registry)), now=NOW)

    kpis = in_force(settings_of(tmp_path, kpi_registry=str(registry), kpi_built_in=True)).kpis

    assert [kpi.id for kpi in kpis if kpi.asset_name == ours.asset_name] == [ours.asset_name]


# --- no registry, another registry


def test_without_a_configured_registry_the_built_in_kpis_are_in_force_and_nothing_is_wrong(tmp_path: Path) -> None:
    chosen = settings_of(tmp_path, kpi_built_in=True)

    status = refresh(chosen, now=NOW)

    assert in_force(chosen) == built_in()
    assert (status.source, status.is_good, status.error, status.note, status.changed) == ("", True, "", "", False)
    assert (status.total, status.copied_at) == (len(built_in().kpis), None)


def test_a_registry_that_is_configured_no_more_is_in_force_no_more(tmp_path: Path, chosen: Settings, registry) -> None:
    refresh(chosen, now=NOW)
    without = settings_of(tmp_path)

    status = refresh(without, now=LATER)

    assert ids(without) == []
    assert (status.is_good, status.total, status.changed, status.copied_at) == (True, 0, True, None)
    assert status.note == f"KPI_REGISTRY is empty: the copy of {registry} is not in force"


def test_another_registry_that_cannot_be_had_leaves_the_copy_of_the_first(tmp_path: Path, chosen, registry) -> None:
    refresh(chosen, now=NOW)
    moved = settings_of(tmp_path, kpi_registry=str(tmp_path / "elsewhere.json"))

    status = refresh(moved, now=LATER)

    assert ids(moved) == ["one", "two"]
    assert (status.is_good, status.source, status.copied_at) == (False, str(tmp_path / "elsewhere.json"), NOW)
    assert (status.copy_source, status.note) == (str(registry), f"in force is the copy of {registry}")


def test_before_the_first_refresh_the_status_says_so_and_makes_nothing(tmp_path: Path, chosen: Settings) -> None:
    status = registry_status(chosen)

    assert (status.checked_at, status.is_good, status.error, status.total) == (None, False, "never fetched", 0)
    assert status.note == "there is no good copy: no KPI is in force"
    assert not (tmp_path / "data").exists()


def test_a_status_of_another_registry_is_not_shown_for_this_one(tmp_path: Path, chosen: Settings, registry) -> None:
    refresh(chosen, now=NOW)

    status = registry_status(settings_of(tmp_path, kpi_registry=str(tmp_path / "elsewhere.json")))

    assert (status.error, status.total, status.copied_at) == ("never fetched", 2, NOW)
    assert status.note == f"in force is the copy of {registry}"


def test_a_kpi_registry_that_fails_from_the_first_leaves_the_built_in_ones(tmp_path: Path) -> None:
    chosen = settings_of(tmp_path, kpi_registry=str(tmp_path / "none.json"), kpi_built_in=True)

    status = refresh(chosen, now=NOW)

    assert (status.is_good, status.changed, status.total) == (False, False, len(built_in().kpis))
    assert status.note == "there is no good copy: the built-in KPIs alone are in force"


# --- damage


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def _without_origin(path: Path) -> None:
    path.write_text(json.dumps({"kpis": json.loads(path.read_text())["kpis"]}))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [_half, _without_origin, _folder, lambda path: path.write_bytes(b"\0" * 100)])
def test_a_damaged_copy_is_logged_and_leaves_the_built_in_kpis(
    tmp_path: Path, registry: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    chosen = settings_of(tmp_path, kpi_registry=str(registry), kpi_built_in=True)
    refresh(chosen, now=NOW)
    damage(copy_of(chosen))

    assert in_force(chosen) == built_in()
    assert "The last good copy of the registry cannot be used, see `etl-assets kpi refresh`" in caplog.text


def test_a_damaged_copy_is_made_anew_by_a_refresh(chosen: Settings) -> None:
    refresh(chosen, now=NOW)
    _half(copy_of(chosen))

    status = refresh(chosen, now=LATER)

    assert ids(chosen) == ["one", "two"]
    assert (status.is_good, status.changed) == (True, False)


@pytest.mark.parametrize("text", ["", "{}", "null", '{"source": 1}'])
def test_a_damaged_status_is_none(chosen: Settings, text: str) -> None:
    refresh(chosen, now=NOW)
    (chosen.kpi_folder / "registry-status.json").write_text(text)

    assert registry_status(chosen).error == "never fetched"
    assert refresh(chosen, now=LATER) == registry_status(chosen)


# --- killed, and several at once

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Processes that are ready to refresh; none outlives its test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> "subprocess.Popen[str]":
        command = [sys.executable, str(PROCESS), str(tmp_path / "data"), *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def go(process: "subprocess.Popen[str]") -> None:
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize(
    ("killed_before", "left"), [("registry.json", ["one", "two"]), ("registry-status.json", ["three"])]
)
def test_a_refresh_that_is_killed_leaves_a_whole_copy_and_the_next_one_says_what_changed(
    chosen: Settings, registry: Path, start: Start, killed_before: str, left: list[str]
) -> None:
    refresh(chosen, now=NOW)
    write(registry, "three")
    process = start(registry, killed_before)
    go(process)
    assert process.stdout.readline() == f"before {killed_before}\n"

    process.kill()
    process.wait()

    assert ids(chosen) == left
    assert registry_status(chosen).is_good
    status = refresh(chosen, now=LATER)
    assert (status.is_good, status.changed, ids(chosen)) == (True, True, ["three"])
    assert sorted(path.name for path in chosen.kpi_folder.iterdir() if path.suffix != ".lock") == [
        "registry-status.json",
        "registry.json",
    ]


def test_refreshes_at_once_take_turns_and_one_of_them_tells_of_the_change(
    chosen: Settings, registry: Path, start: Start
) -> None:
    refresh(chosen, now=NOW)
    write(registry, "three")
    processes = [start(registry) for _ in range(4)]

    for process in processes:
        go(process)
    statuses = [TypeAdapter(RegistryStatus).validate_json(process.stdout.readline()) for process in processes]

    assert [status.error for status in statuses] == [""] * 4
    assert sorted(status.changed for status in statuses) == [False, False, False, True]
    assert ids(chosen) == ["three"]


def test_a_refresh_waits_for_the_one_before_it(chosen: Settings, registry: Path, start: Start) -> None:
    older = start(registry, "registry.json")
    go(older)
    assert older.stdout.readline() == "before registry.json\n"
    write(registry, "three")
    newer = start(registry)

    go(newer)
    go(older)

    assert '"version":"1"' in older.stdout.readline()
    assert '"total":1' in newer.stdout.readline()
    assert ids(chosen) == ["three"]
