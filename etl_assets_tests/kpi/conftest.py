"""A published market of forty days, workflows that do as they are told, and KPIs that need either or both."""

import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from etl_assets.kpi.registry import Kpi
from etl_assets.kpi.run import Order, run_day
from etl_assets.lake.connection import write_lake
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import DISPATCH_REGION
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.market_time import days_between, interval_ends, use_clock
from etl_assets.ops.kpi_state import runs_of
from etl_assets.settings import Settings
from etl_assets.settings import settings as process_settings

DAY = date(2025, 11, 21)
"""A past day, so that it is a partition whenever the tests run."""
TICK = datetime(2025, 11, 22, 12, tzinfo=UTC)
FORTY = list(days_between(DAY - timedelta(days=39), DAY))
PRICE = "SELECT avg(rrp) FROM aemo.price WHERE market_day = $market_day AND region_id = 'NSW1'"
BY_REGION = "SELECT region_id, avg(rrp) FROM aemo.price WHERE market_day = $market_day GROUP BY region_id"
WRONG = "SELECT no_such_column FROM aemo.price WHERE market_day = $market_day"


def price_of(day: date) -> float:
    """The price of NSW1 in AUD/MWh: 100 on the first of the forty days, 139 on the last. SA1 pays twice as much."""
    return 100.0 + FORTY.index(day)


@pytest.fixture(scope="session")
def published_market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a lake with two intervals of two regions for each of the forty days."""
    folder = tmp_path_factory.mktemp("market") / "data"
    rows = [
        {"interval_end": end, "region_id": region, "intervention": 0, "rrp": price_of(day) * factor}
        for day in FORTY
        for end in interval_ends(day)[:2]
        for region, factor in (("NSW1", 1), ("SA1", 2))
    ]
    with write_lake(Settings(_env_file=None, etl_data=folder), "a test") as lake, transaction(lake):
        upsert(lake, DISPATCH_REGION, pa.Table.from_pylist(rows), now=TICK)
    return folder


def settle_in(published_market: Path, folder: Path, **changes: object) -> Settings:
    """A copy of the market, published, and settings that wait for nothing."""
    shutil.copytree(published_market, folder)
    quick = {"kpi_webhook_backoff": 0, "kpi_webhook_retries": 0, "kpi_breaker_failures": 1000, "http_backoff": 0}
    settings = Settings(_env_file=None, etl_data=folder, **quick | changes)
    publish(settings, now=TICK)
    return settings


@pytest.fixture
def market(published_market: Path, tmp_path: Path) -> Settings:
    return settle_in(published_market, tmp_path / "data")


@contextmanager
def as_process_settings(settings: Settings) -> Iterator[Settings]:
    """Settings that this process's environment names, as Dagster's resources read them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in settings.model_fields_set:
            value = getattr(settings, name)
            seconds = f"PT{value.total_seconds():g}S" if isinstance(value, timedelta) else str(value)
            patch.setenv(name.upper(), seconds)
        process_settings.cache_clear()
        yield process_settings()
    process_settings.cache_clear()


@pytest.fixture
def here(market: Settings) -> Iterator[Settings]:
    with as_process_settings(market) as settings:
        yield settings


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def kpi(kpi_id: str = "price", *, high: float | None = None, low: float | None = None, **more: Any) -> Kpi:
    """A KPI with fields as in JSON; its entity is ``region`` where its SQL gives regions."""
    thresholds = {"high": high, "low": low}
    entity = {"entity": "region"} if more.get("sql") == BY_REGION else {}
    described = {"name": kpi_id.title(), "unit": "AUD/MWh", "analysisConfig": {"alertThresholds": thresholds}}
    return Kpi.model_validate({"id": kpi_id, **described, **entity, **more})


# --- workflows ------------------------------------------------------------------------------------------

Answer = Callable[[BaseHTTPRequestHandler], None]


def says(status: int, body: bytes = b'{"message":"Workflow was started"}', **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        given = {"Content-Length": str(len(body)), "Content-Type": "application/json"}
        for name, value in (given | {name.replace("_", "-"): value for name, value in headers.items()}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


STARTED = says(200)


def hangs_up(_: BaseHTTPRequestHandler) -> None:
    """Nothing; the connection closes."""


class Receivers(ThreadingHTTPServer):
    """Webhooks that accept a call unless they are told otherwise, by name, and remember what they were sent."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.answers: dict[str, Answer] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.keys: list[str] = []
        self.over = threading.Event()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/webhook/{name}"

    @property
    def called(self) -> Counter[str]:
        return Counter(name for name, _ in self.calls)

    def never(self, _: BaseHTTPRequestHandler) -> None:
        """No answer until the test is over."""
        self.over.wait()

    def handle_error(self, *_: object) -> None:
        """A client that gave up is not this server's error."""


class _Receiver(BaseHTTPRequestHandler):
    server: Receivers

    def do_POST(self) -> None:
        name = self.path.rpartition("/")[2]
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.calls.append((name, payload))
        self.server.keys.append(self.headers["Idempotency-Key"])
        self.server.answers.get(name, STARTED)(self)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running_receivers() -> Iterator[Receivers]:
    with Receivers() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    with running_receivers() as server:
        yield server


def with_workflows(receivers: Receivers, names: Sequence[str], **more: Any) -> list[Kpi]:
    """KPIs of these ids, each with a workflow of its own name."""
    return [kpi(name, webhookUrl=receivers.url(name), **more) for name in names]


# --- daily runs ------------------------------------------------------------------------------------------


def work_off(settings: Settings, kpis: Sequence[Kpi], run_id: str = "run-1", *, force: bool = False, day: date = DAY):
    """A daily run: its job's trace id, and what became of each KPI by id."""
    opened, done = run_day(settings, kpis, day, Order(run_id, TICK, force=force))
    assert len({each.kpi.id for each in done}) == len(done) == len(kpis)
    return opened.trace_id, {each.kpi.id: each for each in done}


@contextmanager
def time_later(passed: timedelta) -> Iterator[None]:
    """The pipeline's time, when so much has passed."""
    use_clock(lambda: datetime.now(UTC) + passed)
    try:
        yield
    finally:
        use_clock()


def statuses(settings: Settings, trace_id: str) -> dict[str, str]:
    return {run.kpi_id: run.status for run in runs_of(settings, trace_id)}
