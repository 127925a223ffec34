from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.market_time import DISPATCH_INTERVAL, NEM_TIME, day_start, interval_ends
from etl_assets.simulator import aemo, mms
from etl_assets.simulator.aemo import Issue, Reports
from etl_assets.simulator.market import ROOFTOP_TYPES, Market
from etl_assets_tests.simulator.reading import rows_of, table_of

END = datetime(2025, 8, 20, 18, 10, tzinfo=NEM_TIME)
MARKET = Market()
REPORTS = Reports(MARKET)
ALL = {
    "dispatchis": REPORTS.dispatchis(END),
    "tradingis": REPORTS.tradingis(END),
    "scada": REPORTS.dispatch_scada(END),
    "rooftop": REPORTS.rooftop_pv(END - timedelta(minutes=10), "MEASUREMENT"),
}


@pytest.mark.parametrize("name", ALL)
def test_the_footer_counts_all_lines(name: str) -> None:
    text = ALL[name].decode()

    assert text.endswith("\r\n")
    assert text.count("\n") == text.count("\r\n") == int(rows_of(ALL[name])[-1][2])


@pytest.mark.parametrize("name", ALL)
def test_every_row_has_as_many_fields_as_its_header(name: str) -> None:
    header: list[str] = []
    for row in rows_of(ALL[name]):
        if row[0] == "I":
            header = row
        elif row[0] == "D":
            assert len(row) == len(header)
            assert row[1:4] == header[1:4]


def test_a_dispatch_file_has_seven_tables_and_the_size_of_a_real_one() -> None:
    names = [row[2] for row in rows_of(ALL["dispatchis"]) if row[0] == "I"]

    assert names == [
        "CASE_SOLUTION", "LOCAL_PRICE", "PRICE", "REGIONSUM", "INTERCONNECTORRES", "CONSTRAINT",
        "INTERCONNECTION",
    ]  # fmt: skip
    assert 120_000 < len(ALL["dispatchis"]) < 160_000


def test_a_dispatch_file_says_what_the_market_says() -> None:
    prices = {row["REGIONID"]: row for row in table_of(ALL["dispatchis"], "PRICE")}
    sums = {row["REGIONID"]: row for row in table_of(ALL["dispatchis"], "REGIONSUM")}

    for truth in MARKET.regions(END):
        assert Decimal(prices[truth.region]["RRP"]) == truth.rrp
        assert Decimal(prices[truth.region]["RAISE1SECRRP"]) == truth.fcas["RAISE1SEC"]
        assert Decimal(sums[truth.region]["TOTALDEMAND"]) == truth.total_demand
        assert Decimal(sums[truth.region]["NETINTERCHANGE"]) == truth.net_interchange
        assert prices[truth.region]["DISPATCHINTERVAL"] == "20250820170"


def test_interconnector_rows_say_what_the_market_says() -> None:
    rows = {row["INTERCONNECTORID"]: row for row in table_of(ALL["dispatchis"], "INTERCONNECTORRES")}

    assert {name: Decimal(row["MWFLOW"]) for name, row in rows.items()} == {
        row.interconnector: row.mw_flow for row in MARKET.interconnectors(END)
    }


@settings(max_examples=15, deadline=None)
@given(st.dates(date(2021, 10, 1), date(2030, 1, 1)), st.integers(1, 288))
def test_trading_files_print_the_price_that_settles(day: date, number: int) -> None:
    end = day_start(day) + DISPATCH_INTERVAL * number

    for row in table_of(REPORTS.tradingis(end), "PRICE"):
        assert Decimal(row["RRP"]) == MARKET.trading_price(end, row["REGIONID"])
        assert int(row["PERIODID"]) == number


def test_unit_output_is_printed_as_metered() -> None:
    printed = {row["DUID"]: Decimal(row["SCADAVALUE"]) for row in table_of(ALL["scada"], "UNIT_SCADA")}

    assert printed == MARKET.scada(END)


@pytest.mark.parametrize("kind", ROOFTOP_TYPES)
def test_rooftop_files_print_their_type_only(kind: str) -> None:
    end = datetime(2025, 1, 5, 12, 0, tzinfo=NEM_TIME)

    rows = table_of(REPORTS.rooftop_pv(end, kind), "ACTUAL")  # type: ignore[arg-type]

    assert {(row["REGIONID"], Decimal(row["POWER"])) for row in rows} == {
        (row.region, row.power) for row in MARKET.rooftop(end) if row.type == kind
    }


def test_an_intervention_adds_rows_with_other_prices() -> None:
    rows = table_of(REPORTS.dispatchis(END, Issue(END, intervention=True)), "PRICE")
    prices = {(row["REGIONID"], row["INTERVENTION"]): Decimal(row["RRP"]) for row in rows}

    assert len(rows) == 10
    for region in ("NSW1", "SA1"):
        assert prices[region, "0"] == MARKET.region(END, region).rrp
        assert prices[region, "1"] == MARKET.region(END, region, intervention=1).rrp != prices[region, "0"]


def test_a_reissue_changes_only_the_stamps() -> None:
    first = table_of(ALL["dispatchis"], "PRICE")
    second = table_of(REPORTS.dispatchis(END, Issue(END + DISPATCH_INTERVAL, reissued=True)), "PRICE")

    for old, new in zip(first, second, strict=True):
        assert {name for name in old if old[name] != new[name]} == {"LASTCHANGED"}


def test_file_numbers_rise_with_time() -> None:
    names = [
        aemo.member_name("DISPATCHIS", end, aemo.dispatch_published(end)) for end in interval_ends(date(2019, 12, 31))
    ] + [aemo.member_name("DISPATCHIS", end, aemo.dispatch_published(end)) for end in interval_ends(date(2020, 1, 1))]

    assert names == sorted(names)
    assert [name[-16:] for name in names] == sorted(name[-16:] for name in names)


def test_a_rooftop_name_bears_the_time_of_publication() -> None:
    name = aemo.rooftop_name(datetime(2024, 3, 3, 19, 30, tzinfo=NEM_TIME), "MEASUREMENT")

    assert name.startswith("PUBLIC_ROOFTOP_PV_ACTUAL_MEASUREMENT_20240303200000_00000004")


@pytest.mark.parametrize(
    ("end", "printed"),
    [
        (datetime(2025, 12, 27, 0, 5, tzinfo=NEM_TIME), "20251226241"),
        (datetime(2025, 12, 27, 4, 0, tzinfo=NEM_TIME), "20251226288"),
        (datetime(2025, 12, 27, 4, 5, tzinfo=NEM_TIME), "20251227001"),
        (datetime(2025, 12, 27, 0, 0, tzinfo=NEM_TIME), "20251226240"),
    ],
)
def test_dispatch_intervals_are_numbered_in_the_trading_day(end: datetime, printed: str) -> None:
    assert mms.dispatch_interval(end) == printed
