"""AEMO's C/I/D format, read once for all feeds: bytes to Arrow tables, nothing else.

A file holds several tables. A ``C`` row opens and closes it, an ``I`` row names a table's columns
(``I,GROUP,SUBNAME,VERSION,columns…``), the ``D`` rows after it are that table's data. Columns are found by
the I row's names, because versions differ, even between files of one day. The footer ``C,"END OF REPORT",N``
counts every line of the file: a cut file is refused whole, not read in part.

Which tables a feed has, and where its files are, is declared in ``feeds``; stamps and numbers are the
business of ``typed_rows``. For speed the wanted tables are cut out of each file before anything is parsed,
and rows under the same I row are parsed in one call, whichever files they came from.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from etl_assets.aemo.members import Member
from etl_assets.aemo.typed_rows import (
    NUMBERS,
    BadRows,
    InvalidRow,
    Layout,
    parse,
    read_rows,
    records,
    schema_of,
)

__all__ = ["SOURCE_FILE", "InvalidRow", "MmsReading", "MmsTable", "RefusedFile", "footer_problem", "read_mms"]

SOURCE_FILE = pa.field("source_file", pa.dictionary(pa.int32(), pa.string()))
"""Added to every table: the member that a row came from."""

_FOOTER = re.compile(rb'C,"?END OF REPORT"?,"?(\d+)"?\s*\Z')
_KEY_FIELDS = 4
"""Each I and D row begins with its kind, group, sub-name and version."""


@dataclass(frozen=True)
class MmsTable:
    """What a caller wants from one table: ``name`` is ``GROUP.SUBNAME``, such as ``DISPATCH.PRICE``.

    ``columns`` gives MMS names and types (float64, int32, int64, string, timestamp); one that a version of
    the table lacks becomes null. A row with a blank in a ``required`` column is invalid.
    """

    name: str
    columns: Mapping[str, pa.DataType]
    required: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse a declaration that cannot be read."""
        for name, kind in self.columns.items():
            if kind not in NUMBERS and not pa.types.is_string(kind) and not pa.types.is_timestamp(kind):
                raise TypeError(f"{self.name}.{name}: {kind} is not float64, int32, int64, string or timestamp")
        if unknown := self.required - self.columns.keys():
            raise ValueError(f"{self.name}: required but not among the columns: {', '.join(sorted(unknown))}")

    def schema(self) -> pa.Schema:
        """The result's columns: those wanted, and ``source_file``."""
        return schema_of(self.columns).append(SOURCE_FILE)


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file of which nothing was read, and why."""

    source_file: str
    reason: str


@dataclass
class MmsReading:
    """What a batch of files gave. ``tables`` holds every wanted table, with no rows where no file had it.

    ``files`` counts those that were read; ``warnings`` are footers that do not fit, where they were not
    enforced.
    """

    tables: dict[str, pa.Table]
    invalid: list[InvalidRow] = field(default_factory=list)
    refused: list[RefusedFile] = field(default_factory=list)
    warnings: list[RefusedFile] = field(default_factory=list)
    files: int = 0


@dataclass(frozen=True, slots=True)
class _Slice:
    """The D rows under one I row of one file, each ended by a newline."""

    source_file: str
    first_line: int
    rows: int
    body: bytes


def read_mms(
    members: Iterable[Member], wanted: Sequence[MmsTable], footer: Literal["enforce", "warn"] = "enforce"
) -> MmsReading:
    """The wanted tables of a batch of files.

    Every D row of a wanted table ends in its table or in ``invalid``, except those of a file in ``refused``.
    ``footer="warn"`` is for files that a third party reduced: they keep the original's count.
    Rows keep the order of the files within one version of a table.
    """
    reading = MmsReading({})
    groups: dict[tuple[str, bytes], list[_Slice]] = {}
    tables = {table.name: table for table in wanted}
    for member in members:
        problem = member.refused if member.data is None else _opening_problem(member.data)
        if problem or member.data is None:
            reading.refused.append(RefusedFile(member.name, problem or "no data"))
            continue
        if problem := footer_problem(member.data):
            if footer == "enforce":
                reading.refused.append(RefusedFile(member.name, problem))
                continue
            reading.warnings.append(RefusedFile(member.name, problem))
        reading.files += 1
        for key, part in _slices(member.name, member.data, tables.keys()):
            groups.setdefault(key, []).append(part)
    for name, table in tables.items():
        parts = [_read_group(group, table, key[1], reading.invalid) for key, group in groups.items() if key[0] == name]
        reading.tables[name] = pa.concat_tables([table.schema().empty_table(), *parts])
    return reading


def footer_problem(data: bytes) -> str | None:
    """Why a file's end does not vouch for its completeness; None where it does.

    The footer counts physical lines. Where quoted values hold newlines, a count of logical rows is right too.
    """
    last = data[_last_line(data) :]
    found = _FOOTER.match(last)
    if found is None:
        return f'expected C,"END OF REPORT",N as the last line, found {last[:80].decode("utf-8", "replace")!r}'
    promised = int(found[1])
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    if promised == lines or promised == sum(1 for _ in records(data)):
        return None
    return f"expected {promised} lines by the footer, found {lines}"


def _opening_problem(data: bytes) -> str | None:
    if data.startswith(b"C,"):
        return None
    first = data[:80].partition(b"\n")[0].decode("utf-8", "replace")
    return f"expected a C row as the first line, found {first!r}"


def _slices(source_file: str, data: bytes, names: Iterable[str]) -> Iterable[tuple[tuple[str, bytes], _Slice]]:
    """The wanted tables' rows: with each, the table's name and the I row they stand under."""
    wanted = {b",".join([b"I", *name.encode().split(b".", 1), b""]): name for name in names}
    starts = _header_positions(data)
    for start, end in zip(starts, [*starts, _rows_end(data)][1:], strict=True):
        stop = data.find(b",", data.find(b",", start + 2) + 1) + 1
        name = wanted.get(data[start:stop])
        if name is None:
            continue
        first = data.find(b"\n", start, end) + 1 or end
        body = data[first:end]
        if body and not body.endswith(b"\n"):
            body += b"\n"
        header = data[start:first].rstrip(b"\r\n")
        yield (name, header), _Slice(source_file, data.count(b"\n", 0, first) + 1, body.count(b"\n"), body)


def _header_positions(data: bytes) -> list[int]:
    """Where I rows begin. A line inside a quoted text that looks like one is none, if the quotes pair up."""
    positions: list[int] = []
    doubtful: list[int] = []
    quotes = before = 0
    at = data.find(b"\nI,")
    while at >= 0:
        quotes += data.count(b'"', before, at)
        (doubtful if quotes % 2 else positions).append(at + 1)
        before, at = at, data.find(b"\nI,", at + 1)
    balanced = (quotes + data.count(b'"', before)) % 2 == 0
    return positions if balanced else sorted(positions + doubtful)


def _rows_end(data: bytes) -> int:
    """Where the footer begins; the end of the data where there is none."""
    start = _last_line(data)
    return start if data.startswith(b"C,", start) else len(data)


def _last_line(data: bytes) -> int:
    """Where the last line that is not empty begins."""
    end = len(data)
    while end and data[end - 1] in b"\r\n":
        end -= 1
    return data.rfind(b"\n", 0, end) + 1


def _read_group(group: list[_Slice], table: MmsTable, header: bytes, invalid: list[InvalidRow]) -> pa.Table:
    """All rows under one I row, in one parse if every row is good, file by file if not."""
    names = next(csv.reader([header.decode("utf-8", "replace")]))
    layout = Layout(
        fields=(*(f":{n}" for n in range(_KEY_FIELDS)), *names[_KEY_FIELDS:]),
        types=table.columns,
        required=table.required,
        prefix=b"D" + header[1 : _end_of_key(header)],
    )
    try:
        return _read_together(group, layout)
    except BadRows:
        pass
    tables = []
    for part in group:
        rows, bad = read_rows(part.source_file, part.body, part.first_line, layout)
        invalid += bad
        tables.append(rows.append_column(SOURCE_FILE, _names([(part.source_file, rows.num_rows)])))
    return pa.concat_tables(tables)


def _read_together(group: list[_Slice], layout: Layout) -> pa.Table:
    """All rows in one parse. Raises ``BadRows`` where one is bad or has several lines."""
    if not all(layout.is_plain(part.body) for part in group):
        raise BadRows("a line does not begin like a row of this table")
    rows = parse(b"".join(part.body for part in group), layout)
    if rows.num_rows != sum(part.rows for part in group):
        raise BadRows("rows of several lines")
    return rows.append_column(SOURCE_FILE, _names([(part.source_file, part.rows) for part in group]))


def _end_of_key(header: bytes) -> int:
    """Just after the version's comma, or the end of a header without columns."""
    return len(b",".join(header.split(b",", _KEY_FIELDS)[:_KEY_FIELDS])) + (header.count(b",") >= _KEY_FIELDS)


def _names(runs: list[tuple[str, int]]) -> pa.DictionaryArray:
    """The source file of each row, from how many rows each file gave."""
    filled = [(name, count) for name, count in runs if count]
    ends, total = [], 0
    for _, count in filled:
        total += count
        ends.append(total)
    indices = pa.array(range(len(filled)), pa.int32())
    if filled:
        indices = pc.run_end_decode(pa.RunEndEncodedArray.from_arrays(pa.array(ends, pa.int64()), indices))
    return pa.DictionaryArray.from_arrays(indices, pa.array([name for name, _ in filled], pa.string()))
