"""Putting a backup in place: checked and made ready beside the data folder, then swapped in as a whole.

What was in the place before is moved aside, never removed. Runs that were at work are marked failed, so that healing
goes on, and ``warehouse.duckdb`` is published anew, because its views name files by where they are.
"""

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from etl_assets.backup.catalog import move_files
from etl_assets.backup.dagster_storage import end_interrupted_runs
from etl_assets.backup.draft import copy_file, full_disk_named, put_on_disk, refuse_full, sync
from etl_assets.backup.manifest import Backup, BackupError, Part, open_backup, problem_of, refuse_damaged, sha256_of
from etl_assets.backup.places import ARCHIVE, CATALOG, DAGSTER, FILES, place, refuse_elsewhere, refuse_root, roots
from etl_assets.backup.take import NAME, Progress
from etl_assets.settings import Settings

UNCHANGING = (f"{FILES}/", f"{ARCHIVE}/")
"""Files that nobody writes into: linked where backup and place are on one file system."""

STAYING = {Part.LAKE: "lake", Part.ARCHIVE: "archive"}
"""What stays in the data folder where a backup has left it out. Not the state: beside an older lake it would say that
windows were read whose rows are missing."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put in place: the backup, folders that were moved aside for it, runs that it found at work."""

    backup: Backup
    moved_aside: tuple[Path, ...]
    runs_ended: int


def restore_backup(
    source: Path,
    settings: Settings,
    dagster_home: Path,
    *,
    now: datetime,
    force: bool = False,
    progress: Progress = lambda _: None,
) -> Restored:
    """Make a backup the data folder of ``settings``, and publish it.

    A folder that is not empty is refused without ``force``, and with it moved aside, but for a lake or an archive that
    the backup has left out. Raises ``BackupError`` where the place is in use, has no room, is a mount point, a symbolic
    link or another user's, ``BackupDamagedError`` where a file is not what it was; then nothing has changed.
    """
    backup = open_backup(source.absolute())
    without = backup.manifest.without
    refuse_elsewhere(settings, dagster_home, without)
    refuse_root(settings)
    folders = roots(settings, dagster_home, without)
    _refuse_places(backup, folders, force=force)
    stages = {folder: folder.with_name(f".{folder.name}.restoring") for folder in folders}
    with _alone(settings, dagster_home, stages):
        with full_disk_named(folders[0].parent, "nothing was changed. Make room, or restore elsewhere with --to"):
            progress(f"{len(backup.manifest.files):,} files, {backup.manifest.bytes / 1e6:,.1f} MB")
            _fill(backup, settings, dagster_home, stages)
            progress("runs that were at work")
            ended = _make_ready(settings, dagster_home, stages, without)
            for stage in stages.values():
                put_on_disk(stage)
        staying = [name for part, name in STAYING.items() if part in without]
        aside = _swap(stages, f".before-{now.astimezone(UTC).strftime(NAME)}", {folders[0]: staying})
    if Part.LAKE not in without:
        progress("warehouse.duckdb")
        _publish(backup, settings, now)
    return Restored(backup, aside, ended)


def _refuse_places(backup: Backup, folders: list[Path], *, force: bool) -> None:
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            raise BackupError(f"{folder} is no folder.")
        if os.path.ismount(folder):
            raise BackupError(
                f"{folder} is a mount point, which cannot be swapped as a whole: "
                "restore into a folder in it, and set ETL_DATA (ARCHIVE_DATA, DAGSTER_HOME) to that."
            )
        if folder.is_symlink():
            raise BackupError(
                f"{folder} is a symbolic link, which would be swapped instead of what it leads to: "
                f"name {folder.resolve()} in ETL_DATA (ARCHIVE_DATA, DAGSTER_HOME)."
            )
        if backup.folder.resolve().is_relative_to(folder.resolve()):
            raise BackupError(
                f"The backup {backup.folder} lies in {folder}, which it would replace: move it out first."
            )
        if not force and folder.exists() and any(folder.iterdir()):
            raise BackupError(f"{folder} is not empty. Choose another with --to, or move it aside with --force.")


