"""The 5MIN report."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from etl_assets.aemo.dashboard import SCHEMA, FiveMinuteReport, decode_5min, fetch_5min
from etl_assets.http import HttpClient, Unintelligible
from etl_assets.settings import Settings

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "aemo" / "json" / "aemo_5min_data.json"
NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)
ROW = {
    "SETTLEMENTDATE": "2026-11-22T00:05:00",
    "REGIONID": "NSW1",
    "REGION": "NSW1",
    "RRP": 81.12345,
    "TOTALDEMAND": 7251.07,
    "PERIODTYPE": "ACTUAL",
    "NETINTERCHANGE": -12.5,
    "SCHEDULEDGENERATION": 6000.25,
    "SEMISCHEDULEDGENERATION": 1200.0,
    "APCFLAG": 0.0,
}


def decode(*rows: object) -> FiveMinuteReport:
    return decode_5min(json.dumps({"5MIN": rows}).encode(), issued_at=NOW)


def test_a_row_is_an_interval_end_in_utc_with_its_values() -> None:
    assert decode(ROW).actual.to_pylist() == [
        {
            "interval_end": datetime(2026, 11, 21, 14, 5, tzinfo=UTC),
            "region_id": "NSW1",
            "rrp": 81.12345,
            "total_demand": 7251.07,
            "net_interchange": -12.5,
            "scheduled_generation": 6000.25,
            "semi_scheduled_generation": 1200.0,
            "apc_flag": 0,
            "period_type": "ACTUAL",
        }
    ]


def test_forecasts_never_share_a_table_with_actuals() -> None:
    report = decode(ROW, ROW | {"PERIODTYPE": "FORECAST", "RRP": 99})

    assert report.actual["rrp"].to_pylist() == [81.12345]
    assert report.forecast["rrp"].to_pylist() == [99.0]
    assert report.forecast["period_type"].to_pylist() == ["FORECAST"]


def test_a_field_that_an_older_answer_lacks_is_null() -> None:
    row = {name: value for name, value in ROW.items() if name != "APCFLAG"}

    assert decode(row).actual["apc_flag"].to_pylist() == [None]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"PERIODTYPE": "PD"}, "PERIODTYPE 'PD'"),
        ({"RRP": "81"}, "RRP"),
        ({"RRP": None}, "RRP"),
        ({"TOTALDEMAND": "NaN"}, "TOTALDEMAND"),
        ({"SETTLEMENTDATE": "2026-02-30T00:05:00"}, "SETTLEMENTDATE"),
        ({"REGIONID": " "}, "REGIONID is blank"),
        ({"APCFLAG": 0.5}, "APCFLAG 0.5"),
    ],
)
def test_a_bad_row_is_set_apart_and_the_others_go_on(change: dict[str, object], reason: str) -> None:
    report = decode(ROW | change, ROW)

    assert report.actual.num_rows == 1
    [bad] = report.invalid
    assert (bad.source_file, bad.line) == ("5MIN", 1)
    assert json.loads(bad.raw) == ROW | change
    assert reason.lower() in bad.reason.lower()


def test_a_missing_value_is_invalid_and_not_zero() -> None:
    row = {name: value for name, value in ROW.items() if name != "RRP"}

    assert [bad.reason for bad in decode(row).invalid] == ["Object missing required field `RRP`"]


@pytest.mark.parametrize("row", [7, None, [], "x"])
def test_what_is_no_row_is_invalid(row: object) -> None:
    assert len(decode(row).invalid) == 1


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_an_empty_answer_means_keep_what_you_have(body: bytes) -> None:
    report = decode_5min(body, issued_at=NOW)

    assert report.unchanged
    assert (report.actual.num_rows, report.actual.schema) == (0, SCHEMA)


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"5min": []}', b'{"5MIN": null}', b'{"5MIN": {}}', b"[]", b"<html>", b'{"5MIN": [', b"\xff"],
)
def test_an_answer_that_is_not_the_report_is_an_error_and_not_zero_rows(body: bytes) -> None:
    with pytest.raises(Unintelligible):
        decode_5min(body, issued_at=NOW)


def test_a_report_without_rows_has_none() -> None:
    report = decode()

    assert not report.unchanged
    assert (report.actual.num_rows, report.forecast.num_rows, report.invalid) == (0, 0, [])


def test_days_on_which_sydneys_clocks_change_have_288_instants() -> None:
    starts = [datetime(2025, 4, 6), datetime(2025, 10, 5)]  # noqa: DTZ001 - as AEMO writes them
    stamps = [(start + timedelta(minutes=5 * n)).isoformat() for start in starts for n in range(1, 289)]

    ends = decode(*(ROW | {"SETTLEMENTDATE": stamp} for stamp in stamps)).actual["interval_end"].to_pylist()

    assert len(set(ends)) == 576
    assert ends[287] - ends[0] == timedelta(minutes=5 * 287)


class Server:
    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answers.pop(0)

    def client(self) -> HttpClient:
        settings = Settings(_env_file=None, http_backoff=0, http_retries=2)
        return HttpClient(settings, httpx.MockTransport(self))


def answer(status: int, body: bytes = b"", **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))


def test_the_request_is_repeated_with_its_body_and_headers_after_a_block() -> None:
    body = json.dumps({"5MIN": [ROW]}).encode()
    server = Server(answer(403), answer(200, body, Date="Sun, 22 Nov 2026 02:59:58 GMT"))

    with server.client() as http:
        report = fetch_5min(http, "http://aemo.test/5MIN", {"Referer": "http://aemo.test/"}, NOW)

    assert report.actual.num_rows == 1
    assert report.issued_at == datetime(2026, 11, 22, 2, 59, 58, tzinfo=UTC)
    assert [request.content for request in server.requests] == [b'{"timeScale":["30MIN"]}'] * 2
    assert all(request.headers["Referer"] == "http://aemo.test/" for request in server.requests)


def test_the_time_scale_can_be_chosen() -> None:
    server = Server(answer(204))

    with server.client() as http:
        report = fetch_5min(http, "http://aemo.test/5MIN", {}, NOW, ["5MIN"])

    assert (report.unchanged, report.issued_at) == (True, NOW)
    assert server.requests[0].content == b'{"timeScale":["5MIN"]}'


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_file(), reason=f"no capture at {REAL}")
def test_a_real_capture_is_read_whole_and_to_the_last_digit() -> None:
    rows = json.loads(REAL.read_bytes())["5MIN"]

    report = decode_5min(REAL.read_bytes(), issued_at=NOW)

    assert (len(rows), report.actual.num_rows, report.forecast.num_rows, report.invalid) == (
        2880,
        2880,
        0,
        [],
    )
    for column, field in [
        ("region_id", "REGIONID"),
        ("rrp", "RRP"),
        ("total_demand", "TOTALDEMAND"),
        ("net_interchange", "NETINTERCHANGE"),
        ("scheduled_generation", "SCHEDULEDGENERATION"),
        ("semi_scheduled_generation", "SEMISCHEDULEDGENERATION"),
    ]:
        assert report.actual[column].to_pylist() == [row[field] for row in rows]
    stamps = [datetime.fromisoformat(row["SETTLEMENTDATE"] + "+10:00") for row in rows]
    assert report.actual["interval_end"].to_pylist() == stamps
    assert set(Counter(report.actual["region_id"].to_pylist()).values()) == {576}
