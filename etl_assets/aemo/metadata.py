"""What Dagster shows of a collection: the account of its records, the day's strip, figures and curves.

Numbers are plotted over the partitions, so each name bears its unit; pictures are short enough to be shown in place.
"""

from typing import Any

import dagster as dg

from etl_assets.aemo.account import Collection
from etl_assets.aemo.completeness import DayStatus, State
from etl_assets.aemo.figures import DayFigures
from etl_assets.asset_specs import records
from etl_assets.quality.plots import strip


def day_metadata(status: DayStatus, found: DayFigures) -> dict[str, Any]:
    """A market day: its strip, how many intervals are complete, missing or partial, and what they come to."""
    return {
        "day": dg.MetadataValue.md(strip([s.value for s in status.states.values()], f"{status.day} by interval")),
        "intervals_complete": status.count(State.COMPLETE),
        "intervals_missing": status.count(State.MISSING),
        "intervals_partial": status.count(State.PARTIAL),
        **figure_metadata(found),
    }


def figure_metadata(found: DayFigures) -> dict[str, Any]:
    """Curves first, then the figures, then how many rows."""
    pictures = {name: dg.MetadataValue.md(text) for name, text in found.pictures.items() if text}
    return {**pictures, **found.figures, "dagster/partition_row_count": found.rows}


def account_metadata(result: Collection) -> dict[str, Any]:
    """The account of every record, and what went wrong, for a run's metadata."""
    metadata: dict[str, Any] = {**records(result.account), "files_read": result.files_read}
    if result.rows_by_source:
        metadata["rows_by_source"] = dg.MetadataValue.json(dict(result.rows_by_source))
    if result.refused:
        metadata["files_refused"] = dg.MetadataValue.json([f"{f.source_file}: {f.reason}" for f in result.refused])
    if result.warnings:
        metadata["footers_that_do_not_fit"] = dg.MetadataValue.json(
            [f"{f.source_file}: {f.reason}" for f in result.warnings]
        )
    if result.unfilled:
        metadata["could_not_fill_in"] = dg.MetadataValue.json(result.unfilled)
    if result.errors:
        metadata["errors"] = dg.MetadataValue.json(result.errors)
    return metadata


def account_of_run(result: Collection, days: int) -> dict[str, Any]:
    """The account of a run over several days in one piece: Dagster shows it with each, and it is not any one day's."""
    found = {name: getattr(value, "data", value) for name, value in account_metadata(result).items()}
    return {"account_of_the_run": dg.MetadataValue.json({"days": days, **found})}
