"""Where the parts of a data folder lie, in it or elsewhere by setting, and which of them a backup cannot reach."""

import os
from collections.abc import Collection
from pathlib import Path

from etl_assets.backup.manifest import BackupError, Part
from etl_assets.settings import Settings

CATALOG = "lake/catalog.sqlite"
FILES = "lake/files"
ARCHIVE = "archive"
RESULTS = "api/results"
STATE = "state.sqlite"
DAGSTER = "dagster"

PARTS = {FILES: Part.LAKE, ARCHIVE: Part.ARCHIVE, DAGSTER: Part.DAGSTER}
"""Of which part are those that may lie outside of the data folder."""


def place(settings: Settings, dagster_home: Path, name: str) -> Path:
    """Where a file belongs that has this name in a backup."""
    for prefix, folder in _elsewhere(settings, dagster_home).items():
        if name.startswith(f"{prefix}/"):
            return folder / name.removeprefix(f"{prefix}/")
    return settings.etl_data.absolute() / name


def roots(settings: Settings, dagster_home: Path, without: Collection[Part] = ()) -> list[Path]:
    """The data folder, and the folders outside of it that hold a part of it, other than those left out."""
    data = settings.etl_data.absolute()
    folders = {
        name: folder for name, folder in _elsewhere(settings, dagster_home).items() if PARTS[name] not in without
    }
    return [data, *(folder for folder in folders.values() if data not in folder.parents)]


def _elsewhere(settings: Settings, dagster_home: Path) -> dict[str, Path]:
    folders = {FILES: settings.lake_files, ARCHIVE: settings.archive_files, DAGSTER: str(dagster_home.absolute())}
    return {name: Path(folder) for name, folder in folders.items() if not is_remote(folder)}


def refuse_elsewhere(settings: Settings, dagster_home: Path, without: Collection[Part]) -> None:
    """Raise ``BackupError`` where a part lies in a database or store of its own and is not left out."""
    stores = {
        Part.LAKE: {
            "LAKE_CATALOG": bool(settings.lake_catalog),
            "LAKE_DATA": is_remote(settings.lake_files),
        },
        Part.ARCHIVE: {"ARCHIVE_DATA": is_remote(settings.archive_files)},
        Part.STATE: {"STATE_DATABASE": bool(settings.state_database)},
        Part.DAGSTER: {"dagster.yaml's storage": _has_own_storage(dagster_home)},
    }
    for part, elsewhere in stores.items():
        names = [name for name, is_elsewhere in elsewhere.items() if is_elsewhere]
        if names and part not in without:
            raise BackupError(
                f"The {part} lies in a store of its own ({', '.join(names)}): copy that with its own tools, such as "
                f"pg_dump or the object store's versions, and leave it out here with --without {part}."
            )


def refuse_root(settings: Settings) -> None:
    """Raise ``BackupError`` where root would leave files that the data folder's own user cannot write."""
    data = settings.etl_data.absolute()
    place = next(folder for folder in (data, *data.parents) if folder.exists())
    owner = place.stat().st_uid
    if os.geteuid() == 0 and owner != 0:
        raise BackupError(f"{place} belongs to user {owner}, and not to root: run this as `sudo -u '#{owner}' …`.")


def is_remote(address: str) -> bool:
    """Whether files lie in an object store."""
    return "://" in address


def _has_own_storage(dagster_home: Path) -> bool:
    import yaml  # type: ignore[import-untyped]  # Dagster's own; it publishes no types

    path = dagster_home / "dagster.yaml"
    configured = yaml.safe_load(path.read_text()) if path.exists() else None
    return bool({"storage", "run_storage", "event_log_storage", "schedule_storage"} & set(configured or {}))
