"""Dagster runs in this process, for the command line: the same jobs as the daemon's, recorded in the same instance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dagster as dg


@dataclass(frozen=True, slots=True)
class CheckSummary:
    """One check that did not pass."""

    asset: str
    name: str
    partition: str
    severity: str
    description: str

    @property
    def is_error(self) -> bool:
        """Whether it failed, and does not merely warn."""
        return self.severity == "ERROR"


@dataclass(slots=True)
class RunSummary:
    """What a run did: records per table and category, checks, errors."""

    success: bool
    records: dict[str, dict[str, int]] = field(default_factory=dict)
    passed: int = 0
    failed: list[CheckSummary] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def run_job(
    instance: "dg.DagsterInstance",
    job_name: str,
    tags: Mapping[str, str],
    config: "dg.RunConfig | None" = None,
    *,
    only: "Sequence[dg.AssetKey] | None" = None,
) -> RunSummary:
    """Run a job, or some of its assets, to its end, quietly, and say what it did. A failure is reported, not raised."""
    from etl_assets.definitions import defs

    run_config: dict[str, Any] = config.to_config_dict() if config else {}  # type: ignore[no-untyped-call]
    run_config["loggers"] = {"console": {"config": {"log_level": "CRITICAL"}}}
    job = defs.resolve_job_def(job_name)
    result = job.execute_in_process(
        run_config=run_config,
        instance=instance,
        tags=dict(tags),
        partition_key=tags.get("dagster/partition"),
        asset_selection=list(only) if only else None,
        raise_on_error=False,
    )
    return _summary(result.success, result.all_events)


def tick(instance: "dg.DagsterInstance", moment: datetime) -> RunSummary:
    """One tick by hand: what ``market_tick`` requests at ``moment``."""
    from etl_assets.aemo.assets import LIVE_ASSETS
    from etl_assets.aemo.automation import collect_config, day_tags, days_of_tick, market_live

    return run_job(instance, market_live.name, day_tags(days_of_tick(moment)), collect_config(LIVE_ASSETS, moment))


def _summary(success: bool, events: "Sequence[dg.DagsterEvent]") -> RunSummary:
    summary = RunSummary(success)
    for event in events:
        match event.event_type_value:
            case "ASSET_MATERIALIZATION":
                _add_records(summary, event)
            case "ASSET_CHECK_EVALUATION":
                _add_check(summary, event)
            case "STEP_FAILURE":
                summary.errors.append(reason(event))
    return summary


def reason(event: "dg.DagsterEvent") -> str:
    """What made a step fail: the description it gave, or the innermost error under Dagster's own wrapping."""
    data: Any = event.event_specific_data
    if data.user_failure_data and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error.cause:
        error = error.cause
    return str(error.message).strip()


def _add_records(summary: RunSummary, event: "dg.DagsterEvent") -> None:
    materialization = event.step_materialization_data.materialization
    name = ".".join(materialization.asset_key.path)
    shown: dict[str, Any] = {label: value.value for label, value in materialization.metadata.items()}
    if of_run := shown.get("account_of_the_run"):
        # It comes with each of the run's partitions.
        summary.records[name] = _counts(of_run)
    elif counts := _counts(shown):
        former = summary.records.get(name, {})
        summary.records[name] = {label: former.get(label, 0) + count for label, count in counts.items()}


def _counts(shown: Mapping[str, Any]) -> dict[str, int]:
    return {
        label.removeprefix("records_"): value
        for label, value in shown.items()
        if label.startswith("records_") and isinstance(value, int)
    }


def _add_check(summary: RunSummary, event: "dg.DagsterEvent") -> None:
    check: Any = event.event_specific_data
    if check.passed:
        summary.passed += 1
        return
    summary.failed.append(
        CheckSummary(
            ".".join(check.asset_key.path),
            check.check_name,
            check.partition or "",
            check.severity.value,
            check.description or "",
        )
    )
