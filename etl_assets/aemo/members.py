"""The CSV members of a file from NEMWeb, whether it is a CSV, a zip, or a zip of zips.

A daily archive is a zip of 288 zips. One that is corrupt inside must not lose its neighbours, so a member
that cannot be read is yielded too, with the reason in place of its data. Sizes and depth are bounded:
archives come from outside.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_NESTING = 3
"""AEMO nests twice (archive, interval); one more is spare, deeper is a bomb."""

MAX_UNZIPPED_BYTES = 2 << 30
"""All members of one file together. A month of unit SCADA in one CSV, the largest read here, is 0.3 GB."""

MAX_MEMBERS = 20_000
"""A week of 5-minute files is 2 016."""

_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)
"""What ``zipfile`` raises for bad structure, bad data, unknown methods, encryption and impossible offsets."""


@dataclass(frozen=True, slots=True)
class Member:
    """A CSV file found in a download: its data, or the reason why it could not be read."""

    name: str
    data: bytes | None
    refused: str | None = None


def members(name: str, data: bytes) -> Iterator[Member]:
    """The CSV members of a file, in name order, through zips in zips.

    ``name`` is the file's own. What is neither a zip nor a CSV (a ``.bat``, a ``.txt``) inside a zip is
    passed over. A file that is itself broken gives one refused member with its name.
    """
    yield from _unpack(name, data, _Budget(), MAX_NESTING)


@dataclass
class _Budget:
    """What may still be unpacked of one download."""

    bytes: int = field(default_factory=lambda: MAX_UNZIPPED_BYTES)
    members: int = MAX_MEMBERS


def _unpack(name: str, data: bytes, budget: _Budget, depth: int) -> Iterator[Member]:
    if not name.lower().endswith(".zip") and not data.startswith(b"PK\x03\x04"):
        yield Member(name, data)
        return
    if depth == 0:
        yield Member(name, None, f"zips nested more than {MAX_NESTING} deep")
        return
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _BROKEN as error:
        yield Member(name, None, f"not a readable zip: {error}")
        return
    with archive:
        entries = [entry for entry in archive.infolist() if entry.filename.lower().endswith((".zip", ".csv"))]
        if not entries:
            yield Member(name, None, "a zip without a CSV in it")
        for entry in sorted(entries, key=lambda info: info.filename):
            inner = _inflate(archive, entry, budget)
            if inner.data is None:
                yield inner
            else:
                yield from _unpack(inner.name, inner.data, budget, depth - 1)


def _inflate(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, budget: _Budget) -> Member:
    """One entry's data, as long as the budget lasts. The size an entry declares is not believed."""
    name = entry.filename
    budget.members -= 1
    if budget.members < 0:
        return Member(name, None, f"more than {MAX_MEMBERS} members in one file")
    allowed = budget.bytes
    try:
        with archive.open(entry) as stream:
            data = stream.read(min(allowed, entry.file_size) + 1)
    except _BROKEN as error:
        return Member(name, None, f"not readable: {error}")
    budget.bytes -= len(data)
    if len(data) > allowed:
        return Member(name, None, f"more than {MAX_UNZIPPED_BYTES} bytes unpacked from one file")
    return Member(name, data)
