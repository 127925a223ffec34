"""How the service is: one look at each thing that it needs, with how long the look took.

What is said here anybody may read: no path, no address, no error's own text.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from etl_assets.api.problems import Problem
from etl_assets.market_time import utc_now
from etl_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

    from etl_assets.api.warehouse import Warehouse

Status = Literal["healthy", "degraded", "unhealthy"]
WORST_FIRST: tuple[Status, ...] = ("unhealthy", "degraded", "healthy")

STALE_AFTER = timedelta(minutes=15)
"""A tick publishes every five minutes; three missed are a problem."""

HEARTBEAT_AFTER = timedelta(minutes=3)
"""The daemon's parts write theirs every 30 seconds, and later where a sensor takes its time."""

NEEDED = frozenset({"SCHEDULER", "SENSOR", "QUEUED_RUN_COORDINATOR"})
"""The parts of Dagster's daemon without which nothing starts."""

PATIENCE_S = 5.0
"""For all looks together; one that takes longer goes on, and is not begun again meanwhile."""

GOOD_FOR = timedelta(seconds=1)
"""Nobody needs a token to ask, so asking often must not cost more."""


@dataclass(frozen=True, slots=True)
class Look:
    """One thing and how it is; ``facts`` are numbers and names for whoever wants to know more."""

    status: Status
    detail: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    response_time_ms: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The look as the API shows it."""
        shown = {"status": self.status, "detail": self.detail, "responseTimeMs": round(self.response_time_ms, 1)}
        return {**shown, **self.facts}


def worst(looks: Mapping[str, Look]) -> Status:
    """The status of the whole: that of the worst part."""
    there = {look.status for look in looks.values()}
    return next((status for status in WORST_FIRST if status in there), "healthy")


class Health:
    """The looks, and what they found last. Threads share one."""

    def __init__(
        self,
        settings: Settings,
        warehouse: "Warehouse",
        *,
        now: Callable[[], datetime] = utc_now,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._settings = settings
        self._warehouse = warehouse
        self._now = now
        self._patience_s = patience_s
        self._looks: dict[str, Callable[[], Look]] = {
            "publishedFile": self._published_file,
            "lakeCatalog": self._lake_catalog,
            "stateDatabase": self._state_database,
            "dagsterDaemon": self._dagster_daemon,
            "kpiRegistry": self._kpi_registry,
            "lastKpiJob": self._last_kpi_job,
            "newestInterval": self._newest_interval,
        }
        self._pool = ThreadPoolExecutor(len(self._looks), "health")
        self._under_way: dict[str, Future[Look]] = {}
        self._turn = Lock()
        self._found: dict[str, Look] = {}
        self._found_at: datetime | None = None
        self._opened = ExitStack()
        self._opening = Lock()
        self._instance: dg.DagsterInstance | None = None

    def close(self) -> None:
        """Let go of Dagster's instance; looks that are under way end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._opened.close()

    def looks(self) -> dict[str, Look]:
        """All looks, by name; those of the last second again, or those before them where somebody is looking."""
        if not self._turn.acquire(blocking=not self._found):
            return self._found
        try:
            now = self._now()
            if self._found_at is None or abs(now - self._found_at) >= GOOD_FOR:
                self._found, self._found_at = self._look(), now
            return self._found
        finally:
            self._turn.release()

    def is_ready(self) -> bool:
        """Whether requests for data can be answered: there is a published file, and the state database answers."""
        looks = self.looks()
        return all(looks[name].status != "unhealthy" for name in ("publishedFile", "stateDatabase"))

    def daemon(self) -> Look:
        """Whether Dagster's daemon is at work, looked at now."""
        return _looked(self._dagster_daemon)

    def instance(self) -> "dg.DagsterInstance":
        """Dagster's instance, opened once: two that make the tables of a new one at the same time fail."""
        from etl_assets.dagster_home import dagster_instance

        with self._opening:
            if self._instance is None:
                self._instance = self._opened.enter_context(dagster_instance(self._settings))
            return self._instance

    def _look(self) -> dict[str, Look]:
        for name, look in self._looks.items():
            if name not in self._under_way:
                self._under_way[name] = self._pool.submit(_looked, look)
        done, _ = wait(self._under_way.values(), self._patience_s)
        late = Look("unhealthy", f"No answer within {self._patience_s:g} s.", response_time_ms=self._patience_s * 1000)
        found = {name: future.result() if future in done else late for name, future in self._under_way.items()}
        self._under_way = {name: future for name, future in self._under_way.items() if future not in done}
        return {name: found[name] for name in self._looks}

    def _published_file(self) -> Look:
        try:
            snapshot = self._warehouse.snapshot
        except Problem as problem:
            return Look("unhealthy", problem.title)
        age = self._now() - snapshot.published_at
        facts = {"snapshot": snapshot.id, "publishedAt": _stamp(snapshot.published_at), "ageSeconds": _seconds(age)}
        if age > STALE_AFTER:
            return Look("degraded", f"Published {_minutes(age)} minutes ago.", facts)
        return Look("healthy", "Published lately.", facts)

    def _lake_catalog(self) -> Look:
        if self._settings.lake_catalog:
            return Look("healthy", "In a database of its own, which is not looked at here.")
        if self._settings.catalog_path.exists():
            return Look("healthy", "There.")
        return Look("degraded", "There is none yet: it is made by the first run.")

    def _state_database(self) -> Look:
        from sqlalchemy import text

        from etl_assets.ops.database import begin

        with begin(self._settings) as connection:
            connection.execute(text("SELECT 1"))
        return Look("healthy", "Answers.", {"connected": True})

    def _dagster_daemon(self) -> Look:
        heartbeats = self.instance().get_daemon_heartbeats()
        moment = self._now().timestamp()
        ages = [moment - beat.timestamp for name, beat in heartbeats.items() if name in NEEDED]
        if len(ages) < len(NEEDED) or max(ages) > HEARTBEAT_AFTER.total_seconds():
            return Look("degraded", "Not running: nothing is collected, and jobs wait.", {"isRunning": False})
        facts = {"isRunning": True, "oldestHeartbeatSeconds": round(max(ages), 1)}
        return Look("healthy", "Running.", facts)

    def _kpi_registry(self) -> Look:
        from etl_assets.kpi.registry import registry_status

        status = registry_status(self._settings)
        facts = {
            "isGood": status.is_good,
            "version": status.version,
            "kpis": status.total,
            "active": status.active,
            "checkedAt": _stamp(status.checked_at),
        }
        if status.is_good:
            return Look("healthy", f"{status.total} KPIs in force.", facts)
        return Look("degraded", "The last good copy is in force: the registry was not taken, or never fetched.", facts)

    def _last_kpi_job(self) -> Look:
        from etl_assets.ops.kpi_state import last_job

        job = last_job(self._settings)
        if job is None:
            return Look("healthy", "None yet.", {"job": None})
        metadata = {
            "totalKPIs": job.total_kpis,
            "completedKPIs": job.completed_kpis,
            "failedKPIs": job.failed_kpis,
            "environment": job.environment,
        }
        stamps = {"createdAt": _stamp(job.created_at), "updatedAt": _stamp(job.updated_at)}
        facts = {"job": {"traceId": job.trace_id, "status": job.status, **stamps, "metadata": metadata}}
        status: Status = "degraded" if job.status in {"failed", "partial"} else "healthy"
        return Look(status, f"{job.status.capitalize()}, for {job.date}.", facts)

    def _newest_interval(self) -> Look:
        try:
            newest = self._warehouse.once("newest dispatch interval", _newest_interval)
        except Problem as problem:
            return Look("degraded", problem.title)
        if newest is None:
            return Look("degraded", "There is no dispatch interval yet.")
        age = self._now() - newest
        facts = {"intervalEnd": _stamp(newest), "ageSeconds": _seconds(age)}
        if age > STALE_AFTER:
            return Look("degraded", f"Ended {_minutes(age)} minutes ago.", facts)
        return Look("healthy", "Current.", facts)


def _newest_interval(connection: Any) -> datetime | None:  # noqa: ANN401 - DuckDB's connection, which is not imported
    row = connection.execute("SELECT max(interval_end) FROM warehouse.aemo.dispatch_region").fetchone()
    return row[0] if row else None


def _looked(look: Callable[[], Look]) -> Look:
    began = perf_counter()
    try:
        found = look()
    except Exception as error:  # noqa: BLE001 (whatever is wrong, the other looks go on)
        found = Look("unhealthy", f"It could not be looked at: {type(error).__name__}.")
    return Look(found.status, found.detail, found.facts, (perf_counter() - began) * 1000)


def _stamp(moment: datetime | None) -> str | None:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z" if moment else None


def _seconds(age: timedelta) -> float:
    return round(age.total_seconds(), 1)


def _minutes(age: timedelta) -> str:
    return f"{int(age.total_seconds() // 60):,}"
