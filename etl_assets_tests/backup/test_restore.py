"""A restore: what it puts in place, what it refuses, and that a place is never left half restored."""

import json
import os
import shutil
import stat
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from etl_assets.api.clients import own_client
from etl_assets.backup import restore
from etl_assets.backup.manifest import (
    Backup,
    BackupDamagedError,
    BackupError,
    FileFacts,
    Manifest,
    Part,
    open_backup,
    verify_backup,
)
from etl_assets.backup.restore import Restored, restore_backup
from etl_assets.backup.take import take_backup
from etl_assets.kpi.registry import in_force
from etl_assets.lake.archive import archived_days
from etl_assets.lake.connection import read_lake, write_lake
from etl_assets.lake.maintenance import maintain
from etl_assets.lake.publish import lake_snapshot, published_snapshot
from etl_assets.lake.tables import DISPATCH_REGION
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.ops.state import load_checkpoint
from etl_assets.settings import Settings
from etl_assets_tests.backup.conftest import NOW, QUEUED
from etl_assets_tests.conftest import make_region_rows

LATER = NOW + timedelta(hours=1)
LAKE_FILE = "lake/files/aemo/dispatch_region"


@pytest.fixture
def backup(settings: Settings, tmp_path: Path) -> Backup:
    return take_backup(settings, settings.dagster_home, tmp_path / "backups", now=NOW)


@pytest.fixture
def apart(settings: Settings, another_file_system: Path) -> Backup:
    """A backup whose files are its own, for tests that damage them."""
    return take_backup(settings, settings.dagster_home, another_file_system, now=NOW)


def prices(settings: Settings) -> int:
    with read_lake(settings) as lake:
        return lake.execute("SELECT count(*) FROM lake.aemo.dispatch_region").fetchone()[0]


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@dataclass(frozen=True)
class Moved:
    """A restore at another path, after which the folder that was backed up and the backup were removed."""

    settings: Settings
    done: Restored
    client: str
    modes: dict[str, int]


def modes(folder: Path, backup: Backup) -> dict[str, int]:
    return {name: stat.S_IMODE((folder / name).stat().st_mode) for name in (*backup.manifest.files, "lake/files", ".")}


