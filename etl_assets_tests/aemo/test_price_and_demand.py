"""The monthly aggregated files."""

import csv
import io
from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from etl_assets.aemo.price_and_demand import fetch_month, file_name, legacy_file_name, read_price_and_demand
from etl_assets.aemo.typed_rows import InvalidRow
from etl_assets.http import HttpClient, NotThere, Unintelligible
from etl_assets.settings import Settings

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "aemo" / "price_and_demand"
REAL_FILES = sorted(REAL.rglob("*.csv"))
with_real_files = pytest.mark.skipif(not REAL_FILES, reason=f"no market files at {REAL}")

HEADER = "REGION,SETTLEMENTDATE,TOTALDEMAND,RRP,PERIODTYPE"
MONTH = date(2025, 1, 1)


def read(*lines: str, end: str = "\r\n") -> tuple[pa.Table, list[InvalidRow]]:
    return read_price_and_demand("a.csv", "".join(line + end for line in (HEADER, *lines)).encode())


def test_a_row_is_an_interval_end_in_utc_with_its_values() -> None:
    table, invalid = read("NSW1,2025/01/01 00:05:00,7251.07,138.03,TRADE")

    assert invalid == []
    assert table.to_pylist() == [
        {
            "interval_end": datetime(2024, 12, 31, 14, 5, tzinfo=UTC),
            "region_id": "NSW1",
            "total_demand": 7251.07,
            "rrp": 138.03,
            "period_type": "TRADE",
        }
    ]
    assert table.schema.field("interval_end").type == pa.timestamp("us", tz="UTC")


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize(
    "stamp", ["1998/12/07 02:00:00", '"1998/12/07 02:00:00"', "1998/12/07 02:00", '"1998/12/07 02:00"']
)
def test_every_way_the_files_were_written_is_read(stamp: str, end: str) -> None:
    table, invalid = read(f"NSW1,{stamp},5000,10,TRADE", end=end)

    assert invalid == []
    assert table["interval_end"].to_pylist() == [datetime(1998, 12, 6, 16, tzinfo=UTC)]


def test_old_region_names_become_todays() -> None:
    table, _ = read("NSW,2001/01/01 00:30,1,1,TRADE", "SNOWY1,2001/01/01 00:30,1,1,TRADE", "WEM,2001/01/01 00:30,1,1,T")

    assert table["region_id"].to_pylist() == ["NSW1", "SNOWY1", "WEM"]


def test_a_blank_period_type_is_null() -> None:
    table, invalid = read("NSW1,2014/04/15 15:55:00,8449.02,49.45559,")

    assert (table["period_type"].to_pylist(), invalid) == ([None], [])


def test_columns_are_found_by_name() -> None:
    table, _ = read_price_and_demand(
        "a.csv", b"RRP,PERIODTYPE,EXTRA,REGION,SETTLEMENTDATE,TOTALDEMAND\n1,T,x,SA1,2020/01/01 00:30:00,2"
    )

    assert (table["rrp"].to_pylist(), table["total_demand"].to_pylist()) == ([1.0], [2.0])


@pytest.mark.parametrize(
    "data", [b"", b"REGION,SETTLEMENTDATE,PRICE\n", b"<html>", b"NSW1,2025/01/01 00:05:00,1,1,TRADE\n"]
)
def test_a_file_with_another_header_is_unintelligible(data: bytes) -> None:
    with pytest.raises(Unintelligible, match=r"a\.csv"):
        read_price_and_demand("a.csv", data)


def test_a_header_alone_is_a_file_without_rows() -> None:
    table, invalid = read()

    assert (table.num_rows, invalid) == (0, [])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("NSW1,2025/01/01 00:10:00,NaN,1,TRADE", "TOTALDEMAND 'NaN' is not a finite number"),
        ("NSW1,2025/01/01 00:10:00,1,,TRADE", "RRP is blank"),
        ("NSW1,2025/13/01 00:10:00,1,1,TRADE", "SETTLEMENTDATE '2025/13/01 00:10:00' is not a stamp"),
        (",2025/01/01 00:10:00,1,1,TRADE", "REGION is blank"),
        ("NSW1,2025/01/01 00:10", "2 fields where the header has 5"),
    ],
)
def test_a_bad_row_is_set_apart_and_the_others_go_on(row: str, reason: str) -> None:
    table, [bad] = read("NSW1,2025/01/01 00:05:00,1,1,TRADE", row, "NSW1,2025/01/01 00:15:00,1,1,TRADE")

    assert table.num_rows == 2
    assert (bad.source_file, bad.line, bad.raw) == ("a.csv", 3, row)
    assert bad.reason.startswith(reason)