@contextmanager
def _alone(settings: Settings, home: Path, stages: Mapping[Path, Path]) -> Iterator[None]:
    """Nobody works in the place, and no other restore does; what a killed one left is removed, and what this leaves."""
    from filelock import FileLock, Timeout

    from etl_assets.lake.connection import lock_holder

    data = settings.etl_data.absolute()
    data.parent.mkdir(parents=True, exist_ok=True)
    there = {
        home / "up.lock": "`etl-assets up` runs on it",
        settings.catalog_path.with_suffix(".lock"): f"{lock_holder(settings)} is writing",
        data / "backup.lock": "a backup of it is being taken",
    }
    # A lock's file that is made here would make an empty place not empty.
    locks = {stages[data].with_name(f"{stages[data].name}.lock"): "another restore is at work"}
    locks |= {lock: why for lock, why in there.items() if lock.exists()}
    with ExitStack() as stack:
        for lock, why in locks.items():
            try:
                stack.enter_context(FileLock(lock, timeout=0))
            except Timeout:
                raise BackupError(f"{data} is in use: {why}. Stop that first.") from None
        for stage in stages.values():
            shutil.rmtree(stage, ignore_errors=True)
            stack.callback(shutil.rmtree, stage, ignore_errors=True)
        yield


def _fill(backup: Backup, settings: Settings, home: Path, stages: Mapping[Path, Path]) -> None:
    for stage in stages.values():
        stage.mkdir(parents=True)
    refuse_full(stages[settings.etl_data.absolute()], _bytes_to_copy(backup, stages.values()))
    problems: list[str] = []
    for name in backup.manifest.files:
        target = _staged(place(settings, home, name), stages)
        put = partial(_put, target=target, linked=name.startswith(UNCHANGING))
        if wrong := problem_of(backup, name, read=sha256_of if problems else put):
            problems.append(wrong)
    refuse_damaged(backup, problems)


def _bytes_to_copy(backup: Backup, stages: Collection[Path]) -> int:
    is_linked = {backup.folder.stat().st_dev} == {stage.stat().st_dev for stage in stages}
    files = backup.manifest.files.items()
    return sum(facts.bytes for name, facts in files if not (is_linked and name.startswith(UNCHANGING)))


def _staged(path: Path, stages: Mapping[Path, Path]) -> Path:
    """Where a file is made ready: in the stage of the innermost folder that it belongs to."""
    folder = max((folder for folder in stages if path.is_relative_to(folder)), key=lambda folder: len(folder.parts))
    return stages[folder] / path.relative_to(folder)


def _put(source: Path, target: Path, *, linked: bool) -> str:
    """Link or copy a file; returns the SHA-256 of what was put."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if linked:
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:
            pass
        else:
            return sha256_of(target)
    return copy_file(source, target).sha256


def _make_ready(settings: Settings, home: Path, stages: Mapping[Path, Path], without: Collection[Part]) -> int:
    catalog = _staged(place(settings, home, CATALOG), stages)
    if catalog.exists():
        move_files(catalog, settings.lake_files)
    if Part.DAGSTER in without:
        return 0
    staged_home = _staged(place(settings, home, f"{DAGSTER}/dagster.yaml"), stages).parent
    return end_interrupted_runs(staged_home) if staged_home.exists() else 0


def _swap(stages: Mapping[Path, Path], suffix: str, staying: Mapping[Path, Collection[str]]) -> tuple[Path, ...]:
    """Give every stage its place; where one fails all is as it was. Returns what was moved aside.

    ``staying`` are the names in a folder which are not moved aside with it.
    """
    with ExitStack() as undo:
        aside = []
        for folder, stage in stages.items():
            former = folder.with_name(f"{folder.name}{suffix}")
            if folder.exists() and any(folder.iterdir()):
                _rename(folder, former, undo)
                aside.append(former)
            _rename(stage, folder, undo)
            for name in staying.get(folder, ()):
                if (former / name).exists():
                    _rename(former / name, folder / name, undo)
            sync(folder.parent)
        undo.pop_all()
    return tuple(aside)


def _rename(source: Path, target: Path, undo: ExitStack) -> None:
    source.rename(target)
    undo.callback(target.rename, source)


def _publish(backup: Backup, settings: Settings, now: datetime) -> None:
    import duckdb

    from etl_assets.lake.connection import read_lake
    from etl_assets.lake.publish import publish
    from etl_assets.ops.state import copies_for_analysts

    with read_lake(settings) as lake:
        found = {name: lake.execute(f"SELECT count(*) FROM lake.{name}").fetchone() for name in backup.manifest.tables}
    wrong = [name for name, facts in backup.manifest.tables.items() if found[name] != (facts.rows,)]
    if wrong:
        raise BackupError(
            f"{settings.etl_data} was restored, but {', '.join(wrong)} have not the rows of the manifest."
        )
    try:
        publish(settings, now=now, extra=copies_for_analysts(settings))
    except duckdb.Error as error:
        raise BackupError(f"{settings.etl_data} was restored, but not published: {error}") from error
