"""What workflows report back: one report for each KPI, read strictly, and taken into the state of its job.

A report is JSON with the names of the job record: ``traceId``, ``kpiId``, ``status``, and where they apply
``completedAt``, ``error``, ``retryCount``, and ``value`` or ``values`` by entity. Values are checked here and stored
by the caller, with ``etl_assets.kpi.values.store_values``.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from etl_assets.ops.database import begin_alone
from etl_assets.ops.kpi_state import SUBJECT, KpiRun, change_run, find_run, select_runs
from etl_assets.ops.tables import KPI_RUNS
from etl_assets.settings import Settings

LONGEST_ERROR = 2_000
"""Characters of an error that are kept: a stack's first lines. Its end is cut, since the report itself is sound."""

LONGEST_NAME = 200
"""Characters of an id or entity; ours have some dozens."""

MOST_VALUES = 1_000
"""Entities of one report; the market's units, which are the most there is of anything, are some 500."""

MOST_RETRIES = 10_000

PROBLEMS_SHOWN = 5

_log = logging.getLogger(__name__)
_RUN = KPI_RUNS.c


class ReportError(ValueError):
    """A report that cannot be accepted: which fields, and what is wrong with them."""


def _is_a_name(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must have printable characters only")
    return text


def _as_instant(given: object) -> object:
    if not isinstance(given, str):
        raise ValueError("must be a text such as 2025-08-14T12:00:00Z")  # noqa: TRY004 (pydantic takes this one)
    try:
        moment = datetime.fromisoformat(given)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a time with its offset, such as 2025-08-14T12:00:00Z")


def _cut(text: str) -> str:
    """Without what a database refuses: NUL, and halves of characters."""
    clean = text.replace("\x00", "").encode(errors="replace").decode()
    return clean if len(clean) <= LONGEST_ERROR else f"{clean[: LONGEST_ERROR - 1]}…"


Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(_is_a_name)]


class Report(BaseModel):
    """What a workflow says about one KPI of a job. ``completed_at`` is UTC; values are in the KPI's own unit."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, strict=True, frozen=True, allow_inf_nan=False
    )

    trace_id: Name
    kpi_id: Name
    status: Literal["running", "completed", "failed"]
    completed_at: Annotated[datetime, BeforeValidator(_as_instant)] | None = None
    error: Annotated[str, AfterValidator(_cut)] | None = None
    retry_count: Annotated[int, Field(ge=0, le=MOST_RETRIES)] | None = None
    value: float | None = None
    values: Annotated[dict[Name, float], Field(max_length=MOST_VALUES)] = {}

    @model_validator(mode="after")
    def _has_one_kind_of_value(self) -> Self:
        if self.value is not None and self.values:
            raise ValueError("value and values: a KPI has one number or one an entity; give one of the two")
        return self

    @property
    def kept(self) -> dict[str, Any]:
        """The report as JSON, with what it says and no more."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def parse_report(body: Mapping[str, Any]) -> Report:
    """A report from its JSON; fields that it does not know are left out.

    Raises ``ReportError``, which names each field that is missing or wrong.
    """
    try:
        return Report.model_validate(body)
    except ValidationError as error:
        problems = [_problem(each["loc"], each["msg"]) for each in error.errors(include_url=False, include_input=False)]
        more = f"; and {len(problems) - PROBLEMS_SHOWN} more" if len(problems) > PROBLEMS_SHOWN else ""
        raise ReportError(f"the report cannot be accepted: {'; '.join(problems[:PROBLEMS_SHOWN])}{more}") from None


def report_back(settings: Settings, report: Report, *, now: datetime) -> KpiRun:
    """Take a workflow's report into its job; returns the KPI's run as it is then.

    The later report wins: ``completed`` heals a failure, and ``failed`` is taken after ``completed``, since the
    workflow may find out later. What changes nothing: the same report again, one that completed before the last one
    did by its own ``completedAt``, ``running`` of a KPI that has ended, and what comes after a KPI was forced and
    before it is called.
    Raises ``UnknownRunError`` for a job or KPI that is not there.
    """
    with begin_alone(settings, SUBJECT) as connection:
        run = find_run(connection, report.trace_id, report.kpi_id)
        if _is_old_news(run, report):
            return run
        changed = change_run(connection, run, now, _changes(settings, run, report, now))
    _log.info("KPI %s of %s: its workflow reported %s", report.kpi_id, report.trace_id, report.status)
    return changed


def expire_reports(settings: Settings, *, now: datetime) -> list[KpiRun]:
    """Fail the KPIs whose workflow did not report back within ``KPI_REPORT_TIMEOUT``; returns them, failed.

    Their workflows are to be called again. One that reports later still heals its KPI.
    """
    hours = settings.kpi_report_timeout.total_seconds() / 3600
    error = f"the workflow did not report back within {hours:g} hours"
    changes = {"status": "failed", "completed_at": now, "error": error, "triggered_at": None, "report_due": None}
    with begin_alone(settings, SUBJECT) as connection:
        late = select_runs(connection, _RUN.status == "running", _RUN.report_due <= now)
        expired = [change_run(connection, run, now, changes) for run in late]
    for run in expired:
        _log.warning("KPI %s of %s: %s", run.kpi_id, run.trace_id, error)
    return expired


def _problem(place: tuple[int | str, ...], message: str) -> str:
    """A problem with its field's name; of a name that is wrong by its length no more than its beginning."""
    field = ".".join(str(part)[:LONGEST_NAME] for part in place if part != "[key]")
    said = message.removeprefix("Value error, ")
    return f"{field}: {said}" if field else said


def _is_old_news(run: KpiRun, report: Report) -> bool:
    if report.status == "running" and run.status not in {"pending", "running"}:
        return True
    if run.calls > 1 and run.payload is None:
        # It is to be called anew and was not yet: this is of the call before, and must not stand for the new one.
        return True
    if run.report is None:
        return False
    if report.kept == run.report:
        # A second try may end as the first did; only a time of its own tells that from the first one's report.
        return run.reported_at is not None or report.completed_at is not None
    # Its own clock where it gave the time, which need not agree with ours.
    last_said = Report.model_validate(run.report).completed_at or run.reported_at
    return report.completed_at is not None and last_said is not None and report.completed_at < last_said


def _changes(settings: Settings, run: KpiRun, report: Report, now: datetime) -> dict[str, Any]:
    changes: dict[str, Any] = {"status": report.status, "reported_at": now, "report": report.kept, "unanswered": 0}
    changes |= {"retry_count": report.retry_count} if report.retry_count is not None else {}
    changes |= {"value": report.value} if report.value is not None else {}
    completed_at = min(report.completed_at or now, now)
    match report.status:
        # Who reports has accepted the call, whatever became of the webhook's answer.
        case "running":
            due = run.report_due or now + settings.kpi_report_timeout
            return changes | {"triggered_at": run.triggered_at or now, "report_due": due}
        case "completed":
            changes |= {"completed_at": completed_at, "error": None, "report_due": None}
            return changes | {"triggered_at": run.triggered_at or now}
        case "failed":
            error = report.error or "the workflow reported failure without saying why"
            changes |= {"completed_at": completed_at, "error": error, "report_due": None}
            return changes | {"triggered_at": None}
