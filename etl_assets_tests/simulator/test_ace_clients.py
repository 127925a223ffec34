"""The vendor's own client and command line, unchanged, against the simulated ACE API."""

import csv
import json
import os
import subprocess
import sysconfig
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from etl_assets.simulator.app import SimulatorServer
from etl_assets_tests.simulator.ace_reading import END, KEY, START, readings, rows
from etl_assets_tests.simulator.reading import NOW

COMMAND = Path(sysconfig.get_path("scripts")) / "aceiot-models-cli"

if TYPE_CHECKING:
    from aceiot_models.api import APIClient

TIMES = (START.isoformat(), END.isoformat())


@pytest.fixture(scope="module")
def vendor(server: SimulatorServer) -> Iterator["APIClient"]:
    from aceiot_models.api import APIClient

    opened = APIClient(base_url=server.ace_url, api_key=KEY)
    yield opened
    opened.session.close()


def command(server: SimulatorServer, home: Path, *arguments: str) -> str:
    environment = {**os.environ, "ACEIOT_API_URL": server.ace_url, "ACEIOT_API_KEY": KEY, "HOME": str(home)}
    done = subprocess.run([COMMAND, *arguments], env=environment, cwd=home, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_client_lists_sites_and_points(server: SimulatorServer, vendor: "APIClient") -> None:
    sites = vendor.get_sites()["items"]
    points = vendor.get_site_points("building-a", per_page=100)

    assert [site["name"] for site in sites] == list(server.ace.sites)
    assert vendor.get_site("building-b")["name"] == "building-b"
    assert (points["total"], points["pages"], len(points["items"])) == (120, 2, 100)


def test_the_clients_own_paging_reads_every_point(server: SimulatorServer, vendor: "APIClient") -> None:
    from aceiot_models.api import get_api_results_paginated

    found = get_api_results_paginated(lambda **asked: vendor.get_site_points("building-a", **asked), per_page=50)

    assert [point["name"] for point in found] == server.ace.layout("building-a").names


def test_the_clients_own_models_take_the_points(vendor: "APIClient") -> None:
    from aceiot_models.api import convert_api_response_to_points

    points = convert_api_response_to_points(vendor.get_site_points("building-b"))

    assert len(points) == 60
    assert points[0].bacnet_data.object_type == "analogInput"


@pytest.mark.parametrize("page_size", [100, 10_000])
def test_the_clients_walk_reads_the_truth(server: SimulatorServer, vendor: "APIClient", page_size: int) -> None:
    found = vendor.get_site_timeseries_paginated("building-b", *TIMES, page_size=page_size, raw_data=True)

    assert readings(iter([found])) == rows(server.ace.table("building-b", START, END, NOW))


def test_the_client_reads_one_point_and_several(server: SimulatorServer, vendor: "APIClient") -> None:
    names = server.ace.layout("building-b").names[:2]
    truth = rows(server.ace.table("building-b", START, END, NOW))

    one = vendor.get_point_timeseries(names[0], *TIMES)
    both = vendor.get_points_timeseries(names, *TIMES)

    assert vendor.get_point(names[0])["name"] == names[0]
    assert readings(iter([one])) == [row for row in truth if row[0] == names[0]]
    assert readings(iter([both])) == [row for row in truth if row[0] in names]


def test_the_client_reads_the_last_weather(server: SimulatorServer, vendor: "APIClient") -> None:
    weather = vendor.get_site_weather("building-b")["weather"]
    truth = {name: value for name, _, value in rows(server.ace.table("building-b", START, NOW, NOW))}

    assert {told["name"]: told["value"] for told in weather.values()} == {
        f"building-b/weather/{name}": truth[f"building-b/weather/{name}"] for name in weather
    }


def test_the_client_gives_up_on_a_site_that_is_not_there(vendor: "APIClient") -> None:
    from aceiot_models.api import APIError

    with pytest.raises(APIError) as refused:
        vendor.get_site("elsewhere")

    assert refused.value.status_code == 403


def test_the_command_line_lists_the_sites(server: SimulatorServer, tmp_path: Path) -> None:
    told = json.loads(command(server, tmp_path, "-o", "json", "sites", "list"))

    assert [site["name"] for site in told["items"]] == list(server.ace.sites)


def test_the_command_lines_csv_is_the_truth(server: SimulatorServer, tmp_path: Path) -> None:
    arguments = ("--start", TIMES[0], "--end", TIMES[1], "-o", "out.csv", "--raw-data", "--page-size", "500")
    command(server, tmp_path, "sites", "timeseries", "building-a", *arguments)

    with (tmp_path / "out.csv").open(newline="") as opened:
        read = {
            (row["point_name"], datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC)): row["value"]
            for row in csv.DictReader(opened)
        }
    truth = {(name, stamp): value for name, stamp, value in rows(server.ace.table("building-a", START, END, NOW))}
    assert read.keys() == truth.keys()
    assert all(float(read[key] or "nan") == float(truth[key]) for key in truth if truth[key] != "NaN")


def test_the_command_lines_parquet_is_the_truth(server: SimulatorServer, tmp_path: Path) -> None:
    arguments = ("--start", TIMES[0], "--end", TIMES[1], "-o", "out.parquet", "--raw-data")
    command(server, tmp_path, "sites", "timeseries", "building-b", *arguments)

    read = pq.read_table(tmp_path / "out.parquet").to_pylist()

    truth = {(name, stamp): value for name, stamp, value in rows(server.ace.table("building-b", START, END, NOW))}
    keys = {(row["point_name"], row["timestamp"].replace(tzinfo=UTC)) for row in read}
    assert keys == truth.keys()
    assert len(read) == len(truth)


def test_the_command_line_reads_a_point_with_slashes_in_its_name(server: SimulatorServer, tmp_path: Path) -> None:
    name = server.ace.layout("building-b").names[0]

    told = command(server, tmp_path, "-o", "json", "points", "timeseries", name, "--start", TIMES[0], "--end", TIMES[1])

    truth = rows(server.ace.table("building-b", START, END, NOW))
    assert readings(iter([json.loads(told)])) == [row for row in truth if row[0] == name]
