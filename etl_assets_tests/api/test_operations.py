"""For operators: how things stand, what there is, runs by hand, and what workflows report."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import httpx
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from etl_assets.api.problems import OWN_KINDS
from etl_assets.api.triggers import Job
from etl_assets.definitions import defs
from etl_assets.ops.api_state import triggers
from etl_assets.ops.kpi_records import job_record
from etl_assets.ops.kpi_state import claim, open_job, record_call
from etl_assets.ops.state import SyncRun, record_sync_run
from etl_assets.settings import Settings
from etl_assets.settings import settings as process_settings
from etl_assets_tests.api.operating import DAY, NOW, SITE, Operating, copied, fill, operating

REASON = "AEMO published it again"
WORKFLOW_SECRET = "sign-sesame"  # noqa: S105 - for tests
WORKFLOW_KEY = "key-sesame"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "data"
    fill(Settings(_env_file=None, etl_data=folder))
    return folder


@pytest.fixture(scope="module")
def api(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operating]:
    folder = copied(published, tmp_path_factory.mktemp("operations") / "data")
    secrets = {"kpi_webhook_secret": WORKFLOW_SECRET, "n8n_api_key": WORKFLOW_KEY}
    with operating(folder, sites=SITE, rate_limit_client="100000/minute", **secrets) as it:
        it.beat()
        yield it


@pytest.fixture
def down(published: Path, tmp_path: Path) -> Iterator[Operating]:
    """Without Dagster's daemon."""
    with operating(copied(published, tmp_path / "data")) as it:
        yield it


def sync_run(**more: Any) -> SyncRun:
    counts = {"fetched": 10, "filtered": 1, "invalid": 2, "duplicate": 0, "unchanged": 3, "inserted": 4, "updated": 0}
    told = {"requests_by_status": {"200": 5, "503": 2}, "retries": 2, "bytes_received": 99, "errors": ("one",)}
    ran = {"run_id": "r1", "attempt": 1, "dataset": "aemo.dispatch_region", "partition": str(DAY)}
    times = {"started_at": NOW - timedelta(seconds=8), "finished_at": NOW, "duration_seconds": 8.0}
    return SyncRun(**(ran | times | counts | told | {"missing_after": 4} | more))


def test_status_says_how_every_dataset_and_site_stands(api: Operating) -> None:
    record_sync_run(api.settings, sync_run(run_id="r0", finished_at=NOW - timedelta(minutes=5), inserted=4))
    record_sync_run(api.settings, sync_run())
    record_sync_run(api.settings, sync_run(run_id="r2", dataset="ace.timeseries_raw", site_name=SITE))

    found = api.get("/status", "reader").json()

    assert [(c["dataset"], c["site"], c["runId"]) for c in found["collections"]] == [
        ("ace.timeseries_raw", SITE, "r2"),
        ("aemo.dispatch_region", None, "r1"),
    ]
    [market] = [c for c in found["collections"] if c["site"] is None]
    assert (market["requests"], market["missing"], market["errors"], market["status"]) == (7, 4, 1, "partial")
    assert market["records"] == {
        "fetched": 10, "filtered": 1, "invalid": 2, "duplicate": 0, "unchanged": 3, "inserted": 4, "updated": 0,
    }  # fmt: skip
    assert found["sites"] == [{"site": SITE, "readTo": None, "behindSeconds": None, "failedWindows": 0}]
    assert found["published"]["ageSeconds"] == 90.0


def test_status_says_what_is_missing_and_how_good_the_rest_is(api: Operating) -> None:
    found = api.get("/status", "reader").json()

    assert found["gapsOpen"] == [{"dataset": "aemo.dispatch_region", "gaps": 2, "intervals": 4}]
    assert found["quality"] == [{"site": SITE, "date": str(DAY), "score": 0.625}]


def test_status_says_what_dagster_is_at(api: Operating) -> None:
    started = api.post("/trigger", "operator", json={"job": "lake_publish", "reason": REASON}).json()

    found = api.get("/status", "reader").json()["dagster"]

    assert found["daemonIsRunning"] is True
    assert {"runId": started["runId"], "job": "lake_publish", "status": "QUEUED"} in found["runs"]


