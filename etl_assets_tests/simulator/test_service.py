import json
import re
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from etl_assets.market_time import DISPATCH_INTERVAL, NEM_TIME, interval_ends
from etl_assets.simulator.service import REPORT_PATH, Simulator
from etl_assets_tests.simulator.reading import NOW, members, table_of, unzipped

CURRENT = "/Reports/CURRENT/DispatchIS_Reports/"
ARCHIVE = "/Reports/ARCHIVE/DispatchIS_Reports/"
MONTH = "/Data_Archive/Wholesale_Electricity/MMSDM/2026/MMSDM_2026_03/MMSDM_Historical_Data_SQLLoader/DATA/"
ASK = b'{"timeScale":["30MIN"]}'
NEWEST = datetime(2026, 4, 20, 14, 45, tzinfo=NEM_TIME)


def names(simulator: Simulator, path: str) -> list[str]:
    page = simulator.answer("GET", path).body.decode()
    return re.findall(r'HREF="[^"]+">([^<[]+)</A>', page)


def report(simulator: Simulator) -> list[dict[str, object]]:
    return list(json.loads(simulator.answer("POST", REPORT_PATH, body=ASK).body)["5MIN"])


@pytest.mark.parametrize(
    ("path", "count", "first", "last"),
    [
        (CURRENT, 577, "PUBLIC_DISPATCHIS_202604181445_", "PUBLIC_DISPATCHIS_202604201445_"),
        ("/Reports/CURRENT/Dispatch_SCADA/", 578, "DUPLICATE", "PUBLIC_DISPATCHSCADA_202604201445_"),
        (
            "/Reports/CURRENT/TradingIS_Reports/",
            4033,
            "PUBLIC_TRADINGIS_202604061445_",
            "PUBLIC_TRADINGIS_202604201445",
        ),
        (
            "/Reports/CURRENT/ROOFTOP_PV/ACTUAL/",
            1346,
            "PUBLIC_ROOFTOP_PV_ACTUAL_MEASUREMENT_20260406143000",
            "PUBLIC_ROOFTOP_PV_ACTUAL_SATELLITE_20260420143000",
        ),
        (ARCHIVE, 375, "PUBLIC_DISPATCHIS_20250409.zip", "PUBLIC_DISPATCHIS_20260418.zip"),
        (
            "/Reports/ARCHIVE/TradingIS_Reports/",
            54,
            "PUBLIC_TRADINGIS_20250330_20250405.zip",
            "PUBLIC_TRADINGIS_20260405_20260411.zip",
        ),
        (
            MONTH,
            6,
            "PUBLIC_ARCHIVE#DISPATCHINTERCONNECTORRES#FILE01#202603010000.zip",
            "PUBLIC_ARCHIVE#TRADINGPRICE",
        ),
    ],
)
def test_folders_hold_what_the_real_ones_held(
    simulator: Simulator, path: str, count: int, first: str, last: str
) -> None:
    listed = names(simulator, path)

    assert len(listed) == count
    assert listed[0].startswith(first)
    assert listed[-1].startswith(last)


def test_an_interval_s_file_appears_five_minutes_before_its_end(simulator: Simulator) -> None:
    simulator.set_time(datetime(2026, 4, 20, 14, 39, 59, tzinfo=NEM_TIME))
    assert names(simulator, CURRENT)[-1].startswith("PUBLIC_DISPATCHIS_202604201440_")

    simulator.advance(timedelta(seconds=1))

    assert names(simulator, CURRENT)[-1].startswith("PUBLIC_DISPATCHIS_202604201445_")


def test_a_file_holds_the_member_its_name_promises(simulator: Simulator) -> None:
    name = names(simulator, CURRENT)[-1]

    content = simulator.answer("GET", CURRENT + name).body

    assert list(members(content)) == [name.replace(".zip", ".CSV")]
    assert {row["SETTLEMENTDATE"] for row in table_of(unzipped(content), "PRICE")} == {"2026/04/20 14:45:00"}


def test_a_daily_archive_holds_a_zip_for_each_interval(simulator: Simulator) -> None:
    inner = members(simulator.answer("GET", f"{ARCHIVE}PUBLIC_DISPATCHIS_20260418.zip").body)

    assert len(inner) == 288
    stamps = {table_of(unzipped(content), "PRICE")[0]["SETTLEMENTDATE"] for content in list(inner.values())[::96]}
    assert stamps == {"2026/04/18 00:05:00", "2026/04/18 08:05:00", "2026/04/18 16:05:00"}


