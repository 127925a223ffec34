"""NEMWeb's folders and files, over HTTP or from a local mirror of its tree, behind one interface.

Here: what a folder holds, and a file's bytes. Which folder and which file to ask for is the business of
``feeds`` and ``plan``; what a file means, of ``members`` and ``mms``.

AEMO's server lists some names with ``%23`` in the link. That is the name on its disk, not an encoded ``#``,
so the address needs ``%2523``. Here such a file's ``name`` has ``#`` and its ``url`` has ``%2523``, whatever
the link said.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urljoin, urlsplit

from etl_assets.aemo.members import Member, members
from etl_assets.http import Expect, HttpClient, NotThere, SourceError, Unintelligible
from etl_assets.market_time import NEM_TIME

__all__ = ["Member", "NemWeb", "RemoteFile", "members", "parse_listing"]

MIRRORED_SUFFIXES = (".zip", ".csv")
"""What a mirror offers; a mirror may hold listings and notes beside AEMO's files."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LINK = re.compile(r'<a\s[^>]*?href\s*=\s*"(?P<href>[^"]*)"[^>]*>(?P<text>.*?)</a>', re.IGNORECASE | re.DOTALL)
_ENTRY = re.compile(
    r"(?:(?P<word>[a-z]+)\s+(?P<day>\d{1,2}),|(?P<month>\d{1,2})/(?P<day2>\d{1,2})/)\s*(?P<year>\d{4})\s+"
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})\s*(?P<half>[ap])m\s+(?P<size>\d+|<dir>)\s*$",
    re.IGNORECASE,
)
"""``Saturday, April 18, 2026  2:40 PM  19637`` or ``4/18/2026  2:40 PM  <dir>``, just before the link."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as its folder lists it. ``modified`` is aware, in NEM time; ``size`` in bytes."""

    name: str
    url: str
    size: int | None
    modified: datetime | None


class _Tree(Protocol):
    def listing(self, folder: str) -> list[RemoteFile]: ...
    def read(self, file: RemoteFile) -> bytes: ...


class NemWeb:
    """NEMWeb, or a mirror of it: ``root_url`` is an http address or ``file:///path``.

    ``http`` may be None for a mirror. The client is the caller's, to close.
    """

    def __init__(self, root_url: str, http: HttpClient | None) -> None:
        self.root_url = root_url.rstrip("/")
        self._tree: _Tree
        if root_url.startswith("file://"):
            self._tree = _Mirror(Path(unquote(urlsplit(root_url).path)))
        elif http is None:
            raise ValueError(f"{root_url} needs an HTTP client")
        else:
            self._tree = _Site(self.root_url, http)

    def listing(self, folder: str) -> list[RemoteFile]:
        """The files (no folders) in a folder such as ``Reports/CURRENT/DispatchIS_Reports``, as listed.

        An empty folder is an empty list; so is a folder that a mirror lacks. Raises ``NotThere`` where the
        site has no such folder, ``Unintelligible`` where it answers with anything but a listing.
        """
        return self._tree.listing(folder.strip("/"))

    def read(self, file: RemoteFile) -> bytes:
        """A listed file's bytes. Raises ``NotThere`` where it rolled off in the meantime."""
        return self._tree.read(file)


@dataclass(frozen=True)
class _Site:
    root_url: str
    http: HttpClient

    def listing(self, folder: str) -> list[RemoteFile]:
        url = f"{self.root_url}/{folder}/"
        answer = self.http.get(url, Expect.HTML)
        return parse_listing(answer.body.decode("utf-8", "replace"), url)

    def read(self, file: RemoteFile) -> bytes:
        name = file.name.lower()
        expect = Expect.ZIP if name.endswith(".zip") else Expect.CSV if name.endswith(".csv") else Expect.ANY
        try:
            return self.http.get(file.url, expect).body
        except NotThere:
            if "%2523" not in file.url:
                raise
        # A server that stores the name with a plain # (as AEMO may one day) has it one encoding less.
        return self.http.get(file.url.replace("%2523", "%23"), expect).body


def parse_listing(page: str, url: str) -> list[RemoteFile]:
    """The files on an IIS folder page; links are taken as given, relative to the page's ``url``."""
    files: list[RemoteFile] = []
    known = "to parent directory" in page.lower()
    end = 0
    for link in _LINK.finditer(page):
        entry = _ENTRY.search(html.unescape(page[end : link.start()]))
        end = link.end()
        known = known or entry is not None
        path = _hash_encoded(html.unescape(link["href"]))
        if entry is None or entry["size"].lower() == "<dir>" or path.endswith("/"):
            continue
        files.append(RemoteFile(_name(path), urljoin(url, path), int(entry["size"]), _modified(entry)))
    if not known:
        raise Unintelligible("Expected a folder listing, got another page", url)
    return files


def _modified(entry: re.Match[str]) -> datetime | None:
    hour = int(entry["hour"]) % 12 + (12 if entry["half"].lower() == "p" else 0)
    day = int(entry["day"] or entry["day2"])
    try:
        # Not strptime: the names of months there depend on the locale.
        month = _MONTHS.index(entry["word"][:3].lower()) + 1 if entry["word"] else int(entry["month"])
        return datetime(int(entry["year"]), month, day, hour, int(entry["minute"]), tzinfo=NEM_TIME)
    except ValueError:
        return None


def _hash_encoded(path: str) -> str:
    """A link with its ``#``, ``%23`` or ``%2523`` as the server wants it."""
    return re.sub("#|%(?:25)?23", "%2523", path)


def _name(path: str) -> str:
    return unquote(path.rpartition("/")[2].replace("%2523", "%23"))


@dataclass(frozen=True)
class _Mirror:
    root: Path

    def listing(self, folder: str) -> list[RemoteFile]:
        found = self._folder(folder)
        return sorted(self._files(found), key=lambda file: file.name) if found else []

    def _files(self, folder: Path) -> Iterator[RemoteFile]:
        for path in folder.iterdir():
            if path.suffix.lower() in MIRRORED_SUFFIXES and path.is_file():
                stat = path.stat()
                url = "file://" + quote(str(path.absolute()))
                yield RemoteFile(
                    path.name.replace("%23", "#"),
                    url,
                    stat.st_size,
                    datetime.fromtimestamp(stat.st_mtime, NEM_TIME),
                )

    def _folder(self, folder: str) -> Path | None:
        """The folder on disk, whatever the case of its name: AEMO's own spelling varied."""
        here = self.root
        for part in filter(None, folder.split("/")):
            if part in {".", ".."} or "\\" in part:
                raise SourceError("Refused: a path out of the mirror", folder, hint="Ask for a folder below its root.")
            exact = here / part
            if not exact.is_dir():
                alike = (d for d in sorted(_children(here)) if d.name.lower() == part.lower() and d.is_dir())
                exact = next(alike, exact)
            here = exact
        return self._inside(here) if here.is_dir() else None

    def read(self, file: RemoteFile) -> bytes:
        path = self._inside(Path(unquote(urlsplit(file.url).path)))
        try:
            return path.read_bytes()
        except (FileNotFoundError, IsADirectoryError) as error:
            raise NotThere("No such file in the mirror", file.url) from error

    def _inside(self, path: Path) -> Path:
        """The path, unless it (or what it links to) lies outside the mirror."""
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise SourceError("Refused: a path out of the mirror", str(path), hint="Ask for a file below its root.")
        return path


def _children(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
