"""CSV rows to typed Arrow columns, with bad rows set apart one by one.

Fast path first: one Arrow parse for everything. Only where that fails, ``sift`` looks at the rows singly,
names the column and the value that is wrong, and what is left is parsed again. ``sift`` is therefore never
laxer than the parse. Which rows belong to which table is the business of ``mms`` and ``price_and_demand``.

Blank is null. ``NaN`` and infinities are not numbers. Stamps are NEM time (UTC+10, all year) and become UTC
instants by arithmetic, so that no session's zone can shift them.
"""

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

INSTANT = pa.timestamp("us", tz="UTC")
"""How every stamp leaves the readers."""

NUMBERS = frozenset({pa.float64(), pa.int32(), pa.int64()})

_STAMP = r"^\d{4}/\d{2}/\d{2} \d{2}:\d{2}(:\d{2})?$"
_NEM_OFFSET = timedelta(hours=10)
_STAMP_TEXT = pa.dictionary(pa.int32(), pa.string())
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"-?\d{1,19}", re.ASCII)

SIFTED_TOGETHER = 5_000
"""Rows of a failed body tried as one: looking at rows singly costs 25 times a parse."""

_BLOCK_BYTES = 4 << 20
"""Longer than any row; a block holds whole rows."""


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row that is not in the result: the line it began at (the first is 1), its text, what is wrong."""

    source_file: str
    line: int
    raw: str
    reason: str


@dataclass(frozen=True)
class Layout:
    """How rows of one kind are laid out, and which of their fields are wanted.

    ``fields`` names every field in file order; ``types`` the wanted ones (one that is not in ``fields``
    becomes null); a row with a blank in a ``required`` one is invalid; ``prefix`` is how every row's text
    begins.
    """

    fields: tuple[str, ...]
    types: Mapping[str, pa.DataType]
    required: frozenset[str] = frozenset()
    prefix: bytes = b""

    def schema(self) -> pa.Schema:
        """The columns of a parsed table."""
        return schema_of(self.types)

    def is_plain(self, body: bytes) -> bool:
        """Whether every line of a body begins like a row of this kind."""
        return body.count(b"\n" + self.prefix) + body.startswith(self.prefix) == body.count(b"\n")


def schema_of(types: Mapping[str, pa.DataType]) -> pa.Schema:
    """Arrow columns for wanted types; every timestamp is ``INSTANT``."""
    return pa.schema([(name, INSTANT if pa.types.is_timestamp(kind) else kind) for name, kind in types.items()])


class BadRows(ValueError):  # noqa: N818 - says what is there
    """At least one row is bad; which, only ``sift`` can say."""


def parse(body: bytes, layout: Layout) -> pa.Table:
    """All rows of a body (each ended by a newline), typed. Raises ``BadRows`` where any row is bad."""
    present = [name for name in layout.types if name in layout.fields]
    absent = [name for name in layout.types if name not in layout.fields]
    if not body:
        return layout.schema().empty_table()
    if not layout.required.isdisjoint(absent):
        raise BadRows(f"no column {', '.join(sorted(layout.required.intersection(absent)))}")
    try:
        table = _read(body, layout, present)
    except pa.ArrowInvalid as error:
        raise BadRows(str(error)) from error
    columns = {name: _typed(table[name], layout.types[name]) for name in present}
    if any(_has_blank(columns[name]) for name in layout.required):
        raise BadRows("a required value is blank")
    columns |= {name: pa.nulls(table.num_rows, layout.schema().field(name).type) for name in absent}
    return pa.table([columns[name] for name in layout.types], schema=layout.schema())


def _read(body: bytes, layout: Layout, present: list[str]) -> pa.Table:
    kinds = {
        name: _STAMP_TEXT if pa.types.is_timestamp(kind) else kind
        for name, kind in layout.types.items()
        if name in present
    }
    # With no column asked for, Arrow reads all of them; the first field then only carries the row count.
    return arrow_csv.read_csv(
        pa.BufferReader(body),
        read_options=arrow_csv.ReadOptions(column_names=_unique(layout.fields), block_size=_BLOCK_BYTES),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types=kinds or {layout.fields[0]: pa.string()},
            include_columns=present or [layout.fields[0]],
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def _unique(names: tuple[str, ...]) -> list[str]:
    """Names as Arrow needs them: of two that are alike, the first keeps the name."""
    return [name if name not in names[:n] else f"{n}:{name}" for n, name in enumerate(names)]


def _typed(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_timestamp(kind):
        return pa.chunked_array([_instants(chunk) for chunk in column.chunks], INSTANT)
    if pa.types.is_floating(kind) and pc.all(pc.is_finite(column)).as_py() is False:
        raise BadRows("a number is not finite")
    return column


def _instants(stamps: pa.DictionaryArray) -> pa.Array:
    """Stamps repeat, so only the distinct ones are parsed; Arrow's ISO parser knows no 30 February."""
    distinct = stamps.dictionary
    if pc.all(pc.match_substring_regex(distinct, _STAMP)).as_py() is False:
        raise BadRows("a stamp is not YYYY/MM/DD HH:MM[:SS]")
    try:
        local = pc.replace_substring(distinct, "/", "-").cast(pa.timestamp("us"))
    except pa.ArrowInvalid as error:
        raise BadRows(str(error)) from error
    utc = pc.subtract(local, pa.scalar(_NEM_OFFSET, pa.duration("us"))).cast(pa.int64()).cast(INSTANT)
    return utc.take(stamps.indices)


def _has_blank(column: pa.ChunkedArray) -> bool:
    if column.null_count:
        return True
    return pa.types.is_string(column.type) and bool(pc.any(pc.equal(pc.utf8_trim_whitespace(column), "")).as_py())


