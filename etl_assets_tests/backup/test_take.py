"""A backup: what is in it, that it is of one moment, and what is left of one that was not finished."""

import json
import os
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock

from etl_assets.backup.manifest import BackupError, Part, TableFacts, backups_in, verify_backup
from etl_assets.backup.restore import restore_backup
from etl_assets.backup.take import take_backup
from etl_assets.lake.connection import LakeBusyError, read_lake, write_lake
from etl_assets.lake.maintenance import maintain
from etl_assets.lake.tables import DISPATCH_REGION
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.ops.state import load_checkpoint
from etl_assets.settings import Settings
from etl_assets_tests.backup.conftest import NOW
from etl_assets_tests.conftest import make_region_rows

LATER = NOW + timedelta(hours=1)
PRICES = "aemo/dispatch_region"


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def names(folder: Path) -> set[str]:
    """Files of a backup, those of the lake and of runs by their folder."""
    return {"/".join(name.split("/")[:-1]) if "-" in name else name for name in verify_backup(folder).manifest.files}


def parquet(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in (folder / "data" / "lake" / "files").rglob("*.parquet")}


def test_it_holds_the_lake_the_archive_the_state_dagsters_storage_the_registrys_copy_and_the_apis_own_files(
    settings: Settings, to: Path
) -> None:
    made = take_backup(settings, settings.dagster_home, to, now=NOW)

    # The snapshots before the archiving are not forgotten yet, so the readings of July are there twice.
    assert names(made.folder) == {
        "lake/catalog.sqlite",
        "lake/files/aemo/dispatch_region/market_day=2026-11-20",
        "lake/files/ace/timeseries_raw/market_day=2026-11-20/site_name=a",
        "lake/files/ace/timeseries_raw/market_day=2026-07-01/site_name=a",
        "archive/timeseries_raw/market_day=2026-07-01/site_name=a",
        "state.sqlite",
        "dagster/dagster.yaml",
        "dagster/history/runs.db",
        "dagster/history/runs/index.db",
        "dagster/history/runs",
        "dagster/schedules/schedules.db",
        "kpi/registry.json",
        "kpi",
        "api/client.json",
        "api/results/job_1.json",
    }


def test_its_manifest_says_when_and_how_many_rows_each_table_has(settings: Settings, to: Path) -> None:
    manifest = take_backup(settings, settings.dagster_home, to, now=NOW).manifest

    filled = {name: facts for name, facts in manifest.tables.items() if facts.rows}
    assert manifest.made_at == NOW
    assert filled == {
        "aemo.dispatch_region": TableFacts(rows=576, files=1),
        "ace.timeseries_raw": TableFacts(rows=2, files=1),
    }


def test_it_is_a_folder_named_by_its_moment_in_utc(settings: Settings, to: Path) -> None:
    made = take_backup(settings, settings.dagster_home, to, now=datetime.fromisoformat("2026-11-22T12:00:00+10:00"))

    assert made.folder == to / "2026-11-22T020000Z"
    assert [backup.folder for backup in backups_in(to)] == [made.folder]


def test_nobody_else_may_look_into_it_and_secrets_stay_their_owners(settings: Settings, to: Path) -> None:
    made = take_backup(settings, settings.dagster_home, to, now=NOW)

    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert {mode(path) for path in (to, made.folder, *made.folder.rglob("*")) if path.is_dir()} == {0o700}
    assert {mode(made.file(name)) for name in ("api/client.json", "kpi/registry.json")} == {0o600}
    assert mode(made.folder / "manifest.json") == 0o600


def test_state_is_never_ahead_of_the_lake_while_a_writer_commits(
    settings: Settings, to: Path, start, tmp_path: Path
) -> None:
    stop = tmp_path / "stop"
    writer = start("commit", stop)
    moments = [NOW + timedelta(minutes=n) for n in range(2)]
    for moment in moments:
        writer.stdout.readline()
        take_backup(settings, settings.dagster_home, to, now=moment)
    stop.touch()
    writer.wait()

    assert [backup.made_at for backup in backups_in(to)] == moments
    for backup in backups_in(to):
        place = Settings(_env_file=None, etl_data=tmp_path / backup.folder.name)
        restore_backup(backup.folder, place, place.dagster_home, now=LATER)
        with read_lake(place) as lake:
            batches = lake.execute("SELECT scada_value, count(*) FROM lake.aemo.unit_scada GROUP BY ALL").fetchall()
        on_record = load_checkpoint(place, "batch", now=LATER)["number"]
        assert {rows for _, rows in batches} == {6}
        assert on_record <= len(batches) == max(batches)[0]


