"""A published file for tests, and the routes of rows on loopback, asked with tokens of the token service."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa

from etl_assets.api.problems import install_problem_handlers
from etl_assets.api.routes import data, sites
from etl_assets.api.tokens import Tokens
from etl_assets.api.warehouse import Warehouse
from etl_assets.lake.connection import write_lake
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import DISPATCH_REGION, POINTS, QUERY_METADATA, SITES, TIMESERIES_RAW, Table
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.market_time import day_start
from etl_assets.settings import Settings
from etl_assets_tests.api.authority import NOW, OPERATOR_SECRET, application, configured, jwk, serving

DAY = date(2026, 11, 20)
NEXT_DAY = date(2026, 11, 21)
SITE = "building a/b"
"""With what an address and a path have to escape."""


def store(settings: Settings, *parts: tuple[Table, pa.Table]) -> None:
    """Rows into the lake, in one commit."""
    with write_lake(settings, "a test") as lake, transaction(lake):
        for table, rows in parts:
            upsert(lake, table, rows, now=NOW)


def published(settings: Settings, *parts: tuple[Table, pa.Table], at: datetime = NOW) -> None:
    """Rows into the lake, and the lake into the published file."""
    store(settings, *parts)
    publish(settings, now=at)


def intervals(rows: Sequence[dict[str, Any]]) -> tuple[Table, pa.Table]:
    """Rows of ``aemo.dispatch_region`` that say what a test is about; the rest is as it usually is."""
    usual = {"intervention": 0, "rrp": 50.0, "rop": 50.0, "total_demand": 7000.0, "available_generation": 9000.0}
    return DISPATCH_REGION, pa.Table.from_pylist([{**usual, **row} for row in rows])


def at(text: str) -> datetime:
    """An instant in NEM time: ``2026-11-20 00:05``."""
    return datetime.fromisoformat(f"{text}+10:00")


def points(names: Sequence[str], site: str = SITE, **more: Any) -> tuple[Table, pa.Table]:
    return POINTS, pa.Table.from_pylist(
        [{"site_name": site, "point_name": name, "point_type": "analogInput", "is_listed": True, **more}
         for name in names]
    )  # fmt: skip


def site(name: str = SITE) -> tuple[Table, pa.Table]:
    return SITES, pa.table({"site_name": [name], "nice_name": ["A"], "power_points": ['["p"]']})


def readings(name: str, times: Sequence[datetime], values: Sequence[float | None], where: str = SITE):
    count = len(times)
    return TIMESERIES_RAW, pa.table(
        {
            "site_name": [where] * count,
            "point_name": [name] * count,
            "timestamp": pa.array(times, pa.timestamp("us", tz="UTC")),
            "value": pa.array(values, pa.float64()),
            "quality": ["good"] * count,
            "metadata": ["{}"] * count,
        }
    )


def known(name: str, first: datetime, last: datetime, total: int, where: str = SITE) -> tuple[Table, pa.Table]:
    """What ``ace.query_metadata`` says of a point."""
    row = {"site_name": where, "point_name": name, "data_start": first, "data_end": last, "total_samples": total}
    return QUERY_METADATA, pa.Table.from_pylist([row])


def minutes(day: date, count: int) -> list[datetime]:
    """The first minutes of a market day, as instants."""
    return [day_start(day).astimezone(UTC) + timedelta(minutes=n) for n in range(count)]


@dataclass(frozen=True, slots=True)
class Api:
    """The routes on loopback, with the client that may read all of them."""

    http: httpx.Client
    settings: Settings
    warehouse: Warehouse
    url: str

    def get(self, path: str, status: int = 200, headers: dict[str, str] | None = None, **params: Any) -> httpx.Response:
        """The answer, which must have this status."""
        answer = self.http.get(path, params=params or None, headers=headers)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer

    def rows(self, path: str, **params: Any) -> list[dict[str, Any]]:
        return self.get(path, **params).json()["data"]


def settings_in(folder: Path, **more: Any) -> Settings:
    return configured(folder, jwk("ES256"), **more)


@contextmanager
def api(settings: Settings, scope: str = "read:data read:timeseries") -> Iterator[Api]:
    """The routes of rows, served; the token has this scope."""
    tokens, warehouse = Tokens.configured(settings), Warehouse(settings)
    app = application(settings, tokens, lambda: NOW)
    app.state.warehouse = warehouse
    app.include_router(data.router)
    app.include_router(sites.router)
    install_problem_handlers(app)
    with serving(app) as url, httpx.Client(base_url=url, timeout=60) as http:
        asked = {"grant_type": "client_credentials", "client_id": "operator", "client_secret": OPERATOR_SECRET}
        token = http.post("/token", data={**asked, "scope": scope}).json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        yield Api(http, settings, warehouse, url)
    warehouse.close()
