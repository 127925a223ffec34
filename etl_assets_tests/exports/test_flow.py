"""The whole way of a large request: from ``GET /timeseries`` through Dagster to the client's file.

The last test has Dagster's own servers: a job that is asked for while they are down.
"""

import io
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from etl_assets.api.app import create_app
from etl_assets.exports.dagster_runs import submit_due
from etl_assets.ops.job_records import find_job
from etl_assets_tests.api.authority import jwk
from etl_assets_tests.api.serving import served
from etl_assets_tests.exports.conftest import NOW, SITE, START, total

SECRET = uuid4().hex
CLIENT = {"id": "north", "secret": SECRET, "scopes": ["read:timeseries"]}
WEEK = {"from": START.isoformat(), "to": (START + timedelta(days=7)).isoformat()}
DAGSTER = """
import sys
from etl_assets.processes import free_port, running
with running("127.0.0.1", free_port(), free_port()):
    sys.stdin.readline()
"""
PATIENCE_S = 240


def with_clients(settings):
    keys, clients = json.dumps([jwk()]), json.dumps([CLIENT])
    return settings.model_copy(update={"signing_keys": SecretStr(keys), "client_ids": SecretStr(clients)})


def logged_in(http):
    form = {"grant_type": "client_credentials", "client_id": "north", "client_secret": SECRET}
    http.headers["Authorization"] = f"Bearer {http.post('/token', data=form).json()['access_token']}"
    return http


def the_sum_of(body):
    rows = pq.read_table(io.BytesIO(body))
    return rows.num_rows, pc.sum(rows["value"]).as_py()


def test_a_large_request_is_queued_done_by_a_run_and_fetched(tower, instance, dequeue):
    app = create_app(with_clients(tower), now=lambda: NOW, submits=False)
    with served(app) as at_work, httpx.Client(base_url=at_work.url, timeout=60) as http:
        logged_in(http)
        asked = {"site": SITE, "pattern": "*", "format": "parquet", **WEEK}
        queued = http.get("/timeseries", params=asked)
        assert queued.status_code == 202, queued.text
        url = queued.headers["Location"]
        assert http.get(url).json()["status"] == "queued"

        submit_due(tower, instance, now=NOW)
        assert http.get(url).json()["status"] == "submitted"
        dequeue(find_job(tower, queued.json()["jobId"]))

        job = http.get(url).json()
        assert (job["status"], job["progress"], job["samples"]) == ("completed", 1.0, 288_000)
        assert the_sum_of(http.get(job["resultUrl"]).content) == (288_000, total(200))


def test_a_middling_request_comes_from_the_cache_the_second_time(tower):
    app = create_app(with_clients(tower), now=lambda: NOW, submits=False)
    with served(app) as at_work, httpx.Client(base_url=at_work.url) as http:
        logged_in(http)
        asked = {"site": SITE, "pattern": "*/000?", **WEEK}
        answers = [http.get("/timeseries", params=asked).json() for _ in range(2)]

    first, second = (answer["_meta"] for answer in answers)
    assert (first["route"], first["cacheHit"], first["samples"]) == ("cached", False, 14_400)
    assert (second["route"], second["cacheHit"], second["samples"]) == ("cached", True, 14_400)
    assert answers[0]["data"] == answers[1]["data"]
    assert sum(row["value"] for row in answers[0]["data"]) == total(10)


@pytest.mark.servers
def test_a_job_that_is_asked_for_while_dagster_is_down_is_done_when_it_is_up(tower, monkeypatch):
    # Set first, so that what the process sets by itself is taken back.
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.delenv("DAGSTER_HOME")
    app = create_app(with_clients(tower))
    with served(app) as at_work, httpx.Client(base_url=at_work.url, timeout=60) as http:
        logged_in(http)
        asked = {"site": SITE, "pattern": "*", "format": "parquet", **WEEK}
        url = http.get("/timeseries", params=asked).headers["Location"]
        until(http, url, "submitted")

        with dagster(tower):
            job = until(http, url, "completed")

        assert the_sum_of(http.get(job["resultUrl"]).content) == (288_000, total(200))
        assert (job["attempts"], job["error"]) == (1, None)


def dagster(settings):
    """Dagster's processes, and another API with a submitter of its own, over the data folder until the block ends."""
    # Its sensors are at work as well: they find no market, and no account.
    nowhere = dict.fromkeys(("NEMWEB_URL", "PRICE_AND_DEMAND_URL", "AEMO_API_URL"), "http://127.0.0.1:9")
    environment = {"PATH": os.environ["PATH"], "ETL_DATA": str(settings.etl_data), **nowhere}
    root = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, "-c", DAGSTER], cwd=root, env=environment, stdin=subprocess.PIPE)


def until(http, url, status):
    deadline = time.monotonic() + PATIENCE_S
    while (job := http.get(url).json())["status"] != status:
        assert job["status"] in ("queued", "submitted", "running"), job
        assert time.monotonic() < deadline, f"{job['status']} at {datetime.now(UTC)}"
        time.sleep(0.1)
    return job
