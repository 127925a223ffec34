"""A daily run's KPIs in hand: claimed, their workflows triggered where that is due, and on record what became of them.

Whatever breaks here is the error of the KPI that it happened to, and of no other. What a call is, is in ``webhook``;
the order of the work in ``run``.
"""

import logging
import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from etl_assets.http import LONGEST_PAUSE_S
from etl_assets.kpi.query import KpiSqlError
from etl_assets.kpi.values import day_values
from etl_assets.kpi.webhook import WebhookError, Workflows, trigger_payload
from etl_assets.market_time import utc_now
from etl_assets.ops.kpi_state import Claim, KpiJob, KpiRun, accepted, claim, finish, record_call

if TYPE_CHECKING:
    from etl_assets.kpi.registry import Kpi
    from etl_assets.kpi.run import Done
    from etl_assets.settings import Settings

CLAIM_MARGIN = timedelta(minutes=5)
"""Beside what a query and a webhook may take: for storing, and for waiting for a thread."""

RECORD_PAUSES_S = (1.0, 5.0)
"""Waits before a call that was accepted is put on record once more. SQLite has waited 30 s by itself each time."""

_RECORD_HINT = "See that the state database can be written: in some minutes the workflow is called again."

_log = logging.getLogger(__name__)


class Triggers:
    """The workflows of one job's KPIs, for one run. Threads may share it; nothing of it raises."""

    def __init__(self, settings: "Settings", job: KpiJob, run_id: str, workflows: Workflows) -> None:
        self._settings = settings
        self._job = job
        self._run_id = run_id
        self._workflows = workflows

    def take(self, done: "Done", wait: timedelta = timedelta()) -> "Done | None":
        """Take a KPI in hand for its work and the ``wait`` before that; how it ended where that cannot be."""
        try:
            return None if self._claim(done.kpi, wait) else _in_other_hands(done)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other KPIs go on
            _log.exception("KPI %s could not be claimed", done.kpi.id)
            return replace(done, error=f"it could not be claimed: {sentence(error)}")

    def call(self, done: "Done") -> "Done":
        """Trigger a KPI's workflow where that is due, and put on record what became of it."""
        try:
            # Once more: it may have waited for its value and for a thread longer than the first claim lasts.
            claimed = self._claim(done.kpi)
            if claimed is None:
                return _in_other_hands(done)
            if done.kpi.webhook_url and claimed.not_before:
                return self._too_soon(done, claimed.run, claimed.not_before)
            if not done.kpi.webhook_url or not claimed.must_call:
                return self._without_call(done, claimed.run)
            return self._with_call(done, claimed.run)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other KPIs go on
            _log.exception("KPI %s", done.kpi.id)
            return self.failed(replace(done, error=sentence(error)))

    def failed(self, done: "Done", *, is_unanswered: bool = False) -> "Done":
        """Put on record that a KPI failed, where the record can be written; else its claim ends by itself."""
        try:
            self._finish(done, "failed", is_unanswered=is_unanswered)
        except Exception:  # noqa: BLE001 - the other KPIs go on
            _log.exception("That KPI %s failed could not be put on record", done.kpi.id)
        return done

    def _claim(self, kpi: "Kpi", wait: timedelta = timedelta()) -> Claim | None:
        now = utc_now()
        until = now + longest_work(self._settings) + wait
        return claim(self._settings, self._job.trace_id, kpi.id, run_id=self._run_id, now=now, until=until)

    def _without_call(self, done: "Done", run: KpiRun) -> "Done":
        if run.is_waiting:
            self._finish(done, "completed")
            return replace(done, workflow="has not reported back yet", is_pending=True)
        if done.values is None and run.reported_at:
            reported = day_values(self._settings, [done.kpi.id], [done.day]).get((done.kpi.id, done.day), [])
            done = replace(done, values=tuple(reported))
        self._finish(done, "completed")
        said = "has reported back" if run.reported_at else "triggered before" if run.triggered_at else "none"
        return replace(done, workflow=said)

    def _too_soon(self, done: "Done", run: KpiRun, not_before: datetime) -> "Done":
        # How its call ended stays on record.
        self._finish(done, "completed")
        hint = f"This run does not call it again before {not_before:%H:%M:%SZ}."
        return replace(done, workflow="no answer", error=f"{run.error} {hint}")

    def _with_call(self, done: "Done", run: KpiRun) -> "Done":
        kpi, job = done.kpi, self._job
        payload = trigger_payload(kpi, job.trace_id, job.scheduled_for, job.environment)
        record_call(self._settings, job.trace_id, kpi.id, payload=payload, now=utc_now())
        started = time.monotonic()
        try:
            answer = self._workflows.trigger(kpi.webhook_url, payload, key=run.call_key)
        except WebhookError as error:
            seconds = done.seconds + time.monotonic() - started
            said = "no answer" if error.is_unanswered else "not triggered"
            failed = replace(done, workflow=said, error=str(error), tries=error.tries, seconds=seconds)
            return self.failed(failed, is_unanswered=error.is_unanswered)
        done = replace(done, workflow="triggered", tries=answer.tries, seconds=done.seconds + answer.seconds)
        if problem := self._record_acceptance(done):
            return replace(done, error=problem)
        self._finish(done, "completed")
        return replace(done, workflow="triggered, is to report back", is_pending=True) if kpi.reports_back else done

    def _record_acceptance(self, done: "Done") -> str:
        """Put on record that a call was accepted; in words what is wrong where that cannot be done.

        Such a KPI is not made failed, which would have its workflow called again within minutes: it stays in hand.
        When its claim ends it is called again all the same, unless its workflow has reported; under the same
        Idempotency-Key, which is then the receiver's one means to tell.
        """
        retries, waits = done.tries - 1, done.kpi.reports_back
        for pause in (*RECORD_PAUSES_S, None):
            try:
                accepted(self._settings, self._job.trace_id, done.kpi.id, retries=retries, now=utc_now(), waits=waits)
            except Exception as error:  # noqa: BLE001 - whatever it is, the call went out
                if pause is None:
                    _log.exception("That the workflow of KPI %s was triggered could not be put on record", done.kpi.id)
                    return f"its workflow was triggered, but this is not on record: {sentence(error)}. {_RECORD_HINT}"
                time.sleep(pause)
            else:
                break
        return ""

    def _finish(self, done: "Done", status: Literal["completed", "failed"], *, is_unanswered: bool = False) -> None:
        """Let go of a KPI. One whose workflow is to report back stays running although its own part is completed."""
        number = done.values[0].value if done.values and not done.kpi.entity else None
        finish(
            self._settings, self._job.trace_id, done.kpi.id, status=status, now=utc_now(), error=done.error,
            retries=max(done.tries - 1, 0), value=number, is_unanswered=is_unanswered,
        )  # fmt: skip


def longest_call(settings: "Settings") -> timedelta:
    """How long a webhook with all its tries may take."""
    one = settings.kpi_webhook_timeout + timedelta(seconds=LONGEST_PAUSE_S)
    return (settings.kpi_webhook_retries + 1) * one


def longest_work(settings: "Settings") -> timedelta:
    """How long a KPI may take once it has its turn: so long a run has it in hand, and a killed one's is free again."""
    return settings.kpi_sql_timeout + longest_call(settings) + CLAIM_MARGIN


def sentence(error: BaseException) -> str:
    """What went wrong, on one line; of errors that are not ours with their kind."""
    if isinstance(error, KpiSqlError | WebhookError):
        return str(error)
    # What follows the first line of a database's error is its statement.
    first, _, _ = str(error).partition("\n")
    return f"{type(error).__name__}: {first}"


def _in_other_hands(done: "Done") -> "Done":
    return replace(done, workflow="another run has it in hand", is_pending=True)
