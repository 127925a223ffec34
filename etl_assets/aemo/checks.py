"""What should be true of a market day, asked of the lake after each collection.

Pure questions and answers: Dagster's names for them are in ``assets``. A check asks in SQL and answers the reader's
next question in its metadata: how many were expected, how many found, the first offenders, and a query for all.
A closed day that falls short is an error; an open one only warns.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from etl_assets.aemo.aggregated import days_of_month
from etl_assets.aemo.completeness import DayStatus, State, day_statuses
from etl_assets.aemo.feeds import (
    DISPATCH_REGION_FEED,
    MARKET_FLOOR,
    PRICE_AND_DEMAND_FEED,
    TRADING_PRICE_FEED,
    UNIT_SCADA_FEED,
    Feed,
    cap_is_known,
    market_cap,
)
from etl_assets.lake.connection import read_lake
from etl_assets.lake.tables import QUARANTINE, REGION_FORECAST
from etl_assets.ops.measures import LATEST
from etl_assets.quality.outcome import FIRST_OFFENDERS, Outcome
from etl_assets.quality.plots import legend, strip
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

IDENTITY_TOLERANCE_MW = 0.02
"""Rounding of five published figures: held by all of 49,000 rows from 2018 to 2026."""

USUAL_SHARE_OF_UNITS = 0.9
"""Units come and go over months; an interval that lacks a tenth of a day's usual units lost them on the way."""

Row = tuple[Any, ...]


class Answers:
    """What an open lake answers about a span of market days: each statement runs once, for all of them.

    A statement costs some 20 to 100 ms whatever it finds, so a month that is asked day by day pays thirty times.
    """

    def __init__(self, lake: "DuckDBPyConnection", first: date, last: date) -> None:
        self._lake = lake
        self._span = {"first": first, "last": last}
        self._found: dict[tuple[object, ...], Mapping[date, list[Row]]] = {}

    def of(self, day: date, sql: str, parameters: Mapping[str, object]) -> list[Row]:
        """The rows about one market day, without it; ``sql`` bears it first, and is bound by ``first`` and ``last``."""
        asked = (sql, *sorted(parameters.items()))
        if asked not in self._found:
            by_day: defaultdict[date, list[Row]] = defaultdict(list)
            for found, *row in self._lake.execute(sql, {**self._span, **parameters}).fetchall():
                by_day[found].append(tuple(row))
            self._found[asked] = by_day
        return self._found[asked].get(day, [])


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What a check is asked about: a feed's market day, as of a moment, in an open lake."""

    answers: Answers
    status: DayStatus

    @property
    def feed(self) -> Feed:
        """The feed."""
        return self.status.feed

    @property
    def day(self) -> date:
        """The market day."""
        return self.status.day

    def find(self, sql: str, **parameters: object) -> list[Row]:
        """The rows of the day, see ``Answers.of``."""
        return self.answers.of(self.day, sql, parameters)


Question = Callable[[Inquiry], Outcome]


def inquire(lake: "DuckDBPyConnection", feed: Feed, day: date, now: datetime) -> Inquiry:
    """Everything that a feed's checks need to know about a market day."""
    return inquire_days(lake, feed, [day], now)[0]


def inquire_days(lake: "DuckDBPyConnection", feed: Feed, days: Sequence[date], now: datetime) -> list[Inquiry]:
    """The same of several neighbouring market days, in order, for little more than the price of one."""
    answers = Answers(lake, min(days), max(days))
    return [Inquiry(answers, status) for status in day_statuses(lake, feed, days, now)]


