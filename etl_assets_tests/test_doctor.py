"""What the doctor finds, look by look; the command that prints it is in ``test_cli.py``."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from etl_assets.doctor import Finding, examine
from etl_assets.kpi.registry import built_in, refresh
from etl_assets.settings import Settings

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)

Choose = Callable[..., Settings]


@pytest.fixture
def choose(tmp_path: Path) -> Choose:
    """Settings that ask no server: the simulator's, which is not started."""

    def choose(**changes: Any) -> Settings:
        return Settings(_env_file=None, etl_data=tmp_path / "data", etl_source="demo", **changes)

    return choose


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    path = tmp_path / "registry.json"
    path.write_text(json.dumps({"kpis": [{"id": "one", "name": "One", "webhookUrl": "http://localhost/hook"}]}))
    return path


def of_the_registry(settings: Settings) -> Finding:
    [finding] = [finding for finding in examine(settings, NOW) if "registry" in finding.what]
    return finding


def test_without_a_registry_the_built_in_kpis_are_counted(choose: Choose) -> None:
    total, active = len(built_in().kpis), len(built_in().active)

    assert of_the_registry(choose()) == Finding(
        "note", "KPI registry", f"built-in KPIs alone; KPIs in force: {total} ({active} active)"
    )


def test_a_registry_in_force_is_well(choose: Choose, registry: Path) -> None:
    settings = choose(kpi_registry=str(registry), kpi_built_in=False)
    refresh(settings, now=NOW)

    assert of_the_registry(settings) == Finding(
        "ok", "KPI registry", f"{registry}; KPIs in force: 1 (1 active); checked 2026-11-22 02:00 UTC"
    )


def test_a_registry_that_was_never_fetched_is_a_warning(choose: Choose, registry: Path) -> None:
    finding = of_the_registry(choose(kpi_registry=str(registry), kpi_built_in=False))

    assert (finding.level, finding.to_do) == ("warning", "Run `etl-assets kpi refresh`: it says what to correct.")
    assert finding.found == (
        f"{registry}; KPIs in force: 0 (0 active); never fetched; there is no good copy: no KPI is in force"
    )


def test_a_registry_that_could_not_be_taken_is_a_warning_with_what_stays_in_force(
    choose: Choose, registry: Path
) -> None:
    settings = choose(kpi_registry=str(registry), kpi_built_in=False)
    refresh(settings, now=NOW)
    registry.unlink()
    refresh(settings, now=NOW)

    finding = of_the_registry(settings)

    assert finding.level == "warning"
    assert "KPIs in force: 1 (1 active); checked 2026-11-22 02:00 UTC; " in finding.found
    assert finding.found.endswith(f"{registry}: there is no such file")


def test_a_look_that_fails_is_a_finding_without_the_secret_that_it_quotes(choose: Choose) -> None:
    findings = examine(choose(state_database="nowhere://user:s3cret@host/s3cret-is-not-this"), NOW)

    [finding] = [finding for finding in findings if finding.what == "state"]
    assert finding.level == "error"
    assert "user:s3cret" not in finding.found
