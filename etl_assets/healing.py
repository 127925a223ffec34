"""Asking for runs: not while enough of them are at work, and for the healing of a partition again only after a while.

Shared by the sensors of all sources; what ails is theirs to find.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

import dagster as dg

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]

IN_PROGRESS = [*UNFINISHED, dg.DagsterRunStatus.CANCELING]

TICKS_AT_ONCE = 2
"""One at work and one waiting."""

BACK_OFF_MINUTES = (5, 15, 60)
"""Waits after the first, second and later failed healings of one gap; the last one repeats, hourly."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often the healing of a day was asked for, and when last."""

    count: int
    asked_at: datetime

    def may_ask_again(self, now: datetime) -> bool:
        """Whether the back-off has passed."""
        wait = BACK_OFF_MINUTES[min(self.count, len(BACK_OFF_MINUTES)) - 1]
        return now >= self.asked_at + timedelta(minutes=wait)


class Ailing(Protocol):
    """A partition that needs healing."""

    @property
    def name(self) -> str:
        """How the cursor and the run's tag call it."""
        ...


Some = TypeVar("Some", bound=Ailing)


def plan_healing(
    ailing: Iterable[Some], attempts: Mapping[str, Attempts], running: frozenset[str], now: datetime
) -> tuple[list[Some], dict[str, Attempts]]:
    """What to ask for now, and the attempts to remember. What is whole again is forgotten."""
    asked: list[Some] = []
    kept: dict[str, Attempts] = {}
    for day in ailing:
        former = attempts.get(day.name)
        if day.name in running or (former and not former.may_ask_again(now)):
            kept |= {day.name: former} if former else {}
            continue
        asked.append(day)
        kept[day.name] = Attempts(former.count + 1 if former else 1, now)
    return asked, kept


def with_first_attempt(
    attempts: Mapping[str, Attempts], ailing: Iterable[Ailing], now: datetime
) -> dict[str, Attempts]:
    """Attempts of a sensor whose own requests are not the first: what is new to it has failed once, and waits."""
    return {**{day.name: Attempts(1, now) for day in ailing}, **attempts}


def runs_healing(instance: dg.DagsterInstance, job_name: str, tag: str) -> frozenset[str]:
    """What the unfinished runs of a healing job heal, by the tag that names it."""
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=IN_PROGRESS, job_name=job_name))
    return frozenset(run.tags[tag] for run in runs if tag in run.tags)


def load_attempts(cursor: str | None) -> dict[str, Attempts]:
    """The attempts that a sensor's cursor holds."""
    return {
        name: Attempts(entry["count"], datetime.fromisoformat(entry["asked_at"]))
        for name, entry in json.loads(cursor or "{}").items()
    }


def dump_attempts(attempts: Mapping[str, Attempts]) -> str:
    """Attempts as a sensor's cursor."""
    return json.dumps({name: {"count": a.count, "asked_at": a.asked_at.isoformat()} for name, a in attempts.items()})


def asked_or_skipped(
    context: dg.SensorEvaluationContext,
    requests: Sequence[dg.RunRequest],
    kept: Mapping[str, Attempts],
    *,
    waiting: str,
    horizon: timedelta,
) -> dg.SensorResult | dg.SkipReason:
    """What a healing sensor answers: its requests, or for what it waits; either way it remembers the attempts."""
    if requests:
        return dg.SensorResult(run_requests=requests, cursor=dump_attempts(kept))
    context.update_cursor(dump_attempts(kept))
    return dg.SkipReason(f"{waiting} in the last {horizon.total_seconds() / 3600:g} hours")
