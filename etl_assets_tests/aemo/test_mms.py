"""The C/I/D reader: literal files first, then properties, then AEMO's own files."""

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_assets.aemo.members import Member, members
from etl_assets.aemo.mms import MmsReading, MmsTable, RefusedFile, read_mms

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "aemo"
STAMP = pa.timestamp("us")

PRICE = MmsTable(
    "DISPATCH.PRICE",
    {"SETTLEMENTDATE": STAMP, "REGIONID": pa.string(), "INTERVENTION": pa.int32(), "RRP": pa.float64()},
    frozenset({"SETTLEMENTDATE", "REGIONID", "RRP"}),
)
NOTICE = MmsTable("MARKET.NOTICE", {"ID": pa.int64(), "TEXT": pa.string()}, frozenset({"ID"}))

HEADER = "I,DISPATCH,PRICE,5,SETTLEMENTDATE,RUNNO,REGIONID,INTERVENTION,RRP"


def price_row(region: str = "NSW1", rrp: str = "81.5", stamp: str = '"2025/08/20 18:10:00"') -> str:
    return f"D,DISPATCH,PRICE,5,{stamp},1,{region},0,{rrp}"


def mms_file(*lines: str, end: str = "\r\n", count: int | None = None) -> bytes:
    count = len(lines) + 2 if count is None else count
    every = ["C,NEMP.WORLD,DISPATCHIS,AEMO,PUBLIC", *lines, f'C,"END OF REPORT",{count}']
    return "".join(line + end for line in every).encode()


def read(*files: bytes, tables: tuple[MmsTable, ...] = (PRICE,), **options: str) -> MmsReading:
    named = [Member(f"f{n}.CSV", data) for n, data in enumerate(files)]
    return read_mms(named, tables, **options)


def column(reading: MmsReading, name: str, table: MmsTable = PRICE) -> list[object]:
    return reading.tables[table.name][name].to_pylist()


# --- tables -------------------------------------------------------------------------------------------


def test_wanted_columns_come_typed_and_with_their_source() -> None:
    reading = read(mms_file(HEADER, price_row()))

    assert reading.tables["DISPATCH.PRICE"].to_pylist() == [
        {
            "SETTLEMENTDATE": datetime(2025, 8, 20, 8, 10, tzinfo=UTC),
            "REGIONID": "NSW1",
            "INTERVENTION": 0,
            "RRP": 81.5,
            "source_file": "f0.CSV",
        }
    ]
    assert reading.tables["DISPATCH.PRICE"].schema.equals(PRICE.schema())


def test_tables_are_told_apart_and_others_passed_over() -> None:
    other = ["I,DISPATCH,CASE_SOLUTION,2,A", "D,DISPATCH,CASE_SOLUTION,2,1"]
    notice = ["I,MARKET,NOTICE,1,ID,TEXT", "D,MARKET,NOTICE,1,7,hello"]

    reading = read(mms_file(*other, HEADER, price_row(), *notice, *other), tables=(PRICE, NOTICE))

    assert column(reading, "RRP") == [81.5]
    assert column(reading, "ID", NOTICE) == [7]


def test_a_table_whose_name_begins_alike_is_another_table() -> None:
    reading = read(mms_file("I,DISPATCH,PRICE_X,5,RRP", "D,DISPATCH,PRICE_X,5,1"))

    assert reading.tables["DISPATCH.PRICE"].num_rows == 0


def test_a_table_that_no_file_has_is_empty_with_its_columns() -> None:
    table = read(mms_file()).tables["DISPATCH.PRICE"]

    assert (table.num_rows, table.schema) == (0, PRICE.schema())


def test_a_table_without_rows_is_empty() -> None:
    assert read(mms_file(HEADER)).tables["DISPATCH.PRICE"].num_rows == 0


def test_no_files_give_empty_tables() -> None:
    reading = read()

    assert (reading.files, reading.tables["DISPATCH.PRICE"].num_rows) == (0, 0)


