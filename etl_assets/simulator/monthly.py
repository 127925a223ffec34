"""Monthly files: the MMSDM tables and the price-and-demand files.

A month is the intervals from 00:05 on the 1st to 00:00 on the next 1st. Rows come day by day, so that a
month of unit output (4 million rows) never lies in memory at once.
"""

import io
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from etl_assets.market_time import HALF_HOUR, NEM_TIME, days_between, format_settlement_date, interval_ends
from etl_assets.simulator import mms, tables
from etl_assets.simulator.aemo import PRICE_5_SINCE, REGIONSUM_9_SINCE, Reports, rooftop_changed, run_rows
from etl_assets.simulator.columns import LINKS, REGIONS
from etl_assets.simulator.figures import pairs_column, plain, plain_column, round_half_up
from etl_assets.simulator.market import ROOFTOP_TYPES
from etl_assets.simulator.network import FCAS_SERVICES, REGION_NAMES
from etl_assets.simulator.tables import Table
from etl_assets.simulator.units import units

MONTHLY_TABLES = (
    "DISPATCHINTERCONNECTORRES", "DISPATCHPRICE", "DISPATCHREGIONSUM", "DISPATCH_UNIT_SCADA",
    "ROOFTOP_PV_ACTUAL",
    "TRADINGPRICE",
)  # fmt: skip
FIRST_MMSDM_MONTH = date(2009, 7, 1)
ARCHIVE_NAMES_SINCE = date(2024, 8, 1)
"""First month whose files are called PUBLIC_ARCHIVE#... instead of PUBLIC_DVD_..."""
ONE_SECOND_FCAS_SINCE = date(2023, 10, 1)

_ALWAYS = date.min
_VERSIONS: dict[str, tuple[tuple[date, Table], ...]] = {
    "DISPATCHINTERCONNECTORRES": ((_ALWAYS, tables.DISPATCHIS_INTERCONNECTORRES),),
    "DISPATCHPRICE": (
        (PRICE_5_SINCE, tables.MONTHLY_PRICE_5),
        (date(2021, 1, 1), tables.MONTHLY_PRICE_4),
        (_ALWAYS, tables.MONTHLY_PRICE_1),
    ),
    "DISPATCHREGIONSUM": (
        (REGIONSUM_9_SINCE, tables.MONTHLY_REGIONSUM_9),
        (ARCHIVE_NAMES_SINCE, tables.MONTHLY_REGIONSUM_8),
        (date(2021, 10, 1), tables.MONTHLY_REGIONSUM_8_DVD),
        (_ALWAYS, tables.MONTHLY_REGIONSUM_4),
    ),
    "DISPATCH_UNIT_SCADA": ((_ALWAYS, tables.MONTHLY_SCADA),),
    "ROOFTOP_PV_ACTUAL": ((_ALWAYS, tables.MONTHLY_ROOFTOP),),
    "TRADINGPRICE": (
        (ARCHIVE_NAMES_SINCE, tables.MONTHLY_TRADINGPRICE_3),
        (ONE_SECOND_FCAS_SINCE, tables.MONTHLY_TRADINGPRICE_2_DVD),
        (_ALWAYS, tables.MONTHLY_TRADINGPRICE_2),
    ),
}
"""The versions of each table with the month each began, newest first."""

Skip = Callable[[date], Collection[int]]
"""Numbers (from 0) of a day's 5-minute intervals that are left out, or that hold an intervention."""


@dataclass(frozen=True, slots=True)
class Exceptions:
    """What is unusual in a month: intervals that are missing, and intervals with an intervention run."""

    missing: Skip = lambda _: ()
    interventions: Skip = lambda _: ()


def mmsdm_name(table: str, month: date) -> str:
    """The file's name without extension; with ``#`` since 2024-08 (the server's own spelling is ``%23``)."""
    stamp = f"{month:%Y%m%d}0000"
    if month >= ARCHIVE_NAMES_SINCE:
        return f"PUBLIC_ARCHIVE#{table}#FILE01#{stamp}"
    return f"PUBLIC_DVD_{table}_{stamp}"


def mmsdm_published(table: str, month: date) -> datetime:
    """When a monthly file appears: in the afternoon of the 10th of the following month."""
    following = mms.month_end(month) + timedelta(days=10)
    minutes = 12 * MONTHLY_TABLES.index(table)
    return datetime(following.year, following.month, following.day, 15, 20, 7, tzinfo=NEM_TIME) + timedelta(
        minutes=minutes
    )


