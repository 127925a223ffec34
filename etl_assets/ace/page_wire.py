"""What ACE's answers mean: a page of readings, in the API's own shape and in the one its documents promise.

Pure: bytes in, rows out. Nothing is dropped without being counted: the records of a page are its ``rows``, its
``invalid`` ones with their reason, and those ``filtered`` out. Who asks for the next page, and what may be wrong with
it, is the business of ``walk``; weather is read in ``weather_wire``, lists of sites and points in ``listing_wire``.

A page is decoded straight into structs and cut into columns. Only a page that holds something unusual (further keys,
a value that is an object) is read as plain JSON, record by record.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import takewhile
from operator import eq
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from etl_assets.ace.fields import INSTANT, instants, moment, numbers, value_problem

RAW_LENGTH = 2_000
"""Of a record that cannot be stored, so many characters are kept."""

READINGS = pa.schema(
    [
        ("point_name", pa.string()),
        ("timestamp", INSTANT),
        ("value", pa.float64()),
        ("quality", pa.string()),
        ("metadata", pa.string()),
    ]
)
"""Columns of ``Page.rows``: those of ``ace.timeseries_raw`` that the source supplies."""


class NotAPage(Exception):  # noqa: N818 - a state of the answer, named as in etl_assets.http
    """An answer came whole, but it is not what was asked for: what it holds instead, and what to do."""


class BrokenPage(NotAPage):
    """An answer begins as JSON and does not end as such: it was cut or garbled on its way. Asking again may help."""


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be stored: its JSON with keys in order, cut at ``RAW_LENGTH``, and the reason."""

    raw: str
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: ``fetched`` = rows + invalid + filtered, always.

    ``rows`` are the readings to store, as ``READINGS``, in the order received. ``filtered`` are records of points
    that are not configured (``skipped`` names these points) and, once ``walk`` has looked, readings ``outside`` the
    window. ``has_more`` without ``next_cursor`` means that data is left that cannot be reached. ``first_time`` and
    ``last_time`` span all legible times; ``ordered`` says whether they never fall. ``last_time_text`` is the last
    record's time as sent and ``trailing`` the count of records at the end that share it, ``trailing_most`` that count
    if illegible times among them are the same: the cursor's repair.
    """

    rows: pa.Table
    invalid: tuple[BadRecord, ...]
    fetched: int
    filtered: int
    skipped: frozenset[str]
    next_cursor: str | None
    has_more: bool
    total_count: int | None
    fingerprint: tuple[Any, ...]
    first_time: datetime | None
    last_time: datetime | None
    ordered: bool
    last_time_text: str | None
    trailing: int
    trailing_most: int
    outside: int = 0

    def within(self, start: datetime, end: datetime) -> "Page":
        """The page without readings before ``start`` or after ``end``, which count as ``outside`` and ``filtered``."""
        if self.first_time is None or self.last_time is None or (start <= self.first_time and self.last_time <= end):
            return self
        times = self.rows["timestamp"]
        bounds = pa.array([start, end], INSTANT)
        inside = pc.and_(pc.greater_equal(times, bounds[0]), pc.less_equal(times, bounds[1]))
        rows = self.rows.filter(inside)
        outside = self.rows.num_rows - rows.num_rows
        return replace(self, rows=rows, outside=outside, filtered=self.filtered + outside)


class _Sample(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A record as the API sends it."""

    name: str
    value: float | str | bool | None
    time: str | int | float


