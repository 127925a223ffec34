"""Whatever happens to an export job, in whatever order: one run has it, its tries are bounded, and it ends once."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from etl_assets.ops import database
from etl_assets.ops.job_records import find_job, put_away
from etl_assets.ops.job_state import (
    ExportJob,
    JobCancelledError,
    JobLostError,
    Order,
    advance,
    cancelled,
    claim_due,
    complete,
    give_back,
    open_job,
    request_cancel,
    take_up,
)
from etl_assets.settings import Settings

START = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
EVENTS = ("claim", "take up", "advance", "complete", "fail", "stopped", "cancel", "a second", "ten seconds", "put away")
NEXT = {
    "queued": {"queued", "submitted", "cancelled"},
    "submitted": {"submitted", "running", "queued", "completed", "failed", "cancelled"},
    "running": {"running", "queued", "completed", "failed", "cancelled"},
    "completed": {"completed"},
    "failed": {"failed"},
    "cancelled": {"cancelled"},
}


class World:
    """A job, all the runs that ever had it, and how many results were put in place."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.now = START
        self.job_id = open_job(settings, Order("c", "timeseries", {}, "csv", 1, "s", 3), now=START).job_id
        self.runs: list[str] = []
        self.results = 0

    @property
    def job(self) -> ExportJob:
        found = find_job(self.settings, self.job_id)
        assert found
        return found

    def placed(self) -> None:
        self.results += 1

    def happens(self, event: str, which: int) -> None:
        now = self.now = self.now + timedelta(milliseconds=1)
        run_id = self.runs[which % len(self.runs)] if self.runs else "of no claim"
        chosen, this = self.settings, (self.settings, self.job_id, run_id)
        changes = {
            "claim": lambda: self.runs.extend(str(job.run_id) for job in claim_due(chosen, now=now, limit=5)),
            "take up": lambda: take_up(*this, now=now),
            "advance": lambda: advance(*this, points_done=2, samples=20, now=now),
            "complete": lambda: complete(*this, samples=30, result_bytes=300, now=now, put_in_place=self.placed),
            "fail": lambda: give_back(*this, error="it failed", now=now),
            "stopped": lambda: cancelled(*this, now=now),
            "cancel": lambda: request_cancel(chosen, self.job_id, now=now),
            "put away": lambda: put_away(chosen, now=now),
            "a second": lambda: self.wait(1),
            "ten seconds": lambda: self.wait(10),
        }
        changes[event]()

    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)


@contextmanager
def world() -> Iterator[World]:
    with TemporaryDirectory() as folder:
        fresh = Settings(_env_file=None, etl_data=Path(folder), job_retries=2)
        yield World(fresh)
        database._engines.pop(fresh.state_url).dispose()


def holds(world: World, before: ExportJob, event: str, run_id: str) -> None:
    job = world.job
    assert job.status in NEXT[before.status], (event, before.status)
    assert job.attempts == len(world.runs) <= 3
    assert job.run_id == (world.runs[-1] if world.runs else None)
    assert (job.status in ("completed", "failed", "cancelled")) == (job.finished_at is not None) == job.has_ended
    assert world.results == (job.status == "completed")
    if before.cancel_requested:
        # What was asked to be cancelled never begins another try.
        assert job.status != "queued"
    if run_id != before.run_id and event in ("take up", "advance", "complete", "fail", "stopped"):
        assert job == before


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 3)), max_size=40))
def test_a_job_is_in_one_hand_ends_once_and_has_a_result_exactly_where_it_is_completed(events):
    with world() as job_world:
        for event, which in events:
            before = job_world.job
            run_id = job_world.runs[which % len(job_world.runs)] if job_world.runs else "of no claim"
            with suppress(JobLostError, JobCancelledError):
                job_world.happens(event, which)
            holds(job_world, before, event, run_id)


@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 3)), max_size=20))
def test_a_job_that_is_left_to_failing_runs_ends_whatever_was_before(events):
    with world() as job_world:
        for event, which in events:
            with suppress(JobLostError, JobCancelledError):
                job_world.happens(event, which)
        for _ in range(4):
            for event in ("ten seconds", "claim", "fail"):
                job_world.happens(event, len(job_world.runs))
            if job_world.runs:
                give_back(job_world.settings, job_world.job_id, job_world.runs[-1], error="again", now=job_world.now)
        assert job_world.job.has_ended