def test_columns_are_found_by_name_whatever_the_version() -> None:
    old = mms_file("I,DISPATCH,PRICE,1,RRP,REGIONID,SETTLEMENTDATE", "D,DISPATCH,PRICE,1,5,SA1,2018/01/01 00:05:00")

    reading = read(old, mms_file(HEADER, price_row()))

    assert column(reading, "REGIONID") == ["SA1", "NSW1"]
    assert column(reading, "RRP") == [5.0, 81.5]
    assert column(reading, "INTERVENTION") == [None, 0]
    assert column(reading, "source_file") == ["f0.CSV", "f1.CSV"]


def test_versions_of_a_table_in_one_file_are_both_read() -> None:
    old = ("I,DISPATCH,PRICE,1,RRP,REGIONID,SETTLEMENTDATE", "D,DISPATCH,PRICE,1,5,SA1,2018/01/01 00:05:00")

    assert column(read(mms_file(*old, HEADER, price_row())), "RRP") == [5.0, 81.5]


def test_an_empty_sub_name_is_a_name() -> None:
    table = MmsTable("DREGION.", {"RRP": pa.float64()})

    reading = read(mms_file("I,DREGION,,3,RRP", "D,DREGION,,3,4.5"), tables=(table,))

    assert column(reading, "RRP", table) == [4.5]


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_both_line_ends_are_read(end: str) -> None:
    assert column(read(mms_file(HEADER, price_row(), end=end)), "RRP") == [81.5]


def test_unquoted_stamps_are_read_too() -> None:
    reading = read(mms_file(HEADER, price_row(stamp="2025/08/20 18:10:00")))

    assert column(reading, "SETTLEMENTDATE") == [datetime(2025, 8, 20, 8, 10, tzinfo=UTC)]


@pytest.mark.parametrize("zone", ["UTC", "Australia/Sydney", "America/New_York"])
def test_instants_do_not_depend_on_the_machines_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TZ", zone)
    days = [datetime(2025, 4, 6), datetime(2025, 10, 5)]  # noqa: DTZ001 - Sydney's clocks change on both
    stamps = [day + timedelta(minutes=5 * n) for day in days for n in range(1, 289)]
    rows = [price_row(stamp=f"{stamp:%Y/%m/%d %H:%M:%S}") for stamp in stamps]

    found = column(read(mms_file(HEADER, *rows)), "SETTLEMENTDATE")

    assert found == [stamp.replace(tzinfo=UTC) - timedelta(hours=10) for stamp in stamps]
    assert len(set(found)) == 576


def test_blank_is_null() -> None:
    reading = read(mms_file(HEADER, 'D,DISPATCH,PRICE,5,"2025/08/20 18:10:00",1,NSW1,,5'))

    assert column(reading, "INTERVENTION") == [None]


@pytest.mark.parametrize("text", ["NA", "NULL", "nan", "N/A"])
def test_text_that_means_null_elsewhere_is_text_here(text: str) -> None:
    assert column(read(mms_file(HEADER, price_row(region=text))), "REGIONID") == [text]


def test_quoted_commas_quotes_and_newlines_are_part_of_a_value() -> None:
    text = 'a, "b"\r\nI,DISPATCH,PRICE,5,RRP\r\nD,MARKET,NOTICE,1,9,x\n'
    quoted = '"' + text.replace('"', '""') + '"'
    rows = [f"D,MARKET,NOTICE,1,{n},{quoted}" for n in range(2)]
    data = mms_file("I,MARKET,NOTICE,1,ID,TEXT", *rows, HEADER, price_row(), count=7)

    reading = read(data, tables=(PRICE, NOTICE))

    assert column(reading, "TEXT", NOTICE) == [text, text]
    assert column(reading, "RRP") == [81.5]
    assert (reading.invalid, reading.refused) == ([], [])


def test_a_wanted_type_that_cannot_be_read_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r"DISPATCH\.PRICE\.RRP"):
        MmsTable("DISPATCH.PRICE", {"RRP": pa.date32()})
    with pytest.raises(ValueError, match="RRP"):
        MmsTable("DISPATCH.PRICE", {}, frozenset({"RRP"}))