def test_files_that_maintenance_removes_meanwhile_are_in_it_all_the_same(
    settings: Settings, another_file_system: Path
) -> None:
    with write_lake(settings, "a revision") as lake, transaction(lake):
        upsert(lake, DISPATCH_REGION, make_region_rows(datetime(2026, 11, 20, tzinfo=UTC).date(), price=7.0), now=NOW)

    def remove_the_past(step: str) -> None:
        if "files to copy" in step:
            maintain(settings, now=datetime.now(UTC) + timedelta(days=60))

    before = {path.name for path in (settings.etl_data / "lake" / "files").rglob("*.parquet")}
    made = take_backup(settings, settings.dagster_home, another_file_system, now=NOW, progress=remove_the_past)

    left = {path.name for path in (settings.etl_data / "lake" / "files").rglob("*.parquet")}
    assert before - left
    assert set(parquet(verify_backup(made.folder).folder)) == before


def test_to_another_file_system_files_are_copied_and_none_stays_held(
    settings: Settings, another_file_system: Path
) -> None:
    before = {path for path in settings.etl_data.rglob("*") if path.is_dir()}

    made = take_backup(settings, settings.dagster_home, another_file_system, now=NOW)

    assert {path.stat().st_nlink for path in parquet(made.folder).values()} == {1}
    assert {path for path in settings.etl_data.rglob("*") if path.is_dir()} == before


def test_an_archive_on_a_disk_of_its_own_needs_no_place_beside_it(
    settings: Settings, to: Path, another_file_system: Path
) -> None:
    shutil.move(settings.etl_data / "archive", another_file_system)
    cold = settings.model_copy(update={"archive_data": str(another_file_system / "archive")})
    beside = set()

    made = take_backup(
        cold,
        cold.dagster_home,
        to,
        now=NOW,
        progress=lambda _: beside.update(path.name for path in another_file_system.iterdir()),
    )

    assert beside == {"archive"}
    assert sum(name.startswith("archive/") for name in verify_backup(made.folder).manifest.files) == 2


def test_what_the_backup_before_has_is_linked_from_there(settings: Settings, another_file_system: Path) -> None:
    to = another_file_system
    first = take_backup(settings, settings.dagster_home, to, now=NOW)
    with write_lake(settings, "a test") as lake, transaction(lake):
        upsert(lake, DISPATCH_REGION, make_region_rows(datetime(2026, 11, 21, tzinfo=UTC).date()), now=NOW)

    second = take_backup(settings, settings.dagster_home, to, now=LATER)

    old, new = parquet(first.folder), parquet(verify_backup(second.folder).folder)
    assert {name for name in old if old[name].samefile(new[name])} == set(old)
    assert [new[name].parent.parent.name for name in set(new) - set(old)] == ["dispatch_region"]
    finished = next(name for name in first.manifest.files if "history/runs/" in name and "index" not in name)
    assert first.file(finished).samefile(second.file(finished))


def test_a_damaged_file_of_the_backup_before_is_not_linked_where_its_size_differs(
    settings: Settings, another_file_system: Path
) -> None:
    first = take_backup(settings, settings.dagster_home, another_file_system, now=NOW)
    victim = next(iter(parquet(first.folder).values()))
    victim.write_bytes(b"cut")

    second = take_backup(settings, settings.dagster_home, another_file_system, now=LATER)

    assert verify_backup(second.folder)


def test_of_several_the_newest_are_kept(settings: Settings, to: Path) -> None:
    for hours in range(3):
        take_backup(settings, settings.dagster_home, to, now=NOW + timedelta(hours=hours), keep=2)

    assert [backup.made_at.hour for backup in backups_in(to)] == [3, 4]
    assert [verify_backup(backup.folder) for backup in backups_in(to)] == backups_in(to)


def test_the_one_just_made_is_kept_where_the_clock_was_ahead_before(settings: Settings, to: Path) -> None:
    take_backup(settings, settings.dagster_home, to, now=LATER)

    made = take_backup(settings, settings.dagster_home, to, now=NOW, keep=1)

    assert verify_backup(made.folder) == made


@pytest.mark.parametrize(
    "step", ["state database", "Dagster's storage", "catalog of the lake", "archive", "files to copy"]
)
def test_one_that_was_killed_looks_like_none_and_the_next_removes_what_it_left(
    settings: Settings, to: Path, start, step: str
) -> None:
    killed = start("back_up", to)
    while step not in killed.stdout.readline():
        killed.stdin.write("\n")
        killed.stdin.flush()
    killed.kill()
    killed.wait()

    assert backups_in(to) == []
    made = take_backup(settings, settings.dagster_home, to, now=NOW)

    assert {path.name for path in to.iterdir()} == {made.folder.name, ".backup.lock"}
    assert not list(settings.etl_data.rglob(".*.backup"))


def test_a_full_disk_is_said_before_anything_is_copied(
    settings: Settings, another_file_system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total, used, _ = shutil.disk_usage(another_file_system)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(total, used, 1000))

    with pytest.raises(BackupError, match=r"has 0 MB free and \d+ MB are needed. Make room, or choose another folder"):
        take_backup(settings, settings.dagster_home, another_file_system, now=NOW)
    assert backups_in(another_file_system) == []


