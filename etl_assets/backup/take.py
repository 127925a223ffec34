"""Taking a backup while everything runs.

What is copied first is what must never be ahead. State that says a window was read, while its rows are missing, would
be a loss that nobody notices; rows whose window is not on record are read once more, and nothing changes. So: the state
database, then Dagster's storage, then the lake, then the archive, into which readings go before they leave the lake.

The lake's catalog and the files that it names are of one moment: the writer's lock is held while the catalog is copied
and the files, which never change, are linked; not while they are copied.
"""

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from etl_assets.backup.catalog import CatalogFacts, read_catalog
from etl_assets.backup.dagster_storage import add_dagster
from etl_assets.backup.draft import DRAFT_PREFIX, Draft, drafted, make_folder, refuse_full
from etl_assets.backup.manifest import Backup, BackupError, Manifest, Part, backups_in
from etl_assets.backup.places import (
    ARCHIVE,
    CATALOG,
    FILES,
    RESULTS,
    STATE,
    is_remote,
    refuse_elsewhere,
    refuse_root,
    roots,
)
from etl_assets.backup.sqlite_files import copy_database_apart
from etl_assets.settings import Settings

NAME = "%Y-%m-%dT%H%M%SZ"

LISTINGS = 3
"""Of a folder whose files may be removed between the look and the link: of the archive once a day."""

Progress = Callable[[str], object]


def take_backup(
    settings: Settings,
    dagster_home: Path,
    to: Path,
    *,
    now: datetime,
    without: Collection[Part] = (),
    keep: int | None = None,
    progress: Progress = lambda _: None,
) -> Backup:
    """Copy everything into a new folder of ``to``, named by ``now`` in UTC; safe beside any writer.

    Files that the newest backup in ``to`` has are linked from there; with ``keep`` all but so many of the newest are
    removed at the end. Raises ``BackupError`` where a part lies in a database of its own and is not left out, where
    there is nothing, no room, another backup at work, or root asks for another user's folder; ``LakeBusyError`` after
    ``LAKE_LOCK_TIMEOUT``. A backup that is not finished leaves nothing that looks like one.
    """
    if keep is not None and keep < 1:
        raise ValueError(f"{keep} backups to keep: at least one")
    refuse_elsewhere(settings, dagster_home, without)
    to = to.resolve()
    _refuse_place(settings, dagster_home, to)
    target = to / now.astimezone(UTC).strftime(NAME)
    if target.exists():
        raise BackupError(f"There is a backup of this moment: {target}")
    with _alone(settings, to) as staging:
        before = next(reversed(backups_in(to)), None)
        with drafted(to / f"{DRAFT_PREFIX}{target.name}", before) as draft:
            facts = _fill(draft, settings, dagster_home, without=without, staging=staging, progress=progress)
            manifest = Manifest(
                version=version("etl-assets"),
                duckdb_version=version("duckdb"),
                made_at=now.astimezone(UTC),
                without=tuple(sorted(without)),
                snapshot=facts.snapshot if facts else None,
                tables=facts.tables if facts else {},
                files=dict(sorted(draft.files.items())),
            )
            made = draft.finish(manifest, target)
        if keep:
            _remove_older(made, keep)
    return made


def _remove_older(made: Backup, keep: int) -> None:
    """Remove all backups but the newest, and never the one that was just made, whatever the clock said before.

    Files that a later one shares stay with it.
    """
    folder = made.folder.parent
    for backup in backups_in(folder)[:-keep]:
        if backup.folder == made.folder:
            continue
        # Renamed first: killed half-way it must not look like a backup.
        leaving = folder / f"{DRAFT_PREFIX}{backup.folder.name}"
        backup.folder.rename(leaving)
        shutil.rmtree(leaving)


def _refuse_place(settings: Settings, dagster_home: Path, to: Path) -> None:
    if not settings.etl_data.exists():
        raise BackupError(f"There is no data folder {settings.etl_data.absolute()} to back up. Set ETL_DATA.")
    refuse_root(settings)
    for folder in roots(settings, dagster_home):
        # Maintenance, too, removes files in the lake's own folder that no snapshot names.
        if to.is_relative_to(folder.resolve()):
            raise BackupError(f"{to} lies in {folder}, which a restore replaces: choose a folder outside of it.")