def intervals_are_complete(asked: Inquiry) -> Outcome:
    """Every interval that should be there by now is there, with all its entities."""
    status = asked.status
    counts = {state.value: status.count(state) for state in State}
    missing = [end for end, entities in status.lacking.items() if entities == ("*",)]
    passed = not status.lacking
    return Outcome(
        passed=passed,
        description=f"{asked.feed.name} {asked.day}: {legend(counts)} of {len(status.states)} intervals",
        metadata={
            "intervals_expected_by_now": len(status.states) - status.count(State.EXPECTED),
            "intervals_complete": status.count(State.COMPLETE),
            "intervals_provisional": status.count(State.PROVISIONAL),
            "intervals_missing": len(missing),
            "first_missing": ", ".join(f"{end:%H:%M}" for end in missing[:FIRST_OFFENDERS]) or "none",
            "query": f"SELECT * FROM quality.gaps WHERE dataset = '{asked.feed.name}' AND healed_at IS NULL",
        },
        is_error=status.is_closed,
        pictures={"day": strip([s.value for s in status.states.values()], f"{asked.day} by interval")},
    )


def entities_are_all_there(asked: Inquiry) -> Outcome:
    """An interval that is there has every region, interconnector, or region and estimate."""
    partial = {end: lacking for end, lacking in asked.status.lacking.items() if lacking != ("*",)}
    lacking = sorted({entity for entities in partial.values() for entity in entities})
    return Outcome(
        passed=not partial,
        description=f"{len(partial)} intervals lack {', '.join(lacking)}" if partial else "every interval has them all",
        metadata={
            "expected": ", ".join(asked.feed.entities),
            "intervals_lacking_some": len(partial),
            "first_intervals": ", ".join(f"{end:%H:%M}" for end in list(partial)[:FIRST_OFFENDERS]) or "none",
        },
        is_error=asked.status.is_closed,
    )


def keys_are_unique(asked: Inquiry) -> Outcome:
    """No row is there twice."""
    table = asked.feed.table
    key = f"market_day, {', '.join(table.key)}"
    sql = (
        f"SELECT {key}, count(*) AS rows FROM {table.lake_name} "
        f"WHERE market_day BETWEEN $first AND $last GROUP BY {key} HAVING rows > 1"
    )
    return _no_offenders(asked.find(sql), "keys with more than one row", _analysts_query(sql, asked.day))


def nothing_is_quarantined(asked: Inquiry) -> Outcome:
    """No record or file of the day's collections lies in quarantine unresolved."""
    sql = (
        f"SELECT day, source, reason FROM {QUARANTINE.lake_name} "
        "WHERE dataset = $dataset AND day BETWEEN $first AND $last AND resolved_at IS NULL ORDER BY collected_at"
    )
    found = asked.find(sql, dataset=asked.feed.name)
    query = f"SELECT * FROM quality.quarantine WHERE dataset = '{asked.feed.name}' AND day = '{asked.day}'"
    return _no_offenders(found, "records or files in quarantine", query, is_error=False)


def price_is_within_cap(asked: Inquiry) -> Outcome:
    """Prices lie between the market floor and the cap of the day's financial year. Negative prices are real."""
    cap = market_cap(asked.day)
    found, query = _ask(asked, "price_within_cap", floor=MARKET_FLOOR, cap=cap)
    known = cap_is_known(asked.day)
    what = f"prices outside {MARKET_FLOOR:g} to {cap:g} AUD/MWh" + ("" if known else " (the last cap known)")
    return _no_offenders(found, what, query, is_error=known)


def energy_identity_holds(asked: Inquiry) -> Outcome:
    """Generation and demand response, less load and demand, is the net interchange, within 0.02 MW."""
    found, query = _ask(asked, "energy_identity_holds", tolerance=IDENTITY_TOLERANCE_MW)
    return _no_offenders(found, "regions out of balance", query, is_error=False)


def prices_agree_across_sources(asked: Inquiry) -> Outcome:
    """The dispatch price rounded half up to cents is the trading price and the aggregated price."""
    found, query = _ask(asked, "prices_agree")
    compared = found[0][7] if found else 0
    outcome = _no_offenders([row[:7] for row in found if row[8]], "prices that differ", query)
    return Outcome(
        outcome.passed,
        outcome.description,
        {**outcome.metadata, "prices_compared": compared},
        asked.status.is_closed,
    )


def units_report_steadily(asked: Inquiry) -> Outcome:
    """No interval lacks a tenth of the units that the day's other intervals have."""
    found, query = _ask(asked, "units_report_steadily", share=USUAL_SHARE_OF_UNITS)
    return _no_offenders(found, "intervals with few units", query, is_error=False)


