"""What a user does with files at hand: a mirror of NEMWeb's tree, Dagster runs, a plain DuckDB.

The expected values are read from AEMO's files by the standard library's csv and zipfile, never by the code under test.
"""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

pytestmark = pytest.mark.real_data

REAL_DATA = Path(__file__).parents[2] / "shared" / "data" / "aemo"
MMSDM = "Data_Archive/Wholesale_Electricity/MMSDM/{0}/MMSDM_{0}_{1}/MMSDM_Historical_Data_SQLLoader/DATA"

MATERIALISE = """
import json, sys
import dagster as dg
from etl_assets.dagster_home import dagster_instance
from etl_assets.definitions import defs
from etl_assets.lake.publish import publish
from etl_assets.market_time import utc_now
from etl_assets.ops.state import copies_for_analysts
from etl_assets.settings import settings

found = []
with dagster_instance(settings()) as instance:
    for job, partition, assets in json.loads(sys.argv[1]):
        run = defs.resolve_job_def(job).execute_in_process(
            instance=instance,
            partition_key=partition,
            asset_selection=[dg.AssetKey(["aemo", name]) for name in assets],
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        found += [
            {
                "partition": partition,
                "asset": ".".join(check.asset_key.path),
                "check": check.check_name,
                "passed": check.passed,
                "description": check.description,
                "metadata": {name: value.value for name, value in check.metadata.items()},
            }
            for check in run.get_asset_check_evaluations()
        ]
publish(settings(), now=utc_now(), extra=copies_for_analysts(settings()))
print(json.dumps(found, default=str))
"""
"""Runs jobs of the definitions for partitions and assets, publishes, and prints what the checks found."""

REGIONS_AND_LINKS = ["dispatch_region", "dispatch_interconnector"]
Job = tuple[str, str, list[str]]
JOBS: list[Job] = [
    ("market_months", "2025-01-01", ["price_and_demand"]),
    ("market_heal", "2019-12-30", [*REGIONS_AND_LINKS, "trading_price"]),
    ("market_heal", "2024-03-03", ["trading_price", "rooftop_pv"]),
    ("market_heal", "2024-08-02", [*REGIONS_AND_LINKS, "unit_scada", "rooftop_pv"]),
    ("market_heal", "2025-01-02", [*REGIONS_AND_LINKS, "trading_price"]),
    ("market_heal", "2025-08-20", REGIONS_AND_LINKS),
    ("market_heal", "2025-12-27", ["unit_scada"]),
]

Record = dict[str, str]


# --- the files, by other means


def records(text: str, table: str) -> list[Record]:
    """The D rows of one table of an MMS file, by the names of the I row before them."""
    names: list[str] = []
    found = []
    for row in csv.reader(io.StringIO(text)):
        if ".".join(row[1:3]) == table and row[0] == "I":
            names = row[4:]
        elif ".".join(row[1:3]) == table and row[0] == "D":
            found.append(dict(zip(names, row[4:], strict=True)))
    return found


def zipped(path: Path) -> str:
    with zipfile.ZipFile(path) as container:
        [name] = container.namelist()
        return container.read(name).decode()


def monthly(table: str, month: str, name: str) -> list[Record]:
    [path] = [
        path
        for path in (REAL_DATA / "mmsdm_reduced" / month).iterdir()
        if f"_{name}_" in path.name or f"%23{name}%23" in path.name
    ]
    return records(zipped(path), table)


def of_day(found: Iterable[Record], day: str, stamp: str = "SETTLEMENTDATE") -> list[Record]:
    """The rows of a market day: stamps after its midnight, up to and with the next."""
    first = date.fromisoformat(day)
    return [
        row
        for row in found
        if f"{first:%Y/%m/%d} 00:00:00" < row[stamp] <= f"{first + timedelta(days=1):%Y/%m/%d} 00:00:00"
    ]


