"""The graph that production loads, and the promises that every asset keeps."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import dagster as dg
import pytest

from etl_assets.ace.automation import SITE_JOBS
from etl_assets.definitions import defs
from etl_assets.kpi.registry import built_in
from etl_assets.lake.tables import ACE_TABLES, AEMO_TABLES, GAPS, SITES
from etl_assets.partitions import MARKET_DAY, MARKET_MONTH, SITE_DAY

ROOT = Path(__file__).parents[1]
SPECS = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
TABLES = {f"{table.schema}/{table.name}": table for table in AEMO_TABLES}
SITE_TABLES = {f"{table.schema}/{table.name}": table for table in (*ACE_TABLES, GAPS) if table is not SITES}
"""The list of sites itself comes with the points; it has no asset of its own."""
SENSORS = [
    "gap_sensor", "recheck_sensor", "publish_sensor", "sites_sensor", "site_gap_sensor", "kpi_retry_sensor",
    "kpi_reports_sensor",
]  # fmt: skip
CHECKS = {spec.key: spec for definition in defs.resolve_asset_graph().assets_defs for spec in definition.check_specs}


def test_the_definitions_can_be_loaded() -> None:
    dg.Definitions.validate_loadable(defs)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_an_asset_says_what_it_is_whose_it_is_and_what_it_is_made_of(name: str) -> None:
    spec = SPECS[name]

    assert spec.description
    assert spec.group_name not in (None, "default")
    assert spec.owners
    assert spec.kinds


@pytest.mark.parametrize("name", [*TABLES, *SITE_TABLES])
def test_a_tables_asset_shows_its_columns_with_types_and_meanings(name: str) -> None:
    table = (TABLES | SITE_TABLES)[name]

    schema = SPECS[name].metadata["dagster/column_schema"]

    shown = {column.name: column for column in schema.columns}
    assert list(shown) == [column.name for column in table.stored_columns]
    assert all(shown[column.name].type == column.type for column in table.stored_columns)
    assert all(column.description for column in shown.values())
    assert {column.name for column in shown.values() if not column.constraints.nullable} == set(table.key)


@pytest.mark.parametrize("name", TABLES)
def test_a_tables_asset_is_partitioned_and_backfilled_in_chunks(name: str) -> None:
    definition = defs.resolve_assets_def(dg.AssetKey(name.split("/")))
    monthly = name == "aemo/price_and_demand"

    assert definition.partitions_def == (MARKET_MONTH if monthly else MARKET_DAY)
    assert definition.backfill_policy.max_partitions_per_run == (12 if monthly else 10)


@pytest.mark.parametrize("name", [name for name in TABLES if name != "aemo/region_forecast"])
def test_a_tables_asset_is_checked_under_its_own_partitions(name: str) -> None:
    of_asset = [spec for key, spec in CHECKS.items() if key.asset_key.to_user_string() == name]

    assert {"intervals_are_complete", "keys_are_unique", "nothing_is_quarantined"} <= {spec.name for spec in of_asset}
    expected = MARKET_MONTH if name == "aemo/price_and_demand" else MARKET_DAY
    assert all(spec.partitions_def == expected for spec in of_asset)
    assert all(spec.description for spec in of_asset)


def test_the_checks_that_no_other_project_has_are_there() -> None:
    names = {(key.asset_key.path[-1], key.name) for key in CHECKS}

    assert names >= {
        ("dispatch_region", "price_is_within_cap"),
        ("dispatch_region", "energy_identity_holds"),
        ("dispatch_region", "entities_are_all_there"),
        ("trading_price", "prices_agree_across_sources"),
        ("price_and_demand", "prices_agree_across_sources"),
        ("unit_scada", "units_report_steadily"),
    }


def test_sources_show_the_addresses_that_are_set_without_credentials() -> None:
    code = """
from etl_assets.definitions import defs
for spec in defs.resolve_all_asset_specs():
    if spec.key.to_user_string() in ("nemweb", "ace_api"):
        print(spec.key.to_user_string(), spec.metadata["address"].value)
