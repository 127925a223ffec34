"""What happens in a soak, and when: drawn from a seed, so that a failure can be had again.

The week is one of the past, the same for every seed, with the end of a month and the beginning of daylight saving in
it. What kills hit depends on the machine's speed; when they fall due does not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Self

from etl_assets.market_time import DAY, NEM_TIME, instant_day
from soak.spells import Spell, draw_handful, draw_spells

WEEK_START = datetime(2025, 9, 29, 23, 1, tzinfo=NEM_TIME)
"""Sydney's clocks go forward on Sunday the 5th of October. At minute 1 the market's tick is due, and the
sites' just was."""
SHORT_START = datetime(2025, 9, 30, 22, 31, tzinfo=NEM_TIME)
SHORT_LENGTH = timedelta(hours=6)

QUIET_START = timedelta(hours=3)
"""For the first day to come in."""
CALM_BEFORE_END = timedelta(hours=21)
"""Faults end before the last re-read, recheck and KPI run; what was revised must be two days old by then."""
REVISIONS_END = timedelta(days=2)
"""Before the backup, so that it has them on record: the recheck at 01:30 reads the day before yesterday."""
SPARED_AT_END = timedelta(hours=2)
SHORTEST_DAYS = 6
"""Before the last two days show whether what goes matches what comes."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, [start, end)."""

    start: datetime
    end: datetime

    def holds(self, moment: datetime) -> bool:
        """Whether an instant lies in it."""
        return self.start <= moment < self.end


@dataclass(frozen=True, slots=True)
class Plan:
    """A soak: its time, its step, its faults, its kills. All instants are aware."""

    seed: int
    start: datetime
    end: datetime
    step: timedelta
    spells: tuple[Spell, ...]
    outages: tuple[Window, ...]
    """The sources refuse connections."""
    box_down: tuple[Window, ...]
    """Nothing of the pipeline runs."""
    faults_end: datetime
    """Then every fault of requests is over, met or not; those of intervals end when they are published."""
    worker_kills: tuple[datetime, ...]
    api_kills: tuple[datetime, ...]
    backup_at: datetime | None = None
    kpi_cron: str = "0 12 * * *"
    is_short: bool = False

    @classmethod
    def week(cls, seed: int, days: int, step: timedelta) -> Self:
        """``days`` (``SHORTEST_DAYS`` or more) with everything."""
        random = Random(seed)  # noqa: S311 (a draw that can be had again, no secret)
        start, end = WEEK_START, WEEK_START + timedelta(days=days)
        first, last = start + QUIET_START, end - CALM_BEFORE_END
        outages = tuple(_windows(random, first, last, timedelta(hours=1), days // 3))
        box_down = tuple(_windows(random, first, last, timedelta(hours=random.randint(3, 6)), 1))
        away = [(window.start - step, window.end + step) for window in (*outages, *box_down)]
        backup_at = start + (end - start) / 2
        spells = draw_spells(random, (first, last), step, away=away, revisions_end=backup_at - REVISIONS_END)
        return cls(
            seed, start, end, step, tuple(spells), outages, box_down, faults_end=last,
            worker_kills=tuple(_every(random, start, end - SPARED_AT_END, timedelta(hours=3))),
            api_kills=tuple(_every(random, first, last, timedelta(days=1))),
            backup_at=backup_at,
        )  # fmt: skip

    @classmethod
    def short(cls, seed: int, step: timedelta) -> Self:
        """Six hours around a midnight, with a handful of faults."""
        random = Random(seed)  # noqa: S311 (the same)
        start, end = SHORT_START, SHORT_START + SHORT_LENGTH
        first, last = start + step, end - timedelta(hours=2)
        return cls(
            seed, start, end, step, tuple(draw_handful(random, first, last, step, 8)),
            outages=(Window(first, first + step),),
            box_down=(),
            faults_end=last,
            worker_kills=tuple(_every(random, start + step, end - 2 * step, timedelta(hours=1))),
            api_kills=(),
            # 03:40 NEM time: in a short soak, the day that ended at midnight is computed, too, once it has healed.
            kpi_cron="40 17 * * *",
            is_short=True,
        )  # fmt: skip

    def intervals_of(self, fault: str) -> set[datetime]:
        """Ends of the intervals that the spells of a fault about intervals are about."""
        return {end for spell in self.spells if spell.name == fault for end in spell.options["intervals"]}

    def kpi_days(self) -> list[date]:
        """The market days that the daily KPI runs of this time are for."""
        minute, hour = map(int, self.kpi_cron.split()[:2])
        first = self.start.astimezone(UTC).replace(hour=hour, minute=minute, second=0, microsecond=0)
        due = (first + timedelta(days=number) for number in range((self.end - self.start).days + 2))
        return [instant_day(moment) - DAY for moment in due if self.start < moment <= self.end]

    def steps(self) -> Iterator[datetime]:
        """The instants at which the pipeline looks what is due; none while the box is down."""
        moment = self.start
        while moment <= self.end:
            if not any(window.holds(moment) for window in self.box_down):
                yield moment
            moment += self.step


def _windows(random: Random, start: datetime, end: datetime, length: timedelta, count: int) -> Iterator[Window]:
    for _ in range(count):
        begin = start + random.random() * (end - start - length)
        yield Window(begin, begin + length)


def _every(random: Random, start: datetime, end: datetime, mean: timedelta) -> Iterator[datetime]:
    """Instants some time apart, half to one and a half times the mean."""
    moment = start + mean * random.uniform(0.5, 1.5)
    while moment < end:
        yield moment
        moment += mean * random.uniform(0.5, 1.5)