def test_status_is_told_also_before_anything_is_published(tmp_path: Path) -> None:
    with operating(tmp_path / "data") as bare:
        answer = bare.get("/status", "reader")

    assert answer.status_code == 200
    assert answer.json()["published"] is None


def test_stats_count_rows_files_and_bytes_by_table(api: Operating, published: Path) -> None:
    found = api.get("/stats", "reader").json()

    tables = {table["table"]: table for table in found["tables"]}
    files = list((published / "lake" / "files" / "aemo" / "dispatch_region").rglob("*.parquet"))
    market = tables["aemo.dispatch_region"]
    assert (market["rows"], market["files"]) == (24, len(files))
    assert market["bytes"] == sum(path.stat().st_size for path in files)
    assert market["newest"] == f"{NOW - timedelta(minutes=4):%Y-%m-%dT%H:%M:%S}Z"
    assert tables["quality.data_quality"]["newest"] == str(DAY)
    assert (tables["quality.gaps"]["rows"], tables["quality.gaps"]["files"]) == (3, 0)
    assert found["rows"] == sum(table["rows"] for table in found["tables"])
    assert found["exportJobs"] == {}
    assert (found["cache"]["entries"], found["cache"]["hit_ratio"]) == (0, 0.0)


def test_stats_before_anything_is_published_are_a_problem_that_passes(tmp_path: Path) -> None:
    with operating(tmp_path / "data") as bare:
        answer = bare.get("/stats", "reader")

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "60"


@pytest.mark.parametrize("path", ["/status", "/stats"])
def test_how_things_stand_is_for_readers(api: Operating, path: str) -> None:
    assert api.get(path).status_code == 401
    assert api.get(path, "workflow").status_code == 403


def test_a_trigger_puts_who_and_why_on_record_and_a_run_into_dagsters_queue(
    api: Operating, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"job": "market_heal", "partition": str(DAY), "reason": REASON}

    with caplog.at_level("INFO", "etl_assets"):
        answer = api.post("/trigger", "operator", json=body)

    found = answer.json()
    run = api.instance.get_run_by_id(found["runId"])
    assert answer.status_code == 202
    assert run is not None
    assert (run.job_name, run.status) == ("market_heal", dg.DagsterRunStatus.QUEUED)
    assert run.tags.items() >= {"dagster/partition": str(DAY), "etl_assets/client": "operator"}.items()
    assert run.tags["etl_assets/trigger"] == found["triggerId"]
    [record] = [t for t in triggers(api.settings) if t["trigger_id"] == found["triggerId"]]
    assert (record["client_id"], record["reason"], record["at"]) == ("operator", REASON, NOW)
    assert record["what"] == {"job": "market_heal", "partition": str(DAY)}
    assert (record["run_id"], record["error"]) == (found["runId"], None)
    assert REASON in caplog.text


def test_several_days_are_one_run_over_their_range(api: Operating) -> None:
    first = DAY - timedelta(days=2)
    body = {"job": "market_heal", "from": str(first), "to": str(DAY), "reason": REASON}

    run = api.instance.get_run_by_id(api.post("/trigger", "operator", json=body).json()["runId"])

    assert run is not None
    assert run.tags["dagster/asset_partition_range_start"] == str(first)
    assert run.tags["dagster/asset_partition_range_end"] == str(DAY)


