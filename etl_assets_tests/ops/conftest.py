"""A run at work on the KPIs of a market day, for the tests of their state."""

from datetime import UTC, date, datetime, timedelta

import pytest

from etl_assets.ops.kpi_reports import parse_report, report_back
from etl_assets.ops.kpi_state import KpiRun, accepted, claim, finish, job, open_job, record_call, runs_of
from etl_assets.settings import Settings

DAY = date(2026, 11, 21)
TICK = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


class Working:
    """One run at work on KPIs of a day's job, a second after the other."""

    def __init__(self, settings: Settings, *kpi_ids: str, run_id: str = "run-1") -> None:
        self.settings = settings
        self.now = TICK
        self.run_id = run_id
        self.trace_id = self.open(*kpi_ids or ("a",)).trace_id

    def tick(self) -> datetime:
        self.now += SECOND
        return self.now

    def open(self, *kpi_ids: str, day: date = DAY, forced_by: str = ""):
        return open_job(self.settings, day, kpi_ids, moment=TICK, now=self.tick(), forced_by=forced_by)

    def claim(self, kpi_id: str = "a", run_id: str | None = None, lasting: timedelta = MINUTE):
        now = self.tick()
        run_id = run_id or self.run_id
        return claim(self.settings, self.trace_id, kpi_id, run_id=run_id, now=now, until=now + lasting)

    def call(self, kpi_id: str = "a", retries: int = 0, *, waits: bool = False) -> None:
        record_call(self.settings, self.trace_id, kpi_id, payload={"kpiId": kpi_id}, now=self.tick())
        accepted(self.settings, self.trace_id, kpi_id, retries=retries, now=self.tick(), waits=waits)

    def finish(self, kpi_id: str = "a", status: str = "completed", **more: object) -> None:
        finish(self.settings, self.trace_id, kpi_id, status=status, now=self.tick(), **more)

    def report(self, status: str, kpi_id: str = "a", **more: object) -> KpiRun:
        body = {"traceId": self.trace_id, "kpiId": kpi_id, "status": status, **more}
        return report_back(self.settings, parse_report(body), now=self.tick())

    def run(self, kpi_id: str = "a") -> KpiRun:
        [found] = [run for run in runs_of(self.settings, self.trace_id) if run.kpi_id == kpi_id]
        return found

    @property
    def status(self) -> str:
        return job(self.settings, self.trace_id).status


@pytest.fixture
def working(settings):
    return Working(settings)
