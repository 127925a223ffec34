"""The page's figures over a small published world, asked as a browser on this machine asks."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from etl_assets.api.app import create_app
from etl_assets.settings import Settings
from etl_assets_tests.api.dashboard.filled import NOW, fill
from etl_assets_tests.api.operating import CLIENTS, Operating, copied
from etl_assets_tests.api.serving import served

UNLIMITED = {"rate_limit_address": "100000/minute", "rate_limit_client": "100000/minute"}


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "data"
    fill(Settings(_env_file=None, etl_data=folder))
    return folder


@pytest.fixture(scope="session")
def api(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operating]:
    """One for all tests that leave it as it is and need nothing of Dagster, whose storage is a process's own."""
    folder = copied(published, tmp_path_factory.mktemp("page") / "data")
    it = Operating(Settings(_env_file=None, etl_data=folder, client_ids=json.dumps(CLIENTS), **UNLIMITED), now=NOW)
    it.app = create_app(it.settings, now=lambda: it.now, submits=False)
    with served(it.app) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        it.url, it.http = server.url, http
        yield it