def questions(feed: Feed) -> dict[str, Question]:
    """The checks of a feed, by name."""
    asked: list[Question] = [intervals_are_complete, keys_are_unique, nothing_is_quarantined]
    if feed.entities:
        asked.append(entities_are_all_there)
    if feed is DISPATCH_REGION_FEED:
        asked += [price_is_within_cap, energy_identity_holds]
    if feed in (TRADING_PRICE_FEED, PRICE_AND_DEMAND_FEED):
        asked.append(prices_agree_across_sources)
    if feed is UNIT_SCADA_FEED:
        asked.append(units_report_steadily)
    return {question.__name__: question for question in asked}


def month_outcomes(settings: Settings, month: date, now: datetime) -> dict[str, Outcome]:
    """The checks of the monthly price-and-demand table: each holds for a month when it holds for all its days."""
    with read_lake(settings) as lake:
        asked = inquire_days(lake, PRICE_AND_DEMAND_FEED, days_of_month(month), now)
        return {
            name: _over_days([question(day) for day in asked], asked)
            for name, question in questions(PRICE_AND_DEMAND_FEED).items()
        }


def forecast_is_recent(settings: Settings, now: datetime) -> Outcome:
    """The newest forecast was issued within the last three hours. Not asked where `AEMO_API_URL` is empty."""
    if not settings.aemo_api_url:
        return Outcome(passed=True, description="AEMO_API_URL is empty: no forecasts are asked for", is_error=False)
    with read_lake(settings) as lake:
        [(newest,)] = lake.execute(f"SELECT max(issued_at) FROM {REGION_FORECAST.lake_name}").fetchall()
    if newest is None:
        return Outcome(passed=False, description="no forecast has ever come in", is_error=False)
    minutes = round((now - newest).total_seconds() / 60, 1)
    return Outcome(
        passed=now - newest <= LATEST,
        description=f"the newest forecast was issued {minutes:,.0f} minutes ago",
        metadata={"newest_issued_at": newest.isoformat(" ", "minutes"), "minutes_since_issue": minutes},
        is_error=False,
    )


def _over_days(outcomes: list[Outcome], asked: list[Inquiry]) -> Outcome:
    failed = [(day.day, outcome) for day, outcome in zip(asked, outcomes, strict=True) if not outcome.passed]
    first = "; ".join(f"{day}: {outcome.description}" for day, outcome in failed[:FIRST_OFFENDERS])
    return Outcome(
        passed=not failed,
        description=f"{len(outcomes) - len(failed)} of {len(outcomes)} days passed" + (f": {first}" if first else ""),
        metadata={"days": len(outcomes), "days_failed": len(failed), "first": first or "none"},
        is_error=any(outcome.is_error for _, outcome in failed),
    )


def _ask(asked: Inquiry, name: str, **parameters: float) -> tuple[list[Row], str]:
    """The offenders, and the question as an analyst may ask it."""
    sql = (files("etl_assets.aemo") / "sql" / f"{name}.sql").read_text()
    return asked.find(sql, **parameters), _analysts_query(sql, asked.day, **parameters)


def _analysts_query(sql: str, day: date, **parameters: float) -> str:
    sql = sql.replace("BETWEEN $first AND $last", f"= '{day}'")
    for name, value in parameters.items():
        sql = sql.replace(f"${name}", str(value))
    return sql


def _no_offenders(found: list[Row], what: str, query: str, *, is_error: bool = True) -> Outcome:
    first = "; ".join(" ".join(_text(value) for value in row) for row in found[:FIRST_OFFENDERS])
    return Outcome(
        passed=not found,
        description=f"{len(found)} {what}" + (f": {first}" if first else ""),
        metadata={"found": len(found), "first": first or "none", "query": query.replace("lake.", "")},
        is_error=is_error,
    )


def _text(value: object) -> str:
    return value.isoformat(" ", "minutes") if isinstance(value, datetime) else str(value)
