"""KPIs of a market day at a glance, as the published file has them: for the command line."""

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from etl_assets.kpi.checks import shown_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etl_assets.kpi.registry import Kpi
    from etl_assets.settings import Settings

ENTITIES_SHOWN = 6

WORST_FIRST = ("above", "below", "no_data", "within", "none")
"""Of several entities the one that a person should look at gives the status."""

IN_WORDS = {"above": "above threshold", "below": "below threshold", "no_data": "no data", "within": "ok", "none": ""}


@dataclass(frozen=True, slots=True)
class Glance:
    """A KPI on one line: its values with their entities, how they lie to its thresholds, what its workflow did."""

    name: str
    unit: str
    values: str
    status: str
    workflow: str


def at_a_glance(settings: "Settings", kpis: "Sequence[Kpi]", day: date) -> list[Glance]:
    """The KPIs in the registry's order. Raises ``duckdb.Error`` where there is no published file with them."""
    import duckdb

    with duckdb.connect(str(settings.warehouse_path), read_only=True) as warehouse:
        values: dict[str, list[tuple[str, float | None, str]]] = {}
        for kpi_id, entity, value, status in warehouse.execute(
            "SELECT kpi_id, entity, value, threshold_status FROM kpi.kpi_values WHERE date = ? ORDER BY ALL", [day]
        ).fetchall():
            values.setdefault(kpi_id, []).append((entity, value, status))
        runs = dict(
            warehouse.execute(
                "SELECT kpi_id, arg_max(CASE WHEN status = 'failed' THEN 'failed: ' || error "
                "WHEN triggered_at IS NULL THEN '' ELSE 'triggered' END, created_at) "
                "FROM kpi.kpi_runs WHERE date = ? GROUP BY kpi_id",
                [day],
            ).fetchall()
        )
    return [_glance(kpi, values.get(kpi.id, []), runs.get(kpi.id, "")) for kpi in kpis]


def _glance(kpi: "Kpi", values: "Sequence[tuple[str, float | None, str]]", workflow: str) -> Glance:
    shown = [f"{entity} {shown_value(value, '')}".strip() for entity, value, _ in values]
    more = f" and {len(shown) - ENTITIES_SHOWN} more" if len(shown) > ENTITIES_SHOWN else ""
    statuses = {status for _, _, status in values}
    status = next((IN_WORDS[known] for known in WORST_FIRST if known in statuses), "")
    return Glance(kpi.name, kpi.unit, "  ".join(shown[:ENTITIES_SHOWN]) + more, status, workflow)
