"""How content faults change a report: pure functions from good bytes to bad ones."""

from collections.abc import Callable, Iterable

from etl_assets.simulator import mms
from etl_assets.simulator.faults import Fault

_PRICE = ("D,DISPATCH,PRICE,", "D,TRADING,PRICE,")
_RRP_FIELD = {"D,DISPATCH,PRICE,": 9, "D,TRADING,PRICE,": 8}
_NOTICE = "MARKETNOTICE,MARKETNOTICEDATA,1"


def damaged(csv: bytes, faults: Iterable[Fault]) -> bytes:
    """A report with every content fault applied, in the order they were switched on."""
    for fault in faults:
        if fault.name in _DAMAGES:
            csv = _DAMAGES[fault.name](csv, fault)
    return csv


def corrupted(container: bytes) -> bytes:
    """A zip with a few bytes of its first member inverted; its directory stays readable."""
    start = len(container) // 3
    return container[:start] + bytes(byte ^ 0xFF for byte in container[start : start + 16]) + container[start + 16 :]


def _cut(csv: bytes, _: Fault) -> bytes:
    return csv[: len(csv) // 2].rstrip(b"\r\n")


def _wrong_footer(csv: bytes, _: Fault) -> bytes:
    lines = _lines(csv)
    return _text([*lines[:-1], mms.footer(len(lines) + 7)])


def _bad_row(csv: bytes, _: Fault) -> bytes:
    def spoil(line: str, prefix: str) -> str:
        fields = line.split(",")
        fields[_RRP_FIELD[prefix]] = "n/a"
        return ",".join(fields)

    return _first_price(csv, spoil)


def _short_row(csv: bytes, _: Fault) -> bytes:
    return _first_price(csv, lambda line, _: ",".join(line.split(",")[:9]))


def _first_price(csv: bytes, spoil: Callable[[str, str], str]) -> bytes:
    lines = _lines(csv)
    for number, line in enumerate(lines):
        prefix = next((prefix for prefix in _PRICE if line.startswith(prefix)), None)
        if prefix is not None:
            lines[number] = spoil(line, prefix)
            break
    return _text(lines)


def _missing_region(csv: bytes, fault: Fault) -> bytes:
    mark = f",{fault.region},"
    kept = [line for line in _lines(csv)[:-1] if not (line.startswith("D,") and mark in line[:120])]
    return _text([*kept, mms.footer(len(kept) + 1)])


def _quoted_commas(csv: bytes, fault: Fault) -> bytes:
    lines = [
        line.replace(f",{fault.region},", f',"{fault.region}",', 1) if line.startswith("D,") else line
        for line in _lines(csv)
    ]
    return _with_notice(lines, "Inter-regional transfer, limit variation, QLD and NSW")


def _quoted_newlines(csv: bytes, _: Fault) -> bytes:
    return _with_notice(_lines(csv), "Inter-regional transfer limit variation.\r\nRefer to AEMO, please.\r\nManager")


def _with_notice(lines: list[str], reason: str) -> bytes:
    table = [
        f"I,{_NOTICE},NOTICEID,EFFECTIVEDATE,TYPEID,REASON",
        f'D,{_NOTICE},112233,"2025/08/20 18:05:00","INTER-REGIONAL TRANSFER","{reason}"',
    ]
    return _text([lines[0], *table, *lines[1:-1], mms.footer(len(lines) + 2)])


def _lines(csv: bytes) -> list[str]:
    return csv.decode().removesuffix(mms.CRLF).split(mms.CRLF)


def _text(lines: Iterable[str]) -> bytes:
    return mms.CRLF.join((*lines, "")).encode()


_DAMAGES: dict[str, Callable[[bytes, Fault], bytes]] = {
    "cut_file": _cut,
    "wrong_footer": _wrong_footer,
    "bad_row": _bad_row,
    "short_row": _short_row,
    "missing_region": _missing_region,
    "quoted_commas": _quoted_commas,
    "quoted_newlines": _quoted_newlines,
}
