"""Every rule about market time: NEM time, dispatch intervals, market days.

The NEM runs on Australian Eastern Standard Time all year (UTC+10, no daylight saving). AEMO stamps an
interval by its *end* and writes no zone: settlement date ``2026/11/22 00:05:00`` is the five minutes to 00:05.
A **market day** here is the calendar day in NEM time as the market counts it: the 288 intervals whose ends lie
in (00:00, 24:00], so the interval that ends at midnight belongs to the day before. It is not the NEM *trading
day*, which runs from 04:00 to 04:00.

Nothing but ``utc_now`` reads the clock: every other "now" is an argument.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone

NEM_TIME = timezone(timedelta(hours=10), "NEM")
NEM_ZONE_NAME = "Australia/Brisbane"
"""The IANA zone with NEM time's rules, for Dagster, which wants a name."""

DISPATCH_INTERVAL = timedelta(minutes=5)
HALF_HOUR = timedelta(minutes=30)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

FIVE_MINUTE_SETTLEMENT = date(2021, 10, 1)
"""First market day settled in 5-minute trading intervals; half-hourly before."""


def market_day(interval_end: datetime) -> date:
    """The market day that an interval belongs to, from its end (aware)."""
    return (interval_end.astimezone(NEM_TIME) - timedelta(microseconds=1)).date()


def instant_day(instant: datetime) -> date:
    """The market day that an instant (aware) or the start of an interval lies in: [00:00, 24:00)."""
    return instant.astimezone(NEM_TIME).date()


def hour_start(instant: datetime) -> datetime:
    """The start, in UTC, of the whole hour that an instant (aware) lies in; NEM time is whole hours from UTC."""
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def day_start(day: date) -> datetime:
    """Midnight at which a market day begins (exclusive as an interval end), in NEM time."""
    return datetime(day.year, day.month, day.day, tzinfo=NEM_TIME)


def interval_ends(day: date, length: timedelta = DISPATCH_INTERVAL) -> list[datetime]:
    """Ends of a market day's intervals in order, aware, in NEM time: 288 of 5 minutes, 48 of 30."""
    start = day_start(day)
    return [start + length * n for n in range(1, DAY // length + 1)]


def ceil_interval(now: datetime, length: timedelta = DISPATCH_INTERVAL) -> datetime:
    """The end of the interval that contains ``now``; ``now`` itself when it lies on a boundary."""
    local = now.astimezone(NEM_TIME)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - length * ((midnight - local) // length)


def days_between(first: date, last: date) -> Iterator[date]:
    """The market days from ``first`` to ``last``, both included."""
    for n in range((last - first).days + 1):
        yield first + DAY * n


def parse_settlement_date(text: str) -> datetime:
    """An AEMO stamp such as ``2026/11/22 00:05:00`` as an aware instant in NEM time.

    Raises ``ValueError`` where the text is not such a stamp.
    """
    return datetime.strptime(text, "%Y/%m/%d %H:%M:%S").replace(tzinfo=NEM_TIME)


def format_settlement_date(instant: datetime) -> str:
    """An instant as AEMO writes it: ``2026/11/22 00:05:00``, in NEM time."""
    return instant.astimezone(NEM_TIME).strftime("%Y/%m/%d %H:%M:%S")


def _wall_clock() -> datetime:
    return datetime.now(UTC)


_clock = _wall_clock


def utc_now() -> datetime:
    """The clock, in UTC. Called only at the edges (CLI, resources), and passed down from there."""
    return _clock()


def use_clock(source: Callable[[], datetime] = _wall_clock) -> None:
    """Have this process take its time (aware, UTC) from ``source``; without one, from the wall clock again.

    For the simulated week (`soak`), whose processes call it as they start. No setting and no variable of the
    environment does: a pipeline must not work for another time by mistake. Dagster, DuckLake and the file system go on
    stamping what they write with the time it is.
    """
    global _clock  # noqa: PLW0603 (one clock a process)
    _clock = source
