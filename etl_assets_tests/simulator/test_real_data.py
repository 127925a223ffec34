"""The simulator's files against the market operator's own.

The same tables, columns and habits of printing.
"""

import re
from collections.abc import Iterable
from datetime import date, datetime

import pytest

from etl_assets.market_time import NEM_TIME
from etl_assets.simulator.aemo import Reports
from etl_assets.simulator.listing import Line, page
from etl_assets.simulator.market import Market
from etl_assets.simulator.monthly import monthly_table
from etl_assets_tests.simulator.reading import real, rows_of, unzipped

pytestmark = pytest.mark.real_data
REPORTS = Reports(Market())
PAIRS = (
    ("dispatchis/*.CSV", REPORTS.dispatchis(datetime(2025, 8, 20, 18, 10, tzinfo=NEM_TIME))),
    ("tradingis/*.CSV", REPORTS.tradingis(datetime(2024, 3, 3, 13, 35, tzinfo=NEM_TIME))),
    ("dispatch_scada/*.csv", REPORTS.dispatch_scada(datetime(2025, 12, 27, 0, 5, tzinfo=NEM_TIME))),
    ("rooftop/*.zip", REPORTS.rooftop_pv(datetime(2024, 3, 3, 19, 30, tzinfo=NEM_TIME), "MEASUREMENT")),
)
CASES = pytest.mark.parametrize(("pattern", "ours"), PAIRS, ids=[pattern.split("/")[0] for pattern, _ in PAIRS])
NUMBER = re.compile(r"-?\d+(\.\d+)?$")


def theirs(pattern: str) -> bytes:
    content = real(pattern).read_bytes()
    return unzipped(content) if pattern.endswith(".zip") else content


def starting(report: bytes, mark: bytes) -> list[bytes]:
    return [line for line in report.split(b"\r\n") if line.startswith(mark)]


def shape(value: str) -> str:
    """The kind of a field: empty, a time, a number, or text."""
    if not value:
        return "empty"
    if re.fullmatch(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d", value):
        return "time"
    return "number" if NUMBER.match(value) else "text"


def columns(report: bytes) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    header: list[str] = []
    for row in rows_of(report):
        if row[0] == "I":
            header = row
        elif row[0] == "D":
            for name, value in zip(header[4:], row[4:], strict=True):
                found.setdefault((row[2], name), []).append(value)
    return found


def decimals(values: Iterable[str]) -> int:
    return max((len(value.partition(".")[2]) for value in values if shape(value) == "number"), default=0)


@CASES
def test_header_rows_are_byte_equal(pattern: str, ours: bytes) -> None:
    assert starting(ours, b"I,") == starting(theirs(pattern), b"I,")


@CASES
def test_the_first_line_has_the_same_form(pattern: str, ours: bytes) -> None:
    def form(report: bytes) -> bytes:
        return re.sub(rb"\d", b"9", report.split(b"\r\n")[0])

    assert form(ours) == form(theirs(pattern))


@CASES
def test_the_footer_has_the_same_form_and_count(pattern: str, ours: bytes) -> None:
    assert ours.split(b"\r\n")[-2:] == theirs(pattern).split(b"\r\n")[-2:]


@CASES
def test_data_rows_quote_the_same_fields(pattern: str, ours: bytes) -> None:
    def quoted(report: bytes) -> set[tuple[bytes, ...]]:
        return {
            (
                *line.split(b",")[1:3],
                *(str(n).encode() for n, cell in enumerate(line.split(b",")) if cell[:1] == b'"'),
            )
            for line in starting(report, b"D,")
        }

    assert quoted(ours) == quoted(theirs(pattern))


@CASES
def test_each_column_holds_the_same_kinds_of_value(pattern: str, ours: bytes) -> None:
    real_columns, our_columns = columns(theirs(pattern)), columns(ours)

    assert our_columns.keys() == real_columns.keys()
    for name, values in our_columns.items():
        assert set(map(shape, values)) <= set(map(shape, real_columns[name])), name


@CASES
def test_numbers_have_at_most_as_many_decimals(pattern: str, ours: bytes) -> None:
    habits = {0: 0, 1: 2, 2: 2, 3: 5, 4: 6, 5: 5, 6: 6, 14: 16, 15: 16, 16: 16}
    loose = {"RAISE", "LOWER", "CUMUL", "PRE_A", "BDU_C", "BDU_M", "WDR_D"}
    real_columns = columns(theirs(pattern))

    for (table, name), values in columns(ours).items():
        if name[:5] not in loose and len(real_columns[table, name]) >= 5:
            assert decimals(values) <= max(habits[decimals(real_columns[table, name])], 3), name


@pytest.mark.parametrize(
    ("pattern", "table", "month"),
    [
        ("mmsdm_reduced/2019_12/*DISPATCHPRICE*", "DISPATCHPRICE", date(2019, 12, 1)),
        ("mmsdm_reduced/2019_12/*REGIONSUM*", "DISPATCHREGIONSUM", date(2019, 12, 1)),
        ("mmsdm_reduced/2021_09/*TRADINGPRICE*", "TRADINGPRICE", date(2021, 9, 1)),
        ("mmsdm_reduced/2021_10/*TRADINGPRICE*", "TRADINGPRICE", date(2021, 10, 1)),
        ("mmsdm_reduced/2024_07/*DISPATCHPRICE*", "DISPATCHPRICE", date(2024, 7, 1)),
        ("mmsdm_reduced/2024_07/*REGIONSUM*", "DISPATCHREGIONSUM", date(2024, 7, 1)),
        ("mmsdm_reduced/2024_07/*TRADINGPRICE*", "TRADINGPRICE", date(2024, 7, 1)),
        ("mmsdm_reduced/2024_08/*DISPATCHPRICE*", "DISPATCHPRICE", date(2024, 8, 1)),
        ("mmsdm_reduced/2024_08/*REGIONSUM*", "DISPATCHREGIONSUM", date(2024, 8, 1)),
        ("mmsdm_reduced/2024_08/*INTERCONNECTORRES*", "DISPATCHINTERCONNECTORRES", date(2024, 8, 1)),
        ("mmsdm_reduced/2024_08/*UNIT_SCADA*", "DISPATCH_UNIT_SCADA", date(2024, 8, 1)),
        ("mmsdm_reduced/2024_08/*ROOFTOP*", "ROOFTOP_PV_ACTUAL", date(2024, 8, 1)),
        ("mmsdm_reduced/2025_01/*TRADINGPRICE*", "TRADINGPRICE", date(2025, 1, 1)),
    ],
)
def test_monthly_tables_have_the_columns_of_their_month(pattern: str, table: str, month: date) -> None:
    header = unzipped(real(pattern).read_bytes()).decode().splitlines()[1]

    assert monthly_table(table, month).header == header


@pytest.mark.parametrize(
    "name", ["CURRENT_DispatchIS_Reports", "ARCHIVE_DispatchIS_Reports", "ARCHIVE_TradingIS_Reports"]
)
def test_a_listing_of_the_same_entries_is_byte_equal(name: str) -> None:
    text = real(f"listings/{name}_20260420.html").read_bytes().decode()
    entries = re.findall(r'(\w+, \w+ \d+, \d+ +\d+:\d+ [AP]M) +(\d+) <A HREF="[^"]+">([^<]+)<', text)

    lines = [
        Line(file, datetime.strptime(when, "%A, %B %d, %Y %I:%M %p").replace(tzinfo=NEM_TIME), int(size))
        for when, size, file in entries
    ]

    folder, feed = name.split("_", 1)
    assert page(f"/Reports/{folder}/{feed}/", lines).decode() == text
