"""Alerts of Dagster's own: runs that failed, and checks that failed as an error. Looked at twice a minute.

A run that fails is told once, and cleared when the same work has succeeded; so is a check, partition by partition. A
check that warns is for whoever looks at the page: it never gets here. What nothing asks for any more after
``GAP_HORIZON`` is cleared, too: the check and ``pipeline_measured`` keep showing it.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

import dagster as dg

from etl_assets.asset_specs import LIVE_TAG
from etl_assets.automation_specs import sensor
from etl_assets.exports.dagster_runs import EXPORT_TAG
from etl_assets.lake.resource import Lake
from etl_assets.market_time import utc_now
from etl_assets.ops.alerts import Alert, Condition, evaluate, open_alerts

RUNS_AT_ONCE = 50
"""Of one look, oldest first; the next goes on from there."""

OVERLAP = timedelta(seconds=10)
"""Runs that ended at once may be written out of order: each look begins a little before the end of the last."""

ERROR_LENGTH = 500
"""Characters of an error in an alert; the run has all of it."""

_RUN, _CHECK = "run_failed", "check_failed"
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


def run_conditions(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[Condition]:
    """What a run that has ended says: whether it failed, and of each partition's checks whether they failed."""
    if EXPORT_TAG in run.tags:
        # A client's request, with tries and a record of its own.
        return
    work, partition = _work(run), _partition(run)
    has_failed = run.status == dg.DagsterRunStatus.FAILURE
    error = _reason(instance, run.run_id)[:ERROR_LENGTH] if has_failed else ""
    facts = {"job": run.job_name, "partition": partition, "runId": run.run_id, "error": error}
    yield Condition(f"run:{work}", _RUN, f"Run failed: {work}", facts, has_failed)
    of_type = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    for record in instance.get_records_for_run(run.run_id, of_type=of_type).records:
        event = record.event_log_entry.dagster_event
        evaluation = event.asset_check_evaluation_data if event else None
        if evaluation is None or (evaluation.partition is None and " to " in partition):
            # The sum over a range; each of its partitions has an evaluation of its own.
            continue
        yield _check_condition(evaluation, evaluation.partition or partition, run.run_id)


def _check_condition(evaluation: dg.AssetCheckEvaluation, partition: str, run_id: str) -> Condition:
    name = f"{evaluation.asset_key.to_user_string()} {evaluation.check_name}"
    is_wrong = not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR
    facts = {
        "asset": evaluation.asset_key.to_user_string(),
        "check": evaluation.check_name,
        "partition": partition,
        "found": (evaluation.description or "")[:ERROR_LENGTH],
        "runId": run_id,
    }
    return Condition(f"check:{name}:{partition}", _CHECK, f"Check failed: {name}", facts, is_wrong)


def _work(run: dg.DagsterRun) -> str:
    """What a later run must do for this one's failure to be over: the next tick does all that a tick left undone."""
    if LIVE_TAG in run.tags:
        return run.job_name
    name = "materialisation" if run.job_name.startswith("__") else run.job_name
    return f"{name} {partition}" if (partition := _partition(run)) else name


def _partition(run: dg.DagsterRun) -> str:
    first = run.tags.get("dagster/asset_partition_range_start")
    last = run.tags.get("dagster/asset_partition_range_end")
    return f"{first} to {last}" if first != last else first or run.tags.get("dagster/partition", "")


def _reason(instance: dg.DagsterInstance, run_id: str) -> str:
    from etl_assets.runs import reason

    failures = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
    events = [record.event_log_entry.dagster_event for record in failures]
    return "; ".join(dict.fromkeys(reason(event) for event in events if event)) or "the run's process ended"


def unasked_conditions(alerts: Iterable[Alert], before: datetime) -> list[Condition]:
    """Of alerts from here those seen last before a moment, as cleared: nothing asks for that work any more."""
    ours = (alert for alert in alerts if alert.kind in (_RUN, _CHECK))
    return [Condition(a.key, a.kind, a.message, a.payload, firing=False) for a in ours if a.last_seen_at < before]


@sensor(minimum_interval_seconds=30)
def failure_sensor(context: dg.SensorEvaluationContext, lake: Lake) -> dg.SkipReason:
    """Tells of runs that failed and of checks that failed as an error, once when they do and once when that is over.

    To `ALERT_WEBHOOK_URL`, the log, and `ops.alerts`.
    """
    now = utc_now()
    since = datetime.fromisoformat(context.cursor) if context.cursor else now
    ended = context.instance.get_run_records(
        filters=dg.RunsFilter(statuses=_ENDED, updated_after=since - OVERLAP),
        limit=RUNS_AT_ONCE,
        order_by="update_timestamp",
        ascending=True,
    )
    # The last word on each: an older run that is read again must not undo what a newer one said.
    said = {c.key: c for record in ended for c in run_conditions(context.instance, record.dagster_run)}
    unasked = unasked_conditions(open_alerts(lake.settings), now - lake.settings.gap_horizon)
    changed = evaluate(lake.settings, [*unasked, *said.values()], now=now)
    context.update_cursor(max([since, *(record.update_timestamp for record in ended)]).isoformat())
    raised = sum(alert.status == "raised" for alert in changed)
    return dg.SkipReason(f"{len(ended)} runs ended lately; {raised} alerts began, {len(changed) - raised} cleared")