@pytest.fixture(scope="module")
def moved(whole_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Moved:
    root = tmp_path_factory.mktemp("moved")
    shutil.copytree(whole_folder, root / "data")
    original = Settings(_env_file=None, etl_data=root / "data")
    place = Settings(_env_file=None, etl_data=root / "other" / "place")
    backup = take_backup(original, original.dagster_home, root / "backups", now=NOW)
    client, before = own_client(original), modes(original.etl_data, backup)
    done = restore_backup(backup.folder, place, place.dagster_home, now=LATER)
    shutil.rmtree(original.etl_data)
    shutil.rmtree(backup.folder)
    return Moved(place, done, client, before)


def test_elsewhere_it_has_the_same_rows_state_archive_registry_and_client(moved: Moved) -> None:
    registered = moved.settings.model_copy(update={"kpi_registry": "registry.json", "kpi_built_in": False})

    assert prices(moved.settings) == 2 * 288
    assert load_checkpoint(moved.settings, "walk", now=LATER) == {"cursor": 7}
    assert [(day.market_day, day.rows) for day in archived_days(moved.settings)] == [(date(2026, 7, 1), 2)]
    assert [kpi.id for kpi in in_force(registered).kpis] == ["one"]
    assert own_client(moved.settings) == moved.client


def test_it_is_published_from_where_it_is_now(moved: Moved) -> None:
    with duckdb.connect(moved.settings.warehouse_path, read_only=True) as warehouse:
        counted = warehouse.execute(
            "SELECT (SELECT count(*) FROM aemo.price), (SELECT count(*) FROM ace.timeseries_all)"
        ).fetchone()

    with read_lake(moved.settings) as lake:
        assert published_snapshot(moved.settings) == lake_snapshot(lake)
    assert counted == (576, 4)


def test_files_have_the_permissions_that_they_had(moved: Moved) -> None:
    assert modes(moved.settings.etl_data, moved.done.backup) == moved.modes
    assert moved.modes["api/client.json"] == 0o600


def test_runs_that_were_at_work_have_failed_and_those_that_wait_still_wait(moved: Moved) -> None:
    at_work = "00000000-0000-0000-0000-000000000001"

    with dg.DagsterInstance.from_config(str(moved.settings.dagster_home)) as instance:
        statuses = {run.run_id: run.status for run in instance.get_runs()}
        said = [entry.message for entry in instance.all_logs(at_work) if entry.dagster_event]

    assert moved.done.runs_ended == 1
    assert set(statuses.values()) == {dg.DagsterRunStatus.FAILURE, QUEUED, dg.DagsterRunStatus.SUCCESS}
    assert statuses[at_work] == dg.DagsterRunStatus.FAILURE
    assert "at work when the backup was taken" in said[-1]


def test_it_takes_writes_and_maintenance(backup: Backup, elsewhere: Settings) -> None:
    restore_backup(backup.folder, elsewhere, elsewhere.dagster_home, now=LATER)
    with write_lake(elsewhere, "a test") as lake, transaction(lake):
        upsert(lake, DISPATCH_REGION, make_region_rows(date(2026, 11, 21)), now=LATER)

    maintain(elsewhere, now=datetime.now(UTC) + timedelta(days=60))

    assert prices(elsewhere) == 4 * 288
    assert verify_backup(backup.folder)


def test_parts_that_lie_outside_of_the_data_folder_go_back_to_their_places(settings: Settings, tmp_path: Path) -> None:
    backup = take_backup(settings, settings.dagster_home, tmp_path / "backups", now=NOW)
    apart = Settings(
        _env_file=None,
        etl_data=tmp_path / "apart" / "data",
        lake_data=str(tmp_path / "big"),
        archive_data=str(tmp_path / "cold" / "archive"),
    )

    restore_backup(backup.folder, apart, tmp_path / "dagster-home", now=LATER)

    assert prices(apart) == 576
    assert list((tmp_path / "big" / "etl_assets_lake").rglob("*.parquet"))
    assert [day.rows for day in archived_days(apart)] == [2]
    assert (tmp_path / "dagster-home" / "history" / "runs.db").exists()
    assert not (apart.etl_data / "archive").exists()
    again = take_backup(apart, tmp_path / "dagster-home", tmp_path / "backups", now=LATER)
    the_run_that_was_ended = "dagster/history/runs/00000000-0000-0000-0000-000000000001.db"
    assert set(again.manifest.files) == {*backup.manifest.files, the_run_that_was_ended}


def test_a_place_that_is_not_empty_is_refused_and_stays_as_it_is(settings: Settings, backup: Backup) -> None:
    before = tree(settings.etl_data)

    with pytest.raises(BackupError, match=r"is not empty. Choose another with --to, or move it aside with --force"):
        restore_backup(backup.folder, settings, settings.dagster_home, now=LATER)

    assert tree(settings.etl_data) == before


def test_with_force_what_was_there_is_moved_aside_whole(settings: Settings, backup: Backup) -> None:
    with write_lake(settings, "a test") as lake, transaction(lake):
        upsert(lake, DISPATCH_REGION, make_region_rows(date(2026, 11, 21)), now=NOW)

    restored = restore_backup(backup.folder, settings, settings.dagster_home, now=LATER, force=True)

    [aside] = restored.moved_aside
    assert aside == settings.etl_data.with_name("data.before-2026-11-22T030000Z")
    assert prices(settings) == 576
    assert prices(settings.model_copy(update={"etl_data": aside})) == 2 * 576


def test_a_place_that_is_up_is_refused(settings: Settings, backup: Backup) -> None:
    with (
        FileLock(settings.dagster_home / "up.lock"),
        pytest.raises(BackupError, match=r"is in use: `etl-assets up` runs on it. Stop that first"),
    ):
        restore_backup(backup.folder, settings, settings.dagster_home, now=LATER, force=True)


def test_a_place_that_is_written_to_is_refused_with_who_writes(settings: Settings, backup: Backup, start) -> None:
    writer = start("write")
    writer.stdout.readline()

    with pytest.raises(BackupError, match=r"is in use: process \d+ \(holding on\) is writing"):
        restore_backup(backup.folder, settings, settings.dagster_home, now=LATER, force=True)


def test_a_mount_point_is_refused_because_it_cannot_be_swapped(backup: Backup) -> None:
    mounted = Settings(_env_file=None, etl_data=Path("/proc"))

    with pytest.raises(BackupError, match=r"/proc is a mount point.*restore into a folder in it"):
        restore_backup(backup.folder, mounted, mounted.dagster_home, now=LATER, force=True)


def test_a_symbolic_link_is_refused_with_where_it_leads(settings: Settings, backup: Backup) -> None:
    link = settings.etl_data.with_name("link")
    link.symlink_to(settings.etl_data)
    linked = settings.model_copy(update={"etl_data": link})

    with pytest.raises(BackupError, match=r"link is a symbolic link.*: name .*/data in ETL_DATA"):
        restore_backup(backup.folder, linked, linked.dagster_home, now=LATER, force=True)


def test_a_backup_that_lies_in_the_place_is_refused(settings: Settings, backup: Backup) -> None:
    inside = settings.etl_data / "copied"
    shutil.copytree(backup.folder, inside)

    with pytest.raises(BackupError, match=r"lies in .*, which it would replace: move it out first"):
        restore_backup(inside, settings, settings.dagster_home, now=LATER, force=True)


def test_a_folder_of_backups_is_answered_with_one_to_name(backup: Backup, elsewhere: Settings) -> None:
    with pytest.raises(BackupError, match=r"it holds backups: name one of them, such as .*/2026-11-22T020000Z"):
        restore_backup(backup.folder.parent, elsewhere, elsewhere.dagster_home, now=LATER)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def point_elsewhere(path: Path) -> None:
    target = path.with_name("target")
    path.rename(target)
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, r"{} has [\d,]+ bytes instead of [\d,]+"),
        (change_a_byte, "{} has another content than when it was taken"),
        (Path.unlink, "{} is missing"),
        (point_elsewhere, "{} is, or lies behind, a symbolic link"),
    ],
)
@pytest.mark.parametrize("kind", ["lake/catalog.sqlite", "state.sqlite", LAKE_FILE])
def test_a_damaged_file_is_named_and_nothing_is_put_in_place(
    apart: Backup, elsewhere: Settings, kind: str, damage, said: str
) -> None:
    name = next(name for name in apart.manifest.files if name.startswith(kind))
    damage(apart.file(name))

    with pytest.raises(BackupDamagedError, match=said.format(name)):
        verify_backup(apart.folder)
    with pytest.raises(BackupDamagedError, match=said.format(name)):
        restore_backup(apart.folder, elsewhere, elsewhere.dagster_home, now=LATER)
    assert not elsewhere.etl_data.exists()
    assert tree(elsewhere.etl_data.parent) == {".place.restoring.lock"}