# --- fetching -----------------------------------------------------------------------------------------


def test_names_are_aemos() -> None:
    assert file_name(MONTH, "NSW1") == "PRICE_AND_DEMAND_202501_NSW1.csv"
    assert legacy_file_name(MONTH, "NSW1") == "DATA202501_NSW1.csv"


@pytest.fixture
def http() -> Iterator[HttpClient]:
    def answer(request: httpx.Request) -> httpx.Response:
        there = request.url.path == "/files/PRICE_AND_DEMAND_202501_NSW1.csv"
        return httpx.Response(200, stream=httpx.ByteStream(b"REGION")) if there else httpx.Response(404)

    with HttpClient(Settings(_env_file=None, http_backoff=0), httpx.MockTransport(answer)) as client:
        yield client


def test_a_month_is_fetched_by_name(http: HttpClient) -> None:
    assert fetch_month(http, "http://aemo.test/files/", MONTH, "NSW1") == (
        file_name(MONTH, "NSW1"),
        b"REGION",
    )


def test_a_month_that_is_not_published_is_not_there(http: HttpClient) -> None:
    with pytest.raises(NotThere):
        fetch_month(http, "http://aemo.test/files", MONTH, "SNOWY1")


@pytest.mark.parametrize(
    "name", ["PRICE_AND_DEMAND_202501_NSW1.csv", "price_and_demand_202501_nsw1.CSV", "DATA202501_NSW1.csv"]
)
def test_a_mirror_may_use_either_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"REGION")

    assert fetch_month(None, tmp_path.as_uri(), MONTH, "NSW1") == (name, b"REGION")


def test_a_month_that_a_mirror_lacks_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotThere):
        fetch_month(None, tmp_path.as_uri(), MONTH, "NSW1")


def test_a_site_needs_a_client() -> None:
    with pytest.raises(ValueError, match="HTTP client"):
        fetch_month(None, "http://aemo.test", MONTH, "NSW1")


# --- AEMO's own files ---------------------------------------------------------------------------------


@pytest.mark.real_data
@with_real_files
@pytest.mark.parametrize("path", REAL_FILES, ids=lambda path: path.stem)
def test_every_value_of_a_real_file_is_as_the_csv_module_reads_it(path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(path.read_text())))

    table, invalid = read_price_and_demand(path.name, path.read_bytes())

    assert invalid == []
    stamps = [datetime.strptime(row["SETTLEMENTDATE"], "%Y/%m/%d %H:%M:%S").replace(tzinfo=UTC) for row in rows]
    assert table["interval_end"].to_pylist() == [stamp - timedelta(hours=10) for stamp in stamps]
    assert table["region_id"].to_pylist() == [row["REGION"] for row in rows]
    assert table["total_demand"].to_pylist() == [float(row["TOTALDEMAND"]) for row in rows]
    assert table["rrp"].to_pylist() == [float(row["RRP"]) for row in rows]
    assert table["period_type"].to_pylist() == [row["PERIODTYPE"] or None for row in rows]


@pytest.mark.real_data
@with_real_files
@pytest.mark.parametrize("path", sorted(REAL.glob("PRICE*.csv")), ids=lambda path: path.stem)
def test_a_real_month_has_an_instant_for_every_interval(path: Path) -> None:
    year, month = int(path.stem[17:21]), int(path.stem[21:23])
    days = 17 if path.stem == "PRICE_AND_DEMAND_202602_VIC1" else monthrange(year, month)[1]

    table, _ = read_price_and_demand(path.name, path.read_bytes())

    start = datetime(year, month, 1, tzinfo=UTC) - timedelta(hours=10)
    assert table["interval_end"].to_pylist() == [start + timedelta(minutes=5 * n) for n in range(1, days * 288 + 1)]
