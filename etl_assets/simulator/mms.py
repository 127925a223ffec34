"""The frame around AEMO's data: report text, file names, sequence numbers, zips.

A report is lines ended by CRLF: a ``C`` header, for each table an ``I`` row and its ``D`` rows, and a ``C``
footer that holds the number of all lines, itself and the header included.
"""

import io
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from etl_assets.market_time import DISPATCH_INTERVAL, HALF_HOUR, NEM_TIME, day_start, market_day

CRLF = "\r\n"
_SEQUENCE_ORIGIN = datetime(2020, 1, 1, tzinfo=NEM_TIME)
_SEQUENCE_AT_ORIGIN = 317_000_000
"""About the real counter at that time; it has since risen by about one a second."""


@dataclass(frozen=True, slots=True)
class Report:
    """One report: what its header line says. ``product`` is the system's name, ``NEMP`` or ``SETP``."""

    name: str
    published: datetime
    sequence: int
    code: str
    trigger: int
    product: str = "NEMP"

    @property
    def header(self) -> str:
        """The ``C`` line at the top."""
        when = self.published.strftime("%Y/%m/%d,%H:%M:%S")
        numbers = f"{self.sequence:016d},{self.code},{self.trigger:016d}"
        return f"C,{self.product}.WORLD,{self.name},AEMO,PUBLIC,{when},{numbers}"


def document(header: str, lines: Iterable[str]) -> bytes:
    """A whole report, with the footer that counts its lines."""
    body = [header, *lines]
    return CRLF.join((*body, footer(len(body) + 1), "")).encode()


def footer(lines: int) -> str:
    """The last line of a report of ``lines`` lines."""
    return f'C,"END OF REPORT",{lines}'


def sequence(published: datetime, lane: int = 0) -> int:
    """The 16-digit number of a file published at an instant; rises with time, ``lane`` tells feeds apart."""
    seconds = int((published - _SEQUENCE_ORIGIN).total_seconds())
    return _SEQUENCE_AT_ORIGIN + (seconds if seconds >= 0 else seconds // 3) + lane


def stamp(instant: datetime) -> str:
    """A time as the columns hold it, quoted."""
    return instant.astimezone(NEM_TIME).strftime('"%Y/%m/%d %H:%M:%S"')


def dispatch_interval(interval_end: datetime) -> str:
    """DISPATCHINTERVAL: the trading day and the interval's number in it, 04:05 being 001."""
    local = interval_end.astimezone(NEM_TIME)
    trading_day = market_day(local - timedelta(hours=4))
    number = (local - day_start(trading_day) - timedelta(hours=4)) // DISPATCH_INTERVAL
    return f"{trading_day:%Y%m%d}{number:03d}"


def period_id(interval_end: datetime, length: timedelta = DISPATCH_INTERVAL) -> int:
    """PERIODID of a trading interval: its number in the calendar day, 00:05 (or 00:30) being 1."""
    return (interval_end - day_start(market_day(interval_end))) // length


def archive(members: Iterable[tuple[str, bytes]], modified: datetime, level: int = 6) -> bytes:
    """A zip of files, all stamped with the same time in NEM time; the same input gives the same bytes."""
    local = modified.astimezone(NEM_TIME)
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w") as container:
        for name, content in members:
            info = zipfile.ZipInfo(name, local.timetuple()[:6])
            info.compress_type = method
            container.writestr(info, content, compresslevel=level or None)
    return buffer.getvalue()


def rezipped(container: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A zip with every member's content changed; names and times stay."""
    with zipfile.ZipFile(io.BytesIO(container)) as source:
        members = [(info.filename, change(source.read(info))) for info in source.infolist()]
        modified = datetime(*source.infolist()[0].date_time, tzinfo=NEM_TIME)
    return archive(members, modified)


def dispatched(interval_end: datetime) -> datetime:
    """LASTCHANGED: when an interval's dispatch run finished, 2 to 8 seconds after its start."""
    start = interval_end - DISPATCH_INTERVAL
    return start + timedelta(seconds=2 + (int(start.timestamp()) // 300 * 5) % 7)


def month_end(first: date) -> date:
    """The last day of the month that begins on ``first``."""
    return (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


def half_hour(interval_end: datetime) -> bool:
    """Whether an interval ends on a half-hour."""
    return not (interval_end - day_start(market_day(interval_end))) % HALF_HOUR