@pytest.fixture
def _here(api: Operating, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On the API's data folder, as the process of a run that Dagster starts."""
    monkeypatch.setenv("ETL_DATA", str(api.settings.etl_data))
    process_settings.cache_clear()
    yield
    process_settings.cache_clear()


@pytest.mark.usefixtures("_here")
def test_a_run_that_was_asked_for_works_when_dagster_takes_it_up(api: Operating) -> None:
    answer = api.post("/trigger", "operator", json={"job": "kpi_refresh", "reason": REASON})
    run = api.instance.get_run_by_id(answer.json()["runId"])
    assert run is not None

    execute_run(
        InMemoryJob(defs.resolve_job_def("kpi_refresh")), run.with_status(dg.DagsterRunStatus.STARTING), api.instance
    )

    ended = api.instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status == dg.DagsterRunStatus.SUCCESS


def test_every_job_that_can_be_asked_for_is_one_of_dagsters(api: Operating) -> None:
    api.instance.add_dynamic_partitions("site", [SITE])
    days = {Job.MARKET_HEAL: str(DAY), Job.SITES_HEAL: str(DAY), Job.KPI_DAILY: str(DAY)}
    days[Job.MARKET_MONTHS] = str(DAY.replace(day=1))
    asked = [{"job": job, "reason": REASON} | ({"partition": days[job]} if job in days else {}) for job in Job]

    answers = [api.post("/trigger", "operator", json=body) for body in asked]

    assert [answer.status_code for answer in answers] == [202] * len(Job), [a.text for a in answers]
    runs = [api.instance.get_run_by_id(answer.json()["runId"]) for answer in answers]
    assert [run.job_name for run in runs if run] == [str(job) for job in Job]


def test_a_site_is_read_again_by_its_own_partition(api: Operating) -> None:
    api.instance.add_dynamic_partitions("site", [SITE, "other"])
    body = {"job": "sites_heal", "partition": str(DAY), "sites": [SITE], "reason": REASON}

    run = api.instance.get_run_by_id(api.post("/trigger", "operator", json=body).json()["runId"])

    assert run is not None
    assert run.tags["dagster/partition"] == f"{DAY}|{SITE}"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"job": "market_heal", "partition": "1999-01-01"}, "partition"),
        ({"job": "market_heal", "partition": "2999-01-01"}, "partition"),
        ({"job": "market_heal", "partition": "yesterday"}, "partition"),
        ({"job": "market_heal"}, "partition"),
        ({"job": "market_live", "partition": str(DAY)}, "partition"),
        ({"job": "market_months", "partition": str(DAY)}, "partition"),
        ({"job": "market_heal", "from": str(DAY), "to": str(DAY - timedelta(days=1))}, "to"),
        ({"job": "market_heal", "from": str(DAY - timedelta(days=31)), "to": str(DAY)}, "to"),
        ({"job": "market_heal", "from": str(DAY)}, ""),
        ({"job": "market_heal", "from": str(DAY), "to": str(DAY), "partition": str(DAY)}, ""),
        ({"job": "sites_heal", "partition": str(DAY), "sites": ["nowhere"]}, "sites"),
        ({"job": "lake_publish", "sites": [SITE]}, "sites"),
        ({"job": "drop_everything"}, "job"),
        ({"job": "lake_publish", "config": {}}, "config"),
        ({"job": "lake_publish", "reason": ""}, "reason"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_with_the_name_of_what_is_wrong(
    api: Operating, body: dict[str, Any], name: str
) -> None:
    before = api.instance.get_runs_count()
    api.instance.add_dynamic_partitions("site", [SITE])

    answer = api.post("/trigger", "operator", json={"reason": REASON} | body)

    assert answer.status_code == 422, answer.text
    assert [error["name"] for error in answer.json()["errors"]] == [name]
    assert api.instance.get_runs_count() == before


def test_a_refused_trigger_stays_on_record_with_the_reason(api: Operating) -> None:
    answer = api.post("/trigger", "operator", json={"job": "market_heal", "reason": REASON})

    newest = triggers(api.settings)
    [record] = [t for t in newest if t["error"] == answer.json()["detail"]][:1]
    assert record["run_id"] is None
    assert "market_heal works on days" in record["error"]


def test_without_dagsters_daemon_nothing_is_started_and_the_record_says_so(down: Operating) -> None:
    answer = down.post("/trigger", "operator", json={"job": "lake_publish", "reason": REASON})

    [record] = triggers(down.settings)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
    assert (record["run_id"], record["error"]) == (None, answer.json()["detail"])
    assert down.instance.get_runs_count() == 0


@pytest.mark.parametrize(("client", "status"), [("", 401), ("reader", 403), ("workflow", 403)])
def test_runs_are_for_operators(api: Operating, client: str, status: int) -> None:
    before = len(triggers(api.settings, limit=1000))

    assert api.post("/trigger", client, json={"job": "lake_publish", "reason": REASON}).status_code == status
    assert len(triggers(api.settings, limit=1000)) == before


@pytest.fixture
def waiting(api: Operating) -> dict[str, Any]:
    """A report of a KPI whose workflow was called."""
    job = open_job(api.settings, DAY, ["a"], moment=NOW, now=NOW, forced_by=uuid4().hex)
    claim(api.settings, job.trace_id, "a", run_id="r", now=NOW, until=NOW)
    record_call(api.settings, job.trace_id, "a", payload={}, now=NOW)
    return {"traceId": job.trace_id, "kpiId": "a", "status": "completed", "completedAt": "2025-11-22T12:00:00Z"}


def signed(body: bytes, secret: str = WORKFLOW_SECRET) -> dict[str, str]:
    return {"X-Signature-256": f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"}


def report(api: Operating, body: bytes, **headers: str) -> httpx.Response:
    return api.http.post("/kpi/callback", content=body, headers=headers)


@pytest.mark.parametrize("client", ["workflow", "operator"])
def test_a_workflow_reports_with_a_token(api: Operating, waiting: dict[str, Any], client: str) -> None:
    answer = api.post("/kpi/callback", client, json=waiting)

    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "traceId": waiting["traceId"], "kpiId": "a", "status": "completed", "value": None,
    }  # fmt: skip


def test_a_workflow_reports_by_signing_what_it_says(api: Operating, waiting: dict[str, Any]) -> None:
    body = json.dumps(waiting).encode()

    assert report(api, body, **signed(body)).status_code == 200
    # The same report again.
    assert report(api, body, **signed(body)).status_code == 200


def test_a_workflow_reports_with_the_key_that_our_calls_carry(api: Operating, waiting: dict[str, Any]) -> None:
    assert report(api, json.dumps(waiting).encode(), **{"X-N8N-API-KEY": WORKFLOW_KEY}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-N8N-API-KEY": ""},
        {"X-N8N-API-KEY": "key-sesam"},
        {"X-Signature-256": ""},
        {"X-Signature-256": "sha256="},
        signed(b"another body"),
        signed(b"{}", "another secret"),
    ],
)
def test_a_report_of_somebody_else_is_refused_and_changes_nothing(
    api: Operating, waiting: dict[str, Any], headers: dict[str, str]
) -> None:
    answer = report(api, json.dumps(waiting).encode(), **headers)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert job_record(api.settings, waiting["traceId"])["status"] == "running"


