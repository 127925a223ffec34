"""NEMWeb's reports, byte for byte in AEMO's layout: what is inside a file, not where or when it is published.

One function a report; each returns the CSV. Versions of the tables follow the interval's date.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from etl_assets.market_time import DISPATCH_INTERVAL, NEM_TIME, market_day
from etl_assets.simulator import mms, tables
from etl_assets.simulator.columns import LINKS, REGIONS, DayColumns, Printer, rows
from etl_assets.simulator.constraints import constraint_rows
from etl_assets.simulator.figures import pairs, plain, round_half_up
from etl_assets.simulator.market import Market, RooftopType
from etl_assets.simulator.network import INTERCONNECTOR_NAMES, REGION_NAMES
from etl_assets.simulator.tables import Table
from etl_assets.simulator.units import units

PRICE_5_SINCE = date(2024, 8, 1)
REGIONSUM_9_SINCE = date(2025, 5, 1)
"""Between January and August 2025; the exact day is not known."""

ROOFTOP_DELAY = timedelta(minutes=30)
"""A rooftop file is published this long after its interval ends; its name bears that later time."""

_TRADING_ORDER = ("SA1", "NSW1", "QLD1", "TAS1", "VIC1")
_LANES = {"DISPATCHIS": 0, "TRADINGIS": 1, "DISPATCHSCADA": 2, "MEASUREMENT": 3, "SATELLITE": 4}


@dataclass(frozen=True, slots=True)
class Issue:
    """How a dispatch file is issued: when, and with or without the rows of an intervention's physical run."""

    published: datetime
    intervention: bool = False
    reissued: bool = False


def dispatch_published(interval_end: datetime) -> datetime:
    """When the dispatch files of an interval appear: a few seconds into the interval."""
    return mms.dispatched(interval_end) + timedelta(seconds=6)


