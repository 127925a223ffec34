"""From what was read to rows: joined, renamed, limited to the days that were asked for."""

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa

from etl_assets.aemo.feeds import DISPATCH_IS, DISPATCH_REGION_FEED, feeds_of
from etl_assets.aemo.ladder import Source
from etl_assets.aemo.members import Member
from etl_assets.aemo.mms import InvalidRow, MmsReading, RefusedFile, read_mms
from etl_assets.aemo.rows import collected, quarantined, rows_of, stamped, within
from etl_assets.lake.tables import DISPATCH_REGION

DAY = date(2026, 11, 22)
NOW = datetime(2026, 11, 22, 4, 41, tzinfo=UTC)
PRICE = "I,DISPATCH,PRICE,5,SETTLEMENTDATE,REGIONID,INTERVENTION,RRP,LASTCHANGED"
REGIONSUM = (
    "I,DISPATCH,REGIONSUM,9,SETTLEMENTDATE,REGIONID,INTERVENTION,TOTALDEMAND,DISPATCHABLEGENERATION,"
    "SEMISCHEDULE_CLEAREDMW"
)
STAMP = '"2026/11/22 00:05:00"'


def member(name: str, *lines: str) -> Member:
    rows = ["C,A,B", *lines]
    return Member(name, ("\r\n".join([*rows, f'C,"END OF REPORT",{len(rows) + 1}', ""])).encode())


def price(rrp: float, region: str = "NSW1", intervention: int = 0) -> str:
    return f"D,DISPATCH,PRICE,5,{STAMP},{region},{intervention},{rrp},{STAMP}"


def regionsum(demand: float, generation: float = 100, semi: float = 0, region: str = "NSW1") -> str:
    return f"D,DISPATCH,REGIONSUM,9,{STAMP},{region},0,{demand},{generation},{semi}"


def read(*members: Member, source: Source = Source.CURRENT) -> list[dict[str, object]]:
    reading = read_mms(members, [part.mms for part in DISPATCH_REGION_FEED.parts])
    assert not reading.refused
    return rows_of(DISPATCH_REGION_FEED, reading, source).to_pylist()


def test_both_tables_of_a_file_make_one_row() -> None:
    [row] = read(member("A.CSV", PRICE, price(50.5), REGIONSUM, regionsum(7000.25)))

    assert (row["interval_end"], row["region_id"]) == (datetime(2026, 11, 21, 14, 5, tzinfo=UTC), "NSW1")
    assert (row["rrp"], row["total_demand"]) == (50.5, 7000.25)
    assert (row["source"], row["source_file"], row["period_type"]) == ("NEMWEB CURRENT", "A.CSV", "ACTUAL")


def test_rows_of_two_files_of_an_interval_stay_apart_the_later_last() -> None:
    rows = read(
        member("B_2.CSV", PRICE, price(60), REGIONSUM, regionsum(2)),
        member("B_1.CSV", PRICE, price(50), REGIONSUM, regionsum(1)),
    )

    assert [(row["rrp"], row["total_demand"]) for row in rows] == [(50, 1), (60, 2)]


def test_monthly_files_that_hold_one_table_each_make_one_row() -> None:
    [row] = read(
        member("PRICE.CSV", PRICE, price(50)), member("REGIONSUM.CSV", REGIONSUM, regionsum(7)), source=Source.MMSDM
    )

    assert (row["rrp"], row["total_demand"]) == (50, 7)


def test_a_row_without_its_other_half_is_kept_with_blanks() -> None:
    [row] = read(member("A.CSV", REGIONSUM, regionsum(7000)))

    assert (row["rrp"], row["total_demand"]) == (None, 7000)


def test_interventions_are_rows_of_their_own() -> None:
    rows = read(member("A.CSV", PRICE, price(50), price(45, intervention=1)))

    assert {row["intervention"]: row["rrp"] for row in rows} == {0: 50, 1: 45}


def test_scheduled_generation_is_the_difference_to_the_last_printed_digit() -> None:
    [row] = read(member("A.CSV", REGIONSUM, regionsum(7000, 6646.28, 1244.48627)))

    assert row["scheduled_generation"] == 5401.79373


def test_rows_of_other_days_are_left_out_and_midnight_belongs_to_the_day_before() -> None:
    midnight = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)
    ends = [midnight, midnight + timedelta(microseconds=1), midnight + timedelta(days=1), midnight + timedelta(days=2)]
    rows = pa.table({"interval_end": pa.array(ends, pa.timestamp("us", "UTC"))})

    assert within(rows, DISPATCH_REGION, [DAY])["interval_end"].to_pylist() == ends[1:3]
    assert within(rows, DISPATCH_REGION, [DAY - timedelta(days=1)])["interval_end"].to_pylist() == ends[:1]
    assert within(rows, DISPATCH_REGION, []).num_rows == 0


def test_rows_are_stamped_with_source_constants_and_time() -> None:
    rows = collected(stamped(pa.table({"rrp": [1.0]}), Source.ARCHIVE, {"period_type": "ACTUAL"}), NOW)

    assert rows.to_pylist() == [{"rrp": 1.0, "period_type": "ACTUAL", "source": "NEMWEB ARCHIVE", "collected_at": NOW}]


def test_what_is_rejected_names_its_feed_its_place_and_whether_it_is_a_record() -> None:
    row = InvalidRow("A.CSV", 7, "D,DISPATCH,INTERCONNECTORRES,3,x", "bad")

    found = quarantined(feeds_of(DISPATCH_IS), [row], [RefusedFile("B.CSV", "cut")])

    assert [(feed.name, record.source, record.reason, is_record) for feed, record, is_record in found] == [
        ("aemo.dispatch_interconnector", "A.CSV line 7", "bad", True),
        ("aemo.dispatch_region", "B.CSV", "cut", False),
    ]


def test_nothing_read_is_no_rows() -> None:
    reading = MmsReading({part.mms.name: part.mms.schema().empty_table() for part in DISPATCH_REGION_FEED.parts})

    assert rows_of(DISPATCH_REGION_FEED, reading, Source.CURRENT).num_rows == 0
