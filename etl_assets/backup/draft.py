"""A backup in the making: its folder, the files held for it, and what it has in common with the one before.

Files of the lake, which never change, are **held** first, by a hard link, which takes no time and no space and survives
whoever removes them; then they are brought in. On one file system the link is the copy; what the backup before has
already is linked from there; the rest is copied. Folders are for their owner alone; files keep their permissions, which
for those with secrets are their owner's.
"""

import errno
import hashlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from etl_assets.backup.manifest import CONTENT, MANIFEST, Backup, BackupError, FileFacts, Manifest, sha256_of
from etl_assets.backup.sqlite_files import copy_databases
from etl_assets.private_files import OWNER_ONLY, write_private

DRAFT_PREFIX = ".incomplete-"
OWNER_FOLDER = 0o700
CHUNK_BYTES = 1 << 20

NO_LINK = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EACCES}
"""Another file system, or one without hard links."""
FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(slots=True)
class Draft:
    """Files of a backup that is not whole yet. ``held`` lie beside what they were held from, by their name here."""

    folder: Path
    before: Backup | None
    files: dict[str, FileFacts] = field(default_factory=dict)
    held: dict[str, Path] = field(default_factory=dict)
    _linked: dict[str, Path] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """Where a file of the data folder belongs here; its folder is made."""
        path = self.folder / CONTENT / name
        make_folder(path.parent)
        return path

    def has(self, name: str) -> bool:
        """Whether a file is here, or held."""
        return name in self.files or name in self.held or name in self._linked

    def hold(self, source: Path, name: str, staging: Path | None) -> None:
        """Keep a file that never changes alive until ``bring_in``. Raises ``FileNotFoundError`` where it is gone.

        Without ``staging`` one that cannot be linked is copied at once.
        """
        former = self.former(source, name)
        if former is not None and _link(former, self.path(name)):
            assert self.before is not None  # noqa: S101 (there is no former file without)
            self.files[name] = self.before.manifest.files[name]
        elif _link(source, self.path(name)):
            self._linked[name] = source
        elif staging is None:
            self.add_file(source, name)
        else:
            make_folder((staging / name).parent)
            if not _link(source, staging / name):
                shutil.copy2(source, staging / name)
            self.held[name] = staging / name

    def former(self, source: Path, name: str) -> Path | None:
        """The same file in the backup before: of the same name, size and time of change."""
        if self.before is None or name not in self.before.manifest.files:
            return None
        path, now = self.before.file(name), source.stat()
        try:
            then = path.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
        same = (then.st_size, then.st_mtime_ns) == (now.st_size, now.st_mtime_ns)
        return path if same and self.before.manifest.files[name].bytes == now.st_size else None

    def bring_in(self) -> None:
        """Copy what is held, and read what was linked for its checksum."""
        refuse_full(self.folder, sum(path.stat().st_size for path in self.held.values()))
        for name, path in self.held.items():
            self.files[name] = copy_file(path, self.path(name))
            path.unlink()
        for name in self._linked:
            self.record(name)
        self.held, self._linked = {}, {}

    def add_file(self, source: Path, name: str) -> None:
        """Copy a file that is only ever replaced as a whole."""
        self.files[name] = copy_file(source, self.path(name))

    def add_databases(self, names: Mapping[Path, str]) -> None:
        """Copy SQLite databases as they all were at one moment."""
        copy_databases({source: self.path(name) for source, name in names.items()})
        for name in names.values():
            self.record(name)

    def add_settled_database(self, source: Path, name: str) -> None:
        """Copy a database that may have changed no more since the backup before; then it is linked from there."""
        former = None if source.with_name(f"{source.name}-wal").exists() else self.former(source, name)
        if former is not None and self.before is not None and _link(former, self.path(name)):
            self.files[name] = self.before.manifest.files[name]
            return
        changed = source.stat()
        self.add_databases({source: name})
        os.utime(self.path(name), ns=(changed.st_atime_ns, changed.st_mtime_ns))

    def record(self, name: str) -> None:
        """Take a file that is in its place on record."""
        path = self.folder / CONTENT / name
        self.files[name] = FileFacts(bytes=path.stat().st_size, sha256=sha256_of(path))

    def finish(self, manifest: Manifest, to: Path) -> Backup:
        """Put everything on the disk, the manifest last, and give the folder its name."""
        put_on_disk(self.folder)
        write_private(self.folder / MANIFEST, manifest.model_dump_json(indent=1).encode())
        self.folder.rename(to)
        sync(to.parent)
        return Backup(to, manifest)


@contextmanager
def drafted(folder: Path, before: Backup | None) -> Iterator[Draft]:
    """A draft that leaves nothing behind unless it was finished. Raises ``BackupError`` where the disk is full."""
    make_folder(folder)
    try:
        with full_disk_named(folder.parent, "the backup was removed again"):
            yield Draft(folder, before)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def full_disk_named(folder: Path, outcome: str) -> Iterator[None]:
    """Raise ``BackupError`` where the file system of ``folder`` is full, with what became of the work."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        if not _says_full(error):
            raise
        raise BackupError(f"The file system of {folder} is full; {outcome}.") from error


def _says_full(error: OSError | sqlite3.Error) -> bool:
    if isinstance(error, OSError):
        return error.errno in FULL
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def make_folder(folder: Path) -> None:
    """Make a folder, and those above that lack, for its owner alone."""
    if not folder.exists():
        make_folder(folder.parent)
        folder.mkdir(mode=OWNER_FOLDER, exist_ok=True)


def put_on_disk(folder: Path) -> None:
    """See that a folder with all its files is on the disk, and not only in its cache.

    Files that are linked are as safe as what they are linked from. Not by one call for all of the machine, which would
    wait for whatever others are writing.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            if path.stat().st_nlink == 1:
                sync(path)
        sync(Path(place))


def sync(path: Path) -> None:
    """Put a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_full(folder: Path, wanted: int) -> None:
    """Raise ``BackupError`` where a file system has not the bytes that are wanted."""
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise BackupError(
            f"{folder} has {free / 1e6:,.0f} MB free and {wanted / 1e6:,.0f} MB are needed. "
            "Make room, or choose another folder."
        )


def copy_file(source: Path, target: Path) -> FileFacts:
    """Copy a file with its permissions and its time of change; returns what was copied."""
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as read, os.fdopen(_create(target), "wb") as written:
        while chunk := read.read(CHUNK_BYTES):
            digest.update(chunk)
            size += written.write(chunk)
        facts = os.fstat(read.fileno())
        os.fchmod(written.fileno(), stat.S_IMODE(facts.st_mode))
    os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    return FileFacts(bytes=size, sha256=digest.hexdigest())


def _create(target: Path) -> int:
    return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)


def _link(source: Path, target: Path) -> bool:
    """Whether a hard link could be made."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in NO_LINK:
            return False
        raise
    return True
