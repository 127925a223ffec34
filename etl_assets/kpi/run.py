"""KPIs worked off: values computed and stored, workflows triggered, each KPI by itself.

``run_day`` is the daily run of a market day with its job on record; ``compute_days`` makes values alone, for backfills.
A KPI that fails stops no other. Values that come together are stored with one commit, and a workflow is triggered after
its KPI's value is stored. Nothing here knows Dagster.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from itertools import product
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from etl_assets.kpi.log import log_job, log_kpi
from etl_assets.kpi.query import GRACE, KpiSqlError, KpiValue, PublishedFile
from etl_assets.kpi.trigger import Triggers, longest_call, sentence
from etl_assets.kpi.values import Found, store_values
from etl_assets.kpi.webhook import Workflows
from etl_assets.market_time import utc_now
from etl_assets.ops.kpi_state import KpiJob, open_job

if TYPE_CHECKING:
    from etl_assets.kpi.registry import Kpi
    from etl_assets.settings import Settings

DAYS_PER_COMMIT = 50
"""Of a backfill: what a killed one loses, against a commit of some 0.1 s."""

_log = logging.getLogger(__name__)


class Calls(StrEnum):
    """Whether the workflows of KPIs are triggered."""

    CALL = "call"
    """Those that were not triggered for this market day yet."""
    SKIP = "skip"
    """None: values alone."""
    FORCE = "force"
    """All that are asked for, although they may have been triggered."""


@dataclass(frozen=True, slots=True)
class Order:
    """Who asks for a daily run and for when: ``moment`` is the tick's time, which workflows are given."""

    run_id: str
    moment: datetime
    force: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a KPI's market day.

    ``values`` is None where nothing was computed; ``workflow`` says in words what was done with its workflow, and
    ``tries`` how often its webhook was called; ``is_pending`` where another run has it in hand or its workflow is to
    report. ``seconds`` are those of its query and its webhook, without the wait for their turn.
    """

    kpi: "Kpi"
    day: date
    values: tuple[KpiValue, ...] | None = None
    error: str = ""
    workflow: str = "none"
    is_pending: bool = False
    seconds: float = 0.0
    tries: int = 0


def run_day(settings: "Settings", kpis: Sequence["Kpi"], day: date, order: Order) -> tuple[KpiJob, list[Done]]:
    """Work off KPIs for a market day: the job that says so, as it was opened, and what became of each."""
    started = time.monotonic()
    ids = [kpi.id for kpi in kpis]
    forced_by = order.run_id if order.force else ""
    job = open_job(settings, day, ids, moment=order.moment, now=utc_now(), forced_by=forced_by)
    ended: list[Done] = []
    with _DailyRun(settings, job, order.run_id) as run:
        for done in run.work_off(kpis):
            log_kpi(job, done)
            ended.append(done)
    log_job(settings, job, time.monotonic() - started)
    return job, ended


def compute_days(settings: "Settings", kpis: Sequence["Kpi"], days: Sequence[date]) -> Iterator[Done]:
    """Compute the values of KPIs for market days, and store them some days at a time. KPIs without SQL are left out."""
    asked = [kpi for kpi in kpis if kpi.sql]
    if not asked:
        return
    with _Queries(settings) as queries, ThreadPoolExecutor(queries.at_once) as pool:
        for some in _in_parts(sorted(days)):
            work = [pool.submit(queries.compute, Done(kpi, day)) for day, kpi in product(some, asked)]
            try:
                yield from _store(settings, [future.result() for future in work], "")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _in_parts(days: Sequence[date]) -> Iterator[Sequence[date]]:
    for start in range(0, len(days), DAYS_PER_COMMIT):
        yield days[start : start + DAYS_PER_COMMIT]


def _first_ended(futures: "Sequence[Future[Any]]") -> "set[Future[Any]]":
    return wait(futures, return_when=FIRST_COMPLETED).done


class _Queries:
    """The published file, opened once; where it cannot be, each question is answered with the reason."""

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings
        self._stack = ExitStack()
        self._file: PublishedFile | None = None
        self._why = ""

    def __enter__(self) -> Self:
        try:
            self._file = self._stack.enter_context(PublishedFile(self._settings))
        except KpiSqlError as error:
            self._why = str(error)
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.close()

    @property
    def at_once(self) -> int:
        """How many run side by side: with as many threads none waits within its time."""
        return self._file.at_once if self._file else 1

    def compute(self, done: Done) -> Done:
        """A KPI with its values for its day; whatever breaks its query is its error."""
        if self._file is None:
            return replace(done, error=self._why)
        started = time.monotonic()
        try:
            values = self._file.values(done.kpi.sql, done.day, entity=done.kpi.entity)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this KPI's error
            return replace(done, error=sentence(error), seconds=time.monotonic() - started)
        return replace(done, values=tuple(values), seconds=time.monotonic() - started)


def _store(settings: "Settings", computed: Sequence[Done], trace_id: str) -> list[Done]:
    """Store what was computed, in one commit; where the lake does not take it, that is the error of each."""
    found = [Found(done.kpi, done.day, done.values, "sql", trace_id) for done in computed if done.values is not None]
    if not found:
        return list(computed)
    try:
        store_values(settings, found, now=utc_now())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is these KPIs' error
        _log.exception("%d KPI values could not be stored", len(found))
        why = f"its value could not be stored: {sentence(error)}"
        return [replace(done, values=None, error=done.error or why) for done in computed]
    return list(computed)


class _DailyRun:
    """The daily run of a market day: its job, the published file, the way to the workflows, and the threads."""

    def __init__(self, settings: "Settings", job: KpiJob, run_id: str) -> None:
        self._settings = settings
        self._job = job
        self._workflows = Workflows(settings)
        self._triggers = Triggers(settings, job, run_id, self._workflows)
        self._queries = _Queries(settings)

    def __enter__(self) -> Self:
        self._workflows.__enter__()
        self._queries.__enter__()
        # Threads of their own, so that no call waits behind a row of queries.
        self._computed_at_once = min(self._queries.at_once, self._settings.kpi_concurrency)
        self._computing = ThreadPoolExecutor(self._computed_at_once)
        self._calling = ThreadPoolExecutor(self._settings.kpi_concurrency)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A run that is cancelled must not wait for webhooks; their time-outs end the threads.
        self._computing.shutdown(wait=kind is None, cancel_futures=True)
        self._calling.shutdown(wait=kind is None, cancel_futures=True)
        self._workflows.__exit__(kind, error, trace)
        self._queries.__exit__(kind, error, trace)

    def work_off(self, kpis: Sequence["Kpi"]) -> Iterator[Done]:
        """Each KPI as it ends. One whose query or webhook is slow holds no other's up."""
        mine: list[Done] = []
        for done, its_wait in self._waits([Done(kpi, self._job.date) for kpi in kpis]):
            if ended := self._triggers.take(done, its_wait):
                yield ended
            else:
                mine.append(done)
        calling = {self._calling.submit(self._triggers.call, done) for done in mine if not done.kpi.sql}
        computing = {self._computing.submit(self._compute, done) for done in mine if done.kpi.sql}
        while computing or calling:
            come = _first_ended([*computing, *calling])
            for done in self._stored([future.result() for future in come & computing]):
                if done.error or done.is_pending:
                    yield done
                else:
                    calling.add(self._calling.submit(self._triggers.call, done))
            yield from (future.result() for future in come & calling)
            computing -= come
            calling -= come

    def _waits(self, all_of_it: Sequence[Done]) -> Iterator[tuple[Done, timedelta]]:
        """Each KPI with the longest that its query waits for its turn, and its call for a thread.

        A run that is alive has in hand also what waits: else another would take it for left behind.
        """
        one_query = self._settings.kpi_sql_timeout + GRACE
        calls = len(all_of_it) // self._settings.kpi_concurrency * longest_call(self._settings)
        queries = [done for done in all_of_it if done.kpi.sql]
        yield from ((done, calls) for done in all_of_it if not done.kpi.sql)
        for place, done in enumerate(queries):
            yield done, place // self._computed_at_once * one_query + calls

    def _compute(self, done: Done) -> Done:
        """The value of a KPI whose turn has come, from when on its claim is to last."""
        if ended := self._triggers.take(done):
            return ended
        computed = self._queries.compute(done)
        return self._triggers.failed(computed) if computed.error else computed

    def _stored(self, computed: Sequence[Done]) -> Iterator[Done]:
        yield from (done for done in computed if done.values is None)
        for done in _store(self._settings, [done for done in computed if done.values is not None], self._job.trace_id):
            yield self._triggers.failed(done) if done.error else done
