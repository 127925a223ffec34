"""Files over HTTP with byte ranges (RFC 9110, section 14), so that a download that broke off can be taken up again.

One range a request; where several are asked for, or the header cannot be understood, the whole file is sent, as the
RFC allows. A file is sent as it lies on disk whatever encodings the client takes: parts of it go with its beginning,
and one strong ETag names both.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette_compress import CompressMiddleware

from etl_assets.api.problems import Problem

CHUNK_BYTES = 1 << 20
ONE_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")
FILES = re.compile(r"/jobs/[^/]+/result|/dashboard/static/.+")
"""Paths whose answers are files; those of the page come compressed already."""


class CompressAllButFiles(CompressMiddleware):
    """Compression of every answer but files."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        # Most clients send Accept-Encoding unasked, and would get a file that a range cannot take up again.
        is_file = scope["type"] == "http" and FILES.fullmatch(scope["path"])
        await (self.app if is_file else super().__call__)(scope, receive, send)


def file_response(request: Request, path: Path, *, media_type: str, tag: str, name: str) -> Response:
    """A file that never changes, or the part of it that is asked for. ``tag`` names its content.

    Raises ``Problem`` 416 for a range that begins behind its end, ``FileNotFoundError``.
    """
    size = path.stat().st_size
    etag = f'"{tag}"'
    part = asked_range(request, size, etag)
    first, last = part or (0, size - 1)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Length": str(last - first + 1),
        "ETag": etag,
    }
    if part:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    body = _empty() if request.method == "HEAD" else _bytes_of(path, first, last - first + 1)
    return StreamingResponse(body, status_code=206 if part else 200, headers=headers, media_type=media_type)


def asked_range(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """First and last byte that are asked for; None where the whole file is, or must be, sent.

    Raises ``Problem`` 416.
    """
    found = ONE_RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
    # A range means something to GET alone (RFC 9110, 14.2).
    if request.method != "GET" or found is None or request.headers.get("If-Range", etag) != etag:
        return None
    first, last, suffix = (int(text) if text else None for text in found.groups())
    if first is None:
        first, last = max(size - (suffix or 0), 0), size - 1
    last = size - 1 if last is None else min(last, size - 1)
    if first >= size:
        raise Problem(
            416,
            "The range is not in the file",
            f"The file has {size} bytes; ask for a range that begins before its end.",
            kind="range-not-satisfiable",
            headers={"Content-Range": f"bytes */{size}"},
        )
    # An end before the beginning is no range at all.
    return (first, last) if first <= last else None


async def _empty() -> AsyncIterator[bytes]:
    return
    yield b""


async def _bytes_of(path: Path, first: int, count: int) -> AsyncIterator[bytes]:
    import anyio

    async with await anyio.open_file(path, "rb") as file:
        await file.seek(first)
        while count > 0 and (chunk := await file.read(min(CHUNK_BYTES, count))):
            count -= len(chunk)
            yield chunk