"""
    environment = {
        "NEMWEB_URL": "https://me:s3cret@mirror.example/nemweb/",
        "ACE_API_URL": "http://127.0.0.1:8099/api?key=s3cret",
    }
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, cwd=ROOT, env=os.environ | environment,
    ).stdout  # fmt: skip

    assert dict(line.split() for line in said.splitlines()) == {
        "nemweb": "https://mirror.example/nemweb/Reports/CURRENT/",
        "ace_api": "http://127.0.0.1:8099/api?…",
    }


def test_lineage_begins_at_the_operators_own_sources() -> None:
    roots = {key.to_user_string() for key in _upstream("aemo/dispatch_region")}

    assert roots == {"nemweb", "five_minute_report", "price_and_demand_files"}
    assert _upstream("warehouse_file") >= {dg.AssetKey(name.split("/")) for name in (*TABLES, *SITE_TABLES)}


@pytest.mark.parametrize("name", SITE_TABLES)
def test_a_sites_asset_is_partitioned_by_market_day_and_site_and_backfilled_in_chunks(name: str) -> None:
    definition = defs.resolve_assets_def(dg.AssetKey(name.split("/")))

    assert definition.partitions_def == SITE_DAY
    assert definition.backfill_policy.max_partitions_per_run == 10


def test_lineage_of_sites_begins_at_their_api_and_goes_on_to_their_scores() -> None:
    assert _upstream("ace/timeseries_raw") == {dg.AssetKey("ace_api")}
    assert _upstream("ace/timeseries_agg") == {dg.AssetKey(["ace", "timeseries_raw"])}
    assert dg.AssetKey(["ace", "timeseries_raw"]) in _upstream("quality/data_quality") & _upstream("quality/gaps")


def test_the_scores_of_sites_are_checked_under_their_own_partitions() -> None:
    of_asset = [spec for key, spec in CHECKS.items() if key.asset_key.to_user_string() == "quality/data_quality"]

    assert {"readings_are_complete", "points_have_not_fallen_silent", "nothing_is_quarantined"} <= {
        spec.name for spec in of_asset
    }
    assert all(spec.partitions_def == SITE_DAY and spec.description for spec in of_asset)


@pytest.mark.parametrize("name", [job.name for job in SITE_JOBS])
def test_a_job_of_sites_runs_in_one_step_of_one_process(name: str) -> None:
    job = defs.resolve_job_def(name)

    assert job.executor_def is dg.in_process_executor
    assert job.partitions_def == SITE_DAY
    # A step that yields nothing would have those after it skipped.
    assert [node.name for node in job.nodes] == ["collect_sites"]


KPIS = {f"kpi/{kpi.asset_name}": kpi for kpi in built_in().kpis}


def test_every_kpi_is_an_asset_and_no_other_asset_is_named_as_one() -> None:
    assert {name for name in SPECS if name.startswith("kpi/")} == KPIS.keys()


@pytest.mark.parametrize("name", KPIS)
def test_a_kpis_asset_is_partitioned_by_market_day_and_a_backfill_of_any_length_is_one_run(name: str) -> None:
    definition = defs.resolve_assets_def(dg.AssetKey(name.split("/")))

    assert definition.partitions_def == MARKET_DAY
    assert definition.backfill_policy == dg.BackfillPolicy.single_run()
    assert SPECS[name].group_name == "kpi"


@pytest.mark.parametrize("name", KPIS)
def test_a_kpis_lineage_is_what_its_registry_names_and_each_is_an_asset(name: str) -> None:
    named = {dg.AssetKey(table.split(".")) for table in KPIS[name].depends_on} - {dg.AssetKey(["ace", "sites"])}

    assert named <= _upstream(name)
    assert {key.to_user_string() for key in _upstream(name)} <= SPECS.keys()


@pytest.mark.parametrize("name", KPIS)
def test_a_kpi_is_checked_for_its_value_and_each_of_its_thresholds_under_its_own_partitions(name: str) -> None:
    of_asset = [spec for key, spec in CHECKS.items() if key.asset_key.to_user_string() == name]
    thresholds = KPIS[name].analysis_config.alert_thresholds

    expected = {"has_a_value"}
    expected |= {"is_not_above_high"} if thresholds.high is not None else set()
    expected |= {"is_not_below_low"} if thresholds.low is not None else set()
    assert {spec.name for spec in of_asset} == expected
    assert all(spec.partitions_def == MARKET_DAY and spec.description for spec in of_asset)


LISTED = """
from etl_assets.definitions import defs
from dagster import Definitions
Definitions.validate_loadable(defs)
print(*sorted(spec.key.to_user_string() for spec in defs.resolve_all_asset_specs() if spec.group_name == "kpi"))
print({spec.key.to_user_string(): (spec.metadata, spec.tags, spec.description)
       for spec in defs.resolve_all_asset_specs() if spec.group_name == "kpi"})
