"""Times and numbers as ACE writes them, whole columns at once.

A column of one kind costs one cast; only a column that holds something else is read value by value. Times become
UTC microseconds; a time without a zone is UTC. Numbers become doubles; what is no number becomes null, while NaN and
infinities stay, so that a caller can say what it met.
"""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

INSTANT = pa.timestamp("us", "UTC")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EARLIEST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND
_LATEST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND

_ISO = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d(?::\d\d(?::\d\d(?:\.\d{1,6})?)?)?(?: ?(?:Z|[+-]\d\d(?::?\d\d)?))?)?", re.ASCII
)
"""At most six decimals: cutting a seventh could make two readings one."""
_ZONE = re.compile(r"(?:Z|[+-]\d\d(?::?\d\d)?)$", re.ASCII)
_WHOLE = re.compile(r"-?\d{9,17}", re.ASCII)

_PLAIN_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?$"

_EPOCH_UNITS = ((10**11, 1_000_000), (10**14, 1_000), (10**17, 1))
"""A whole number below the first bound counts seconds, below the second milliseconds, below the third microseconds."""


def instants(column: Sequence[Any]) -> pa.Array:
    """A column of times as ``timestamp[us, UTC]``; null where a time cannot be read."""
    try:
        found = _cast(pa.array(column, pa.string()))
    except (pa.ArrowException, UnicodeEncodeError):
        found = None
    if found is None:
        # Times repeat, for all readings of a poll share one.
        kinds = {(type(raw), raw) for raw in column if _is_plain(raw)}
        known = {kind: microseconds(kind[1]) for kind in kinds}
        read = [known[(type(raw), raw)] if _is_plain(raw) else None for raw in column]
        found = pa.array(read, pa.int64())
    return found.view(INSTANT)


def _cast(texts: pa.Array) -> pa.Array | None:
    """All like the first, without a zone or with one; None where years leave what a ``datetime`` can hold.

    The first says which cast to try: one that fails costs a hundred times one that succeeds.
    """
    first = texts[0].as_py() if len(texts) else None
    found = pc.cast(texts, INSTANT if first and _ZONE.search(first, 10) else pa.timestamp("us")).view(pa.int64())
    bounds = pc.min_max(found)
    earliest, latest = bounds["min"].as_py(), bounds["max"].as_py()
    return found if earliest is None or (earliest >= _EARLIEST and latest <= _LATEST) else None


def _is_plain(raw: object) -> bool:
    return isinstance(raw, str | int | float) and not isinstance(raw, bool)


def microseconds(raw: object) -> int | None:
    """One time as microseconds since 1970 in UTC: ISO 8601, or a whole number by its size; else None."""
    if isinstance(raw, str):
        return _of_text(raw.strip())
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw) or raw != int(raw):
        return None
    found = next((int(raw) * unit for bound, unit in _EPOCH_UNITS if abs(raw) < bound), None)
    return None if found is None or not _EARLIEST <= found <= _LATEST else found


def _of_text(text: str) -> int | None:
    if _WHOLE.fullmatch(text):
        return microseconds(int(text))
    text = text.upper()
    if not _ISO.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" ", "T", 1).replace(" ", ""))
    except ValueError:
        return None
    found = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // _MICROSECOND
    return found if _EARLIEST <= found <= _LATEST else None


def moment(microseconds_utc: int) -> datetime:
    """The instant that many microseconds after 1970."""
    return EPOCH + microseconds_utc * _MICROSECOND


def numbers(column: Sequence[Any]) -> pa.Array:
    """A column of values as doubles; null where a value is no number. NaN and infinities stay."""
    try:
        if isinstance(column[0] if column else None, str):
            return _of_texts(pa.array(column, pa.string()), column)
        return pa.array(column, pa.float64())
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        return pa.array([number(raw) for raw in column], pa.float64())


def _of_texts(texts: pa.Array, column: Sequence[Any]) -> pa.Array:
    try:
        return pc.cast(texts, pa.float64())
    except pa.ArrowInvalid:
        plain = pc.fill_null(pc.match_substring_regex(texts, pattern=_PLAIN_NUMBER), fill_value=False)
    found = pc.cast(pc.if_else(plain, texts, None), pa.float64())
    others = pa.array([number(column[at]) for at in pc.indices_nonzero(pc.invert(plain)).to_pylist()], pa.float64())
    return pc.replace_with_mask(found, pc.invert(plain), others)


def number(raw: object) -> float | None:
    """One value as a double: a number, a number in text, true as 1 and false as 0; else None."""
    if isinstance(raw, str):
        # float() also takes 1_000 and digits of other scripts, which no meter writes.
        if "_" in raw or not raw.isascii():
            return None
    elif not isinstance(raw, int | float):
        return None
    try:
        return float(raw)
    except ValueError:
        return None
    except OverflowError:
        return math.inf


def value_problem(raw: object) -> str:
    """Why a value cannot be stored, in words that group alike ones."""
    if raw is None:
        return "value is missing"
    if isinstance(raw, str) and not raw.strip():
        return "value is empty"
    read = number(raw)
    if read is None:
        return "value is not a number"
    return "value is NaN" if math.isnan(read) else "value is infinite"
