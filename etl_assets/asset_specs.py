"""How tables and their checks look in Dagster: the same for every source of data."""

import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from etl_assets.lake.account import Account
from etl_assets.lake.tables import Table
from etl_assets.quality.outcome import Outcome

OWNERS = ["team:market-data"]

LIVE_TAG = "etl_assets/live"
"""On the runs of ticks, which are not retried step by step: the next tick asks for the same and more."""

FETCH_RETRIES = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""On top of the client's own retries, for outages of a minute; longer ones are the gap sensor's."""

ERRORS_NAMED = 5
"""In a failure's message; a day of files that cannot be had is 288 of them. The metadata lists all."""


class MomentConfig(dg.Config):
    """A run that works for a moment: a late tick must do what the punctual one would have done."""

    as_of: str = ""
    """The moment to work for, ISO 8601 with offset; empty is now. A tick gives its scheduled time."""

    def moment(self) -> datetime:
        """``as_of`` as an instant."""
        return datetime.fromisoformat(self.as_of) if self.as_of else datetime.now(UTC)


def asset_key(table: Table) -> dg.AssetKey:
    """``aemo/dispatch_region`` for the table ``aemo.dispatch_region``."""
    return dg.AssetKey([table.schema, table.name])


def column_schema(table: Table) -> dg.TableSchema:
    """The table's columns as Dagster's panel shows them, with units as tags."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                c.name,
                c.type,
                description=c.description,
                constraints=dg.TableColumnConstraints(nullable=c.name not in table.key),
                tags={"unit": c.unit.replace("/", "_per_")} if c.unit else {},
            )
            for c in table.stored_columns
        ]
    )


def table_spec(table: Table, group: str, **more: Any) -> dg.AssetSpec:  # noqa: ANN401 - what AssetSpec takes
    """What every asset of a table has: description, columns, kinds, owners, group."""
    return dg.AssetSpec(
        asset_key(table),
        description=f"{table.comment}\n\nOne row per {', '.join(table.key)}. "
        "Instants are UTC; a market day is NEM time.",
        group_name=group,
        kinds={"python", "duckdb", "parquet"},
        owners=OWNERS,
        metadata={
            "dagster/column_schema": column_schema(table),
            "dagster/table_name": f"lake.{table.full_name}",
        },
        **more,
    )


def partitioned_check(
    name: str, key: dg.AssetKey, description: str | None, partitions: dg.PartitionsDefinition[str]
) -> dg.AssetCheckSpec:
    """A check with a result for each partition. Dagster 1.13 calls that a preview; its minor version is pinned."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Specifying a partitions_def on an AssetCheckSpec")
        return dg.AssetCheckSpec(name, asset=key, description=description, partitions_def=partitions)


def records(account: Account) -> dict[str, Any]:
    """The account's numbers under names that a person reads: ``records_fetched`` is the sum of the others."""
    return {f"records_{name}": n for name, n in account.counts.items()}


def _severity(outcome: Outcome) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if outcome.is_error else dg.AssetCheckSeverity.WARN


def _check_metadata(outcome: Outcome) -> dict[str, Any]:
    pictures = {name: dg.MetadataValue.md(text) for name, text in outcome.pictures.items()}
    return {**outcome.metadata, **pictures}


def check_result(key: dg.AssetKey, name: str, outcome: Outcome) -> dg.AssetCheckResult:
    """An outcome as Dagster takes it."""
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=outcome.passed,
        severity=_severity(outcome),
        description=outcome.description,
        metadata=_check_metadata(outcome),
    )


def report_each(
    context: dg.AssetExecutionContext, key: dg.AssetKey, partition: str, outcomes: dict[str, Outcome]
) -> None:
    """Record a day's checks under its partition: a run over a range would record them once, without one.

    As events of this run: Dagster keeps one runless evaluation of a check and partition, and refuses the second.
    """
    for name, outcome in outcomes.items():
        metadata = _check_metadata(outcome)
        context.log_event(
            dg.AssetCheckEvaluation(
                asset_key=key,
                check_name=name,
                passed=outcome.passed,
                partition=partition,
                severity=_severity(outcome),
                description=outcome.description,
                metadata={n: dg.MetadataValue.text(v) if isinstance(v, str) else v for n, v in metadata.items()},
            )
        )


def summaries(
    key: dg.AssetKey, selected: set[str], days: Sequence[dict[str, Outcome]], unit: str = "days"
) -> list[dg.AssetCheckResult]:
    """One result a check for a run over several partitions: passed where it passed for all; the last one's picture."""
    results = []
    for name in sorted(selected):
        failed = [outcomes[name] for outcomes in days if not outcomes[name].passed]
        description = f"{len(days) - len(failed)} of {len(days)} {unit} passed"
        is_error = any(outcome.is_error for outcome in failed)
        pictures = days[-1][name].pictures
        results.append(check_result(key, name, Outcome(not failed, description, is_error=is_error, pictures=pictures)))
    return results