@pytest.mark.parametrize("spelling", ["%23", "#"])
def test_a_monthly_table_is_served_under_its_literal_name(simulator: Simulator, spelling: str) -> None:
    name = f"PUBLIC_ARCHIVE{spelling}TRADINGPRICE{spelling}FILE01{spelling}202603010000.zip"

    content = members(simulator.answer("GET", MONTH + name).body)

    assert list(content) == ["PUBLIC_ARCHIVE#TRADINGPRICE#FILE01#202603010000.CSV"]
    text = next(iter(content.values())).decode()
    assert text.endswith(f'C,"END OF REPORT",{31 * 288 * 5 + 3}\r\n')
    assert text.count("\r\n") == 31 * 288 * 5 + 3


def test_monthly_prices_equal_the_market_s(simulator: Simulator) -> None:
    content = simulator.answer("GET", f"{MONTH}PUBLIC_ARCHIVE%23DISPATCHPRICE%23FILE01%23202603010000.zip").body

    rows = table_of(unzipped(content), "PRICE")

    assert rows[0]["SETTLEMENTDATE"] == "2026/03/01 00:05:00"
    assert rows[-1]["SETTLEMENTDATE"] == "2026/04/01 00:00:00"
    for row in rows[::701]:
        end = datetime.strptime(row["SETTLEMENTDATE"], "%Y/%m/%d %H:%M:%S").replace(tzinfo=NEM_TIME)
        assert Decimal(row["RRP"]) == simulator.market.region(end, row["REGIONID"]).rrp


def test_a_month_is_not_published_before_the_tenth(simulator: Simulator) -> None:
    simulator.set_time(datetime(2026, 4, 9, 23, 0, tzinfo=NEM_TIME))

    assert simulator.answer("GET", MONTH).status == 404


def test_the_current_price_and_demand_file_ends_at_midnight(simulator: Simulator) -> None:
    text = simulator.answer("GET", "/aemo/data/nem/priceanddemand/PRICE_AND_DEMAND_202604_SA1.csv").body.decode()
    lines = text.split("\r\n")

    assert lines[0] == "REGION,SETTLEMENTDATE,TOTALDEMAND,RRP,PERIODTYPE"
    assert len(lines) == 19 * 288 + 2
    region, stamp, demand, rrp, kind = lines[-2].split(",")
    assert (region, stamp, kind) == ("SA1", "2026/04/20 00:00:00", "TRADE")
    midnight = datetime(2026, 4, 20, tzinfo=NEM_TIME)
    assert Decimal(rrp) == simulator.market.trading_price(midnight, "SA1")
    assert Decimal(demand) == simulator.market.region(midnight, "SA1").total_demand


@pytest.mark.parametrize(("month", "rows"), [("202109", 30 * 48), ("202110", 31 * 288), ("199901", 31 * 48)])
def test_price_and_demand_is_half_hourly_before_october_2021(simulator: Simulator, month: str, rows: int) -> None:
    text = simulator.answer("GET", f"/aemo/data/nem/priceanddemand/PRICE_AND_DEMAND_{month}_VIC1.csv").body.decode()

    assert text.count("TRADE\r\n") == rows


def test_the_report_needs_a_body(simulator: Simulator) -> None:
    assert simulator.answer("POST", REPORT_PATH).status == 500
    assert simulator.answer("GET", REPORT_PATH).status == 500


def test_the_report_holds_a_day_of_actuals_and_forecasts_after_them(simulator: Simulator) -> None:
    rows = report(simulator)
    actual = [row for row in rows if row["PERIODTYPE"] == "ACTUAL"]
    ahead = [row for row in rows if row["PERIODTYPE"] == "FORECAST" and row["REGIONID"] == "NSW1"]

    assert len(actual) == 5 * 288
    assert max(str(row["SETTLEMENTDATE"]) for row in actual) == "2026-04-20T14:45:00"
    assert ahead[0]["SETTLEMENTDATE"] == "2026-04-20T15:00:00"
    assert str(ahead[-1]["SETTLEMENTDATE"]).endswith("T04:00:00")