class Monthly:
    """Writes the monthly files of one market."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self.market = reports.market

    def mmsdm(self, table: str, month: date, exceptions: Exceptions | None = None) -> bytes:
        """The zip of one MMSDM table and month."""
        chunks = self._chunks(table, month, exceptions or Exceptions())
        buffer = io.BytesIO()
        info = zipfile.ZipInfo(f"{mmsdm_name(table, month)}.CSV", mmsdm_published(table, month).timetuple()[:6])
        info.compress_type = zipfile.ZIP_DEFLATED
        with (
            zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_DEFLATED, compresslevel=2) as container,
            container.open(info, "w") as member,
        ):
            lines = 1
            member.write((_header(table, month) + mms.CRLF).encode())
            for rows in chunks:
                lines += len(rows)
                member.write((mms.CRLF.join(rows) + mms.CRLF).encode())
            member.write((mms.footer(lines + 1) + mms.CRLF).encode())
        return buffer.getvalue()

    def _chunks(self, table: str, month: date, exceptions: Exceptions) -> Iterator[list[str]]:
        archived = month >= ARCHIVE_NAMES_SINCE
        declared = monthly_table(table, month)
        yield [declared.header]
        for day in days_between(month, mms.month_end(month)):
            missing = set(exceptions.missing(day))
            match table:
                case "DISPATCH_UNIT_SCADA":
                    yield self._scada(day, missing, archived=archived)
                case "ROOFTOP_PV_ACTUAL":
                    yield self._rooftop(day, missing)
                case "TRADINGPRICE":
                    yield self._trading(day, declared, missing)
                case _:
                    yield self._dispatch(day, declared, missing, set(exceptions.interventions(day)))

    def _dispatch(self, day: date, table: Table, missing: set[int], interventions: set[int]) -> list[str]:
        columns = self.reports.printer.day(day, archived=day >= ARCHIVE_NAMES_SINCE)
        width = LINKS if table.name == "INTERCONNECTORRES" else REGIONS
        count = len(columns.ends)
        rows = run_rows(columns, table, 0, count * width)
        if not missing and not interventions:
            return rows
        chosen: list[str] = []
        for number in range(count):
            if number in missing:
                continue
            chosen += rows[number * width : (number + 1) * width]
            if number in interventions:
                chosen += run_rows(columns, table, number * width, (number + 1) * width, 1)
        return chosen

    def _scada(self, day: date, missing: set[int], *, archived: bool) -> list[str]:
        outputs = self.market.outputs(day)
        names = [unit.duid for unit in units()]
        printed = plain_column if archived else pairs_column
        rows: list[str] = []
        for number, end in enumerate(interval_ends(day)):
            if number not in missing:
                head = f"{tables.MONTHLY_SCADA.prefix}{mms.stamp(end)},"
                values = printed(outputs[number].tolist(), 6)
                rows += [f"{head}{duid},{value}" for duid, value in zip(names, values, strict=True)]
        return rows

    def _rooftop(self, day: date, missing: set[int]) -> list[str]:
        rows = []
        for slot, end in enumerate(interval_ends(day, HALF_HOUR)):
            if slot * 6 + 5 in missing:
                continue
            for kind in ROOFTOP_TYPES:
                quality = "1" if kind == "MEASUREMENT" else "0.6"
                tail = f"{mms.stamp(rooftop_changed(end, kind))},{kind},{quality}"
                head = f"{tables.MONTHLY_ROOFTOP.prefix}{mms.stamp(end)}"
                powers = self.market.rooftop_power(end, kind).items()
                rows += [f"{head},{region},{plain(power, 3)},{tail}" for region, power in powers]
        return rows

    def _trading(self, day: date, table: Table, missing: set[int]) -> list[str]:
        figures = self.market.day(day)
        steps = self.market.trading_steps(day)
        ends = interval_ends(day, self.market.trading_interval(day))
        fcas = figures.fcas[steps - 1 :: steps].tolist()
        rows = []
        for slot, (end, prices) in enumerate(zip(ends, self.market.trading_cents(figures), strict=True)):
            if slot * steps + steps - 1 in missing:
                continue
            shared = {"SETTLEMENTDATE": mms.stamp(end), "RUNNO": "1", "PERIODID": str(slot + 1), "EEP": "0"}
            shared |= {"INVALIDFLAG": "0", "PRICE_STATUS": "FIRM"}
            shared["LASTCHANGED"] = mms.stamp(end - timedelta(minutes=4, seconds=57))
            for region, price, services in zip(REGION_NAMES, prices, fcas[slot], strict=True):
                row = shared | {"REGIONID": region, "RRP": plain(price, 2), "ROP": plain(price, 2)}
                for service, units_ in zip(FCAS_SERVICES, services, strict=True):
                    row[f"{service}RRP"] = row[f"{service}ROP"] = plain(round_half_up(units_, 1000), 2)
                rows.append(table.prefix + ",".join([row[column] for column in table.columns]))
        return rows

    def price_and_demand(self, month: date, region: str, until: datetime, missing: Skip = lambda _: ()) -> bytes:
        """PRICE_AND_DEMAND of a month and region up to an instant.

        The current month ends at the last midnight.
        """
        lines = ["REGION,SETTLEMENTDATE,TOTALDEMAND,RRP,PERIODTYPE"]
        column = REGION_NAMES.index(region)
        for day in days_between(month, mms.month_end(month)):
            ends = interval_ends(day, self.market.trading_interval(day))
            if ends[-1] > until:
                break
            figures = self.market.day(day)
            steps, left_out = self.market.trading_steps(day), set(missing(day))
            values = zip(
                ends,
                self.market.trading_centi_megawatts(figures),
                self.market.trading_cents(figures),
                strict=True,
            )
            lines += [
                f"{region},{format_settlement_date(end)},{plain(demand[column], 2)},{plain(rrp[column], 2)},TRADE"
                for slot, (end, demand, rrp) in enumerate(values)
                if slot * steps + steps - 1 not in left_out
            ]
        return (mms.CRLF.join(lines) + mms.CRLF).encode()


def monthly_table(table: str, month: date) -> Table:
    """The version of a table in a month's MMSDM file."""
    return next(declared for since, declared in _VERSIONS[table] if month >= since)


def _header(table: str, month: date) -> str:
    published = mmsdm_published(table, month)
    if month >= ARCHIVE_NAMES_SINCE:
        number = f"00{int(published.timestamp() * 1000)}"
        ending = f"{number},MONTHLY_ARCHIVE,{number}"
    else:
        number = f"{mms.sequence(published):016d}"
        ending = f"{number},,{number}"
    return f"C,SETP.WORLD,DVD_{table},AEMO,PUBLIC,{published:%Y/%m/%d,%H:%M:%S},{ending}"


def months(first: date, last: date) -> Iterable[date]:
    """The first days of the months from ``first``'s to ``last``'s, both included."""
    month = first.replace(day=1)
    while month <= last:
        yield month
        month = mms.month_end(month) + timedelta(days=1)
