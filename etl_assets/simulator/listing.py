"""Folder listings as the operator's web server writes them, and the variants that have been seen."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from urllib.parse import quote

from etl_assets.market_time import NEM_TIME

SITE = "nemweb.com.au"


class Style(StrEnum):
    """Variants of the page."""

    LOWER_CASE = "lower_case"
    ABSOLUTE = "absolute"
    SHORT_DATES = "short_dates"


@dataclass(frozen=True, slots=True)
class Line:
    """One entry: a file with its size in bytes, or a folder (``size`` is None)."""

    name: str
    modified: datetime
    size: int | None = None


def page(path: str, lines: Iterable[Line], styles: Iterable[Style] = (), root: str = "") -> bytes:
    """The listing of a folder; ``path`` begins and ends with ``/``, ``root`` prefixes absolute links."""
    chosen = set(styles)
    base = root if Style.ABSOLUTE in chosen else ""
    parent = path.rstrip("/").rsplit("/", 1)[0] + "/"
    title = f"{SITE} - {path}"
    up = "" if path == "/" else f'<A HREF="{base}{parent}">[To Parent Directory]</A><br><br>'
    entries = "".join(_entry(path, line, chosen, base) for line in lines)
    text = (
        f"<html><head><title>{title}</title></head><body><H1>{title}</H1><hr>\r\n\r\n"
        f"<pre>{up}{entries}</pre><hr></body></html>"
    )
    if Style.LOWER_CASE in chosen:
        text = text.replace("<A HREF=", "<a href=").replace("</A>", "</a>").replace("H1>", "h1>")
    return text.encode()


def _entry(path: str, line: Line, styles: set[Style], base: str) -> str:
    local = line.modified.astimezone(NEM_TIME)
    clock = f"{local.hour % 12 or 12}:{local:%M %p}"
    if Style.SHORT_DATES in styles:
        when = f"{local.month}/{local.day}/{local.year}".rjust(10)
    else:
        when = f"{local:%A, %B} {local.day}, {local.year}".rjust(29)
    size = "&lt;dir&gt;".rjust(18) if line.size is None else str(line.size).rjust(12)
    folder = "/" if line.size is None else ""
    return f'{when} {clock:>8} {size} <A HREF="{base}{path}{quote(line.name)}{folder}">{line.name}</A><br>'
