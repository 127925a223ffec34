"""The page's files: its own, which lie in ``static/``, and plotly's script out of the package of that name."""

import gzip
import hashlib
import mimetypes
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from fastapi import Request, Response

from etl_assets.api.etags import has_it
from etl_assets.api.problems import Problem

STATIC = Path(str(files("etl_assets.api.dashboard"))) / "static"
NAME = re.compile(r"(?=.{1,100}$)[a-z0-9][a-z0-9_.-]*(/[a-z0-9][a-z0-9_.-]*)*", re.ASCII | re.IGNORECASE)
"""Of a file: nothing that begins with a dot, so nothing outside the folder."""

PLOTLY = "plotly.min.js"

REVALIDATED = "no-cache"
FOR_A_YEAR = "public, max-age=31536000, immutable"
"""Of an address that names the version of what it leads to."""

TEXTS = {".css", ".html", ".js", ".json", ".mjs", ".svg", ".webmanifest"}
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".webmanifest": "application/manifest+json"}
"""Whatever this machine's own table of types says; a module of another type is not run."""

TAKES_GZIP = re.compile(r"(^|,)\s*gzip\s*(;\s*q=(1|0\.\d*[1-9])[\d.]*\s*)?(,|$)", re.ASCII | re.IGNORECASE)
"""Of Accept-Encoding. All browsers say it; who does not gets the file as it is."""

# plotly.js sets styles of its own in the document.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""What the page may load: nothing from elsewhere, no script but its files."""


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file as it is sent; ``tag`` names its content.

    ``packed`` is made once: anybody may ask for the page's files, and plotly's 4.8 MB take some tenths of a second.
    """

    content: bytes
    packed: bytes
    media_type: str
    tag: str


def index(request: Request) -> Response:
    """The page. It holds no figure, so that anybody may have it."""
    return _response(request, _found("index.html"), {"Content-Security-Policy": POLICY, "Cache-Control": REVALIDATED})


def static(request: Request, name: str) -> Response:
    """A file of the page. Kept for a year where ``v`` in the address is the version of what is there.

    Raises ``Problem`` 404 for a name that there is not.
    """
    is_versioned = request.query_params.get("v") == version_of(name)
    return _response(request, _found(name), {"Cache-Control": FOR_A_YEAR if is_versioned else REVALIDATED})


def version_of(name: str) -> str:
    """The version that an address of a file may name: of plotly, or of this package."""
    return version("plotly" if name == PLOTLY else "etl-assets")


def _response(request: Request, found: PageFile, headers: dict[str, str]) -> Response:
    headers = {**headers, "ETag": found.tag, "Vary": "Accept-Encoding"}
    if has_it(request, found.tag):
        return Response(status_code=304, headers=headers)
    if TAKES_GZIP.search(request.headers.get("accept-encoding", "")):
        return Response(found.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=found.media_type)
    return Response(found.content, headers=headers, media_type=found.media_type)


def _found(name: str) -> PageFile:
    path = _path(name)
    if path is None:
        raise Problem(404, "Not Found", "The page has no file of this name.")
    stat = path.stat()
    return _read(path, stat.st_mtime_ns, stat.st_size)


def _path(name: str) -> Path | None:
    if not NAME.fullmatch(name):
        return None
    path = Path(str(files("plotly"))) / "package_data" / PLOTLY if name == PLOTLY else STATIC / name
    return path if path.is_file() else None


@lru_cache(maxsize=64)
def _read(path: Path, _changed_ns: int, _size: int) -> PageFile:
    """A file, read again when it was changed."""
    content = path.read_bytes()
    kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    charset = "; charset=utf-8" if path.suffix in TEXTS else ""
    # Weak: it may travel compressed or not.
    tag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'
    return PageFile(content, gzip.compress(content, mtime=0), f"{kind}{charset}", tag)
