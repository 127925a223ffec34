"""The whole API at work over a small published market, with a clock and a Dagster storage of the test's own."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pyarrow as pa
import pytest
from dagster._daemon.types import DaemonHeartbeat
from fastapi import FastAPI

from etl_assets.api.app import create_app
from etl_assets.api.clients import Scope
from etl_assets.api.health import NEEDED
from etl_assets.lake.connection import write_lake
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import DATA_QUALITY, DISPATCH_REGION, GAPS
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.market_time import interval_ends
from etl_assets.ops.state import copies_for_analysts
from etl_assets.settings import Settings
from etl_assets_tests.api.serving import served

DAY = date(2025, 11, 21)
"""A past day, so that it is a partition whenever the tests run."""
ENDS = interval_ends(DAY)[:12]
NOW = ENDS[-1].astimezone(UTC) + timedelta(minutes=4)
SITE = "tower"
CLIENTS = [
    {"id": "operator", "secret": "o", "scopes": [str(scope) for scope in Scope]},
    {"id": "reader", "secret": "r", "scopes": ["read:data", "read:timeseries"]},
    {"id": "workflow", "secret": "w", "scopes": ["kpi:report"]},
]


def fill(settings: Settings) -> None:
    """Publish an hour of two regions, two open gaps and a healed one, and a site's scores of two days."""
    regions = [(end, region) for end in ENDS for region in ("NSW1", "SA1")]
    prices = {"interval_end": [e for e, _ in regions], "region_id": [r for _, r in regions]}
    fixed = {"intervention": [0] * len(regions), "rrp": [50.0] * len(regions)}
    gap = {"dataset": "aemo.dispatch_region", "entity": "*", "first_seen": NOW}
    gaps = [
        gap | {"gap_start": ENDS[0], "gap_end": ENDS[2], "missing_intervals": 3, "healed_at": None},
        gap | {"gap_start": ENDS[4], "gap_end": ENDS[4], "missing_intervals": 1, "healed_at": None},
        gap | {"gap_start": ENDS[6], "gap_end": ENDS[6], "missing_intervals": 1, "healed_at": NOW},
    ]
    days = [(DAY - timedelta(days=1), 0.1), (DAY, 0.5), (DAY, 0.75)]
    scores = [
        {"site_name": SITE, "point_name": f"p{n}", "date": day, "quality_score": score}
        for n, (day, score) in enumerate(days)
    ]
    with write_lake(settings, "a test") as lake:
        for table, rows in (
            (DISPATCH_REGION, pa.table(prices | fixed)),
            (GAPS, pa.Table.from_pylist(gaps)),
            (DATA_QUALITY, pa.Table.from_pylist(scores)),
        ):
            with transaction(lake):
                upsert(lake, table, rows, now=NOW)
    publish(settings, now=NOW - timedelta(seconds=90), extra=copies_for_analysts(settings))


@dataclass
class Operating:
    """The API as a client meets it; ``now`` is what its clock says."""

    settings: Settings
    now: datetime = NOW
    app: FastAPI = field(init=False)
    http: httpx.Client = field(init=False)
    url: str = ""

    @property
    def instance(self) -> dg.DagsterInstance:
        return self.app.state.health.instance()

    def beat(self, *, ago_s: float = 5.0) -> None:
        """Let Dagster's daemon have been at work so long ago."""
        for kind in NEEDED:
            moment = self.now.timestamp() - ago_s
            self.instance.add_daemon_heartbeat(DaemonHeartbeat(moment, kind, "a-daemon", None))

    def bearer(self, client: str = "operator") -> dict[str, str]:
        """The header of a client that may do what it may."""
        tokens = self.app.state.tokens
        known = tokens.clients.get(client)
        return {"Authorization": f"Bearer {tokens.issue_alone(known, known.scopes, now=self.now).text}"}

    def get(self, path: str, client: str = "", **more: Any) -> httpx.Response:
        headers = self.bearer(client) if client else {}
        return self.http.get(path, headers=headers | more.pop("headers", {}), **more)

    def post(self, path: str, client: str = "", **more: Any) -> httpx.Response:
        headers = self.bearer(client) if client else {}
        return self.http.post(path, headers=headers | more.pop("headers", {}), **more)


@contextmanager
def operating(folder: Path, **more: Any) -> Iterator[Operating]:
    """The API over a data folder. Dagster's storage is in it, with the project's own configuration."""
    home = folder / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(__file__).parents[2] / "dagster.yaml", home / "dagster.yaml")
    settings = Settings(_env_file=None, etl_data=folder, client_ids=json.dumps(CLIENTS), **more)
    it = Operating(settings)
    it.app = create_app(settings, now=lambda: it.now, submits=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        with served(it.app) as server, httpx.Client(base_url=server.url, timeout=60) as http:
            it.url, it.http = server.url, http
            yield it


def copied(published: Path, folder: Path) -> Path:
    """A data folder with the published file of another, and a state of its own."""
    folder.mkdir(parents=True)
    for name in ("warehouse.duckdb", "lake"):
        (folder / name).symlink_to(published / name)
    return folder
