"""A published file of two days, and one of nothing, each made once; nothing here writes into them."""

import pytest

from etl_assets.settings import Settings
from etl_assets_tests.analyst.market import publish_market, publish_nothing


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return publish_market(tmp_path_factory.mktemp("market") / "data")


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return publish_nothing(tmp_path_factory.mktemp("empty") / "data")