def read_rows(source_file: str, body: bytes, first_line: int, layout: Layout) -> tuple[pa.Table, list[InvalidRow]]:
    """Typed rows of a body that begins at ``first_line`` of its file, and those that are invalid."""
    if layout.is_plain(body):
        try:
            return parse(body, layout), []
        except BadRows:
            pass
    tables, invalid = [layout.schema().empty_table()], []
    rows = records(body, first_line, layout.prefix)
    while batch := list(islice(rows, SIFTED_TOGETHER)):
        table, bad = _read_batch(source_file, batch, layout)
        tables.append(table)
        invalid += bad
    return pa.concat_tables(tables), invalid


def _read_batch(source_file: str, batch: list[tuple[int, bytes]], layout: Layout) -> tuple[pa.Table, list[InvalidRow]]:
    """One parse if the whole batch is good, one after sifting if not, one per row if even that fails."""
    try:
        if all(raw.startswith(layout.prefix) and not raw.isspace() for _, raw in batch):
            return parse(b"".join(raw for _, raw in batch), layout), []
    except BadRows:
        pass
    good, invalid = sift(source_file, batch, layout)
    try:
        return parse(b"".join(raw for _, raw in good), layout), invalid
    except BadRows:
        return _one_by_one(source_file, good, layout, invalid)


def sift(
    source_file: str, batch: list[tuple[int, bytes]], layout: Layout
) -> tuple[list[tuple[int, bytes]], list[InvalidRow]]:
    """The good rows of a batch, and the bad ones with their reasons. Empty lines are no rows."""
    good: list[tuple[int, bytes]] = []
    invalid: list[InvalidRow] = []
    for line, raw in batch:
        reason = None if raw.isspace() else fault(raw, layout)
        if reason:
            invalid.append(InvalidRow(source_file, line, _text(raw), reason))
        elif not raw.isspace():
            good.append((line, raw))
    return good, invalid


def _one_by_one(
    source_file: str, rows: list[tuple[int, bytes]], layout: Layout, invalid: list[InvalidRow]
) -> tuple[pa.Table, list[InvalidRow]]:
    """The last resort, for a row that looks right to ``fault`` but not to Arrow."""
    tables = [layout.schema().empty_table()]
    for line, raw in rows:
        try:
            tables.append(parse(raw, layout))
        except BadRows as error:
            invalid.append(InvalidRow(source_file, line, _text(raw), str(error)))
    return pa.concat_tables(tables), invalid


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").rstrip("\r\n")


def records(body: bytes, first_line: int = 1, prefix: bytes = b"") -> Iterator[tuple[int, bytes]]:
    """Logical rows with the line each begins at: a newline inside quotes does not end a row.

    Where the quotes do not pair up, a lone one must not swallow the rows after it: then a line that begins
    like a row and is whole in itself starts a new one.
    """
    broken = body.count(b'"') % 2 == 1
    held: list[bytes] = []
    quotes = 0
    for part in io.BytesIO(body):
        own = part.count(b'"')
        if held and broken and own % 2 == 0 and part.startswith(prefix):
            yield first_line, b"".join(held)
            first_line += len(held)
            held, quotes = [], 0
        held.append(part)
        quotes += own
        if quotes % 2 == 0:
            yield first_line, b"".join(held)
            first_line += len(held)
            held, quotes = [], 0
    if held:
        yield first_line, b"".join(held)


def fault(raw: bytes, layout: Layout) -> str | None:
    """Why a row is invalid, naming column and value; None for a good one."""
    if not raw.startswith(layout.prefix):
        return f"expected a row that begins {layout.prefix.decode('utf-8', 'replace')}"
    # Latin-1 maps every byte to one character and back, so only wanted fields need to be UTF-8.
    try:
        fields = next(csv.reader([raw.decode("latin-1")], strict=True), [])
    except csv.Error as error:
        return f"not a CSV row: {error}"
    if len(fields) != len(layout.fields):
        return f"{len(fields)} fields where the header has {len(layout.fields)}"
    values = dict(zip(reversed(layout.fields), reversed(fields), strict=True))
    faults = (_column_fault(name, kind, values, layout) for name, kind in layout.types.items())
    return next((reason for reason in faults if reason), None)


def _column_fault(name: str, kind: pa.DataType, values: Mapping[str, str], layout: Layout) -> str | None:
    if name not in values:
        return f"the header has no column {name}" if name in layout.required else None
    try:
        value = values[name].encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return f"{name} {values[name]!r} is not UTF-8"
    if name in layout.required and not value.strip():
        return f"{name} is blank"
    expected = _expected(value, kind) if value else None
    return expected and f"{name} {value!r} is not {expected}"


def _expected(value: str, kind: pa.DataType) -> str | None:
    """What a value of this type should have been; None where it is."""
    if pa.types.is_timestamp(kind):
        return None if _is_stamp(value) else "a stamp YYYY/MM/DD HH:MM[:SS]"
    number = value.strip(" \t")
    if pa.types.is_floating(kind):
        return None if _FLOAT.fullmatch(number) and math.isfinite(float(number)) else "a finite number"
    if pa.types.is_integer(kind):
        limit = 1 << (kind.bit_width - 1)
        fine = _INTEGER.fullmatch(number) and -limit <= int(number) < limit
        return None if fine else f"a whole number of {kind.bit_width} bits"
    return None


def _is_stamp(value: str) -> bool:
    if re.fullmatch(_STAMP[1:-1], value, re.ASCII) is None:
        return False
    try:
        datetime.fromisoformat(value.replace("/", "-"))
    except ValueError:
        return False
    return True