def prices(month: str, day: str) -> dict[tuple[str, str, str], Record]:
    found = of_day(monthly("DISPATCH.PRICE", month, "DISPATCHPRICE"), day)
    return {(row["SETTLEMENTDATE"], row["REGIONID"], row["INTERVENTION"]): row for row in found}


def demands(month: str, day: str) -> dict[tuple[str, str, str], Record]:
    found = of_day(monthly("DISPATCH.REGIONSUM", month, "DISPATCHREGIONSUM"), day)
    return {(row["SETTLEMENTDATE"], row["REGIONID"], row["INTERVENTION"]): row for row in found}


def decimal(value: object) -> Decimal | None:
    """A figure as the shortest decimal that is it: 23.86741, not what a binary fraction makes of it."""
    return None if value in (None, "") else Decimal(str(value)).normalize()


# --- the user's way


def make_mirror(root: Path) -> Path:
    """NEMWeb's tree, filled with the files at hand."""

    def put(source: Path, folder: str, name: str = "") -> None:
        (root / folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, root / folder / (name or source.name))

    current = "Reports/CURRENT"
    put(
        REAL_DATA / "dispatchis" / "PUBLIC_DISPATCHIS_202508201810_0000000477155219.CSV",
        f"{current}/DispatchIS_Reports",
    )
    put(REAL_DATA / "tradingis" / "PUBLIC_TRADINGIS_202403031335_0000000412683134.zip", f"{current}/TradingIS_Reports")
    put(
        REAL_DATA / "dispatch_scada" / "sample_dispatchscada.csv",
        f"{current}/Dispatch_SCADA",
        "PUBLIC_DISPATCHSCADA_202512270005_0000000495867506.csv",
    )
    [rooftop] = (REAL_DATA / "rooftop").iterdir()
    put(rooftop, f"{current}/ROOFTOP_PV/ACTUAL")
    for path in (REAL_DATA / "mmsdm_reduced").rglob("*.zip"):
        put(path, MMSDM.format(*path.parent.name.split("_")))
    return root


@dataclass(frozen=True)
class Session:
    """A data folder that was filled from the mirror, and what the checks said on the way."""

    folder: Path
    checks: list[dict[str, Any]]

    def query(self, sql: str, *parameters: object) -> list[tuple]:
        with duckdb.connect(self.folder / "data" / "warehouse.duckdb", read_only=True) as warehouse:
            return warehouse.execute(sql, list(parameters)).fetchall()

    def figures(self, table: str, entity: str, columns: str, where: str) -> dict[tuple[str, ...], tuple[Any, ...]]:
        """By AEMO's own stamp, entity and intervention: figures to the last digit."""
        stamp = "strftime(settlement_date, '%Y/%m/%d %H:%M:%S')"
        rows = self.query(f"SELECT {stamp}, {entity}, {columns} FROM aemo.{table} WHERE {where}")
        keys = entity.count(",") + 2
        assert len({row[:keys] for row in rows}) == len(rows)
        return {tuple(map(str, row[:keys])): tuple(map(decimal, row[keys:])) for row in rows}

    def check(self, asset: str, name: str, partition: str) -> dict[str, Any]:
        [found] = [
            c for c in self.checks if (c["asset"], c["check"], c["partition"]) == (f"aemo.{asset}", name, partition)
        ]
        return found