# --- invalid rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (price_row(rrp="NaN"), "RRP 'NaN' is not a finite number"),
        (price_row(rrp="-inf"), "RRP '-inf' is not a finite number"),
        (price_row(rrp="1e999"), "RRP '1e999' is not a finite number"),
        (price_row(rrp="12_5"), "RRP '12_5' is not a finite number"),
        (price_row(rrp=""), "RRP is blank"),
        (price_row(region=" "), "REGIONID is blank"),
        (price_row(stamp="2025/02/30 00:05:00"), "SETTLEMENTDATE '2025/02/30 00:05:00' is not a stamp"),
        (price_row(stamp="2025/08/20 24:00:00"), "SETTLEMENTDATE '2025/08/20 24:00:00' is not a stamp"),
        (price_row(stamp="20/08/2025 18:10"), "SETTLEMENTDATE '20/08/2025 18:10' is not a stamp"),
        (price_row() + ",more", "10 fields where the header has 9"),
        (price_row().rpartition(",")[0], "8 fields where the header has 9"),
        (price_row().replace(",0,", ",1.5,"), "INTERVENTION '1.5' is not a whole number of 32 bits"),
        (price_row().replace(",0,", ",2147483648,"), "INTERVENTION '2147483648' is not a whole number"),
        (price_row().replace("PRICE", "OTHER"), "expected a row that begins D,DISPATCH,PRICE,5,"),
        (price_row(stamp='"2025/08/20 18:10:00'), "not a CSV row"),
    ],
)
def test_a_bad_row_is_set_apart_and_the_others_go_on(row: str, reason: str) -> None:
    reading = read(mms_file(HEADER, price_row("QLD1"), row, price_row("SA1")), mms_file(HEADER, price_row("VIC1")))

    assert column(reading, "REGIONID") == ["QLD1", "SA1", "VIC1"]
    assert column(reading, "source_file") == ["f0.CSV", "f0.CSV", "f1.CSV"]
    [bad] = reading.invalid
    assert (bad.source_file, bad.line, bad.raw) == ("f0.CSV", 4, row)
    assert bad.reason.startswith(reason)


def test_bad_rows_are_found_in_files_of_many_batches() -> None:
    rows = [price_row(rrp="x" if n % 4000 == 7 else str(n)) for n in range(12_000)]

    reading = read(mms_file(HEADER, *rows))

    assert [bad.line for bad in reading.invalid] == [10, 4010, 8010]
    assert column(reading, "RRP") == [float(n) for n in range(12_000) if n % 4000 != 7]


def test_a_wanted_value_that_is_not_utf8_makes_its_row_invalid() -> None:
    data = mms_file(HEADER, price_row("NSW1"), price_row("CAFÉ")).replace("É".encode(), b"\xc9")

    reading = read(data)

    assert column(reading, "REGIONID") == ["NSW1"]
    assert [bad.reason for bad in reading.invalid] == ["REGIONID 'CAFÉ' is not UTF-8"]


def test_a_version_that_lacks_a_required_column_has_no_valid_row() -> None:
    reading = read(mms_file("I,DISPATCH,PRICE,6,RRP,SETTLEMENTDATE", "D,DISPATCH,PRICE,6,1,2025/08/20 00:05:00"))

    assert reading.tables["DISPATCH.PRICE"].num_rows == 0
    assert [bad.reason for bad in reading.invalid] == ["the header has no column REGIONID"]


def test_a_bad_row_in_another_table_does_not_matter() -> None:
    reading = read(mms_file("I,X,Y,1,A", 'D,X,Y,1,"unclosed', HEADER, price_row()))

    assert (column(reading, "RRP"), reading.invalid) == ([81.5], [])


