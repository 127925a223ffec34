"""The files in ``deploy/`` fit the code: commands, ports, paths of health, settings, metrics, and who may do what."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from prometheus_client.parser import text_string_to_metric_families

from etl_assets.cli import app
from etl_assets.ops.job_state import Order, open_job
from etl_assets.ops.state import SyncRun, record_sync_run
from etl_assets.settings import Settings
from etl_assets_tests.api.operating import NOW, SITE, copied, fill, operating
from etl_assets_tests.test_docs import complaint

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())


def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def options_of(name: str) -> dict[str, Any]:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    return {parameter.opts[0]: parameter.default for parameter in command.params}


def unit(name: str) -> dict[str, str]:
    lines = (DEPLOY / "systemd" / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for path in UNITS:
        # Where it is installed there is no such program here.
        here = path.read_text().replace("/srv/etl-assets/.venv/bin/etl-assets", sys.executable)
        (tmp_path / path.name).write_text(here)

    found = subprocess.run(
        ["systemd-analyze", "verify", *[str(tmp_path / path.name) for path in UNITS]],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("path", [path for path in UNITS if path.suffix == ".service"], ids=lambda path: path.name)
def test_a_unit_calls_a_command_that_exists_as_a_user_without_rights(path: Path) -> None:
    settings = unit(path.name)
    program, *words = settings["ExecStart"].split()

    assert program == f"{settings['WorkingDirectory']}/.venv/bin/etl-assets"
    assert complaint(words) == ""
    assert settings["User"] == "etl-assets"
    assert (settings["NoNewPrivileges"], settings["CapabilityBoundingSet"]) == ("yes", "")
    assert settings["ProtectSystem"] == "strict"


def test_the_service_waits_for_all_four_processes_to_stop() -> None:
    from etl_assets.processes import STOP_TIMEOUT_S

    assert int(unit("etl-assets.service")["TimeoutStopSec"]) > 4 * STOP_TIMEOUT_S
    assert int(compose()["services"]["etl-assets"]["stop_grace_period"].removesuffix("s")) > 4 * STOP_TIMEOUT_S


def test_the_services_of_compose_call_commands_that_exist() -> None:
    services = compose()["services"]

    assert [complaint(service["command"]) for service in services.values()] == ["", ""]
    assert all(service["cap_drop"] == ["ALL"] and service["read_only"] for service in services.values())


def test_the_container_listens_where_compose_publishes_and_compose_on_loopback_alone() -> None:
    service = compose()["services"]["etl-assets"]
    words = service["command"]
    chosen = {name: words[words.index(name) + 1] for name in ("--port", "--api-port", "--host", "--api-host")}

    assert set(chosen) <= set(options_of("up"))
    assert service["ports"] == [f"127.0.0.1:{chosen[port]}:{chosen[port]}" for port in ("--port", "--api-port")]
    assert (chosen["--host"], chosen["--api-host"]) == ("0.0.0.0", "0.0.0.0")  # noqa: S104 (what is asserted)


def test_the_health_check_asks_an_address_of_the_api_on_its_port() -> None:
    from etl_assets.api.routes.health import router

    service = compose()["services"]["etl-assets"]
    [(port, path)] = re.findall(r"http://127\.0\.0\.1:(\d+)(/[\w/]+)", service["healthcheck"]["test"][-1])

    assert path in {route.path for route in router.routes}
    assert port == service["command"][service["command"].index("--api-port") + 1]


def test_the_image_is_the_project_with_its_lock_run_by_a_user() -> None:
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    copied_files = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]

    assert [name for name in copied_files if not (ROOT / name).exists()] == []
    assert "USER etl-assets" in lines
    assert any("--require-hashes -r requirements.lock" in line for line in lines)
    data = next(line.removeprefix("ENV ETL_DATA=") for line in lines if line.startswith("ENV ETL_DATA="))
    volume = next(line.removeprefix("VOLUME ") for line in lines if line.startswith("VOLUME "))
    assert Path(data).parent == Path(volume)
    assert f"data:{volume}" in compose()["services"]["etl-assets"]["volumes"]


def test_the_image_has_every_folder_that_compose_mounts_for_its_user() -> None:
    lines = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    made = next(line for line in lines if "useradd" in line)
    mounted = {volume.split(":")[1] for service in compose()["services"].values() for volume in service["volumes"]}

    assert mounted == {"/var/lib/etl-assets", "/var/backups/etl-assets"}
    assert "--create-home --home-dir /var/lib/etl-assets" in made
    assert "install -d -m 0700 -o etl-assets -g etl-assets /var/backups/etl-assets" in made


def test_the_example_of_an_environment_names_settings() -> None:
    names = re.findall(r"^([A-Z_]+)=", (DEPLOY / "environment.example").read_text(), re.MULTILINE)

    assert names
    assert {name.lower() for name in names} <= set(Settings.model_fields)


SYNC = SyncRun(
    run_id="r",
    attempt=1,
    dataset="ace.timeseries_raw",
    partition="2026-11-22",
    started_at=NOW,
    finished_at=NOW,
    duration_seconds=1.0,
    fetched=1,
    filtered=0,
    invalid=0,
    duplicate=0,
    unchanged=0,
    inserted=1,
    updated=0,
    requests_by_status={"200": 1},
    retries=0,
    bytes_received=1,
    errors=(),
    site_name=SITE,
)


@pytest.fixture(scope="module")
def metric_names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Every metric of ``/metrics``, with the labels that it has."""
    folder = tmp_path_factory.mktemp("published") / "data"
    fill(Settings(_env_file=None, etl_data=folder))
    with operating(copied(folder, tmp_path_factory.mktemp("scraped") / "data")) as api:
        record_sync_run(api.settings, SYNC)
        open_job(api.settings, Order("a", "timeseries", {}, "csv", 7), now=NOW)
        api.get("/health/live")
        answer = api.get("/metrics")
    families = text_string_to_metric_families(answer.text)
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


RULES = yaml.safe_load((DEPLOY / "prometheus-rules.yml").read_text())["groups"][0]["rules"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_rule_asks_for_metrics_and_labels_that_there_are(
    rule: dict[str, Any], metric_names: dict[str, set[str]]
) -> None:
    asked = set(re.findall(r"etl_assets_\w+", rule["expr"]))
    labels = set(re.findall(r"(\w+)[=!]~?\"", rule["expr"])) | set(re.findall(r"\$labels\.(\w+)", str(rule)))
    there = set().union(*(metric_names[name] for name in asked)) | {"job"}

    assert asked <= set(metric_names)
    assert labels <= there
    assert rule["for"]
    assert rule["annotations"]["summary"]


def test_prometheus_asks_with_a_scope_and_at_addresses_that_there_are() -> None:
    from etl_assets.api.clients import Scope
    from etl_assets.api.routes.operations import router as operations
    from etl_assets.api.routes.tokens import router as tokens

    [scrape] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]

    assert scrape["metrics_path"] in {route.path for route in operations.routes}
    assert scrape["oauth2"]["token_url"].endswith("8000/token")
    assert "/token" in {route.path for route in tokens.routes}
    assert set(scrape["oauth2"]["scopes"]) <= {str(scope) for scope in Scope}


def test_the_metrics_that_the_handbook_names_exist(metric_names: dict[str, set[str]]) -> None:
    text = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    named = set(re.findall(r"`(etl_assets_[a-z_]+)`", text))
    bases = {name.removesuffix("_count") for name in metric_names}

    assert len(named) > 8
    assert named <= bases
