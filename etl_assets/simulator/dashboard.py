"""The 5MIN report: JSON with the last 24 hours as ACTUAL and half-hourly FORECAST rows after them.

Both kinds carry the same key (SETTLEMENTDATE, REGIONID), in NEM time without a zone. A forecast row later
becomes an actual one with another price; it must never be mistaken for it.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

from etl_assets.market_time import DAY, DISPATCH_INTERVAL, HALF_HOUR, NEM_TIME, ceil_interval
from etl_assets.simulator.day import EPOCH
from etl_assets.simulator.draws import one
from etl_assets.simulator.market import Market, RegionRow
from etl_assets.simulator.network import REGION_NAMES

WINDOW = timedelta(hours=24)
APCFLAG_SINCE = datetime(2022, 1, 1, tzinfo=NEM_TIME)
"""The field is missing from the capture of 2021 and present in later ones."""


def newest_interval(now: datetime) -> datetime:
    """The end of the newest dispatch interval published at ``now``: the one that contains it."""
    return ceil_interval(now + timedelta(microseconds=1))


def actual_ends(now: datetime) -> list[datetime]:
    """The interval ends that the report holds as ACTUAL at ``now``."""
    newest = newest_interval(now)
    return [newest - DISPATCH_INTERVAL * n for n in reversed(range(WINDOW // DISPATCH_INTERVAL))]


def forecast_ends(now: datetime) -> list[datetime]:
    """The half-hours that it holds as FORECAST: to the next 04:00, and from 12:30 on to the one after it."""
    local = newest_interval(now).astimezone(NEM_TIME)
    midnight = local.replace(hour=0, minute=0)
    last = midnight + DAY + timedelta(hours=4)
    if local - midnight > timedelta(hours=12, minutes=30):
        last += DAY
    first = ceil_interval(local + timedelta(microseconds=1), HALF_HOUR)
    return [first + HALF_HOUR * n for n in range((last - first) // HALF_HOUR + 1)]


def five_minute_report(market: Market, now: datetime, withheld: Callable[[datetime], bool] = lambda _: False) -> bytes:
    """The body of the answer at ``now``, region by region."""
    actual = [end for end in actual_ends(now) if not withheld(end)]
    rows = []
    for region in REGION_NAMES:
        rows += [_row(market.region(end, region), "ACTUAL") for end in actual]
        rows += [_row(forecast(market, now, end, region), "FORECAST") for end in forecast_ends(now)]
    return ('{"5MIN":[' + ",".join(rows) + "]}").encode()


def forecast(market: Market, issued: datetime, interval_end: datetime, region: str) -> RegionRow:
    """What is forecast at ``issued`` for a half-hour: near the truth, never equal to it."""
    truth = market.region(interval_end, region)
    half_hour = int(issued.timestamp()) // 1800
    slot = int(interval_end.timestamp()) // 1800 * 8 + REGION_NAMES.index(region)
    draw = Decimal(str(round(one(market.seed + half_hour, f"forecast {EPOCH}", slot), 4)))
    miss = Decimal("3.71") + (abs(truth.rrp) + 10) * draw / 4
    demand = (truth.total_demand * (1 + (draw - Decimal("0.5")) / 40)).quantize(Decimal("0.01"))
    return RegionRow(
        interval_end=interval_end,
        region=region,
        intervention=0,
        rrp=min(truth.rrp + miss, Decimal(15000)).quantize(Decimal("0.00001")),
        total_demand=demand,
        available_generation=truth.available_generation,
        dispatchable_generation=demand + truth.net_interchange,
        dispatchable_load=Decimal(0),
        wdr_dispatched=Decimal(0),
        net_interchange=truth.net_interchange,
        demand_forecast=truth.demand_forecast,
        initial_supply=truth.initial_supply,
        cleared_supply=truth.cleared_supply,
        scheduled_generation=demand + truth.net_interchange - truth.semi_scheduled_generation,
        semi_scheduled_generation=truth.semi_scheduled_generation,
        fcas=truth.fcas,
    )


def _row(row: RegionRow, kind: str) -> str:
    flag = ',"APCFLAG":0' if row.interval_end >= APCFLAG_SINCE else ""
    return (
        f'{{"SETTLEMENTDATE":"{row.interval_end:%Y-%m-%dT%H:%M:%S}","REGIONID":"{row.region}",'
        f'"REGION":"{row.region}","RRP":{row.rrp:.5f},"TOTALDEMAND":{row.total_demand:.5f},'
        f'"PERIODTYPE":"{kind}","NETINTERCHANGE":{row.net_interchange:.5f},'
        f'"SCHEDULEDGENERATION":{row.scheduled_generation:.5f},'
        f'"SEMISCHEDULEDGENERATION":{row.semi_scheduled_generation:.5f}{flag}}}'
    )
