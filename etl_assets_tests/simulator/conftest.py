"""What the simulator's tests share."""

from collections.abc import Iterator

import httpx
import pytest

from etl_assets.simulator.app import SimulatorServer
from etl_assets.simulator.service import Simulator
from etl_assets_tests.simulator.ace_reading import client
from etl_assets_tests.simulator.reading import NOW


@pytest.fixture
def simulator() -> Simulator:
    return Simulator(now=lambda: NOW)


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer(now=lambda: NOW) as running:
        yield running


@pytest.fixture(scope="module")
def account(server: SimulatorServer) -> Iterator[httpx.Client]:
    """A client of ACE's own API, with the right key."""
    with client(server.ace_url) as opened:
        yield opened


@pytest.fixture(scope="module")
def documents(server: SimulatorServer) -> Iterator[httpx.Client]:
    """A client of the API as 001's documents have it."""
    with client(server.ace_v1_url) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _no_faults_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        request.getfixturevalue("server").faults.switch_off()