@contextmanager
def _alone(settings: Settings, to: Path) -> Iterator[Path | None]:
    """One backup at a time, of this data and into this folder; what killed ones left is removed.

    Yields a folder on the file system of the lake's files in which they may be held; removed afterwards.
    """
    from filelock import FileLock, Timeout

    make_folder(to)
    files = None if is_remote(settings.lake_files) else Path(settings.lake_files)
    staging = files.with_name(f".{files.name}.backup") if files else None
    with ExitStack() as stack:
        for lock in (settings.etl_data / "backup.lock", to / ".backup.lock"):
            try:
                stack.enter_context(FileLock(lock, timeout=0))
            except Timeout:
                raise BackupError(f"Another backup is at work in {lock.parent}; wait for it.") from None
        for left in (*to.glob(f"{DRAFT_PREFIX}*"), *filter(None, [staging])):
            shutil.rmtree(left, ignore_errors=True)
        if staging:
            stack.callback(shutil.rmtree, staging, ignore_errors=True)
        yield staging


def _fill(
    draft: Draft,
    settings: Settings,
    home: Path,
    *,
    without: Collection[Part],
    staging: Path | None,
    progress: Progress,
) -> CatalogFacts | None:
    refuse_full(draft.folder, _size_of_databases(settings, home))
    if Part.STATE not in without and (state := settings.etl_data / STATE).exists():
        progress("state database")
        draft.add_databases({state: STATE})
    if Part.DAGSTER not in without and home.exists():
        progress("Dagster's storage")
        add_dagster(draft, home)
    facts = None
    if Part.LAKE not in without:
        progress("catalog of the lake")
        facts = _add_lake(draft, settings, staging)
    if Part.ARCHIVE not in without:
        progress("archive")
        _add_folder(draft, Path(settings.archive_files), ARCHIVE)
    _add_other_files(draft, settings)
    progress(f"{len(draft.held):,} files to copy, {len(draft.files):,} in place")
    draft.bring_in()
    return facts


def _size_of_databases(settings: Settings, home: Path) -> int:
    databases = [
        settings.etl_data / STATE,
        settings.catalog_path,
        *home.glob("*/*.db"),
        *home.glob("history/runs/*.db"),
    ]
    return sum(path.stat().st_size for path in databases if path.exists())


def _add_lake(draft: Draft, settings: Settings, staging: Path | None) -> CatalogFacts:
    from filelock import Timeout

    from etl_assets.lake.connection import LOCK_POLL_SECONDS, LakeBusyError, lock_holder, writer_lock

    if not settings.catalog_path.exists():
        raise BackupError(f"{settings.etl_data} holds no lake yet: there is nothing to back up.")
    copy = draft.path(CATALOG)
    try:
        with writer_lock(settings).acquire(poll_interval=LOCK_POLL_SECONDS):
            copy_database_apart(settings.catalog_path, copy)
            facts = read_catalog(copy)
            for path in facts.files:
                draft.hold(Path(settings.lake_files) / path, f"{FILES}/{path}", staging)
    except Timeout as error:
        raise LakeBusyError(f"The lake is busy: {lock_holder(settings)} holds it. Try again.") from error
    except FileNotFoundError as error:
        raise BackupError(f"The lake is damaged: its catalog names {error.filename}, which is gone.") from error
    draft.record(CATALOG)
    return facts


def _add_folder(draft: Draft, folder: Path, name: str) -> None:
    """Link or copy every file of a folder whose files never change; what is removed meanwhile has a successor, or none.

    Not staged beside the folder: where that is a disk of its own, its parent is another one, and root's.
    """
    for attempt in range(1, LISTINGS + 1):
        try:
            for path in filter(_is_whole, folder.rglob("*")):
                relative = f"{name}/{path.relative_to(folder).as_posix()}"
                if not draft.has(relative):
                    draft.hold(path, relative, staging=None)
        except FileNotFoundError:
            if attempt == LISTINGS:
                raise
        else:
            return


def _is_whole(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.suffix != ".draft"


def _add_other_files(draft: Draft, settings: Settings) -> None:
    """The marker of simulated data, the registry's copy, and the API's own keys, client and results."""
    small = (settings.simulated_marker, *settings.kpi_folder.glob("*.json"), *settings.api_folder.glob("*.json"))
    for path in filter(_is_whole, small):
        draft.add_file(path, path.relative_to(settings.etl_data).as_posix())
    _add_folder(draft, settings.api_folder / "results", RESULTS)
