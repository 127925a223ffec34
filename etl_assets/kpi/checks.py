"""What is asked of a KPI's value: is it there, is it within its thresholds. Pure questions and answers.

A breach warns and does not fail: the data are right, the world is unusual, and a person is to look.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

from etl_assets.quality.outcome import FIRST_OFFENDERS, Outcome
from etl_assets.quality.plots import sparkline

if TYPE_CHECKING:
    from etl_assets.kpi.query import KpiValue
    from etl_assets.kpi.registry import Kpi

PLOTTED_DAYS = 30
WHOLE_FROM = 1000
"""Four figures are shown; from here on they are whole."""

History = Mapping[str, Sequence[tuple[date, float | None]]]
"""A KPI's values of market days by entity, oldest first."""

HAS_VALUE = "has_a_value"
NOT_ABOVE_HIGH = "is_not_above_high"
NOT_BELOW_LOW = "is_not_below_low"


def questions(kpi: "Kpi") -> dict[str, str]:
    """The checks of a KPI, by name, each with what it asks."""
    thresholds = kpi.analysis_config.alert_thresholds
    asked = {}
    if kpi.sql:
        asked[HAS_VALUE] = "The market day has data for every entity of the KPI."
    if thresholds.high is not None:
        asked[NOT_ABOVE_HIGH] = f"No value lies above {_number(thresholds.high, kpi.unit)}."
    if thresholds.low is not None:
        asked[NOT_BELOW_LOW] = f"No value lies below {_number(thresholds.low, kpi.unit)}."
    return asked


def outcomes(kpi: "Kpi", day: date, values: Sequence["KpiValue"], history: History) -> dict[str, Outcome]:
    """The answers for a market day. ``history`` may hold later days too: it is read up to ``day``."""
    thresholds = kpi.analysis_config.alert_thresholds
    high, low = thresholds.high, thresholds.low
    found = {}
    for name in questions(kpi):
        if name == HAS_VALUE:
            found[name] = _has_value(kpi, values)
        elif name == NOT_ABOVE_HIGH and high is not None:
            beyond = [value for value in values if value.value is not None and value.value > high]
            picture = _plot(history, day, max, high)
            found[name] = _within(kpi, values, beyond, f"above {_number(high, kpi.unit)}", picture)
        elif low is not None:
            beyond = [value for value in values if value.value is not None and value.value < low]
            picture = _plot(history, day, min, low)
            found[name] = _within(kpi, values, beyond, f"below {_number(low, kpi.unit)}", picture)
    return found


def shown_value(value: float | None, unit: str) -> str:
    """A value as a person reads it: ``84.21 AUD/MWh``."""
    return "no data" if value is None else _number(value, unit)


def _number(value: float, unit: str) -> str:
    figures = f"{value:.4g}" if abs(value) < WHOLE_FROM else f"{value:,.0f}"
    return f"{figures} {unit}".rstrip()


def _has_value(kpi: "Kpi", values: Sequence["KpiValue"]) -> Outcome:
    empty = [value.entity or "the KPI" for value in values if value.value is None]
    if not values:
        return Outcome(False, f"no {kpi.entity or 'value'} has data", is_error=False)
    return Outcome(
        passed=not empty,
        description=f"no data for {', '.join(empty[:FIRST_OFFENDERS])}" if empty else f"{len(values)} values",
        metadata={"values": len(values) - len(empty), "without_data": len(empty)},
        is_error=False,
    )


def _within(
    kpi: "Kpi", values: Sequence["KpiValue"], beyond: Sequence["KpiValue"], where: str, picture: Mapping[str, str]
) -> Outcome:
    named = [f"{value.entity} {shown_value(value.value, kpi.unit)}".strip() for value in beyond]
    first = "; ".join(named[:FIRST_OFFENDERS])
    return Outcome(
        passed=not beyond,
        description=f"{len(beyond)} of {len(values)} {where}: {first}" if beyond else f"none of {len(values)} {where}",
        metadata={"beyond": len(beyond), "first": first or "none"},
        is_error=False,
        pictures=picture,
    )


def history_plot(history: History, day: date) -> str:
    """The last 30 days, of each the highest entity, as Markdown that is shown in place; empty where there is none."""
    return _plot(history, day, max).get("last_30_days", "")


def _plot(
    history: History, day: date, extreme: Callable[[Sequence[float]], float], limit: float | None = None
) -> dict[str, str]:
    """The last 30 days: of each the entity that is nearest to the limit, and the limit itself."""
    days = [day - timedelta(days=n) for n in reversed(range(PLOTTED_DAYS))]
    by_day: dict[date, list[float]] = {}
    for values in history.values():
        for at, value in values:
            if value is not None:
                by_day.setdefault(at, []).append(value)
    line = [extreme(by_day[at]) if at in by_day else None for at in days]
    first = next((n for n, value in enumerate(line) if value is not None), len(line))
    name = "highest" if extreme is max else "lowest"
    drawn = sparkline(line[first:], f"{name} of the {PLOTTED_DAYS} days to {day}", [] if limit is None else [limit])
    return {"last_30_days": drawn} if drawn else {}
