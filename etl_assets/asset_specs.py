"""How tables and their checks look in Dagster: the same for every source of data."""

import warnings
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import ConfigDict

from etl_assets.lake.account import Account
from etl_assets.lake.tables import Table
from etl_assets.market_time import utc_now
from etl_assets.quality.outcome import Outcome

if TYPE_CHECKING:
    from dagster._core.definitions.asset_checks.asset_check_evaluation import (
        AssetCheckEvaluationTargetMaterializationData,
    )

OWNERS = ["team:market-data"]

SOURCES = "sources"
"""The group of what lies outside: where lineage begins."""


def fresh_within(warn: timedelta, fail: timedelta) -> dg.FreshnessPolicy:
    """How old an asset's last materialisation may be. Of any partition: what the lake lacks is for checks to say."""
    return dg.FreshnessPolicy.time_window(warn_window=warn, fail_window=fail)


EVERY_TICK = fresh_within(timedelta(minutes=20), timedelta(hours=1))
EVERY_HOUR = fresh_within(timedelta(minutes=90), timedelta(hours=3))
EVERY_DAY = fresh_within(timedelta(hours=25), timedelta(hours=49))
"""Of what is made every five minutes, hourly, daily: a run that is missed warns, several fail."""

LIVE_TAG = "etl_assets/live"
"""On the runs of ticks, which are not retried step by step: the next tick asks for the same and more."""

FETCH_RETRIES = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""On top of the client's own retries, for outages of a minute; longer ones are the gap sensor's."""

ERRORS_NAMED = 5
"""In a failure's message; a day of files that cannot be had is 288 of them. The metadata lists all."""


class MomentConfig(dg.Config):
    """A run that works for a moment: a late tick must do what the punctual one would have done."""

    # What is written below a field is what the launchpad says of it.
    model_config = ConfigDict(use_attribute_docstrings=True)

    as_of: str = ""
    """The moment to work for, ISO 8601 with offset; empty is now. A tick gives its scheduled time."""

    def moment(self) -> datetime:
        """``as_of`` as an instant."""
        return datetime.fromisoformat(self.as_of) if self.as_of else utc_now()


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
        ],
        constraints=dg.TableConstraints(other=[f"unique: {', '.join(table.key)}"]),
    )


_MARKS = {
    "interval_end": "Stamped by the interval's end; `market_day` counts those that end in (00:00, 24:00] NEM time.",
    "instant": "Instants are UTC; `market_day` has those in [00:00, 24:00) NEM time.",
    "day": "A market day is a calendar day of NEM time.",
}


def _described(table: Table) -> str:
    """What a row is, its conventions of time, what revises it, and where an analyst finds it."""
    parts = [f"One row per {', '.join(f'`{name}`' for name in table.key)}."]
    if table.time:
        parts.append(f"{_MARKS[table.marks]} NEM time is UTC+10 all year.")
    if table.traced:
        parts.append("A value that the source changes is replaced; the former one is in `quality.revisions`.")
    return f"{table.comment}\n\n{' '.join(parts)}\n\nAnalysts: `{table.full_name}` in `warehouse.duckdb`."


def source_spec(name: str, description: str, *, kinds: set[str], address: str, keeps: str, delay: str) -> dg.AssetSpec:
    """Something outside that tables are made of: what it is, where, how long it keeps what, and how late it is."""
    return dg.AssetSpec(
        name,
        description=description,
        group_name=SOURCES,
        kinds=kinds,
        owners=OWNERS,
        metadata={
            "address": dg.MetadataValue.url(address),
            "keeps": dg.MetadataValue.md(keeps),
            "delay": dg.MetadataValue.md(delay),
        },
    )


def table_spec(table: Table, group: str, **more: Any) -> dg.AssetSpec:  # noqa: ANN401 - what AssetSpec takes
    """What every asset of a table has: description, columns, kinds, owners, group."""
    return dg.AssetSpec(
        asset_key(table),
        description=_described(table),
        group_name=group,
        kinds={"duckdb", "parquet"},
        owners=OWNERS,
        metadata={
            "dagster/column_schema": column_schema(table),
            "dagster/table_name": f"lake.{table.full_name}",
            "dagster/storage_kind": "duckdb",
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


def is_range(context: dg.AssetExecutionContext) -> bool:
    """Whether a run was asked for a range of partitions: a backfill's is, be it of a single one.

    What such a run yields of a check is recorded without a partition, and the one that it was for stays "skipped".
    """
    return "dagster/asset_partition_range_start" in context.run.tags


def report_each(
    context: dg.AssetExecutionContext, key: dg.AssetKey, partition: str, outcomes: dict[str, Outcome]
) -> None:
    """Record a day's checks under its partition: a run over a range would record them once, without one.

    As events of this run: Dagster keeps one runless evaluation of a check and partition, and refuses the second. Each
    names the partition's materialisation, which must be recorded by then: the pages show no other.
    """
    target = _newest_materialization(context.instance, key, partition)
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
                target_materialization_data=target,
                metadata={n: dg.MetadataValue.text(v) if isinstance(v, str) else v for n, v in metadata.items()},
            )
        )


def _newest_materialization(
    instance: dg.DagsterInstance, key: dg.AssetKey, partition: str
) -> "AssetCheckEvaluationTargetMaterializationData | None":
    from dagster._core.definitions.asset_checks.asset_check_evaluation import (
        AssetCheckEvaluationTargetMaterializationData,
    )

    of_partition = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition])
    for record in instance.fetch_materializations(of_partition, limit=1).records:
        return AssetCheckEvaluationTargetMaterializationData(
            storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
        )
    return None


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
