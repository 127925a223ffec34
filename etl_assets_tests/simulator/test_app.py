import csv
import io
import re
import zipfile
from datetime import timedelta
from threading import Thread

import httpx
import pytest

from etl_assets.simulator.app import LoggedRequest, SimulatorServer
from etl_assets.simulator.faults import CATALOGUE
from etl_assets_tests.simulator.reading import NOW, table_of, unzipped

FOLDER = "/Reports/CURRENT/DispatchIS_Reports/"


def newest(server: SimulatorServer) -> str:
    page = httpx.get(server.url + FOLDER).text
    return str(re.findall(r'HREF="([^"]+zip)"', page)[-1])


def fetch(server: SimulatorServer, path: str) -> httpx.Response:
    return httpx.get(server.url + path, timeout=30)


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("too_many_requests", 429),
        ("too_many_requests_silent", 429),
        ("blocked", 403),
        ("server_error", 503),
        ("html_with_200", 200),
        ("rolled_off", 404),
    ],
)
def test_a_fault_on_the_board_spoils_the_next_requests_only(server: SimulatorServer, fault: str, status: int) -> None:
    path = newest(server)
    server.faults.switch_on(fault, path=path, times=2)

    answers = [fetch(server, path) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [status, status, 200]
    assert zipfile.is_zipfile(io.BytesIO(answers[2].content))
    assert ("retry-after" in answers[0].headers) == (fault == "too_many_requests")


def test_a_fault_in_the_query_spoils_that_request_only(server: SimulatorServer) -> None:
    path = newest(server)

    assert fetch(server, f"{path}?fault=server_error").status_code == 503
    assert fetch(server, path).status_code == 200


def test_an_unknown_fault_is_answered_with_the_list(server: SimulatorServer) -> None:
    answer = fetch(server, f"{FOLDER}?fault=gremlins")

    assert answer.status_code == 400
    assert all(name in answer.json()["error"] for name in CATALOGUE)


def test_a_cut_body_ends_before_its_announced_length(server: SimulatorServer) -> None:
    path = newest(server)

    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        fetch(server, f"{path}?fault=cut_body")


def test_a_held_answer_outlasts_the_client_and_is_released_at_shutdown() -> None:
    answers: list[int] = []
    with SimulatorServer(now=lambda: NOW) as server:
        server.faults.switch_on("time_out", path="/Reports/", seconds=600)
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{server.url}/Reports/", timeout=0.2)
        patient = Thread(target=lambda: answers.append(httpx.get(f"{server.url}/Reports/", timeout=60).status_code))
        patient.start()
        while server.held < 2:
            patient.join(0.01)

    patient.join()
    assert answers == [504]


def test_an_empty_report_answer_has_no_content(server: SimulatorServer) -> None:
    server.faults.switch_on("no_content")

    answer = httpx.post(f"{server.url}/aemo/apps/api/report/5MIN", json={"timeScale": ["30MIN"]})

    assert (answer.status_code, answer.content) == (204, b"")
    assert fetch(server, FOLDER).status_code == 200


def test_a_cut_file_is_a_whole_zip_without_footer(server: SimulatorServer) -> None:
    report = unzipped(fetch(server, f"{newest(server)}?fault=cut_file").content)

    assert b"END OF REPORT" not in report
    assert not report.endswith(b"\n")


def test_a_corrupt_zip_fails_its_checksum(server: SimulatorServer) -> None:
    content = fetch(server, f"{newest(server)}?fault=corrupt_zip").content

    with (
        zipfile.ZipFile(io.BytesIO(content)) as opened,
        pytest.raises(Exception, match=r"CRC|invalid|decompress"),
    ):
        opened.read(opened.namelist()[0])


def test_a_wrong_footer_disagrees_with_the_lines(server: SimulatorServer) -> None:
    report = unzipped(fetch(server, f"{newest(server)}?fault=wrong_footer").content).decode()

    assert int(report.split(",")[-1]) == report.count("\r\n") + 7


def test_a_bad_row_has_a_price_that_is_not_a_number(server: SimulatorServer) -> None:
    rows = table_of(unzipped(fetch(server, f"{newest(server)}?fault=bad_row").content), "PRICE")

    assert [row["RRP"] for row in rows].count("n/a") == 1


def test_a_missing_region_leaves_a_consistent_file(server: SimulatorServer) -> None:
    server.faults.switch_on("missing_region", region="TAS1")

    report = unzipped(fetch(server, newest(server)).content)

    assert [row["REGIONID"] for row in table_of(report, "PRICE")] == ["NSW1", "QLD1", "SA1", "VIC1"]
    assert int(report.decode().split(",")[-1]) == report.count(b"\r\n")


@pytest.mark.parametrize(("fault", "mark"), [("quoted_commas", ","), ("quoted_newlines", "\r\n")])
def test_quoted_values_hold_commas_or_line_breaks(server: SimulatorServer, fault: str, mark: str) -> None:
    report = unzipped(fetch(server, f"{newest(server)}?fault={fault}").content)
    rows = list(csv.reader(io.StringIO(report.decode(), newline="")))

    assert mark in table_of(report, "MARKETNOTICEDATA")[0]["REASON"]
    assert int(rows[-1][2]) == len(rows)


@pytest.mark.parametrize(
    ("fault", "mark"),
    [
        ("lower_case_listing", '<a href="/Reports'),
        ("absolute_listing", 'HREF="http://127.0.0.1'),
        ("short_date_listing", "4/20/2026  2:40 PM"),
    ],
)
def test_listings_come_in_other_styles(server: SimulatorServer, fault: str, mark: str) -> None:
    text = fetch(server, f"{FOLDER}?fault={fault}").text

    assert mark in text
    assert text.count(".zip</") == 577


def test_an_empty_listing_is_a_page_without_entries(server: SimulatorServer) -> None:
    text = fetch(server, f"{FOLDER}?fault=empty_listing").text

    assert "[To Parent Directory]" in text
    assert ".zip" not in text


def test_every_fault_of_the_catalogue_can_be_switched_on(server: SimulatorServer) -> None:
    for name in CATALOGUE:
        server.faults.switch_on(name)

    assert len(server.faults.on()) == len(CATALOGUE)


def test_the_control_endpoint_switches_faults_and_time() -> None:
    with SimulatorServer(now=lambda: NOW) as server:
        control = f"{server.url}/_control"
        body = {"name": "missing_interval", "intervals": ["2026-04-20T14:00:00"], "times": None}

        switched = httpx.post(f"{control}/faults", json=body).json()
        moved = httpx.post(f"{control}/time", json={"advance_seconds": 300}).json()

        assert switched[0]["intervals"] == ["2026-04-20T14:00:00+10:00"]
        assert moved["now"] == (NOW + timedelta(minutes=5)).isoformat()
        assert httpx.delete(f"{control}/faults", params={"name": "missing_interval"}).json() == []
        assert httpx.post(f"{control}/faults", json={"name": "gremlins"}).status_code == 400
        assert httpx.get(f"{control}/requests").json() == []


def test_requests_are_logged_with_their_status() -> None:
    with SimulatorServer(now=lambda: NOW) as server:
        fetch(server, FOLDER)
        fetch(server, "/nowhere")

        assert server.requests == [LoggedRequest("GET", FOLDER, 200), LoggedRequest("GET", "/nowhere", 404)]


def test_a_known_tag_is_answered_without_a_body(server: SimulatorServer) -> None:
    path = newest(server)
    tag = fetch(server, path).headers["etag"]

    answer = httpx.get(server.url + path, headers={"If-None-Match": tag})

    assert (answer.status_code, answer.content) == (304, b"")


def test_a_monthly_name_needs_its_percent_sign_escaped(server: SimulatorServer) -> None:
    folder = "/Data_Archive/Wholesale_Electricity/MMSDM/2026/MMSDM_2026_03/MMSDM_Historical_Data_SQLLoader/DATA/"

    answer = fetch(server, f"{folder}PUBLIC_ARCHIVE%2523ROOFTOP_PV_ACTUAL%2523FILE01%2523202603010000.zip")

    assert answer.status_code == 200
    assert len(table_of(unzipped(answer.content), "ACTUAL")) == 31 * 48 * 20


def test_a_server_that_was_away_for_a_while_is_back_at_its_port_with_its_faults() -> None:
    with SimulatorServer(now=lambda: NOW) as first:
        first.faults.switch_on("server_error", path=FOLDER, times=2)
        assert fetch(first, FOLDER).status_code == 503

    with pytest.raises(httpx.ConnectError):
        fetch(first, FOLDER)

    with SimulatorServer(simulator=first.simulator, port=first.port) as again:
        assert again.url == first.url
        assert [fetch(again, FOLDER).status_code for _ in range(2)] == [503, 200]


def test_it_counts_the_requests_that_each_kind_of_fault_spoilt(server: SimulatorServer) -> None:
    before = server.faults.taken["blocked"]
    server.faults.switch_on("blocked", path=FOLDER, times=2)

    for _ in range(3):
        fetch(server, FOLDER)

    assert server.faults.taken["blocked"] - before == 2
