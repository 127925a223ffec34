"""What Dagster is told of a KPI's market day: its value, its workflow, and the answers to its checks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from etl_assets.asset_specs import check_result, is_range, report_each, summaries
from etl_assets.kpi.checks import PLOTTED_DAYS, History, history_plot, outcomes, shown_value
from etl_assets.quality.outcome import Outcome

if TYPE_CHECKING:
    from etl_assets.kpi.query import KpiValue
    from etl_assets.kpi.registry import Kpi
    from etl_assets.kpi.run import Done
    from etl_assets.settings import Settings

ENTITIES_SHOWN = 20
"""In an asset's metadata, each with a plot of its own over the days; ``kpi.kpi_values`` has all."""


def kpi_key(kpi: "Kpi") -> dg.AssetKey:
    """``kpi/average_price`` for the KPI ``average-price``."""
    return dg.AssetKey(["kpi", kpi.asset_name])


def value_metadata(kpi: "Kpi", values: "Sequence[KpiValue]", workflow: str) -> dict[str, Any]:
    """A day's values, a number each, which Dagster plots over the days, and what was done with the workflow."""
    unit = f" ({kpi.unit})" if kpi.unit else ""
    shown = [value for value in values if value.value is not None][:ENTITIES_SHOWN]
    found: dict[str, Any] = {f"{value.entity or 'value'}{unit}": value.value for value in shown}
    if values:
        found["values"] = dg.MetadataValue.md(_as_table(kpi, values[:ENTITIES_SHOWN]))
    if kpi.webhook_url:
        found["workflow"] = workflow
    return found


def _as_table(kpi: "Kpi", values: "Sequence[KpiValue]") -> str:
    rows = [f"| {value.entity or kpi.name} | {shown_value(value.value, kpi.unit)} |" for value in values]
    return "\n".join([f"| {kpi.entity or 'KPI'} | value |", "| --- | ---: |", *rows])


class Recorder:
    """Records what became of KPIs in a run: of one day as the step's results, of several as events of each day."""

    def __init__(self, context: dg.AssetExecutionContext, settings: "Settings", done: "Sequence[Done]") -> None:
        self._context = context
        self._done = [each for each in done if not each.error and not each.is_pending]
        self._several = is_range(context)
        self._selected = {(check.asset_key, check.name) for check in context.selected_asset_check_keys}
        self._history = _histories(settings, self._done)

    def results(self) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        """What the step is to yield; events of single days are logged on the way."""
        if not self._several:
            yield from (self._result(each) for each in self._done)
            return
        by_kpi: dict[str, list[Done]] = {}
        for each in self._done:
            by_kpi.setdefault(each.kpi.id, []).append(each)
        for days in by_kpi.values():
            yield from self._of_days(days)

    def _outcomes(self, done: "Done") -> dict[str, Outcome]:
        if done.values is None:
            return {}
        found = outcomes(done.kpi, done.day, done.values, self._history.get(done.kpi.id, {}))
        return {name: outcome for name, outcome in found.items() if (kpi_key(done.kpi), name) in self._selected}

    def _shown(self, done: "Done") -> dict[str, Any]:
        drawn = history_plot(self._history.get(done.kpi.id, {}), done.day) if done.values else ""
        picture = {f"highest_of_{PLOTTED_DAYS}_days": dg.MetadataValue.md(drawn)} if drawn else {}
        return picture | value_metadata(done.kpi, done.values or (), done.workflow)

    def _result(self, done: "Done") -> dg.MaterializeResult[None]:
        key = kpi_key(done.kpi)
        return dg.MaterializeResult(
            asset_key=key,
            # All tries and the waits between them among them, the wait for their turn not.
            metadata={**self._shown(done), "seconds_of_query_and_webhook": round(done.seconds, 3)},
            check_results=[check_result(key, name, outcome) for name, outcome in self._outcomes(done).items()],
        )

    def _of_days(self, days: "Sequence[Done]") -> Iterator[dg.AssetCheckResult]:
        key = kpi_key(days[0].kpi)
        answered = [self._outcomes(each) for each in days]
        for each, answers in zip(days, answered, strict=True):
            event = dg.AssetMaterialization(key, partition=str(each.day), metadata=self._shown(each))
            self._context.log_event(event)
            report_each(self._context, key, str(each.day), answers)
        # A day whose workflow has reported no value yet has no answers.
        judged = [answers for answers in answered if answers]
        yield from summaries(key, {name for answers in judged for name in answers}, judged)


def _histories(settings: "Settings", done: "Sequence[Done]") -> Mapping[str, History]:
    from etl_assets.kpi.values import history

    judged = [each for each in done if each.values is not None]
    if not judged:
        return {}
    first, last = min(each.day for each in judged), max(each.day for each in judged)
    days = (last - first).days + PLOTTED_DAYS
    return history(settings, sorted({each.kpi.id for each in judged}), until=last, days=days)