def test_a_forecast_is_never_the_price_that_follows(simulator: Simulator) -> None:
    for row in report(simulator):
        if row["PERIODTYPE"] == "FORECAST":
            end = datetime.fromisoformat(str(row["SETTLEMENTDATE"])).replace(tzinfo=NEM_TIME)
            assert Decimal(str(row["RRP"])) != simulator.market.region(end, str(row["REGIONID"])).rrp


def test_a_withheld_interval_is_nowhere_until_it_is_released(simulator: Simulator) -> None:
    name = names(simulator, CURRENT)[-3]
    withheld = NEWEST - 2 * DISPATCH_INTERVAL
    fault = simulator.faults.switch_on("missing_interval", intervals=[withheld])

    assert name not in names(simulator, CURRENT)
    assert simulator.answer("GET", CURRENT + name).status == 404
    assert f"{withheld:%Y-%m-%dT%H:%M:%S}" not in {row["SETTLEMENTDATE"] for row in report(simulator)}
    simulator.faults.switch_off(fault)
    assert name in names(simulator, CURRENT)


def test_an_archive_can_miss_an_interval(simulator: Simulator) -> None:
    missing = interval_ends(date(2026, 4, 18))[100]
    simulator.faults.switch_on("archive_missing_interval", intervals=[missing])

    inner = members(simulator.answer("GET", f"{ARCHIVE}PUBLIC_DISPATCHIS_20260418.zip").body)

    assert len(inner) == 287
    assert not any(f"_{missing:%Y%m%d%H%M}_" in name for name in inner)


@pytest.mark.parametrize("fault", ["revised_row", "reissued_row", "duplicate_file"])
def test_a_second_file_of_an_interval_has_a_higher_number(simulator: Simulator, fault: str) -> None:
    end = NEWEST - 6 * DISPATCH_INTERVAL
    simulator.faults.switch_on(fault, intervals=[end], region="QLD1")

    first, second = (name for name in names(simulator, CURRENT) if f"_{end:%Y%m%d%H%M}_" in name)

    before, after = (table_of(unzipped(simulator.answer("GET", CURRENT + n).body), "PRICE") for n in (first, second))
    changed = {
        (old["REGIONID"], column)
        for old, new in zip(before, after, strict=True)
        for column in ("RRP", "LASTCHANGED")
        if old[column] != new[column]
    }
    stamps = {(row["REGIONID"], "LASTCHANGED") for row in before}
    assert second > first
    assert changed == {
        "revised_row": stamps | {("QLD1", "RRP")}, "reissued_row": stamps, "duplicate_file": set(),
    }[fault]  # fmt: skip


def test_a_revision_reaches_the_report_and_the_trading_price(simulator: Simulator) -> None:
    end = NEWEST - 6 * DISPATCH_INTERVAL
    revised = simulator.market.revised_rrp(end, "QLD1")
    simulator.faults.switch_on("revised_row", intervals=[end], region="QLD1")

    row = next(
        row
        for row in report(simulator)
        if row["REGIONID"] == "QLD1" and row["SETTLEMENTDATE"] == f"{end:%Y-%m-%dT%H:%M:%S}"
    )

    assert Decimal(str(row["RRP"])) == revised


def test_interventions_add_rows_to_a_few_files_a_day(simulator: Simulator) -> None:
    simulator.faults.switch_on("intervention")
    chosen = simulator.market.interventions(date(2026, 4, 19))
    stamps = {f"_{end:%Y%m%d%H%M}_" for end in chosen}

    files = [name for name in names(simulator, CURRENT) if name[17:31] in stamps]

    assert len(files) == len(chosen)
    rows = table_of(unzipped(simulator.answer("GET", CURRENT + files[0]).body), "REGIONSUM")
    assert [row["INTERVENTION"] for row in rows] == ["0", "1"] * 5


def test_answers_do_not_depend_on_what_was_asked_before() -> None:
    path = f"{CURRENT}{names(Simulator(now=lambda: NOW), CURRENT)[50]}"
    busy = Simulator(now=lambda: NOW)
    busy.answer("GET", f"{ARCHIVE}PUBLIC_DISPATCHIS_20260401.zip")

    assert busy.answer("GET", path) == Simulator(now=lambda: NOW).answer("GET", path)
