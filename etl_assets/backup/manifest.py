"""What a backup says of itself: which files, with size and SHA-256, and what is in the lake's tables.

The manifest is written last, so a folder without one is no backup. Nothing here writes into a data folder.
"""

import hashlib
import stat
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, ValidationError

MANIFEST = "manifest.json"
CONTENT = "data"
"""Inside a backup: the folder that is laid out as a data folder is."""

NAMED_IN_ERRORS = 5
HASHED_AT_ONCE = 4


class BackupError(RuntimeError):
    """A backup cannot be taken, or cannot be put in place; says why and what to do. Nothing was changed."""


class BackupDamagedError(BackupError):
    """A file of a backup is not what its manifest says, or is not there."""


class Part(StrEnum):
    """What may be left out of a backup, because it lies in a database or store of its own."""

    LAKE = "lake"
    ARCHIVE = "archive"
    STATE = "state"
    DAGSTER = "dagster"


def _is_inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name or not path.parts:
        raise ValueError(f"{name!r} is no path inside a data folder")
    return name


class FileFacts(BaseModel):
    """One file of a backup: its size in bytes and its SHA-256 in hexadecimal."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


class TableFacts(BaseModel):
    """A table of the lake in its newest snapshot: how many rows in how many data files."""

    model_config = ConfigDict(frozen=True)

    rows: int
    files: int


class Manifest(BaseModel):
    """Everything that a backup says of itself. ``made_at`` is the ``now`` that it was taken with, in UTC."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    version: str
    duckdb_version: str
    made_at: AwareDatetime
    without: tuple[Part, ...] = ()
    snapshot: int | None = None
    tables: dict[str, TableFacts] = {}
    files: dict[Annotated[str, AfterValidator(_is_inside)], FileFacts]

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(facts.bytes for facts in self.files.values())


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup: where it is, and what it says of itself."""

    folder: Path
    manifest: Manifest

    @property
    def made_at(self) -> datetime:
        """The moment that it was taken for."""
        return self.manifest.made_at

    def file(self, name: str) -> Path:
        """Where a file of the data folder lies in the backup."""
        return self.folder / CONTENT / name


def open_backup(folder: Path) -> Backup:
    """A backup by its folder, its files not yet looked at.

    Raises ``BackupError`` where the folder is none, and says which there are where it holds some;
    ``BackupDamagedError`` where its manifest cannot be read.
    """
    path = folder / MANIFEST
    try:
        return Backup(folder, Manifest.model_validate_json(path.read_bytes()))
    except FileNotFoundError:
        there = [backup.folder.name for backup in backups_in(folder)]
        hint = f"; it holds backups: name one of them, such as {folder / there[-1]}" if there else ""
        raise BackupError(f"{folder} is no backup: it has no {MANIFEST}{hint}") from None
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        where = ".".join(map(str, wrong["loc"])) or "it"
        raise BackupDamagedError(f"{path} cannot be used: {where}: {wrong['msg']}. Use another backup.") from None


def backups_in(folder: Path) -> list[Backup]:
    """The backups that a folder holds, oldest first; what is none, or unfinished, or damaged, is passed over."""
    found = []
    for path in sorted(folder.glob(f"*/{MANIFEST}")):
        if not path.parent.name.startswith("."):
            try:
                found.append(open_backup(path.parent))
            except BackupError:
                continue
    return sorted(found, key=lambda backup: backup.made_at)


def verify_backup(folder: Path) -> Backup:
    """Read every file of a backup and compare it with the manifest.

    Raises ``BackupDamagedError`` that names the files which differ, are missing, or are no plain files;
    ``BackupError`` where the folder is no backup.
    """
    backup = open_backup(folder)
    with ThreadPoolExecutor(HASHED_AT_ONCE) as pool:
        wrong = pool.map(lambda name: problem_of(backup, name), backup.manifest.files)
        refuse_damaged(backup, filter(None, wrong))
    return backup


def refuse_damaged(backup: Backup, problems: Iterable[str]) -> None:
    """Raise ``BackupDamagedError`` where there are problems, naming the first of them."""
    if found := list(problems):
        more = f", and {len(found) - NAMED_IN_ERRORS:,} more" if len(found) > NAMED_IN_ERRORS else ""
        raise BackupDamagedError(
            f"{backup.folder} is damaged: {'; '.join(found[:NAMED_IN_ERRORS])}{more}. "
            f"Restore another one, and take the next into another folder than {backup.folder.parent}: "
            "in this one it would share what did not change since."
        )


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def problem_of(backup: Backup, name: str, read: Callable[[Path], str] = sha256_of) -> str:
    """What is wrong with a file of a backup; empty where it is what the manifest says. Never follows a link.

    ``read`` gives its SHA-256, and may copy it on the way: nothing is to be read twice.
    """
    wanted, path = backup.manifest.files[name], backup.file(name)
    if any(part.is_symlink() for part in (path, *path.parents[: len(PurePosixPath(name).parts)])):
        return f"{name} is, or lies behind, a symbolic link"
    try:
        found = path.lstat()
    except FileNotFoundError:
        return f"{name} is missing"
    if not stat.S_ISREG(found.st_mode):
        return f"{name} is no plain file"
    if found.st_size != wanted.bytes:
        return f"{name} has {found.st_size:,} bytes instead of {wanted.bytes:,}"
    return "" if read(path) == wanted.sha256 else f"{name} has another content than when it was taken"
