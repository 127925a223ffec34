"""Rows as a client wants them: JSON, CSV, an Arrow stream, or Parquet, by ``Accept`` or ``format``.

Every format is made batch by batch, so that memory does not grow with the result. How a value is written in the two
that are text is in ``row_text.py``.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import Request

from etl_assets.api.problems import Problem
from etl_assets.api.row_text import csv_rows, json_rows

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP = 122_880
"""Rows of a Parquet row group: DuckDB's own."""


Meta = Callable[[int], Mapping[str, Any]]
"""The ``_meta`` of an answer, from how many rows it turned out to have."""


class Format(StrEnum):
    """What an answer's body is. CSV and JSON are UTF-8."""

    JSON = "json"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"

    @property
    def media_type(self) -> str:
        """As ``Content-Type`` says it."""
        return MEDIA_TYPES[self]


MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv",
    Format.ARROW: "application/vnd.apache.arrow.stream",
    Format.PARQUET: "application/vnd.apache.parquet",
}


@dataclass(frozen=True, slots=True)
class _Range:
    """One media range of ``Accept`` with its weight."""

    type: str
    subtype: str
    weight: float

    def match(self, media_type: str) -> int:
        """How closely it names a media type: 0 not at all, 1 by ``*/*``, 2 by ``text/*``, 3 by name."""
        kind, _, subtype = media_type.partition("/")
        if (self.type, self.subtype) == (kind, subtype):
            return 3
        if (self.type, self.subtype) == (kind, "*"):
            return 2
        return 1 if (self.type, self.subtype) == ("*", "*") else 0


def negotiate(request: Request, chosen: Format | None = None) -> Format:
    """The format of an answer: the one chosen by parameter, else the best that ``Accept`` allows; JSON first.

    Raises ``Problem`` 406 where it allows none.
    """
    if chosen is not None:
        return chosen
    accept = ", ".join(request.headers.getlist("Accept"))
    if accept in {"", "*/*"}:
        return Format.JSON
    ranges = [found for part in accept.split(",") if (found := _media_range(part))]
    weights = {form: _weight(form, ranges) for form in Format}
    best = max(Format, key=lambda form: weights[form])
    if weights[best] > 0:
        return best
    status = HTTPStatus.NOT_ACCEPTABLE
    named = ", ".join(form.media_type for form in Format)
    raise Problem(status, status.phrase, f"Accept allows none of {named}. Name one, or send format=json.")


def _media_range(text: str) -> _Range | None:
    name, *parameters = [part.strip().lower() for part in text.split(";")]
    kind, slash, subtype = name.partition("/")
    weight = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
    if not slash or not re.fullmatch(r"(0(\.\d{0,3})?|1(\.0{0,3})?)", weight):
        return None
    return _Range(kind, subtype, float(weight))


def _weight(form: Format, ranges: Iterable[_Range]) -> float:
    """The weight of the range that names a format most closely."""
    named = [(found, r.weight) for r in ranges if (found := r.match(form.media_type))]
    return max(named)[1] if named else 0.0


def render(batches: Iterable["pa.RecordBatch"], form: Format, meta: Meta | None = None) -> Iterator[bytes]:
    """The body of an answer in pieces, each of about a batch.

    ``batches`` has at least one, which may be empty and says what the columns are. Only JSON has room for ``meta``.
    """
    match form:
        case Format.JSON:
            return _json(batches, meta)
        case Format.CSV:
            return _csv(batches)
        case Format.ARROW:
            return _arrow(batches)
        case Format.PARQUET:
            return _parquet(batches)


def with_meta(body: bytes, meta: Mapping[str, Any]) -> bytes:
    """A JSON body that was rendered without ``meta``, with it."""
    return body[:-1] + b',"_meta":' + _meta_text(meta) + b"}"


def _meta_text(meta: Mapping[str, Any]) -> bytes:
    return json.dumps(meta, ensure_ascii=False, separators=(",", ":")).encode()


def _json(batches: Iterable["pa.RecordBatch"], meta: Meta | None) -> Iterator[bytes]:
    rows = 0
    # What is not yet sent: a row's comma is known when the next one comes.
    pending = b'{"data":['
    for batch in batches:
        if not batch.num_rows:
            continue
        text = json_rows(batch)
        yield b"".join((pending, b"," if rows else b"", text[:-1]))
        rows += batch.num_rows
        pending = b""
    end = b'],"_meta":' + _meta_text(meta(rows)) + b"}" if meta else b"]}"
    yield pending + end


def _csv(batches: Iterable["pa.RecordBatch"]) -> Iterator[bytes]:
    header = True
    for batch in batches:
        if header:
            yield (",".join(batch.schema.names) + "\r\n").encode()
            header = False
        if batch.num_rows:
            yield bytes(csv_rows(batch))


class _Drain:
    """A file that is only written to, whose bytes are taken away as they come."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:  # noqa: ANN401 (bytes, or a buffer of Arrow's)
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self.closed = True

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _arrow(batches: Iterable["pa.RecordBatch"]) -> Iterator[bytes]:
    import pyarrow as pa

    drain, writer = _Drain(), None
    for batch in batches:
        writer = writer or pa.ipc.new_stream(pa.PythonFile(drain, mode="w"), batch.schema)
        if batch.num_rows:
            writer.write_batch(batch)
        yield drain.taken()
    if writer:
        writer.close()
    yield drain.taken()


def _parquet(batches: Iterable["pa.RecordBatch"]) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    drain, writer = _Drain(), None
    for group in _groups(batches):
        writer = writer or pq.ParquetWriter(pa.PythonFile(drain, mode="w"), group.schema, compression="zstd")
        if group.num_rows:
            writer.write_table(group, row_group_size=ROW_GROUP)
        yield drain.taken()
    if writer:
        writer.close()
    yield drain.taken()


def _groups(batches: Iterable["pa.RecordBatch"]) -> Iterator["pa.Table"]:
    """Batches put together to row groups."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(each.num_rows for each in waiting) >= ROW_GROUP:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)
