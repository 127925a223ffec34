"""Where a registry comes from: files and a real server on the loopback interface, and what is asked of its queries."""

import gzip
import json
import logging
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etl_assets.kpi.registry import RegistryError, in_force, refresh
from etl_assets.kpi.registry_source import load_registry
from etl_assets.settings import Settings
from etl_assets_tests.ace.conftest import ScriptedServer

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
QUERY = "SELECT 1 WHERE $market_day IS NOT NULL"
GOOD = json.dumps({"kpis": [{"id": "one", "name": "One", "sql": QUERY}]}).encode()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Answers with a good registry until it is told otherwise."""
    scripted = ScriptedServer()
    scripted.answers = [(200, {}, GOOD)]
    thread = threading.Thread(target=scripted.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield scripted
    scripted.shutdown()
    thread.join()
    scripted.server_close()


@pytest.fixture
def chosen(tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None,
        etl_data=tmp_path / "data",
        http_backoff=0,
        http_retries=2,
        http_timeout=timedelta(seconds=5),
        kpi_built_in=False,
    )


def refused(settings: Settings, address: object) -> str:
    with pytest.raises(RegistryError) as wrong:
        load_registry(settings, str(address))
    return str(wrong.value)


# --- over HTTP


def test_a_registry_is_fetched_from_an_http_address(chosen: Settings, server: ScriptedServer) -> None:
    registry = load_registry(chosen, f"{server.url}/registry.json?v=2")

    assert [kpi.id for kpi in registry.kpis] == ["one"]
    assert server.asked == ["/registry.json?v=2"]


def test_a_server_that_fails_for_a_moment_is_asked_again(chosen: Settings, server: ScriptedServer) -> None:
    server.answers = [(503, {}, b""), (0, {}, b""), (200, {}, GOOD)]

    assert len(load_registry(chosen, server.url).kpis) == 1
    assert len(server.asked) == 3


def test_a_redirect_is_followed(chosen: Settings, server: ScriptedServer) -> None:
    server.answers = [(302, {"Location": "/moved.json"}, b""), (200, {}, GOOD)]

    assert len(load_registry(chosen, server.url).kpis) == 1
    assert server.asked == ["/", "/moved.json"]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ((404, {}, b"gone"), "Status 404"),
        ((500, {}, b"s3cret"), "Status 500"),
        ((401, {}, b"s3cret"), "Status 401"),
        ((200, {}, b"<!DOCTYPE html><p>Sign in"), "Expected JSON"),
        ((200, {}, b""), "not JSON: Expecting value in line 1, column 1"),
        ((200, {}, GOOD[:-3]), "not JSON: "),
        ((200, {"Content-Length": "9999"}, GOOD), "No answer (RemoteProtocolError"),
        ((200, {}, b" " * 5_000_001), "A registry is JSON of at most 5 MB."),
        ((200, {"Content-Encoding": "gzip"}, gzip.compress(b" " * 50_000_000)), "not UTF-8 text"),
        ((0, {}, b""), "No answer"),
    ],
)
def test_an_answer_that_is_no_registry_is_told_with_its_address(
    chosen: Settings, server: ScriptedServer, answer: tuple[int, dict[str, str], bytes], problem: str
) -> None:
    server.answers = [answer]

    told = refused(chosen, f"{server.url}/registry.json")

    assert told.startswith(f"{server.url}/registry.json: ")
    assert problem in told
    assert "s3cret" not in told


def test_a_registry_that_came_over_http_reads_no_file_of_this_machine(
    chosen: Settings, server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.sql").write_text(QUERY)
    monkeypatch.chdir(tmp_path)
    server.answers = [(200, {}, GOOD.replace(b'"sql"', b'"sqlFile"').replace(QUERY.encode(), b"one.sql"))]

    assert 'kpis[0] "one": sqlFile: only a registry in a local file can name one' in refused(chosen, server.url)


@pytest.mark.parametrize(
    "address",
    [
        "http://user:s3cret@127.0.0.1:9/registry.json",
        "http://user:s3cret@127.0.0.1:notaport/",
        "http://user:s3cret@[::bad/",
        "http://user:s3cret@/nohost",
        f"http://user:s3cret@{'a' * 70}.example/",
        "http://user:s3cret@\x7f/",
        "http:/user:s3cret@127.0.0.1/registry.json",
        "user:s3cret@127.0.0.1/registry.json",
    ],
)
def test_credentials_in_the_address_are_never_shown(
    chosen: Settings, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    configured = chosen.model_copy(update={"kpi_registry": f"{address}?token=s3cret", "http_retries": 0})

    status = refresh(configured, now=NOW)

    assert not status.is_good
    assert status.error
    assert "s3cret" not in f"{status}{caplog.text}"
    assert "s3cret" not in "".join(path.read_text() for path in chosen.kpi_folder.iterdir())


def test_credentials_in_the_address_are_sent(chosen: Settings, server: ScriptedServer) -> None:
    configured = chosen.model_copy(update={"kpi_registry": server.url.replace("//", "//user:s3cret@")})

    status = refresh(configured, now=NOW)

    assert server.seen[0][2]["Authorization"] == "Basic dXNlcjpzM2NyZXQ="
    assert (status.source, status.is_good) == (server.url, True)
    assert [kpi.id for kpi in in_force(configured).kpis] == ["one"]
    assert "s3cret" not in "".join(path.read_text() for path in chosen.kpi_folder.iterdir())


@pytest.mark.parametrize("address", ["ftp://user:s3cret@host/registry.json", "s3://bucket/registry.json"])
def test_another_kind_of_address_is_refused(chosen: Settings, address: str) -> None:
    told = refused(chosen, address)

    assert "must be a path, or an address that starts with http:// or https://" in told
    assert "s3cret" not in told


# --- from a file


def test_a_registry_is_read_from_a_path_and_its_queries_from_files_beside_it(chosen: Settings, tmp_path: Path) -> None:
    (tmp_path / "one.sql").write_text(QUERY)
    path = tmp_path / "my registry?.json"
    path.write_text('{"kpis": [{"id": "one", "name": "One", "sqlFile": "one.sql"}]}')

    assert load_registry(chosen, str(path)).kpis[0].sql == QUERY


def test_a_relative_path_is_one_of_the_working_directory(
    chosen: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.sql").write_text(QUERY)
    (tmp_path / "r.json").write_text('{"kpis": [{"id": "one", "name": "One", "sqlFile": "one.sql"}]}')
    monkeypatch.chdir(tmp_path)

    assert load_registry(chosen, "r.json").kpis[0].sql == QUERY


@pytest.mark.parametrize("name", ["none.json", "folder", "pipe", "a\0b"])
def test_what_is_no_file_is_not_waited_for(chosen: Settings, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")

    assert refused(chosen, tmp_path / name) == f"{tmp_path / name}: there is no such file"


def test_a_file_without_end_is_not_read_to_its_end(chosen: Settings, tmp_path: Path) -> None:
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(1 << 40)

    assert refused(chosen, tmp_path / "huge.json").endswith("larger than 5 MB, which no registry is")


# --- queries


def test_every_query_that_would_not_run_is_told_by_its_kpi(chosen: Settings, tmp_path: Path) -> None:
    (tmp_path / "three.sql").write_text("DROP TABLE aemo.price")
    kpis = [
        {"id": "one", "name": "One", "sql": "SELECT 1; SELECT $market_day"},
        {"id": "two", "name": "Two", "sql": QUERY},
        {"id": "three", "name": "Three", "sqlFile": "three.sql"},
        {"id": "four", "name": "Four", "sql": "SELEC\n1 FRM\nx", "active": False},
    ]
    (tmp_path / "r.json").write_text(json.dumps({"kpis": kpis}))

    first, *told = refused(chosen, tmp_path / "r.json").splitlines()

    assert first == f"{tmp_path / 'r.json'}:"
    assert [line.split(": ")[:2] for line in told] == [
        ['  kpis[0] "one"', "sql"],
        ['  kpis[2] "three"', "sqlFile"],
        ['  kpis[3] "four"', "sql"],
    ]


def test_a_registry_that_dagster_can_make_no_assets_of_is_refused_and_not_only_when_all_runs_load_it(
    chosen: Settings, tmp_path: Path
) -> None:
    # The check "has_a_value" of the first is called as the second's asset.
    sql = "SELECT count(*) FROM aemo.price WHERE market_day = $market_day"
    kpis = [{"id": name, "name": name, "sql": sql} for name in ("peak", "peak-has-a-value")]
    path = tmp_path / "registry.json"
    path.write_text(json.dumps({"kpis": kpis}))

    with pytest.raises(RegistryError, match=r"no assets can be made of its KPIs: .*peak_has_a_value"):
        load_registry(chosen, str(path))
