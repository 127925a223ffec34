"""Faults over time: when each kind of fault of the simulator is on, drawn from a seed.

Each kind comes at least once. Faults that change what has been published for good (revisions, interventions, second
files) stay on to the end, or they would be unpublished; withheld intervals are published when their spell ends.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from etl_assets.market_time import DISPATCH_INTERVAL, NEM_TIME, ceil_interval
from etl_assets.simulator.faults import CATALOGUE, Scope

FOR_GOOD = frozenset({"archive_missing_interval", "revised_row", "reissued_row", "duplicate_file", "intervention"})
"""Kinds whose end would change the past."""

COUNTED: Mapping[str, Mapping[str, Any]] = {
    # Each of these costs real seconds a request: a wait that is asked for, or an answer that is held.
    "too_many_requests": {"times": 2},
    "time_out": {"times": 2, "seconds": 3.0},
    "slow_webhook": {"times": 1, "seconds": 3.0},
    "cut_body": {"times": 5},
    # PAGE_SIZE is 1,000 in a soak.
    "large_pages_break": {"limit": 500},
}
"""How some kinds are switched on; the others spoil every request they match, as long as their spell lasts."""

PATHS: Mapping[Scope, Sequence[str]] = {
    Scope.ANSWER: ("/Reports/*", "/api/*"),
    Scope.CONTENT: ("*.zip",),
    Scope.LISTING: ("/Reports/*",),
}
"""What is spoilt, by what a fault acts on: each in a spell of its own. The others have their own pattern."""

OWN_PATH = frozenset({"rolled_off", "no_content"})
"""Kinds of answers that come from one kind of address only."""

SPOIL_READINGS = frozenset({"bad_values", "bad_times", "missing_names"})
"""Kinds that take readings away until the daily re-read, and no window fails."""

REREAD_HOUR = 10
"""NEM time of the daily re-read of buildings. A reading that is spoilt each time it is asked for cannot be had, so the
damage to readings ends before, or begins after."""

KPI_HOUR = 22
"""NEM time of the daily KPI run, which is when webhooks are called."""


@dataclass(frozen=True, slots=True)
class Spell:
    """A fault that is on from ``start`` to ``end`` (None: for good), with what the board takes for it."""

    name: str
    start: datetime
    end: datetime | None
    options: Mapping[str, Any] = field(default_factory=dict)


Span = tuple[datetime, datetime]
"""From when to when; aware."""


def draw_spells(
    random: Random, span: Span, step: timedelta, *, away: Sequence[Span], revisions_end: datetime
) -> list[Spell]:
    """A week's spells within a span, in order: every kind at least once, none while nobody asks (``away``)."""
    found: list[Spell] = []
    for name, kind in CATALOGUE.items():
        paths = ("",) if name in OWN_PATH else PATHS.get(kind.scope, ("",))
        within = (span[0], revisions_end) if name == "revised_row" else span
        found += [_drawn(random, name, path, within, step, away=away) for path in paths]
    return sorted(found, key=lambda spell: (spell.start, spell.name))


def draw_handful(random: Random, start: datetime, end: datetime, step: timedelta, count: int) -> list[Spell]:
    """A few spells for a short soak, one of each scope first; none that takes a day to be noticed or to heal."""
    lasting = FOR_GOOD | SPOIL_READINGS | {"missing_interval"}
    by_scope: dict[Scope, list[str]] = {}
    for name, kind in CATALOGUE.items():
        if name not in lasting and kind.scope is not Scope.WEBHOOK:
            by_scope.setdefault(kind.scope, []).append(name)
    chosen = [random.choice(names) for names in by_scope.values()]
    rest = sorted({name for names in by_scope.values() for name in names} - set(chosen))
    names = ["missing_interval", *chosen, *random.sample(rest, max(0, count - len(chosen) - 1))]
    found = [_drawn(random, name, _any_path(random, name), (start, end), step) for name in names]
    return sorted(found, key=lambda spell: (spell.start, spell.name))


def _any_path(random: Random, name: str) -> str:
    return "" if name in OWN_PATH else random.choice(PATHS.get(CATALOGUE[name].scope, ("",)))


def _drawn(random: Random, name: str, path: str, span: Span, step: timedelta, *, away: Sequence[Span] = ()) -> Spell:
    kind, is_short = CATALOGUE[name], span[1] - span[0] < timedelta(days=1)
    length = step if is_short else step * random.randint(1, 3)
    if kind.scope is Scope.WEBHOOK:
        begin = _kpi_run(random, *span, away)
        # The daily run, and often the first of its further goes.
        length = step * random.randint(1, 2)
    else:
        begin = next(
            moment for moment in _moments(random, *span, length)
            if not any(moment < end and start < moment + length for start, end in away)
            and (kind.scope is not Scope.ACE or not _spoils_reread(moment, length + step))
        )  # fmt: skip
    options: dict[str, Any] = {"path": path} if path else {}
    options |= COUNTED.get(name, {})
    if kind.scope is Scope.WORLD:
        options["intervals"] = _revisable(random, begin) if name == "revised_row" else _intervals(random, begin)
        options["region"] = random.choice(("NSW1", "QLD1", "SA1", "TAS1", "VIC1"))
        length = step if is_short else timedelta(hours=random.randint(1, 8))
    return Spell(name, begin, None if name in FOR_GOOD else begin + length, options)


def _moments(random: Random, start: datetime, end: datetime, length: timedelta) -> Iterator[datetime]:
    while True:
        yield start + random.random() * max(end - start - length, timedelta(minutes=1))


def _spoils_reread(begin: datetime, length: timedelta) -> bool:
    reread = begin.astimezone(NEM_TIME).replace(hour=REREAD_HOUR, minute=0, second=0, microsecond=0)
    return begin - timedelta(hours=1) < reread < begin + length + timedelta(hours=1)


def _kpi_run(random: Random, start: datetime, end: datetime, away: Sequence[Span]) -> datetime:
    """Just before one of the daily KPI runs of a span, at which somebody asks."""
    first = start.astimezone(NEM_TIME).replace(hour=KPI_HOUR - 1, minute=58, second=0, microsecond=0)
    runs = [first + timedelta(days=n) for n in range((end - start).days + 2)]
    asked = [run for run in runs if not any(begin <= run + timedelta(minutes=5) < until for begin, until in away)]
    return random.choice([run for run in asked if start <= run < end])


def near_reread(moment: datetime) -> bool:
    """Whether the daily re-read of buildings is due within an hour, or was."""
    return _spoils_reread(moment, timedelta(0))


def _intervals(random: Random, begin: datetime) -> list[datetime]:
    """One to four intervals in a row that are published soon after a spell begins."""
    first = ceil_interval(begin) + DISPATCH_INTERVAL * random.randint(2, 6)
    return [first + DISPATCH_INTERVAL * n for n in range(random.randint(1, 4))]


def _revisable(random: Random, begin: datetime) -> list[datetime]:
    """Two to four intervals that end at minute 5: read at minute 1, and revised a quarter of an hour later."""
    first = begin.replace(minute=5, second=0, microsecond=0) + timedelta(hours=2)
    return [first + timedelta(hours=n) for n in range(random.randint(2, 4))]