def test_a_reader_may_not_report(api: Operating, waiting: dict[str, Any]) -> None:
    assert api.post("/kpi/callback", "reader", json=waiting).status_code == 403


def test_an_operator_who_reports_too_often_is_refused_like_anybody(published: Path, tmp_path: Path) -> None:
    body = {"traceId": "trace_20250101_000000_aaaaaaaa", "kpiId": "a", "status": "completed",
            "completedAt": "2025-11-22T12:00:00Z"}  # fmt: skip
    with operating(copied(published, tmp_path / "data"), rate_limit_client="2/minute") as it:
        found = [it.post("/kpi/callback", "operator", json=body).status_code for _ in range(3)]

    assert found == [404, 404, 429]


def test_without_a_secret_or_key_none_is_right(down: Operating) -> None:
    body = b"{}"

    assert report(down, body, **signed(body, "")).status_code == 401
    assert report(down, body, **{"X-N8N-API-KEY": ""}).status_code == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"traceId": 7}', b"[" * 20_000])
def test_a_report_that_cannot_be_understood_is_422(api: Operating, body: bytes) -> None:
    answer = report(api, body, **signed(body))

    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/invalid-report"


def test_a_report_of_a_job_that_there_is_not_is_404(api: Operating, waiting: dict[str, Any]) -> None:
    answer = api.post("/kpi/callback", "workflow", json=waiting | {"traceId": "trace_20250101_000000_aaaaaaaa"})

    assert answer.status_code == 404
    assert answer.json()["detail"].endswith("look at the traceId that the workflow was sent.")


def test_the_type_of_a_problem_leads_to_what_it_means(api: Operating) -> None:
    problem = api.get("/nothing").json()

    meant = api.get(problem["type"]).json()

    assert meant["status"] == 404
    assert api.get("/problems/of-another-kind").status_code == 404


@pytest.mark.parametrize("kind", OWN_KINDS)
def test_a_kind_of_a_route_alone_has_a_page_too(api: Operating, kind: str) -> None:
    status, meaning = OWN_KINDS[kind]

    assert api.get(f"/problems/{kind}").json() == {"type": f"/problems/{kind}", "status": status, "meaning": meaning}