class _Observation(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A record as the documents of 001 and 002 have it."""

    point_name: str
    timestamp: str | int | float
    value: float | str | bool | None
    quality: str | None = None
    metadata: dict[str, Any] | None = None


class _Body(msgspec.Struct):
    point_samples: list[_Sample] | msgspec.UnsetType = msgspec.UNSET
    data: list[_Observation] | msgspec.UnsetType = msgspec.UNSET
    pagination: Any = None
    next_cursor: Any = None
    has_more: Any = None
    total_count: Any = None


@dataclass(slots=True)
class _Columns:
    """A page's records by column, as sent. ``problems`` are those found already, by position."""

    names: list[str]
    times: list[Any]
    values: list[Any]
    record: Callable[[int], object]
    quality: list[str] | None = None
    metadata: list[str] | None = None
    problems: dict[int, str] = field(default_factory=dict)


_decoder = msgspec.json.Decoder(_Body)


def decode_page(body: bytes, *, wanted: frozenset[str] = frozenset(), paginated: bool = True) -> Page:
    """Read an answer of a time series endpoint, keeping ``wanted`` points, or all where none are named.

    Raises ``NotAPage`` where it holds no list of records under exactly one of ``point_samples`` and ``data``, and
    ``BrokenPage`` where it is no whole JSON. ``paginated`` is false for endpoints that answer all at once.
    """
    columns, body_fields = _fast(body) or _careful(body)
    page = _page(columns, wanted)
    if not paginated:
        return page
    return replace(page, **_onward(body_fields))


def _fast(body: bytes) -> tuple[_Columns, dict[str, Any]] | None:
    """The page by typed decoding; None where it holds anything unusual."""
    try:
        found = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if (found.point_samples is msgspec.UNSET) == (found.data is msgspec.UNSET):
        return None
    columns = _of_samples(found.point_samples) if found.point_samples else _of_observations(found.data or [])
    names = ("pagination", "next_cursor", "has_more", "total_count")
    return columns, {name: getattr(found, name) for name in names}


def _of_samples(records: Sequence[_Sample]) -> _Columns:
    return _Columns(
        names=[record.name for record in records],
        times=[record.time for record in records],
        values=[record.value for record in records],
        record=records.__getitem__,
    )


def _of_observations(records: Sequence[_Observation]) -> _Columns:
    return _Columns(
        names=[record.point_name for record in records],
        times=[record.timestamp for record in records],
        values=[record.value for record in records],
        record=records.__getitem__,
        quality=[record.quality or "unknown" for record in records],
        metadata=[as_json(record.metadata) if record.metadata else "{}" for record in records],
    )


def _careful(body: bytes) -> tuple[_Columns, dict[str, Any]]:
    """The page as plain JSON, every record looked at by itself."""
    whole = decode_object(body)
    lists = [key for key in ("point_samples", "data") if isinstance(whole.get(key), list)]
    if len(lists) != 1:
        problem = "two lists of records" if lists else "no list of records"
        raise NotAPage(
            f"{problem[0].upper()}{problem[1:]}: expected exactly one of 'point_samples' and 'data', "
            f"the answer has {shown_keys(whole)}. See that ACE_API_URL is the root of the API, and whether ACE has "
            "changed its answers."
        )
    return _of_anything(whole[lists[0]]), whole


def decode_object(body: bytes) -> dict[str, Any]:
    """An answer that must be a JSON object. Raises ``NotAPage``, or ``BrokenPage`` where it is cut."""
    whole = decode_json(body)
    if not isinstance(whole, dict):
        raise NotAPage(f"Expected a JSON object, got {type(whole).__name__}. See that ACE_API_URL is the API's root.")
    return whole


def decode_json(body: bytes) -> Any:  # noqa: ANN401 - JSON is anything
    """An answer that must be JSON, also with a bare NaN in it. Raises ``NotAPage`` or ``BrokenPage``."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        start = body[:40].lstrip(b"\xef\xbb\xbf \t\r\n")
        if start.startswith((b"{", b"[")):
            raise BrokenPage(f"The answer of {len(body)} bytes is no whole JSON ({error}). Ask again.") from None
        problem = f"Expected JSON, got {start!r}"
        raise NotAPage(f"{problem}. Open ACE_API_URL in a browser: it may be a log-in page or a notice.") from None


def shown_keys(whole: dict[str, Any]) -> str:
    """The keys of an answer for a message, without their values."""
    if not whole:
        return "no keys"
    keys = ", ".join(repr(key[:40]) for key in list(whole)[:12])
    return f"the keys {keys}" + (" and more" if len(whole) > 12 else "")  # noqa: PLR2004 - the slice above


def _of_anything(records: list[Any]) -> _Columns:
    columns = _Columns([], [], [], records.__getitem__, [], [])
    for position, record in enumerate(records):
        _add(columns, position, record)
    return columns


def _add(columns: _Columns, position: int, record: object) -> None:
    fields = dict(record) if isinstance(record, dict) else {}
    name = fields.pop("point_name" if "point_name" in fields else "name", None)
    columns.times.append(fields.pop("timestamp" if "timestamp" in fields else "time", None))
    columns.values.append(fields.pop("value", None))
    quality, metadata = fields.pop("quality", None), fields.pop("metadata", None)
    legible = isinstance(name, str) and _is_text(name)
    columns.names.append(name if legible else "")
    columns.quality.append(_as_text(quality) or "unknown")  # type: ignore[union-attr] # _of_anything made a list
    columns.metadata.append(_metadata(fields, metadata))  # type: ignore[union-attr] # the same
    if not isinstance(record, dict):
        columns.problems[position] = "record is not an object"
    elif not legible:
        columns.problems[position] = "point name is missing" if name is None else "point name is not text"


def _is_text(text: str) -> bool:
    """Whether it can be stored: JSON's escapes can spell halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_text(quality: object) -> str:
    if quality is None:
        return ""
    return quality if isinstance(quality, str) and _is_text(quality) else as_json(quality)


def _metadata(further: dict[str, Any], metadata: object) -> str:
    """Further keys of the record and its metadata as one object; the record's own metadata wins."""
    if metadata is None:
        own: dict[str, Any] = {}
    else:
        own = metadata if isinstance(metadata, dict) else {"metadata": metadata}
    merged = {**further, **own}
    return as_json(merged) if merged else "{}"


def as_json(value: object) -> str:
    """A value as JSON text, keys in order, so that the same content is the same text. NaN becomes null."""
    try:
        return msgspec.json.encode(value, order="sorted").decode()
    except (msgspec.MsgspecError, UnicodeEncodeError, OverflowError, RecursionError):
        # Halves of characters and numbers beyond 64 bits, which the quick encoder refuses.
        return json.dumps(value, sort_keys=True)


def _page(columns: _Columns, wanted: frozenset[str]) -> Page:
    times, values = instants(columns.times), numbers(columns.values)
    names = pa.array(columns.names, pa.string())
    kept = pc.is_in(names, value_set=pa.array(sorted(wanted), pa.string())) if wanted else None
    fine = _fine(names, times, values)
    rows = _table(columns, names, times, values)
    skipped: frozenset[str] = frozenset()
    invalid: tuple[BadRecord, ...] = ()
    filtered = 0
    if fine is not None:
        suspect = pc.invert(fine)
        if kept is not None:
            # A record without a name is nobody's: it cannot be told to be unwanted.
            suspect = pc.and_(suspect, pc.or_(kept, pc.invert(_named(names))))
        invalid = tuple(_bad(columns, times, position) for position in _positions(suspect))
        selected = fine if kept is None else pc.and_(fine, kept)
    else:
        selected = kept
    if kept is not None:
        skipped = frozenset(pc.unique(names.filter(pc.invert(kept))).to_pylist()) - {""}
    if selected is not None:
        rows = rows.filter(selected)
        filtered = len(names) - rows.num_rows - len(invalid)
    return Page(
        rows=rows,
        invalid=invalid,
        fetched=len(names),
        filtered=filtered,
        skipped=skipped,
        next_cursor=None,
        has_more=False,
        total_count=None,
        fingerprint=_fingerprint(columns),
        **_span(times),
        **_tail(columns.times, times),
    )


def _fine(names: pa.Array, times: pa.Array, values: pa.Array) -> pa.Array | None:
    """Which records can be stored; None where all can."""
    fine = pc.and_(_named(names), pc.and_(pc.is_valid(times), pc.fill_null(pc.is_finite(values), fill_value=False)))
    return None if pc.all(fine, min_count=0).as_py() else fine


def _named(names: pa.Array) -> pa.Array:
    return pc.not_equal(pc.binary_length(names), 0)


def _positions(mask: pa.Array) -> list[int]:
    found: list[int] = pc.indices_nonzero(mask).to_pylist()
    return found


def _bad(columns: _Columns, times: pa.Array, position: int) -> BadRecord:
    if position in columns.problems:
        reason = columns.problems[position]
    elif not columns.names[position]:
        reason = "point name is empty"
    elif not times[position].is_valid:
        reason = "time is missing" if columns.times[position] is None else "time cannot be read"
    else:
        reason = value_problem(columns.values[position])
    return BadRecord(as_json(columns.record(position))[:RAW_LENGTH], reason)


def _table(columns: _Columns, names: pa.Array, times: pa.Array, values: pa.Array) -> pa.Table:
    quality = _texts(columns.quality, "unknown", len(names))
    metadata = _texts(columns.metadata, "{}", len(names))
    return pa.Table.from_arrays([names, times, values, quality, metadata], schema=READINGS)


def _texts(column: list[str] | None, default: str, length: int) -> pa.Array:
    return pa.repeat(pa.scalar(default, pa.string()), length) if column is None else pa.array(column, pa.string())


def _fingerprint(columns: _Columns) -> tuple[Any, ...]:
    """What tells a page from the one before: its count, and name and time of its first and last record."""
    if not columns.names:
        return (0,)
    ends = [(columns.names[end], as_json(columns.times[end])) for end in (0, -1)]
    return (len(columns.names), *ends[0], *ends[1])


def _span(times: pa.Array) -> dict[str, Any]:
    legible = times.view(pa.int64()).drop_null()
    if not len(legible):
        return {"first_time": None, "last_time": None, "ordered": True}
    bounds = pc.min_max(legible)
    rising = pc.greater_equal(legible[1:], legible[:-1])
    return {
        "first_time": moment(bounds["min"].as_py()),
        "last_time": moment(bounds["max"].as_py()),
        "ordered": pc.all(rising, min_count=0).as_py(),
    }


def _tail(sent: list[Any], times: pa.Array) -> dict[str, Any]:
    last = sent[-1] if sent else None
    if not isinstance(last, str):
        return {"last_time_text": None, "trailing": 0, "trailing_most": 0}
    trailing = most = sum(1 for _ in takewhile(partial(eq, last), reversed(sent)))
    if times.null_count:
        legible = pc.is_valid(times).to_pylist()
        ending = zip(reversed(sent), reversed(legible), strict=True)
        most = sum(1 for _ in takewhile(lambda each: each[0] == last or not each[1], ending))
    return {"last_time_text": last, "trailing": trailing, "trailing_most": most}


def _onward(body: dict[str, Any]) -> dict[str, Any]:
    """Where the next page is: from ``pagination``, or from the body itself. Raises ``NotAPage`` on nonsense."""
    tail = body["pagination"] if isinstance(body.get("pagination"), dict) else body
    cursor, more = tail.get("next_cursor") or None, tail.get("has_more")
    if cursor is not None and not isinstance(cursor, str):
        raise NotAPage(f"Expected text or null as 'next_cursor', got {type(cursor).__name__}.")
    if isinstance(more, str) and more.lower() in ("true", "false"):
        more = more.lower() == "true"
    if more is None:
        # Neither an end nor a way on is said: data may be left that cannot be reached.
        more = True
    if not isinstance(more, bool):
        raise NotAPage(f"Expected true or false as 'has_more', got {type(more).__name__}.")
    total = next((t for t in (body.get("total_count"), tail.get("total_count")) if _is_count(t)), None)
    return {"next_cursor": cursor if more else None, "has_more": more, "total_count": total}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
