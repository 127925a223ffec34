"""Export jobs over HTTP: who sees what, and a result whole or in parts, until it expires."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from etl_assets.api.app import create_app
from etl_assets.exports.results import result_path, results_folder
from etl_assets.ops.job_records import find_job, list_jobs, put_away
from etl_assets.ops.job_state import claim_due, complete, give_back, take_up
from etl_assets.settings import Settings
from etl_assets_tests.api.authority import jwk
from etl_assets_tests.api.serving import served
from etl_assets_tests.exports.conftest import NAMES, NOW, SITE, START, fill

READER = ["read:timeseries"]
CLIENTS = [
    {"id": "north", "secret": "n" * 20, "scopes": READER},
    {"id": "south", "secret": "s" * 20, "scopes": READER},
    {"id": "keeper", "secret": "k" * 20, "scopes": [*READER, "operator"]},
    {"id": "market", "secret": "m" * 20, "scopes": ["read:data"]},
]
LIMITS = {"rate_limit_token": "1000/minute"}
SECRETS = {client["id"]: client["secret"] for client in CLIENTS}
RESULT = bytes(range(256)) * 40
DAY = {"from": START.isoformat(), "to": (START + timedelta(days=1)).isoformat()}


@dataclass
class Asking:
    """The API as its clients meet it, with a clock of the test's own."""

    http: httpx.Client
    settings: Settings
    now: datetime = NOW

    def token(self, client: str) -> str:
        form = {"grant_type": "client_credentials", "client_id": client, "client_secret": SECRETS[client]}
        return self.http.post("/token", data=form).json()["access_token"]

    def ask(self, method: str, path: str, client: str = "north", headers: dict[str, str] | None = None, **more):
        sent = {"Authorization": f"Bearer {self.token(client)}", "Accept-Encoding": "identity", **(headers or {})}
        return self.http.request(method, path, headers=sent, **more)

    def order(self, client: str = "north", headers: dict[str, str] | None = None, **more) -> str:
        body = {"site": SITE, "points": [NAMES[0]], "format": "csv", **DAY, **more}
        answer = self.ask("POST", "/timeseries/jobs", client, headers, json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()["jobId"]

    def claimed(self) -> None:
        [job] = claim_due(self.settings, now=self.now, limit=1)
        take_up(self.settings, job.job_id, job.run_id, now=self.now)

    def completed(self, client: str = "north") -> str:
        job_id = self.order(client)
        self.claimed()
        job = find_job(self.settings, job_id)
        results_folder(self.settings).mkdir(parents=True, exist_ok=True)
        result_path(self.settings, job).write_bytes(RESULT)
        complete(
            self.settings, job_id, job.run_id, samples=9, result_bytes=len(RESULT), now=NOW, put_in_place=lambda: None
        )
        return job_id

    def result(self, job_id: str, **headers: str):
        return self.ask("GET", f"/jobs/{job_id}/result", headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("site") / "data"
    fill(Settings(_env_file=None, etl_data=made), points=3, minutes=10)
    return made


@pytest.fixture
def asking(folder: Path, tmp_path: Path) -> Iterator[Asking]:
    data = tmp_path / "data"
    data.mkdir()
    (data / "warehouse.duckdb").symlink_to(folder / "warehouse.duckdb")
    given = {"signing_keys": SecretStr(json.dumps([jwk()])), "client_ids": SecretStr(json.dumps(CLIENTS))}
    settings = Settings(_env_file=None, etl_data=data, **given, **LIMITS)
    app = create_app(settings, now=lambda: asking.now, submits=False)
    with served(app) as at_work, httpx.Client(base_url=at_work.url) as http:
        asking = Asking(http, settings)
        yield asking


def test_an_order_is_accepted_at_once_and_says_where_it_is(asking):
    body = {"site": SITE, "pattern": "*", "format": "parquet", "priority": 3, **DAY}
    answer = asking.ask("POST", "/timeseries/jobs", json=body)

    said = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/jobs/{said['jobId']}")
    assert said["_meta"] == {"route": "queued", "cacheHit": False, "estimatedSamples": 30, "jobId": said["jobId"]}
    job = asking.ask("GET", said["statusUrl"]).json()
    assert (job["status"], job["priority"], job["pointsTotal"], job["format"]) == ("queued", 3, 3, "parquet")
    assert job["request"]["points"] == list(NAMES[:3])


def test_the_same_key_again_makes_no_other_job(asking):
    key = {"Idempotency-Key": "monday"}

    assert asking.order(headers=key) == asking.order(headers=key)
    assert len(list_jobs(asking.settings)) == 1
    body = {"site": SITE, "points": [NAMES[1]], **DAY}
    answer = asking.ask("POST", "/timeseries/jobs", headers=key, json=body)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/idempotency-key-used")


@pytest.mark.parametrize(
    ("wrong", "status", "said"),
    [
        ({"site": "nowhere"}, 404, "nowhere"),
        ({"points": ["nothing"]}, 404, "nothing"),
        ({"points": []}, 422, "points"),
        ({"from": "yesterday"}, 422, "yesterday"),
        ({"format": "xlsx"}, 422, "format"),
        ({"interval": "2h"}, 422, "interval"),
        ({"priority": 10}, 422, "priority"),
        ({"points": ["x'; DROP TABLE jobs; --"]}, 404, "DROP"),
        ({"unknown": 1}, 422, "unknown"),
    ],
)
def test_a_wrong_order_is_refused_and_says_what_is_wrong(asking, wrong, status, said):
    body = {"site": SITE, "points": [NAMES[0]], **DAY, **wrong}
    answer = asking.ask("POST", "/timeseries/jobs", json=body)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert said in answer.json()["detail"]
    assert list_jobs(asking.settings) == []


def test_a_key_compares_the_pattern_that_was_sent_and_the_priority(asking):
    body = {"site": SITE, "pattern": "*", **DAY}
    answers = [
        asking.ask("POST", "/timeseries/jobs", headers={"Idempotency-Key": "all"}, json=body | changed)
        for changed in ({}, {"format": "parquet"}, {"pattern": "**"}, {"priority": 1})
    ]

    # Parquet is what is made where no format is asked for; ** are the same points, in other words.
    assert [answer.status_code for answer in answers] == [202, 202, 409, 409]
    assert answers[0].json()["jobId"] == answers[1].json()["jobId"]


def test_an_equal_order_gives_back_the_job_that_is_not_done_to_its_client_alone(asking):
    first = asking.order("north")

    assert asking.order("north") == first
    assert asking.order("south") != first


def test_a_client_with_twenty_jobs_is_told_to_wait(asking):
    for priority in range(10):
        for form in ("csv", "json"):
            asking.order(priority=priority, format=form)

    answer = asking.ask("POST", "/timeseries/jobs", json={"site": SITE, "points": [NAMES[1]], **DAY})

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "10")
    assert answer.json()["detail"].startswith("20 jobs of this client are not done yet; wait for one, or cancel one")
    assert len(list_jobs(asking.settings)) == 20
    asking.order("south")


def test_a_list_of_jobs_counts_their_points_and_a_job_alone_names_them(asking):
    job_id = asking.order(points=list(NAMES[:2]))

    [listed] = asking.ask("GET", "/jobs").json()["jobs"]

    assert (listed["request"]["points"], listed["request"]["site"]) == (2, SITE)
    assert asking.ask("GET", f"/jobs/{job_id}").json()["request"]["points"] == list(NAMES[:2])


def test_a_client_sees_its_own_jobs_and_an_operator_all(asking):
    mine, other = asking.order("north"), asking.order("south")

    def seen(client):
        return {job["jobId"] for job in asking.ask("GET", "/jobs", client).json()["jobs"]}

    assert (seen("north"), seen("south"), seen("keeper")) == ({mine}, {other}, {mine, other})
    assert "clientId" not in asking.ask("GET", f"/jobs/{mine}").json()
    assert asking.ask("GET", f"/jobs/{mine}", "keeper").json()["clientId"] == "north"


@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("DELETE", ""), ("GET", "/result")])
def test_another_clients_job_looks_as_if_it_were_not_there(asking, method, tail):
    job_id = asking.completed("south")

    answers = [
        asking.ask(method, f"/jobs/{name}{tail}") for name in (job_id, "job_" + "0" * 32, "..%2fx", "%00", "x" * 99)
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert find_job(asking.settings, job_id).status == "completed"


def test_jobs_need_their_scope(asking):
    assert asking.ask("GET", "/jobs", "market").status_code == 403
    assert asking.http.get("/jobs").status_code == 401
    assert asking.ask("GET", "/jobs/dead-letters", "north").status_code == 403


def test_progress_shows_while_the_job_is_at_work(asking):
    job_id = asking.order()
    asking.claimed()

    answer = asking.ask("GET", f"/jobs/{job_id}")

    assert (answer.json()["status"], answer.json()["progress"], answer.headers["Retry-After"]) == ("running", 0.0, "1")


def test_a_waiting_job_is_cancelled_at_once_and_one_at_work_soon(asking):
    waiting = asking.order()
    answer = asking.ask("DELETE", f"/jobs/{waiting}")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")

    at_work = asking.order()
    asking.claimed()
    answer = asking.ask("DELETE", f"/jobs/{at_work}")
    assert (answer.status_code, answer.json()["status"], answer.json()["cancelRequested"]) == (202, "running", True)


def test_a_job_that_has_ended_is_not_cancelled_and_a_cancelled_one_may_be_again(asking):
    done, cancelled = asking.completed(), asking.order()
    asking.ask("DELETE", f"/jobs/{cancelled}")

    assert asking.ask("DELETE", f"/jobs/{done}").status_code == 409
    assert asking.ask("DELETE", f"/jobs/{cancelled}").status_code == 200


def test_an_operator_sees_what_failed_for_good(asking):
    job_id, now = asking.order(), NOW
    for _ in range(4):
        [job] = claim_due(asking.settings, now=now, limit=1)
        give_back(asking.settings, job_id, job.run_id, error="the disk is full", now=now)
        now += timedelta(seconds=10)

    [found] = asking.ask("GET", "/jobs/dead-letters", "keeper").json()["jobs"]

    assert (found["jobId"], found["clientId"], found["attempts"]) == (job_id, "north", 4)
    assert found["error"] == "the disk is full"
    assert asking.result(job_id).json()["detail"] == "The job is failed: the disk is full. Ask for it anew."


def test_a_result_is_fetched_whole(asking):
    job_id = asking.completed()

    answer = asking.result(job_id)

    assert (answer.status_code, answer.content) == (200, RESULT)
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="tower-{job_id}.csv"'
    assert (answer.headers["Accept-Ranges"], answer.headers["ETag"]) == ("bytes", f'"{job_id}"')


@pytest.mark.parametrize(
    ("asked", "expected", "content_range"),
    [
        ("bytes=0-0", RESULT[:1], "bytes 0-0/10240"),
        ("bytes=100-299", RESULT[100:300], "bytes 100-299/10240"),
        ("bytes=10000-", RESULT[10000:], "bytes 10000-10239/10240"),
        ("bytes=10000-99999", RESULT[10000:], "bytes 10000-10239/10240"),
        ("bytes=-7", RESULT[-7:], "bytes 10233-10239/10240"),
        ("bytes=-99999", RESULT, "bytes 0-10239/10240"),
    ],
)
def test_a_part_of_a_result_is_what_was_asked_for(asking, asked, expected, content_range):
    answer = asking.result(asking.completed(), Range=asked, Accept_Encoding="zstd, gzip")

    assert (answer.status_code, answer.content) == (206, expected)
    assert (answer.headers["Content-Range"], answer.headers["Content-Length"]) == (content_range, str(len(expected)))
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=0-1,5-6", "items=0-1", "bytes=a-b", "bytes=-", "0-1"])
def test_what_is_no_single_range_gives_the_whole(asking, asked):
    answer = asking.result(asking.completed(), Range=asked)

    assert (answer.status_code, answer.content) == (200, RESULT)


@pytest.mark.parametrize("asked", ["bytes=10240-", "bytes=99999-100000", "bytes=-0"])
def test_a_range_behind_the_end_is_refused_with_the_size(asking, asked):
    answer = asking.result(asking.completed(), Range=asked)

    assert (answer.status_code, answer.headers["Content-Range"]) == (416, "bytes */10240")
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_download_is_taken_up_again_where_the_beginning_is_of_the_same_file(asking):
    job_id = asking.completed()

    same = asking.result(job_id, Range="bytes=100-", If_Range=f'"{job_id}"')
    other = asking.result(job_id, Range="bytes=100-", If_Range='"job_other"')

    assert (same.status_code, same.content) == (206, RESULT[100:])
    assert (other.status_code, other.content) == (200, RESULT)


@pytest.mark.parametrize("accepted", ["gzip, deflate, br, zstd", "gzip", "*", "identity"])
def test_a_result_is_sent_as_it_is_and_taken_up_again_whatever_encodings_are_taken(asking, accepted):
    job_id = asking.completed()

    whole = asking.result(job_id, Accept_Encoding=accepted)
    rest = asking.result(job_id, Range="bytes=100-", If_Range=whole.headers["ETag"], Accept_Encoding=accepted)

    assert (whole.status_code, whole.content, whole.headers["ETag"]) == (200, RESULT, f'"{job_id}"')
    assert "Content-Encoding" not in whole.headers
    assert (rest.status_code, rest.content, rest.headers["ETag"]) == (206, RESULT[100:], f'"{job_id}"')


def test_a_client_that_names_no_encoding_of_its_own_takes_a_download_up_again(asking):
    """With what httpx sends by itself."""
    job_id = asking.completed()
    token = {"Authorization": f"Bearer {asking.token('north')}"}

    whole = asking.http.get(f"/jobs/{job_id}/result", headers=token)
    resumed = token | {"Range": "bytes=100-", "If-Range": whole.headers["ETag"]}
    rest = asking.http.get(f"/jobs/{job_id}/result", headers=resumed)

    assert "gzip" in whole.request.headers["Accept-Encoding"]
    assert whole.content[:100] + rest.content == RESULT
    assert rest.status_code == 206


def test_head_says_the_size_of_a_result_and_sends_nothing_of_it(asking):
    job_id = asking.completed()

    answer = asking.ask("HEAD", f"/jobs/{job_id}/result", headers={"Range": "bytes=5-9"})

    assert (answer.status_code, answer.content) == (200, b"")
    assert (answer.headers["Content-Length"], answer.headers["ETag"]) == (str(len(RESULT)), f'"{job_id}"')


def test_there_is_no_result_before_the_job_is_completed(asking):
    answer = asking.result(asking.order())

    assert (answer.status_code, answer.headers["Retry-After"]) == (409, "1")
    assert answer.json()["type"] == "/problems/job-not-completed"


@pytest.mark.parametrize("is_tidied", [False, True])
def test_a_result_is_gone_after_a_week_and_its_job_is_still_on_record(asking, is_tidied):
    job_id = asking.completed()
    asking.now = NOW + timedelta(days=7)
    if is_tidied:
        put_away(asking.settings, now=asking.now)

    answer = asking.result(job_id)

    assert (answer.status_code, answer.json()["type"]) == (410, "/problems/result-expired")
    assert asking.ask("GET", f"/jobs/{job_id}").json()["status"] == "completed"


def test_a_result_whose_file_was_removed_is_gone(asking):
    job_id = asking.completed()
    result_path(asking.settings, find_job(asking.settings, job_id)).unlink()

    assert asking.result(job_id).status_code == 410
