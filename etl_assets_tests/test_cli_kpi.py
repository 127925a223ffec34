"""``etl-assets kpi``: what it says of registries, and with which exit code."""

import json
import os
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from etl_assets.kpi.registry import built_in
from etl_assets.lake.connection import write_lake
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import KPI_VALUES
from etl_assets.lake.upsert import upsert
from etl_assets.settings import Settings
from etl_assets_tests.test_cli import Done, found, run_process

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
ONLY_CONFIGURED = {"KPI_BUILT_IN": "false", "KPI_REGISTRY": "registry.json"}


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Two KPIs, one of them inactive."""
    kpis = [
        {
            "id": "evening-peak",
            "name": "Evening peak [price]",
            "webhookUrl": "http://localhost/t0ken",
            "unit": "AUD/MWh",
        },
        {"id": "later", "name": "Later", "active": False, "entity": "region"},
    ]
    path = tmp_path / "registry.json"
    path.write_text(json.dumps({"kpis": kpis, "metadata": {"version": "3"}}))
    return path


def kpi(folder: Path, *arguments: str, **environment: str) -> Done:
    return run_process(folder, "kpi", *arguments, **environment)


def cells(done: Done, what: str) -> list[str]:
    return found(done, what).split(" | ")


# --- check


@pytest.mark.usefixtures("registry")
def test_a_good_registry_is_counted_and_nothing_is_written(tmp_path: Path) -> None:
    done = kpi(tmp_path, "check", "registry.json")

    assert (done.code, done.out, done.err) == (0, "2 KPIs, 1 active\n", "")
    assert os.listdir(tmp_path) == ["registry.json"]  # noqa: PTH208 - names are all that is asked


def test_a_query_that_does_not_run_on_the_published_file_is_told_before_it_fails_at_night(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, etl_data=tmp_path / "data")
    with write_lake(settings, "a test"):
        pass
    publish(settings, now=NOW)
    sql = "SELECT count(*) FROM aemo.{} WHERE market_day = $market_day"
    kpis = [{"id": name, "name": name, "sql": sql.format(name)} for name in ("price", "prices")]
    (tmp_path / "registry.json").write_text(json.dumps({"kpis": kpis}))

    done = kpi(tmp_path, "check", "registry.json")

    assert (done.code, done.out) == (1, "2 KPIs, 2 active\n")
    assert done.err.startswith("prices: its query does not run: ")
    assert "Table with name prices does not exist" in done.err


def test_all_that_is_wrong_with_a_registry_is_printed(tmp_path: Path, registry: Path) -> None:
    registry.write_text('{"kpis": [{"id": "a", "webhookURL": "http://localhost/t0ken"}], "metadata": {"totalKPIs": 2}}')

    done = kpi(tmp_path, "check", "registry.json")

    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines() == [
        "etl-assets: registry.json:",
        '  kpis[0] "a": name: is missing',
        '  kpis[0] "a": sql: nothing to do: give sql, sqlFile or webhookUrl, or set active to false',
        '  kpis[0] "a": webhookURL: unknown field, did you mean webhookUrl?',
        "  metadata.totalKPIs: says 2, the list has 1: so looks a file cut, or edited by half",
    ]


def test_a_registry_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    done = kpi(tmp_path, "check", "none.json")

    assert (done.code, done.err) == (1, "etl-assets: none.json: there is no such file\n")


# --- refresh


@pytest.mark.usefixtures("registry")
def test_a_refresh_says_what_is_in_force_and_that_a_reload_is_due_once(tmp_path: Path) -> None:
    first = kpi(tmp_path, "refresh", **ONLY_CONFIGURED)
    second = kpi(tmp_path, "refresh", **ONLY_CONFIGURED)

    assert (first.code, first.err) == (0, "")
    assert first.out.splitlines() == [
        "In force: 2 KPIs, 1 active, version 3",
        "Changed: reload the code location in Dagster (Deployment, Reload) to see it.",
    ]
    assert (second.code, second.out) == (0, "In force: 2 KPIs, 1 active, version 3\n")


def test_a_refresh_that_fails_says_why_and_what_stays_in_force(tmp_path: Path, registry: Path) -> None:
    kpi(tmp_path, "refresh", **ONLY_CONFIGURED)
    registry.write_text("{}")

    done = kpi(tmp_path, "refresh", **ONLY_CONFIGURED)

    assert (done.code, done.out) == (1, "In force: 2 KPIs, 1 active, version 3\n")
    assert "Not taken: registry.json: kpis: must be there, a list of KPIs" in done.err


# --- list


@pytest.mark.usefixtures("registry")
def test_the_kpis_in_force_are_listed_without_a_published_file(tmp_path: Path) -> None:
    kpi(tmp_path, "refresh", **ONLY_CONFIGURED)

    done = kpi(tmp_path, "list", **ONLY_CONFIGURED)

    assert done.code == 0
    assert cells(done, "evening-peak") == [
        "evening-peak",
        "Evening peak [price]",
        "yes",
        "AUD/MWh",
        "",
        "yes",
        "",
        "",
    ]
    assert cells(done, "later") == ["later", "Later", "no", "", "region", "no", "", ""]
    assert "t0ken" not in done.text


def test_the_built_in_kpis_are_listed_where_no_registry_is_configured(tmp_path: Path) -> None:
    done = kpi(tmp_path, "list")

    assert [kpi.id for kpi in built_in().kpis if f" {kpi.id} " not in done.out] == []


@pytest.mark.usefixtures("registry")
def test_each_kpi_is_listed_with_its_last_day_that_has_a_value(tmp_path: Path) -> None:
    chosen = Settings(_env_file=None, etl_data=tmp_path / "data")
    rows = [
        ("evening-peak", date(2026, 11, 19), "NSW1", 1.0),
        ("evening-peak", date(2026, 11, 20), "NSW1", 2.0),
        ("evening-peak", date(2026, 11, 20), "VIC1", 3.0),
        ("evening-peak", date(2026, 11, 20), "SA1", None),
        ("evening-peak", date(2026, 11, 21), "NSW1", None),
    ]
    names = ("kpi_id", "date", "entity", "value")
    with write_lake(chosen, "a test") as lake:
        upsert(lake, KPI_VALUES, pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), now=NOW)
    publish(chosen, now=NOW)
    kpi(tmp_path, "refresh", **ONLY_CONFIGURED)

    done = kpi(tmp_path, "list", **ONLY_CONFIGURED)

    assert cells(done, "evening-peak")[-2:] == ["2026-11-20", "2"]
    assert cells(done, "later")[-2:] == ["", ""]


@pytest.mark.usefixtures("registry")
def test_a_file_that_was_published_before_there_were_kpis_has_no_values(tmp_path: Path) -> None:
    kpi(tmp_path, "refresh", **ONLY_CONFIGURED)
    with duckdb.connect(tmp_path / "data" / "warehouse.duckdb") as former:
        former.execute("CREATE SCHEMA aemo")

    done = kpi(tmp_path, "list", **ONLY_CONFIGURED)

    assert (done.code, done.err) == (0, "")
    assert cells(done, "evening-peak")[-2:] == ["", ""]