class Reports:
    """Writes the reports of one market."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.printer = Printer(market)

    def dispatchis(self, interval_end: datetime, issue: Issue | None = None) -> bytes:
        """The DISPATCHIS report of an interval: prices, regions, interconnectors and constraints."""
        issue = issue or Issue(dispatch_published(interval_end))
        number = mms.sequence(issue.published, _LANES["DISPATCHIS"])
        report = mms.Report("DISPATCHIS", issue.published, number, "DISPATCHIS", number - 1)
        changed = mms.stamp(mms.dispatched(interval_end))
        text = mms.CRLF.join(self._dispatchis(interval_end, issue, changed))
        if issue.reissued:
            text = text.replace(changed, mms.stamp(issue.published - timedelta(seconds=3)))
        return mms.document(report.header, text.split(mms.CRLF))

    def _dispatchis(self, interval_end: datetime, issue: Issue, changed: str) -> Iterator[str]:
        columns = self.printer.day(market_day(interval_end))
        _, number = self.market.locate(interval_end)
        runs = (0, 1) if issue.intervention else (0,)
        stamp, interval = mms.stamp(interval_end), mms.dispatch_interval(interval_end)
        yield from _case(stamp, changed, number, runs)
        yield tables.DISPATCHIS_LOCAL_PRICE.header
        yield f"{tables.DISPATCHIS_LOCAL_PRICE.prefix}{stamp},{units()[number % 40].duid},-{number % 90}.48,1"
        for table in (price_table(interval_end), regionsum_table(interval_end)):
            yield table.header
            yield from _both_runs(columns, table, number, runs)
        yield tables.DISPATCHIS_INTERCONNECTORRES.header
        yield from _both_runs(columns, tables.DISPATCHIS_INTERCONNECTORRES, number, runs)
        yield tables.DISPATCHIS_CONSTRAINT.header
        yield constraint_rows(stamp, interval, changed)
        yield tables.DISPATCHIS_INTERCONNECTION.header
        yield from self._interconnection(interval_end, stamp, interval, changed)

    def _interconnection(self, interval_end: datetime, stamp: str, interval: str, changed: str) -> Iterator[str]:
        """Flows between neighbouring regions: the sum of the links between them."""
        day, number = self.market.locate(interval_end)
        values = {name: day.link[name][number].tolist() for name in ("flow", "metered", "losses")}
        for source, sink, links in (
            ("NSW1", "QLD1", (0, 1)),
            ("VIC1", "NSW1", (5,)),
            ("VIC1", "SA1", (3, 4)),
        ):
            flow, metered, losses = (sum(values[name][n] for n in links) for name in ("flow", "metered", "losses"))
            factor = pairs(10**15 + flow * 10**7, 15)
            shares = (pairs(losses * 6, 6), pairs(losses * 4, 6))
            yield (
                f"{tables.DISPATCHIS_INTERCONNECTION.prefix}{stamp},1,0,{source},{sink},{interval},{factor},"
                f"{pairs(flow * 10, 6)},{pairs(metered * 10, 6)},{shares[0]},{shares[1]},{changed}"
            )

    def tradingis(self, interval_end: datetime) -> bytes:
        """The TRADINGIS report of a trading interval: prices to the cent, and interconnectors."""
        length = self.market.trading_interval(market_day(interval_end))
        start = interval_end - DISPATCH_INTERVAL
        number = mms.sequence(start + timedelta(seconds=11), _LANES["TRADINGIS"])
        report = mms.Report("TRADINGIS", start + timedelta(seconds=11), number, "TRADINGIS", number - 1)
        head = f"{mms.stamp(interval_end)},1"
        period = mms.period_id(interval_end, length)
        changed = mms.stamp(start + timedelta(seconds=4))
        day, step = self.market.locate(interval_end)
        lines = [tables.TRADINGIS_INTERCONNECTORRES.header]
        for n, link in enumerate(INTERCONNECTOR_NAMES):
            flows = ",".join(_cents(day.link[name][step, n]) for name in ("metered", "flow", "losses"))
            lines.append(f"{tables.TRADINGIS_INTERCONNECTORRES.prefix}{head},{link},{period},{flows},{changed}")
        lines.append(tables.TRADINGIS_PRICE.header)
        prices = self.market.trading_cents(day)[step // self.market.trading_steps(day.day)]
        for region in _TRADING_ORDER:
            column = REGION_NAMES.index(region)
            rrp = plain(prices[column], 2)
            fcas = ",".join(f"{price},{price}" for price in map(_cents, day.fcas[step, column]))
            lines.append(
                f"{tables.TRADINGIS_PRICE.prefix}{head},{region},{period},{rrp},0,0,{changed},{rrp},{fcas},FIRM"
            )
        return mms.document(report.header, lines)

    def dispatch_scada(self, interval_end: datetime) -> bytes:
        """The DISPATCHSCADA report of an interval: the metered output of every unit."""
        published = interval_end - DISPATCH_INTERVAL + timedelta(seconds=23)
        number = mms.sequence(published, _LANES["DISPATCHSCADA"])
        report = mms.Report("DISPATCHSCADA", published, number, "DISPATCHSCADA", number - 6)
        head = f"{tables.SCADA.prefix}{mms.stamp(interval_end)},"
        tail = f",{mms.stamp(published - timedelta(seconds=1))}"
        day, row = self.market.locate(interval_end)
        outputs = self.market.outputs(day.day)[row].tolist()
        lines = [f"{head}{unit.duid},{pairs(mw, 6)}{tail}" for unit, mw in zip(units(), outputs, strict=True)]
        return mms.document(report.header, [tables.SCADA.header, *lines])

    def rooftop_pv(self, interval_end: datetime, kind: RooftopType) -> bytes:
        """The ROOFTOP_PV_ACTUAL report of a half-hour, measured or from satellite images."""
        published = interval_end + ROOFTOP_DELAY + timedelta(seconds=3)
        number = mms.sequence(published, _LANES[kind])
        report = mms.Report(f"ROOFTOP_PV_ACTUAL_{kind}", published, number, "DEMAND", number)
        quality = "1" if kind == "MEASUREMENT" else "0.6"
        changed = mms.stamp(rooftop_changed(interval_end, kind))
        head = f"{tables.ROOFTOP.prefix}{mms.stamp(interval_end)},"
        powers = self.market.rooftop_power(interval_end, kind)
        lines = [f"{head}{region},{plain(power, 3)},{quality},{kind},{changed}" for region, power in powers.items()]
        return mms.document(report.header, [tables.ROOFTOP.header, *lines])


def price_table(interval_end: datetime) -> Table:
    """The version of DISPATCH.PRICE in a DISPATCHIS file of that interval."""
    return tables.DISPATCHIS_PRICE if market_day(interval_end) >= PRICE_5_SINCE else tables.MONTHLY_PRICE_4


def regionsum_table(interval_end: datetime) -> Table:
    """The version of DISPATCH.REGIONSUM in a DISPATCHIS file of that interval."""
    newest = market_day(interval_end) >= REGIONSUM_9_SINCE
    return tables.DISPATCHIS_REGIONSUM if newest else tables.DISPATCHIS_REGIONSUM_8


def rooftop_changed(interval_end: datetime, kind: RooftopType) -> datetime:
    """LASTCHANGED of a rooftop row."""
    return interval_end + (
        timedelta(minutes=19, seconds=13) if kind == "MEASUREMENT" else timedelta(minutes=20, seconds=23)
    )


def member_name(feed: str, interval_end: datetime, published: datetime) -> str:
    """The name of a dispatch file without its extension; ``feed`` as in the name (``DISPATCHIS``)."""
    number = mms.sequence(published, _LANES[feed])
    return f"PUBLIC_{feed}_{interval_end.astimezone(NEM_TIME):%Y%m%d%H%M}_{number:016d}"


def rooftop_name(interval_end: datetime, kind: RooftopType) -> str:
    """The name of a rooftop file without its extension; it bears the time of publication."""
    published = interval_end.astimezone(NEM_TIME) + ROOFTOP_DELAY
    number = mms.sequence(published + timedelta(seconds=3), _LANES[kind])
    return f"PUBLIC_ROOFTOP_PV_ACTUAL_{kind}_{published:%Y%m%d%H%M%S}_{number:016d}"


def run_rows(columns: DayColumns, table: Table, first: int, last: int, intervention: int = 0) -> list[str]:
    """Rows of a regional or interconnector table, by row number in the day, for one of the two runs."""
    link = table.name == "INTERCONNECTORRES"
    printed = [(columns.link if link else columns.region)(name, intervention=intervention) for name in table.columns]
    return rows(table.prefix, printed, first, last)


def _both_runs(columns: DayColumns, table: Table, number: int, runs: tuple[int, ...]) -> Iterator[str]:
    width = LINKS if table.name == "INTERCONNECTORRES" else REGIONS
    printed = [run_rows(columns, table, number * width, (number + 1) * width, run) for run in runs]
    for group in zip(*printed, strict=True):
        yield from group


def _case(stamp: str, changed: str, number: int, runs: tuple[int, ...]) -> Iterator[str]:
    yield tables.DISPATCHIS_CASE_SOLUTION.header
    for run in runs:
        objective = f"{200_000_000 + number * 187_123}.{(number * 37) % 100:02d}{(number % 9) + 1}0"
        yield (
            f"{tables.DISPATCHIS_CASE_SOLUTION.prefix}{stamp},1,{run},,1,,0,{objective},"
            f"0,0,0,0,{number % 13}.02,,,,,0,0,0,{changed},1,1,"
        )


def _cents(units_: np.int64) -> str:
    """A figure in 1e-5 as printed after rounding half up to hundredths."""
    return plain(round_half_up(int(units_), 1000), 2)