def test_a_folder_that_is_a_link_is_not_followed(apart: Backup, elsewhere: Settings) -> None:
    point_elsewhere(apart.folder / "data" / "kpi")

    with pytest.raises(BackupDamagedError, match=r"kpi/registry.json is, or lies behind, a symbolic link"):
        restore_backup(apart.folder, elsewhere, elsewhere.dagster_home, now=LATER)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "lake/../../outside", "./state.sqlite", ""])
def test_a_manifest_that_names_a_path_outside_is_refused(apart: Backup, elsewhere: Settings, name: str) -> None:
    path = apart.folder / "manifest.json"
    written = json.loads(path.read_text())
    written["files"][name] = written["files"]["state.sqlite"]
    path.write_text(json.dumps(written))

    with pytest.raises(BackupDamagedError, match="is no path inside a data folder"):
        restore_backup(apart.folder, elsewhere, elsewhere.dagster_home, now=LATER)


@given(st.lists(st.sampled_from(["..", ".", "", "a", "data", "..a"]), max_size=5))
def test_no_path_that_a_manifest_may_name_leads_outside(parts: list[str]) -> None:
    facts = FileFacts(bytes=0, sha256="")
    try:
        manifest = Manifest(version="1", duckdb_version="1", made_at=NOW, files={"/".join(parts): facts})
    except ValidationError:
        return

    [name] = manifest.files
    assert Path(os.path.normpath(f"/backup/{name}")).is_relative_to("/backup")
    assert os.path.normpath(name) == name != "."


