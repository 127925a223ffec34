"""Whatever happens to a job, in whatever order: it adds up, and no workflow that accepted is called again."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from etl_assets.ops import database
from etl_assets.ops.kpi_records import MOST_UNANSWERED, failed_days, job_record
from etl_assets.ops.kpi_reports import expire_reports
from etl_assets.ops.kpi_state import job, record_call, runs_of
from etl_assets.settings import Settings
from etl_assets_tests.ops.conftest import DAY, MINUTE, Working

KPIS = ("a", "b", "c")
EVENTS = (
    "claimed",
    "claimed by another",
    "call began",
    "accepted",
    "accepted, waits",
    "completed",
    "failed",
    "unanswered",
    "reported running",
    "reported completed",
    "reported failed",
    "reported an older failure",
    "an hour passed",
    "seven hours passed",
    "opened again",
    "forced",
)


def add_up(working: Working) -> None:
    """The job's status and counts, counted by hand."""
    there = Counter(run.status for run in runs_of(working.settings, working.trace_id))
    found = job(working.settings, working.trace_id)
    kinds = set(there)
    if kinds <= {"pending"}:
        status = "pending"
    elif kinds & {"pending", "running"}:
        status = "running"
    else:
        status = kinds.pop() if len(kinds) == 1 else "partial"
    counts = (found.total_kpis, found.completed_kpis, found.failed_kpis)
    assert (found.status, counts) == (status, (there.total(), there["completed"], there["failed"]))
    told = job_record(working.settings, working.trace_id)
    assert Counter(kpi["status"] for kpi in told["kpis"].values()) == there


class Watched:
    """What the outside world saw of a KPI: whether its workflow has accepted a call and not failed since."""

    def __init__(self, working: Working, kpi_id: str) -> None:
        self.working = working
        self.kpi_id = kpi_id
        self.has_accepted = False
        self.must_call = False

    def happens(self, event: str) -> None:
        working, kpi_id = self.working, self.kpi_id
        match event:
            case "claimed" | "claimed by another":
                self._claimed(working.claim(kpi_id, run_id="run-1" if event == "claimed" else "run-2"))
            case "call began":
                record_call(working.settings, working.trace_id, kpi_id, payload={}, now=working.tick())
            case "accepted" | "accepted, waits":
                self._accepted(waits="waits" in event)
            case "completed" | "failed":
                working.finish(kpi_id, event)
            case "unanswered":
                working.finish(kpi_id, "failed", is_unanswered=True)
            case "forced":
                self._force()
            case "opened again":
                working.open(*KPIS)
            case _:
                self._reported(event)

    def _claimed(self, claimed) -> None:
        if claimed:
            assert not (claimed.must_call and self.has_accepted)
            assert claimed.must_call or claimed.run.status != "pending"
            assert not (claimed.not_before and (claimed.must_call or self.has_accepted))
            self.must_call = claimed.must_call

    def _accepted(self, *, waits: bool) -> None:
        # A run calls what its claim told it to, and once.
        if self.must_call:
            self.working.call(self.kpi_id, waits=waits)
            self.has_accepted |= self.working.run(self.kpi_id).status != "failed"
            self.must_call = False

    def _force(self) -> None:
        working = self.working
        before = working.run(self.kpi_id)
        working.open(self.kpi_id, forced_by=f"run at {working.now}")
        assert working.run(self.kpi_id).trace_id == before.trace_id
        if before.is_in_hand(working.now):
            assert working.run(self.kpi_id) == before
        else:
            assert working.run(self.kpi_id).status == "pending"
            self.has_accepted = False

    def _reported(self, event: str) -> None:
        older = {"completedAt": "2026-11-22T00:00:00Z"} if "older" in event else {}
        status = "failed" if older else event.removeprefix("reported ")
        before = self.working.run(self.kpi_id)
        after = self.working.report(status, self.kpi_id, **older)
        if after != before:
            self.has_accepted = status != "failed"


@contextmanager
def fresh_job() -> Iterator[Working]:
    with TemporaryDirectory() as folder:
        fresh = Settings(_env_file=None, etl_data=Path(folder))
        yield Working(fresh, *KPIS)
        database._engines.pop(fresh.state_url).dispose()


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(KPIS), st.sampled_from(EVENTS)), max_size=40))
def test_a_job_adds_up_and_calls_no_workflow_that_accepted_and_did_not_fail(events):
    with fresh_job() as working:
        watched = {kpi_id: Watched(working, kpi_id) for kpi_id in KPIS}
        for kpi_id, event in events:
            if event.endswith("passed"):
                working.now += 60 * MINUTE if event.startswith("an") else 420 * MINUTE
                for expired in expire_reports(working.settings, now=working.now):
                    watched[expired.kpi_id].has_accepted = False
            else:
                watched[kpi_id].happens(event)
            add_up(working)
        # Every KPI ends, or somebody sees that it has not.
        late = working.now + 24 * 60 * MINUTE
        expire_reports(working.settings, now=late)
        unfinished = [
            run.kpi_id
            for run in runs_of(working.settings, working.trace_id)
            if run.status != "completed" and not (run.status == "failed" and run.unanswered >= MOST_UNANSWERED)
        ]
        assert failed_days(working.settings, since=DAY, now=late + 60 * MINUTE).get(DAY, []) == unfinished