# --- whole files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (mms_file(HEADER, price_row(), count=5), "expected 5 lines by the footer, found 4"),
        (mms_file(HEADER, price_row())[:-12], 'expected C,"END OF REPORT",N as the last line, found'),
        (mms_file(HEADER, price_row()).rpartition(b"C,")[0], 'expected C,"END OF REPORT",N as the last line'),
        (
            b"\r\n".join(mms_file(HEADER).split(b"\r\n")[1:]),
            "expected a C row as the first line, found 'I,DISP",
        ),
        (b"", "expected a C row as the first line, found ''"),
        (b"<html>", "expected a C row as the first line, found '<html>'"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_and_its_neighbours_read(data: bytes, reason: str) -> None:
    reading = read(data, mms_file(HEADER, price_row("SA1")))

    assert column(reading, "REGIONID") == ["SA1"]
    assert reading.files == 1
    [refused] = reading.refused
    assert refused.source_file == "f0.CSV"
    assert refused.reason.startswith(reason)


def test_a_wrong_footer_can_be_a_warning() -> None:
    reading = read(mms_file(HEADER, price_row(), count=44643), footer="warn")

    assert column(reading, "RRP") == [81.5]
    assert reading.refused == []
    assert reading.warnings == [RefusedFile("f0.CSV", "expected 44643 lines by the footer, found 4")]


def test_a_file_cut_inside_a_row_keeps_its_whole_rows_where_footers_only_warn() -> None:
    cut = mms_file(HEADER, price_row("SA1"), price_row("NSW1")).rpartition(b"C,")[0][:-12]

    reading = read(cut, footer="warn")

    assert column(reading, "REGIONID") == ["SA1"]
    assert len(reading.invalid) == len(reading.warnings) == 1


def test_a_member_that_could_not_be_unpacked_is_refused_with_its_reason() -> None:
    reading = read_mms([Member("a.zip", None, "not a readable zip")], [PRICE])

    assert reading.refused == [RefusedFile("a.zip", "not a readable zip")]


# --- properties ---------------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=12)


@given(st.lists(texts, max_size=8))
def test_any_text_survives_quoting(values: list[str]) -> None:
    doubled = [value.replace('"', '""') for value in values]
    rows = [f'D,MARKET,NOTICE,1,{n},"{value}"' for n, value in enumerate(doubled)]

    reading = read(mms_file("I,MARKET,NOTICE,1,ID,TEXT", *rows), tables=(NOTICE,))

    assert column(reading, "TEXT", NOTICE) == [value or None for value in values]
    assert (reading.invalid, reading.refused) == ([], [])


WHOLE = mms_file(HEADER, price_row("NSW1"), "I,X,Y,1,A", "D,X,Y,1,2", HEADER, price_row("SA1"))


@given(st.integers(0, len(WHOLE) - 3))
def test_any_cut_of_a_file_is_refused(length: int) -> None:
    reading = read(WHOLE[:length])

    assert (reading.files, len(reading.refused)) == (0, 1)
    assert reading.tables["DISPATCH.PRICE"].num_rows == 0


@given(st.integers(1, len(WHOLE) - 1))
def test_the_later_part_of_a_file_is_refused(start: int) -> None:
    assert len(read(WHOLE[start:]).refused) == 1


values = st.sampled_from(["1.5", "-1000", "", "NaN", "x", "1e5", " 2", ".5", "0x1", "+5", '"', '"3"', "é"])


@given(st.lists(st.lists(st.tuples(values, values), max_size=5), max_size=4))
def test_every_row_is_either_valid_or_invalid(files: list[list[tuple[str, str]]]) -> None:
    rows = [[price_row(region, rrp) for region, rrp in file] for file in files]

    reading = read(*(mms_file(HEADER, *lines) for lines in rows))

    valid = reading.tables["DISPATCH.PRICE"].num_rows
    accounted = valid + sum(bad.raw.count("D,DISPATCH") for bad in reading.invalid)
    assert accounted == sum(len(lines) for lines in rows)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_numbers_are_read_to_the_last_digit(numbers: list[float]) -> None:
    reading = read(mms_file(HEADER, *(price_row(rrp=repr(number)) for number in numbers)))

    assert column(reading, "RRP") == numbers


# --- AEMO's own files ---------------------------------------------------------------------------------

with_real_files = pytest.mark.skipif(not REAL.is_dir(), reason=f"no market files at {REAL}")


def wide(name: str, fields: list[str]) -> MmsTable:
    """Every column of a table: stamps by name, all else as text."""
    stamps = {"SETTLEMENTDATE", "LASTCHANGED", "INTERVAL_DATETIME"}
    return MmsTable(name, {f: STAMP if f in stamps else pa.string() for f in fields if f})


def tables_by_csv_module(data: bytes) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    rows: list[list[str]] = []
    for row in csv.reader(io.StringIO(data.decode())):
        if row[0] == "I":
            rows = []
            yield f"{row[1]}.{row[2]}", row[4:], rows
        elif row[0] == "D":
            rows.append(row[4:])


def expected(value: str, kind: pa.DataType) -> object:
    if not value:
        return None
    if kind == STAMP:
        local = datetime.strptime(value, "%Y/%m/%d %H:%M:%S").replace(tzinfo=UTC)
        return local - timedelta(hours=10)
    return float(value) if kind == pa.float64() else value


def real_members() -> list[Member]:
    folders = ("dispatchis", "dispatch_scada", "tradingis", "dispatch_legacy", "rooftop", "reference")
    files = [path for folder in folders for path in sorted((REAL / folder).iterdir())]
    wanted = [path for path in files if path.suffix.lower() in {".zip", ".csv"} and "snapshot" not in path.name]
    return [member for path in wanted for member in members(path.name, path.read_bytes())]


REAL_MEMBERS = real_members() if REAL.is_dir() else []


@pytest.mark.real_data
@with_real_files
@pytest.mark.parametrize("member", REAL_MEMBERS, ids=lambda member: member.name[:40])
def test_every_value_of_a_whole_real_file_is_as_the_csv_module_reads_it(member: Member) -> None:
    for name, fields, rows in list(tables_by_csv_module(member.data or b"")):
        table = wide(name, fields)

        reading = read_mms([member], [table])

        assert (reading.refused, reading.invalid) == ([], [])
        by_column = [[row[n] for row in rows] for n in range(len(fields))]
        for field, texts_ in zip(fields, by_column, strict=True):
            assert column(reading, field, table) == [expected(text, table.columns[field]) for text in texts_]


@pytest.mark.real_data
@with_real_files
def test_the_real_dispatch_file_has_five_regions_and_six_interconnectors() -> None:
    flows = MmsTable("DISPATCH.INTERCONNECTORRES", {"MWFLOW": pa.float64()})
    member = next(member for member in REAL_MEMBERS if "DISPATCHIS" in member.name)

    reading = read_mms([member], [PRICE, flows])

    assert {name: table.num_rows for name, table in reading.tables.items()} == {
        "DISPATCH.PRICE": 5,
        "DISPATCH.INTERCONNECTORRES": 6,
    }
    assert set(column(reading, "SETTLEMENTDATE")) == {datetime(2025, 8, 20, 8, 10, tzinfo=UTC)}


def reduced_members() -> list[Member]:
    paths = sorted((REAL / "mmsdm_reduced").glob("*/*.zip"))
    return [member for path in paths for member in members(path.name, path.read_bytes())]


@pytest.mark.real_data
@with_real_files
def test_reduced_archives_are_refused_as_their_footers_count_what_was_cut() -> None:
    files = reduced_members()

    reading = read_mms(files, [PRICE])

    assert len(reading.refused) == len(files)
    assert all("by the footer, found" in refused.reason for refused in reading.refused)
    assert reading.tables["DISPATCH.PRICE"].num_rows == 0


@pytest.mark.real_data
@with_real_files
@pytest.mark.parametrize(
    "name", ["DISPATCH.PRICE", "DISPATCH.REGIONSUM", "DISPATCH.UNIT_SCADA", "TRADING.PRICE", "ROOFTOP.ACTUAL"]
)
def test_reduced_archives_of_all_versions_are_read_together_under_warning(name: str) -> None:
    files = reduced_members()
    number = {"DISPATCH.UNIT_SCADA": "SCADAVALUE", "ROOFTOP.ACTUAL": "POWER"}.get(name, "RRP")
    number = "TOTALDEMAND" if name == "DISPATCH.REGIONSUM" else number
    stamp = "INTERVAL_DATETIME" if name == "ROOFTOP.ACTUAL" else "SETTLEMENTDATE"
    table = MmsTable(name, {stamp: STAMP, number: pa.float64()}, frozenset({stamp}))
    want: Counter[tuple[object, ...]] = Counter()
    for file in files:
        for found, fields, rows in list(tables_by_csv_module(file.data or b"")):
            at = [fields.index(field) for field in table.columns] if found == name else []
            want.update(
                (
                    file.name,
                    *(expected(row[n], kind) for n, kind in zip(at, table.columns.values(), strict=True)),
                )
                for row in rows
                if at
            )

    reading = read_mms(files, [table], footer="warn")

    got = zip(*(column(reading, field, table) for field in ("source_file", stamp, number)), strict=True)
    assert Counter(got) == want
    assert want
    assert (reading.invalid, len(reading.warnings)) == ([], len(files))