def materialised(folder: Path, mirror: Path, jobs: list[Job], footer: str) -> Session:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "ETL_DATA": str(folder / "data"),
        "NEMWEB_URL": f"file://{mirror}",
        "PRICE_AND_DEMAND_URL": f"file://{REAL_DATA / 'price_and_demand'}",
        "AEMO_API_URL": "",
        "MMS_FOOTER": footer,
        "MARKET_START": "2019-12-01",
    }
    done = subprocess.run(
        [sys.executable, "-c", MATERIALISE, json.dumps(jobs)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return Session(folder, json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not REAL_DATA.exists():
        pytest.skip("the market operator's own files are not at hand (../shared/data/aemo)")
    return make_mirror(tmp_path_factory.mktemp("nemweb"))


@pytest.fixture(scope="module")
def session(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    return materialised(tmp_path_factory.mktemp("reduced"), mirror, JOBS, footer="warn")


@pytest.fixture(scope="module")
def strict_session(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    jobs = [job for job in JOBS if job[1] == "2025-01-02"]
    return materialised(tmp_path_factory.mktemp("strict"), mirror, jobs, footer="enforce")


# --- what the DuckDB file says


@pytest.mark.parametrize(
    ("month", "day"), [("2019_12", "2019-12-30"), ("2024_08", "2024-08-02"), ("2025_01", "2025-01-02")]
)
def test_prices_and_demand_of_a_monthly_archive_are_those_of_the_files_to_the_last_digit(
    month: str, day: str, session: Session
) -> None:
    price, demand = prices(month, day), demands(month, day)

    stored = session.figures(
        "dispatch_region",
        "region_id, intervention",
        "rrp, rop, apc_flag, total_demand, available_generation, net_interchange",
        f"market_day = '{day}' AND source = 'MMSDM'",
    )

    assert len(price) >= 2 * 288
    assert stored.keys() == price.keys() | demand.keys()
    for key, figures in stored.items():
        in_price = [price.get(key, {}).get(name) for name in ("RRP", "ROP", "APCFLAG")]
        in_sum = [demand.get(key, {}).get(name) for name in ("TOTALDEMAND", "AVAILABLEGENERATION", "NETINTERCHANGE")]
        assert figures == tuple(map(decimal, in_price + in_sum)), key


def test_the_price_correction_of_30_december_2019_is_there_with_the_original_price(session: Session) -> None:
    rows = session.query(
        "SELECT rrp, rop, apc_flag FROM aemo.dispatch_region WHERE settlement_date = '2019-12-30 15:10:00' "
        "AND region_id = 'NSW1' AND intervention = 0"
    )

    assert rows == [(23.86741, 28.35909, 8)]


def test_the_runs_of_interventions_are_kept_apart(session: Session) -> None:
    counted = Counter(key[2] for key in prices("2019_12", "2019-12-30"))

    stored = dict(
        session.query(
            "SELECT CAST(intervention AS VARCHAR), count(*) FROM aemo.dispatch_region "
            "WHERE market_day = '2019-12-30' GROUP BY 1"
        )
    )
    [(settling,)] = session.query("SELECT count(*) FROM aemo.price WHERE market_day = '2019-12-30'")

    assert counted["1"] > 0
    assert stored == counted
    assert settling == counted["0"] == 2 * 288


def test_flows_of_a_monthly_archive_are_those_of_the_file_to_the_last_digit(session: Session) -> None:
    found = of_day(monthly("DISPATCH.INTERCONNECTORRES", "2024_08", "DISPATCHINTERCONNECTORRES"), "2024-08-02")
    names = ("MWFLOW", "METEREDMWFLOW", "MWLOSSES", "EXPORTLIMIT", "IMPORTLIMIT")

    stored = session.figures(
        "dispatch_interconnector",
        "interconnector_id, intervention",
        "mw_flow, metered_mw_flow, mw_losses, export_limit, import_limit",
        "market_day = '2024-08-02'",
    )

    assert len(found) >= 288
    assert stored == {
        (row["SETTLEMENTDATE"], row["INTERCONNECTORID"], row["INTERVENTION"]): tuple(decimal(row[n]) for n in names)
        for row in found
    }


def test_units_and_rooftop_of_a_monthly_archive_are_those_of_the_files(session: Session) -> None:
    scada = of_day(monthly("DISPATCH.UNIT_SCADA", "2024_08", "DISPATCH_UNIT_SCADA"), "2024-08-02")
    rooftop = of_day(monthly("ROOFTOP.ACTUAL", "2024_08", "ROOFTOP_PV_ACTUAL"), "2024-08-02", "INTERVAL_DATETIME")

    units = session.figures("unit_scada", "duid", "scada_value", "market_day = '2024-08-02'")
    roofs = session.figures("rooftop_pv", "region_id, type", "power", "market_day = '2024-08-02'")

    assert scada
    assert rooftop
    assert units == {(row["SETTLEMENTDATE"], row["DUID"]): (decimal(row["SCADAVALUE"]),) for row in scada}
    assert roofs == {
        (row["INTERVAL_DATETIME"], row["REGIONID"], row["TYPE"]): (decimal(row["POWER"]),) for row in rooftop
    }


@pytest.mark.parametrize(("month", "day"), [("2019_12", "2019-12-30"), ("2025_01", "2025-01-02")])
def test_settlement_prices_are_those_of_the_file_half_hourly_before_october_2021(
    month: str, day: str, session: Session
) -> None:
    found = of_day(monthly("TRADING.PRICE", month, "TRADINGPRICE"), day)

    stored = session.figures("trading_price", "region_id", "rrp", f"market_day = '{day}'")

    assert len(found) == 2 * (48 if day < "2021-10-01" else 288)
    assert stored == {(row["SETTLEMENTDATE"], row["REGIONID"]): (decimal(row["RRP"]),) for row in found}


def test_one_interval_of_the_current_folder_is_that_of_the_file_to_the_last_digit(session: Session) -> None:
    text = (REAL_DATA / "dispatchis" / "PUBLIC_DISPATCHIS_202508201810_0000000477155219.CSV").read_text()
    price = {row["REGIONID"]: row["RRP"] for row in records(text, "DISPATCH.PRICE")}
    demand = {row["REGIONID"]: row["TOTALDEMAND"] for row in records(text, "DISPATCH.REGIONSUM")}
    flow = {row["INTERCONNECTORID"]: row["MWFLOW"] for row in records(text, "DISPATCH.INTERCONNECTORRES")}

    stored = session.figures("dispatch_region", "region_id", "rrp, total_demand", "market_day = '2025-08-20'")
    flows = session.figures("dispatch_interconnector", "interconnector_id", "mw_flow", "market_day = '2025-08-20'")

    end = "2025/08/20 18:10:00"
    assert len(price) == 5
    assert stored == {(end, region): (decimal(price[region]), decimal(demand[region])) for region in price}
    assert flows == {(end, link): (decimal(megawatts),) for link, megawatts in flow.items()}


def test_one_file_each_of_units_settlement_and_rooftop_is_read_as_it_came(session: Session) -> None:
    scada = records((REAL_DATA / "dispatch_scada" / "sample_dispatchscada.csv").read_text(), "DISPATCH.UNIT_SCADA")
    trading = records(
        zipped(REAL_DATA / "tradingis" / "PUBLIC_TRADINGIS_202403031335_0000000412683134.zip"), "TRADING.PRICE"
    )
    [path] = (REAL_DATA / "rooftop").iterdir()
    rooftop = records(zipped(path), "ROOFTOP.ACTUAL")

    units = session.figures("unit_scada", "duid", "scada_value", "market_day = '2025-12-27'")
    settled = session.figures("trading_price", "region_id", "rrp", "market_day = '2024-03-03'")
    roofs = session.figures("rooftop_pv", "region_id", "power", "market_day = '2024-03-03'")

    assert units == {(row["SETTLEMENTDATE"], row["DUID"]): (decimal(row["SCADAVALUE"]),) for row in scada}
    assert settled == {(row["SETTLEMENTDATE"], row["REGIONID"]): (decimal(row["RRP"]),) for row in trading}
    assert roofs == {(row["INTERVAL_DATETIME"], row["REGIONID"]): (decimal(row["POWER"]),) for row in rooftop}


def aggregated(region: str, month: str = "202501") -> dict[str, Record]:
    path = REAL_DATA / "price_and_demand" / f"PRICE_AND_DEMAND_{month}_{region}.csv"
    with path.open(newline="") as file:
        return {row["SETTLEMENTDATE"]: row for row in csv.DictReader(file)}


def test_the_aggregated_month_is_that_of_the_files_to_the_last_digit(session: Session) -> None:
    expected = {
        (stamp, region): (decimal(row["RRP"]), decimal(row["TOTALDEMAND"]))
        for region in ("NSW1", "VIC1")
        for stamp, row in aggregated(region).items()
    }

    stored = session.figures("price_and_demand", "region_id", "rrp, total_demand", "true")

    assert len(expected) == 2 * 31 * 288
    assert stored == expected


def test_what_the_archive_lacks_is_filled_in_from_the_aggregated_file_and_says_so(session: Session) -> None:
    """The reduced files hold NSW1 and SA1; the aggregated ones NSW1 and VIC1."""
    stored = session.figures(
        "dispatch_region", "region_id", "rrp, total_demand", "market_day = '2025-01-02' AND source = 'PRICE AND DEMAND'"
    )

    days = of_day(aggregated("VIC1").values(), "2025-01-02")
    assert stored == {
        (row["SETTLEMENTDATE"], "VIC1"): (decimal(row["RRP"]), decimal(row["TOTALDEMAND"])) for row in days
    }


def test_dispatch_settlement_and_aggregated_prices_of_2_january_2025_agree(session: Session) -> None:
    check = session.check("trading_price", "prices_agree_across_sources", "2025-01-02")

    # By hand: NSW1 in all three, SA1 in two; VIC1 was filled in from the very file that it is compared with.
    month = aggregated("NSW1")
    dispatched = {key[0]: row for key, row in prices("2025_01", "2025-01-02").items() if key[1] == "NSW1"}
    assert len(dispatched) == 288
    for stamp, row in dispatched.items():
        assert Decimal(row["RRP"]).quantize(Decimal("0.01"), ROUND_HALF_UP) == Decimal(month[stamp]["RRP"])
    assert check["passed"], check["description"]
    assert check["metadata"]["prices_compared"] == (2 + 1 + 1) * 288


def test_a_check_says_that_the_reduced_files_lack_regions(session: Session) -> None:
    check = session.check("dispatch_region", "entities_are_all_there", "2024-08-02")

    assert not check["passed"]
    assert check["description"] == "288 intervals lack QLD1, TAS1, VIC1"


# --- MMS_FOOTER


def test_files_whose_footer_counts_more_rows_are_refused_whole_and_nothing_of_them_is_stored(
    strict_session: Session,
) -> None:
    rows = strict_session.query("SELECT DISTINCT source FROM aemo.dispatch_region")

    assert rows == [("PRICE AND DEMAND",)]
    assert strict_session.query("SELECT count(*) FROM aemo.trading_price") == [(0,)]


def test_a_refused_file_lies_in_quarantine_with_the_reason(strict_session: Session) -> None:
    rows = strict_session.query(
        "SELECT dataset, source, reason, day, resolved_at FROM quality.quarantine ORDER BY source"
    )

    promised = {
        name: (dataset, int(zipped(path).splitlines()[-1].split(",")[2]), len(zipped(path).splitlines()))
        for name, dataset in (
            ("DISPATCHPRICE", "aemo.dispatch_region"),
            ("DISPATCHREGIONSUM", "aemo.dispatch_region"),
            ("TRADINGPRICE", "aemo.trading_price"),
        )
        for path in (REAL_DATA / "mmsdm_reduced" / "2025_01").glob(f"*%23{name}%23*")
    }
    assert len(rows) == 3
    for (dataset, source, reason, day, resolved_at), (name, (meant_for, counted, lines)) in zip(
        rows, promised.items(), strict=True
    ):
        assert (dataset, str(day), resolved_at) == (meant_for, "2025-01-02", None)
        assert name in source
        assert str(counted) in reason
        assert str(lines) in reason