@pytest.mark.parametrize("text", ["", "{", '{"format": 2}', "[]"])
def test_a_manifest_that_cannot_be_understood_is_refused(apart: Backup, text: str) -> None:
    (apart.folder / "manifest.json").write_text(text)

    with pytest.raises(BackupDamagedError, match=r"manifest.json cannot be used: .* Use another backup"):
        open_backup(apart.folder)


def test_what_the_manifest_does_not_name_is_not_put_in_place(apart: Backup, elsewhere: Settings) -> None:
    (apart.folder / "data" / "added").write_text("by somebody")

    restore_backup(apart.folder, elsewhere, elsewhere.dagster_home, now=LATER)

    assert not (elsewhere.etl_data / "added").exists()


@pytest.mark.parametrize("step", ["files,", "runs that were at work"])
def test_one_that_was_killed_changes_nothing_and_the_next_succeeds(
    settings: Settings, backup: Backup, start, step: str
) -> None:
    before = tree(settings.etl_data)
    killed = start("put_in_place", backup.folder)
    while step not in killed.stdout.readline():
        killed.stdin.write("\n")
        killed.stdin.flush()
    killed.kill()
    killed.wait()

    assert tree(settings.etl_data) == before
    restore_backup(backup.folder, settings, settings.dagster_home, now=LATER, force=True)

    assert prices(settings) == 576
    assert not settings.etl_data.with_name(".data.restoring").exists()


def test_without_room_nothing_is_put_in_place(
    backup: Backup, elsewhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))

    with pytest.raises(BackupError, match="Make room, or choose another folder"):
        restore_backup(backup.folder, elsewhere, elsewhere.dagster_home, now=LATER)
    assert not elsewhere.etl_data.exists()


def test_a_disk_that_fills_half_way_is_named_and_nothing_has_changed(
    backup: Backup, small_file_system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Somebody else takes the room after it was looked for.
    monkeypatch.setattr(restore, "refuse_full", lambda _folder, _wanted: None)
    filler = small_file_system / "filler"
    filler.write_bytes(bytes(4 * 1024 * 1024 - 64 * 1024))
    place = Settings(_env_file=None, etl_data=small_file_system / "data")

    with pytest.raises(BackupError, match=r"The file system of \S+/small is full; nothing was changed. Make room"):
        restore_backup(backup.folder, place, place.dagster_home, now=LATER)

    assert {path.name for path in small_file_system.iterdir()} <= {"filler", ".data.restoring.lock"}
    filler.unlink()
    assert open_backup(backup.folder).manifest == backup.manifest


def test_a_backup_without_a_part_leaves_that_to_its_own_store(
    settings: Settings, tmp_path: Path, elsewhere: Settings
) -> None:
    made = take_backup(settings, settings.dagster_home, tmp_path / "b", now=NOW, without=[Part.DAGSTER, Part.STATE])

    restored = restore_backup(made.folder, elsewhere, elsewhere.dagster_home, now=LATER)

    assert (prices(elsewhere), restored.runs_ended) == (576, 0)
    assert not elsewhere.dagster_home.exists()


@pytest.mark.parametrize("outside", [False, True])
def test_an_archive_that_was_left_out_stays_where_it_is(settings: Settings, tmp_path: Path, *, outside: bool) -> None:
    if outside:
        shutil.move(settings.etl_data / "archive", tmp_path / "cold")
        settings = settings.model_copy(update={"archive_data": str(tmp_path / "cold")})
    made = take_backup(settings, settings.dagster_home, tmp_path / "b", now=NOW, without=[Part.ARCHIVE])

    restored = restore_backup(made.folder, settings, settings.dagster_home, now=LATER, force=True)

    assert [day.rows for day in archived_days(settings)] == [2]
    assert [folder.name for folder in restored.moved_aside] == ["data.before-2026-11-22T030000Z"]


def test_a_home_of_dagster_that_was_left_out_is_not_touched(settings: Settings, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.move(settings.dagster_home, home)
    (home / "dagster.yaml").write_text("run_storage:\n  module: dagster_postgres.run_storage\n")
    before = tree(home)
    made = take_backup(settings, home, tmp_path / "b", now=NOW, without=[Part.DAGSTER])

    restored = restore_backup(made.folder, settings, home, now=LATER, force=True)

    assert (tree(home), restored.runs_ended) == (before, 0)