@pytest.mark.parametrize(
    ("changes", "part", "named"),
    [
        ({"state_database": "postgresql://u:secret@db/etl"}, Part.STATE, "STATE_DATABASE"),
        ({"lake_catalog": "postgres:host=db password=secret"}, Part.LAKE, "LAKE_CATALOG"),
        ({"lake_data": "s3://bucket/lake"}, Part.LAKE, "LAKE_DATA"),
        ({"archive_data": "s3://bucket/archive"}, Part.ARCHIVE, "ARCHIVE_DATA"),
    ],
)
def test_a_part_in_a_store_of_its_own_is_named_and_can_be_left_out(
    settings: Settings, to: Path, changes: dict[str, str], part: Part, named: str
) -> None:
    chosen = settings.model_copy(update=changes)

    with pytest.raises(BackupError, match=f"{named}.*pg_dump.*--without {part}") as refused:
        take_backup(chosen, settings.dagster_home, to, now=NOW)
    assert "secret" not in str(refused.value)
    made = take_backup(chosen, settings.dagster_home, to, now=NOW, without=[part])

    first_of = {Part.LAKE: "lake/", Part.ARCHIVE: "archive/", Part.STATE: "state", Part.DAGSTER: "dagster/"}
    there = {each for each, first in first_of.items() if any(name.startswith(first) for name in made.manifest.files)}
    assert made.manifest.without == (part,)
    assert there == set(Part) - {part}
    assert bool(made.manifest.tables) == (part != Part.LAKE)


def test_dagsters_storage_in_a_database_of_its_own_is_named(settings: Settings, to: Path) -> None:
    (settings.dagster_home / "dagster.yaml").write_text("storage:\n  postgres:\n    postgres_url: x\n")

    with pytest.raises(BackupError, match=r"dagster.yaml's storage.*--without dagster"):
        take_backup(settings, settings.dagster_home, to, now=NOW)


def test_a_folder_inside_the_data_is_refused(settings: Settings, tmp_path: Path) -> None:
    apart = settings.model_copy(update={"lake_data": str(tmp_path / "big")})

    for chosen, to in ((settings, settings.etl_data / "backups"), (apart, Path(apart.lake_files) / "backups")):
        with pytest.raises(BackupError, match=r"backups lies in .*, which a restore replaces"):
            take_backup(chosen, chosen.dagster_home, to, now=NOW)


@pytest.mark.parametrize("way", ["link/in", "backups/../data/in"])
def test_so_is_one_that_leads_there_by_another_way(settings: Settings, tmp_path: Path, way: str) -> None:
    (tmp_path / "link").symlink_to(settings.etl_data)
    (tmp_path / "backups").mkdir()

    with pytest.raises(BackupError, match=r"/data/in lies in .*/data, which a restore replaces"):
        take_backup(settings, settings.dagster_home, tmp_path / way, now=NOW)
    assert not (settings.etl_data / "in").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_root_is_refused_where_the_data_folder_is_another_users(settings: Settings, to: Path) -> None:
    os.chown(settings.etl_data, 10001, 10001)

    with pytest.raises(
        BackupError, match=r"data belongs to user 10001, and not to root: run this as `sudo -u '#10001'"
    ):
        take_backup(settings, settings.dagster_home, to, now=NOW)
    assert not to.exists()


def test_a_folder_without_a_lake_is_refused(to: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    empty = Settings(_env_file=None, etl_data=tmp_path / "empty")

    with pytest.raises(BackupError, match="holds no lake yet"):
        take_backup(empty, empty.dagster_home, to, now=NOW)
    with pytest.raises(BackupError, match="Set ETL_DATA"):
        take_backup(Settings(_env_file=None, etl_data=tmp_path / "none"), empty.dagster_home, to, now=NOW)


def test_a_second_backup_at_once_is_refused(settings: Settings, to: Path) -> None:
    with FileLock(settings.etl_data / "backup.lock"), pytest.raises(BackupError, match="Another backup is at work"):
        take_backup(settings, settings.dagster_home, to, now=NOW)


def test_a_lake_that_stays_busy_is_said_with_who_holds_it(settings: Settings, to: Path, start) -> None:
    writer = start("write")
    writer.stdout.readline()
    hasty = settings.model_copy(update={"lake_lock_timeout": timedelta(milliseconds=50)})

    with pytest.raises(LakeBusyError, match=r"process \d+ \(holding on\) holds it"):
        take_backup(hasty, settings.dagster_home, to, now=NOW)


def test_a_lake_that_lacks_a_file_is_said_to_be_damaged(settings: Settings, to: Path) -> None:
    next((settings.etl_data / "lake" / "files" / PRICES).rglob("*.parquet")).unlink()

    with pytest.raises(BackupError, match=r"its catalog names .*dispatch_region.*\.parquet, which is gone"):
        take_backup(settings, settings.dagster_home, to, now=NOW)
    assert backups_in(to) == []


def test_the_manifest_is_json_that_a_person_can_read(settings: Settings, to: Path) -> None:
    made = take_backup(settings, settings.dagster_home, to, now=NOW)

    written = json.loads((made.folder / "manifest.json").read_text())
    assert written["made_at"] == "2026-11-22T02:00:00Z"
    assert written["files"]["api/results/job_1.json"] == {
        "bytes": 2,
        "sha256": "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945",
    }
