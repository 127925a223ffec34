"""The API: a month of the market as JSON and as Arrow, the newest interval at 32 connections, memory of large streams.

Servers are processes of their own with their own token service; the client is in this one.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pyarrow as pa

from benchmarks.ratio import Ratio, compare
from etl_assets.api.data_queries import IntervalsQuery, intervals_query
from etl_assets.api.formats import Format, render
from etl_assets.api.keys import new_key
from etl_assets.api.parameters import TimeRange
from etl_assets.api.reading import Reading
from etl_assets.api.regions import REGION_IDS
from etl_assets.api.warehouse import Warehouse
from etl_assets.lake.connection import write_lake
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import DISPATCH_REGION, POINTS, QUERY_METADATA, SITES, TIMESERIES_RAW
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.market_time import day_start, interval_ends
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NOW = datetime(2026, 11, 22, tzinfo=UTC)
FIRST, DAYS = date(2026, 10, 21), 31
CONNECTIONS, REQUESTS = 32, 6_000
SECRET = "of-the-benchmark"  # noqa: S105 - for a server that lives as long as this
ANY = 10_000_000
"""Requests a minute: what is measured is not to be limited."""


def _settings(folder: Path) -> Settings:
    return Settings(
        _env_file=None,
        etl_data=folder,
        signing_keys=json.dumps([new_key("RS256")]),
        client_ids=json.dumps([{"id": "benchmark", "secret": SECRET}]),
        rate_limit_client=f"{ANY}/minute",
        rate_limit_address=f"{ANY}/minute",
    )  # type: ignore[call-arg]  # pydantic-settings' own argument


def _month(settings: Settings) -> None:
    """31 market days of five regions with every value of a row, published."""
    random = np.random.default_rng(1)
    with write_lake(settings, "a benchmark") as lake:
        for n in range(DAYS):
            keys = [(end, region) for region in REGION_IDS for end in interval_ends(FIRST + timedelta(days=n))]
            columns: dict[str, Any] = {
                "interval_end": [end for end, _ in keys],
                "region_id": [region for _, region in keys],
                "intervention": [0] * len(keys),
            }
            doubles = [c.name for c in DISPATCH_REGION.columns if c.type == "DOUBLE"]
            columns |= {name: np.round(random.normal(80, 60, len(keys)), 5) for name in doubles}
            with transaction(lake):
                upsert(lake, DISPATCH_REGION, pa.table(columns), now=NOW)
        _readings(lake)
    publish(settings, now=NOW)


def _readings(lake: "DuckDBPyConnection") -> None:
    """A day of 50 points of one site, each read every minute: 72,000 readings, of which an hour less are asked for."""
    names = [f"point-{n:02}" for n in range(50)]
    minutes = [day_start(FIRST) + timedelta(minutes=n) for n in range(1440)]
    values = np.round(np.random.default_rng(2).normal(21, 2, len(names) * len(minutes)), 4)
    keys = {"point_name": np.repeat(names, len(minutes)), "timestamp": minutes * len(names), "value": values}
    site = {"site_name": "tower"}
    known = {"point_name": names, "data_start": minutes[:1] * 50, "data_end": minutes[-1:] * 50}
    with transaction(lake):
        upsert(lake, SITES, pa.table({name: [value] for name, value in site.items()}), now=NOW)
        upsert(lake, POINTS, pa.table({"point_name": names}), now=NOW, constants=site)
        upsert(lake, TIMESERIES_RAW, pa.table(keys), now=NOW, constants=site)
        upsert(lake, QUERY_METADATA, pa.table({**known, "total_samples": [1440] * 50}), now=NOW, constants=site)


def run() -> Iterator[Ratio]:
    """All of it; some two minutes."""
    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(Path(folder))
        _month(settings)
        yield from _bodies(settings)
        yield from _requests(settings)
        yield from _cached(settings)
    _memory()


def _query() -> IntervalsQuery:
    return intervals_query(TimeRange(day_start(FIRST), day_start(FIRST + timedelta(days=DAYS))))


def _bodies(settings: Settings) -> Iterator[Ratio]:
    """From the published file to the bytes of an answer, against what one would write by hand on one connection."""
    query = _query()
    statement = query.statement()
    with closing(Warehouse(settings)) as warehouse, warehouse.connection() as connection:

        def ours(form: Format) -> int:
            return sum(map(len, render(Reading(warehouse, query), form)))

        def by_hand() -> int:
            rows = connection.execute(statement.sql, list(statement.values))
            names = [name for name, *_ in rows.description]
            records = [dict(zip(names, row, strict=True)) for row in rows.fetchall()]
            return len(json.dumps({"data": records}, default=lambda value: value.isoformat()))

        def by_pandas() -> int:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                frame = connection.execute(statement.sql, list(statement.values)).df()
                return len(frame.to_json(orient="records", date_format="iso"))

        def as_json() -> int:
            return ours(Format.JSON)

        yield compare("31 days as JSON: fetchall + json.dumps / ours", by_hand, as_json, aim=">= 8", turns=9)
        yield compare("31 days as JSON: pandas to_json / ours", by_pandas, as_json, aim=">= 4", turns=9)
        yield compare("31 days: our JSON / our Arrow", as_json, lambda: ours(Format.ARROW), aim=">= 5", turns=15)
        yield compare(
            "31 days: fetchall + json.dumps / our Arrow", by_hand, lambda: ours(Format.ARROW), aim="", turns=9
        )


SERVER = """
import json, os, socket, sys
import uvicorn
from benchmarks.api import bare
from etl_assets.api.app import create_app
from etl_assets.settings import Settings
application = bare() if sys.argv[1] == "bare" else create_app(Settings(_env_file=None), submits=False)
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(application, log_config=None, access_log=False)).run(sockets=[listener])
"""


def bare() -> Any:  # noqa: ANN401 (an application of FastAPI, which is loaded in the server alone)
    """The reference: an application with one route that returns the same number of bytes."""
    from fastapi import FastAPI, Response

    application = FastAPI()
    body = b"x" * int(os.environ["BODY_BYTES"])

    @application.get("/data/latest")
    async def latest() -> Response:
        return Response(body, media_type="application/json")

    return application


@contextmanager
def _server(kind: str, settings: Settings, **more: str) -> Iterator[str]:
    given = {
        "ETL_DATA": str(settings.etl_data),
        "SIGNING_KEYS": settings.signing_keys.get_secret_value(),
        "CLIENT_IDS": settings.client_ids.get_secret_value(),
        "RATE_LIMIT_CLIENT": settings.rate_limit_client,
        "RATE_LIMIT_ADDRESS": settings.rate_limit_address,
    }
    command = [sys.executable, "-c", SERVER, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **given, **more}) as process:
        assert process.stdout  # noqa: S101
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def _requests(settings: Settings) -> Iterator[Ratio]:
    """Requests a second of the newest interval, tokens verified, beside a route that does nothing."""
    with _server("ours", settings) as url:
        token = _token(url)
        size = len(httpx.get(f"{url}/data/latest", headers={"Authorization": f"Bearer {token}"}).content)
        with _server("bare", settings, BODY_BYTES=str(size)) as reference:
            rates = [(_rate(url, token), _rate(reference, token)) for _ in range(3)]
    ours, theirs = (sorted(each)[1] for each in zip(*rates, strict=True))
    print(f"  /data/latest at {CONNECTIONS} connections: {ours:,.0f} requests a second; a bare route {theirs:,.0f}")
    yield Ratio("/data/latest: requests a second / a bare FastAPI route's", ours, theirs, ">= 0.4")


def _token(url: str) -> str:
    form = {"grant_type": "client_credentials", "client_id": "benchmark", "client_secret": SECRET}
    return str(httpx.post(f"{url}/token", data=form).json()["access_token"])


def _cached(settings: Settings) -> Iterator[Ratio]:
    """Some 70,000 readings as CSV: asked for the first time, and again. Each range is another entry of the cache."""
    with _server("ours", settings) as url, httpx.Client(headers={"Authorization": f"Bearer {_token(url)}"}) as client:
        ends = [day_start(FIRST) + timedelta(hours=23, minutes=n) for n in range(12)]
        asked = [{"from": day_start(FIRST).isoformat(), "to": end.isoformat()} for end in ends]
        times: dict[bool, list[float]] = {False: [], True: []}
        for is_hit in (False, True):
            for span in asked:
                start = time.perf_counter()
                found = client.get(
                    f"{url}/timeseries", params={"site": "tower", "pattern": "*", "format": "csv", **span}
                )
                times[is_hit].append(time.perf_counter() - start)
                assert found.status_code == httpx.codes.OK, found.text[:200]  # noqa: S101
    # Of the misses the first opens the published file, too.
    yield Ratio("70,000 readings from the cache / made", median(times[True]), median(times[False][1:]), "< 1")


def _rate(url: str, token: str) -> float:
    return asyncio.run(_asked(url, token))


async def _asked(url: str, token: str) -> float:
    """Requests a second over connections that stay open, each asking again as soon as it was answered."""
    host, _, port = url.removeprefix("http://").partition(":")
    request = f"GET /data/latest HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()

    async def ask(times: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in range(times):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head  # noqa: S101
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
        writer.close()

    await asyncio.gather(*(ask(5) for _ in range(CONNECTIONS)))
    start = time.perf_counter()
    await asyncio.gather(*(ask(REQUESTS // CONNECTIONS) for _ in range(CONNECTIONS)))
    return REQUESTS / (time.perf_counter() - start)


def _memory() -> None:
    """Peak memory of a process that streams so many readings, in each format."""
    with tempfile.TemporaryDirectory() as folder:
        for readings in (100_000, 1_000_000, 5_000_000):
            command = [sys.executable, "-m", "benchmarks.api_memory", f"{folder}/{readings}", str(readings)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            print(f"  {readings:>9,} readings: {said}", end="")