"""


def kpis_with(folder: Path, copy: str | None, **environment: str) -> tuple[list[str], str]:
    """The assets of the KPIs, and all that Dagster shows of them, in a process with this last good copy."""
    if copy is not None:
        (folder / "data" / "kpi").mkdir(parents=True)
        (folder / "data" / "kpi" / "registry.json").write_text(copy)
    chosen = {"ETL_DATA": str(folder / "data"), "KPI_REGISTRY": "registry.json", "KPI_BUILT_IN": "false"}
    done = subprocess.run(
        [sys.executable, "-c", LISTED],
        capture_output=True, text=True, check=True, cwd=ROOT, env=os.environ | chosen | environment,
    )  # fmt: skip
    names, shown = done.stdout.split("\n", 1)
    return names.split(), shown + done.stderr


@pytest.mark.parametrize("copy", [None, '{"kpis": [{"id": "a"', '{"kpis": [{"id": "a"}]}', "\0"])
def test_without_a_single_kpi_or_with_a_damaged_copy_the_definitions_can_be_loaded(
    tmp_path: Path, copy: str | None
) -> None:
    assert kpis_with(tmp_path, copy)[0] == ["kpi_registry"]


def test_a_damaged_copy_leaves_the_built_in_kpis(tmp_path: Path) -> None:
    names, _ = kpis_with(tmp_path, "[]", KPI_BUILT_IN="true")

    assert set(names) == KPIS.keys() | {"kpi_registry"}


def test_a_kpi_of_the_copy_is_an_asset_and_no_more_of_its_webhook_is_shown_than_the_host(tmp_path: Path) -> None:
    kpi = {"id": "daily-brief_1", "name": "Brief", "webhookUrl": "https://me:pass-7@n8n.example.com/webhook/t0ken-42"}
    copy = {"kpis": [kpi], "copy_of": {"source": "a test", "fetched_at": "2026-11-22T00:00:00Z"}}

    names, shown = kpis_with(tmp_path, json.dumps(copy))

    assert names == ["kpi/daily_brief_1", "kpi_registry"]
    assert "n8n.example.com" in shown
    assert "t0ken-42" not in shown
    assert "pass-7" not in shown


@pytest.mark.parametrize(
    ("name", "cron", "zone"),
    [("kpi_schedule", "0 12 * * *", "UTC"), ("kpi_registry_schedule", "47 * * * *", "Australia/Brisbane")],
)
def test_a_schedule_of_kpis_runs_by_itself(name: str, cron: str, zone: str) -> None:
    schedule = defs.resolve_schedule_def(name)

    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert (schedule.cron_schedule, schedule.execution_timezone) == (cron, zone)


@pytest.mark.parametrize("name", ["kpi_daily", "kpi_refresh"])
def test_a_job_of_kpis_runs_in_one_process(name: str) -> None:
    assert defs.resolve_job_def(name).executor_def is dg.in_process_executor


def _upstream(name: str) -> set[dg.AssetKey]:
    return {dep.asset_key for dep in SPECS[name].deps}


@pytest.mark.parametrize("name", ["market_tick", "market_recheck", "market_months_daily", "lake_hourly_schedule"])
def test_a_schedule_runs_by_itself_in_nem_time(name: str) -> None:
    schedule = defs.resolve_schedule_def(name)

    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert schedule.execution_timezone == "Australia/Brisbane"


@pytest.mark.parametrize(
    ("name", "cron"),
    [("sites_tick", "*/5 * * * *"), ("sites_reread", "0 0 * * *"), ("sites_scored_hourly", "7 * * * *")],
)
def test_a_schedule_of_sites_runs_by_itself(name: str, cron: str) -> None:
    schedule = defs.resolve_schedule_def(name)

    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert schedule.cron_schedule == cron
    assert schedule.execution_timezone in ("UTC", "Australia/Brisbane")


@pytest.mark.parametrize("name", SENSORS)
def test_a_sensor_runs_by_itself(name: str) -> None:
    assert defs.resolve_sensor_def(name).default_status is dg.DefaultSensorStatus.RUNNING


@pytest.mark.parametrize("name", ["market_live", "market_heal", "market_months"])
def test_a_job_runs_in_one_process_over_the_partitions_of_its_assets(name: str) -> None:
    job = defs.resolve_job_def(name)

    assert job.executor_def is dg.in_process_executor
    assert job.partitions_def == (MARKET_MONTH if name == "market_months" else MARKET_DAY)


def test_a_tick_comes_before_backfills_in_the_queue() -> None:
    assert int(defs.resolve_job_def("market_live").tags["dagster/priority"]) > 0


def test_workspace_and_project_file_name_the_same_module_and_location() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    workspace = [line.split("#")[0].strip(" -") for line in (ROOT / "workspace.yaml").read_text().splitlines()]
    named = dict(line.split(": ", 1) for line in workspace if ": " in line)

    assert named == {
        "module_name": project["dg"]["project"]["code_location_target_module"],
        "location_name": project["dg"]["project"]["code_location_name"],
    }
    assert "dagster" not in project


def loaded_with_the_definitions() -> set[str]:
    code = "import sys, etl_assets.definitions; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return set(said.split())


def test_loading_the_definitions_loads_neither_pandas_nor_what_collects_and_stores() -> None:
    loaded = loaded_with_the_definitions()

    assert "etl_assets.ace.assets" in loaded
    assert not loaded & {
        "pandas",
        "etl_assets.ace.sync",
        "etl_assets.ace.collect",
        "etl_assets.ace.client",
        "etl_assets.ace.scoring",
        "etl_assets.kpi.run",
        "etl_assets.kpi.query",
        "etl_assets.kpi.webhook",
    }


def test_loading_the_definitions_opens_no_lake(tmp_path: Path) -> None:
    environment = {"ETL_DATA": str(tmp_path / "data"), "SITES": "building-a", "ACE_API_KEY": "a-key"}

    subprocess.run(
        [sys.executable, "-c", "import etl_assets.definitions"], check=True, cwd=ROOT, env=os.environ | environment
    )

    assert list(tmp_path.iterdir()) == []
