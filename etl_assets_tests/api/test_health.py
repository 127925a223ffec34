"""How the service says that it is: part by part, in words that a stranger may read, and quickly whatever hangs."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from etl_assets.api.health import Health, Look, worst
from etl_assets.api.warehouse import Warehouse
from etl_assets.ops.database import begin
from etl_assets.ops.kpi_state import claim, finish, open_job
from etl_assets.settings import Settings
from etl_assets_tests.api.operating import DAY, NOW, Operating, copied, fill, operating

SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "data"
    fill(Settings(_env_file=None, etl_data=folder))
    return folder


@pytest.fixture
def api(published: Path, tmp_path: Path) -> Iterator[Operating]:
    with operating(copied(published, tmp_path / "data")) as it:
        yield it


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Operating]:
    with operating(tmp_path / "data") as it:
        yield it


@pytest.mark.parametrize("path", ["/health", "/api/health"])
def test_all_is_healthy_while_everything_is_there_and_the_daemon_beats(api: Operating, path: str) -> None:
    api.beat()

    answer = api.get(path)

    found = answer.json()
    assert answer.status_code == 200
    assert {name: part["status"] for name, part in found["checks"].items()} == dict.fromkeys(
        ("publishedFile", "lakeCatalog", "stateDatabase", "dagsterDaemon", "kpiRegistry", "lastKpiJob",
         "newestInterval"),
        "healthy",
    )  # fmt: skip
    assert found["status"] == "healthy"
    assert found["worker"]["status"] == "running"
    assert found["stateDatabase"] == {"connected": True}
    assert found["lastJob"] is None
    assert all(part["responseTimeMs"] >= 0 for part in found["checks"].values())


def test_the_published_file_says_its_age_and_snapshot(api: Operating) -> None:
    found = api.get("/health").json()["checks"]

    assert found["publishedFile"]["ageSeconds"] == 90.0
    assert found["publishedFile"]["publishedAt"] == f"{NOW - timedelta(seconds=90):%Y-%m-%dT%H:%M:%S}Z"
    assert found["newestInterval"]["intervalEnd"] == f"{NOW - timedelta(minutes=4):%Y-%m-%dT%H:%M:%S}Z"
    assert found["newestInterval"]["ageSeconds"] == 240.0


@pytest.mark.parametrize("ago_s", [181.0, None])
def test_without_a_daemon_the_service_is_degraded_and_answers(api: Operating, ago_s: float | None) -> None:
    if ago_s is not None:
        api.beat(ago_s=ago_s)

    answer = api.get("/health")

    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["checks"]["dagsterDaemon"]["isRunning"] is False


def test_what_is_old_is_degraded(api: Operating) -> None:
    api.now += timedelta(minutes=20)
    api.beat()

    found = api.get("/health").json()

    assert found["status"] == "degraded"
    assert found["checks"]["publishedFile"]["detail"] == "Published 21 minutes ago."
    assert found["checks"]["newestInterval"]["detail"] == "Ended 24 minutes ago."


def test_with_nothing_published_it_is_unhealthy_and_not_ready_but_alive(bare: Operating) -> None:
    answer = bare.get("/health")

    assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
    assert answer.json()["checks"]["publishedFile"]["status"] == "unhealthy"
    assert bare.get("/health/ready").status_code == 503
    assert bare.get("/health/live").json() == {"status": "alive"}


def test_it_is_ready_without_a_daemon(api: Operating) -> None:
    assert api.get("/health/ready").json() == {"status": "ready"}


def test_the_last_job_is_told_by_its_counts_and_not_by_its_errors(api: Operating) -> None:
    job = open_job(api.settings, DAY, ["a", "b"], moment=NOW, now=NOW)
    claim(api.settings, job.trace_id, "a", run_id="r", now=NOW, until=NOW)
    finish(api.settings, job.trace_id, "a", status="failed", now=NOW, error="https://secret.example/hook said no")

    answer = api.get("/api/health")

    found = answer.json()["lastJob"]
    assert (found["traceId"], found["status"]) == (job.trace_id, "running")
    assert found["metadata"] == {
        "totalKPIs": 2, "completedKPIs": 0, "failedKPIs": 1, "environment": "development",
    }  # fmt: skip
    assert "secret.example" not in answer.text


def test_no_path_or_address_is_told(api: Operating, bare: Operating) -> None:
    for it in (api, bare):
        text = it.get("/health").text
        assert str(it.settings.etl_data) not in text
        assert "sqlite" not in text.lower()


def test_looks_of_the_last_second_are_not_repeated(published: Path, tmp_path: Path) -> None:
    moments = [NOW]
    settings = Settings(_env_file=None, etl_data=copied(published, tmp_path / "data"))
    health = Health(settings, Warehouse(settings), now=lambda: moments[0])
    looked: list[int] = []
    health._looks = {"it": lambda: (looked.append(1), Look("healthy", "There."))[1]}

    for _ in range(3):
        health.looks()
    moments[0] += SECOND
    health.looks()
    health.close()

    assert len(looked) == 2


def test_a_look_that_hangs_is_told_and_not_begun_again(tmp_path: Path) -> None:
    moments, released, begun = [NOW], threading.Event(), []
    settings = Settings(_env_file=None, etl_data=tmp_path)
    health = Health(settings, Warehouse(settings), now=lambda: moments[0], patience_s=0.05)

    def hangs() -> Look:
        begun.append(1)
        released.wait(20)
        return Look("healthy", "After all.")

    health._looks = {"it": hangs}
    first = health.looks()
    moments[0] += SECOND
    second = health.looks()
    released.set()
    moments[0] += SECOND
    health._patience_s = 20
    third = health.looks()
    health.close()

    assert [looks["it"].status for looks in (first, second, third)] == ["unhealthy", "unhealthy", "healthy"]
    assert first["it"].detail == "No answer within 0.05 s."
    assert len(begun) == 1


def test_an_error_of_a_look_is_told_by_its_kind_alone(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, etl_data=tmp_path, state_database=f"sqlite:///{tmp_path}")
    health = Health(settings, Warehouse(settings), now=lambda: NOW)

    found = health.looks()["stateDatabase"]
    health.close()

    assert found.status == "unhealthy"
    assert found.detail == "It could not be looked at: OperationalError."


def test_health_is_answered_while_the_state_database_is_being_written(api: Operating) -> None:
    with begin(api.settings) as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        found = api.get("/health").json()

    assert found["checks"]["stateDatabase"]["status"] == "healthy"


def test_the_worst_part_gives_the_status_of_the_whole() -> None:
    healthy, degraded, unhealthy = (Look(status, "") for status in ("healthy", "degraded", "unhealthy"))

    assert worst({}) == worst({"a": healthy}) == "healthy"
    assert worst({"a": healthy, "b": degraded}) == "degraded"
    assert worst({"a": degraded, "b": unhealthy}) == "unhealthy"
