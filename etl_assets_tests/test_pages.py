"""What Dagster's pages say: nothing an operator meets there is without its meaning, its unit, or its owner."""

import asyncio
from collections.abc import Iterator
from typing import Any

import dagster as dg
import httpx
import pytest

from etl_assets.asset_specs import SOURCES
from etl_assets.definitions import defs
from etl_assets.lake.tables import TABLES

GROUPS = {SOURCES, "market", "buildings", "kpi", "lake", "ops"}
"""Those that README and the pictures name, from left to right."""

SPECS = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
OF_TABLES = [name for name, spec in SPECS.items() if "dagster/column_schema" in spec.metadata]
REPOSITORY = defs.get_repository_def()
JOBS = {job.name: job for job in defs.resolve_all_job_defs() if not job.name.startswith("__")}
AUTOMATION = {each.name: each for each in (*REPOSITORY.schedule_defs, *REPOSITORY.sensor_defs)}
RESOURCES = REPOSITORY.get_top_level_resources()
CHECKS = {
    f"{spec.asset_key.to_user_string()} {spec.name}": spec
    for assets in defs.resolve_asset_graph().assets_defs
    for spec in assets.check_specs
}
OPS = {
    assets.op.name: assets.op
    for assets in defs.resolve_asset_graph().assets_defs
    if assets.is_executable and len(assets.keys) > 0
}


def test_every_asset_is_in_a_group_that_is_known_and_every_group_is_in_use() -> None:
    assert {spec.group_name for spec in SPECS.values()} == GROUPS


@pytest.mark.parametrize("name", sorted(SPECS))
def test_every_asset_belongs_to_a_team(name: str) -> None:
    assert [owner for owner in SPECS[name].owners if owner.startswith("team:")]


@pytest.mark.parametrize("name", sorted(JOBS))
def test_every_job_says_what_it_does(name: str) -> None:
    assert JOBS[name].description


@pytest.mark.parametrize("name", sorted(AUTOMATION))
def test_every_schedule_and_sensor_says_what_it_does(name: str) -> None:
    assert len(AUTOMATION[name].description or "") > len("Hourly, between two ticks.")


@pytest.mark.parametrize("name", sorted(RESOURCES))
def test_every_resource_says_what_it_gives(name: str) -> None:
    assert RESOURCES[name].description


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_every_check_says_what_holds_when_it_passes(name: str) -> None:
    assert CHECKS[name].description


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_step_says_what_it_does(name: str) -> None:
    assert OPS[name].description


def config_fields() -> Iterator[tuple[str, str | None]]:
    """Every field that the launchpad offers for a step of ours, with what it says of it."""
    ops = {**OPS, "export": JOBS["export_job"].graph.node_defs[0]}
    for name, op in ops.items():
        config: Any = op.config_schema.config_type
        for field, schema in getattr(config, "fields", {}).items():
            yield f"{name}.{field}", schema.description


@pytest.mark.parametrize(("name", "said"), sorted(config_fields()))
def test_every_field_of_a_steps_configuration_is_explained_in_the_launchpad(name: str, said: str | None) -> None:
    assert said, name


def test_the_steps_that_take_configuration_are_among_those_looked_at() -> None:
    names = {name for name, _ in config_fields()}

    assert names >= {
        "collect_dispatchis.as_of",
        "collect_dispatchis.reread",
        "collect_sites.mode",
        "collect_sites.hours",
    }
    assert names >= {"compute_kpis.workflows", "export.job_id"}


@pytest.mark.parametrize("name", sorted(OF_TABLES))
def test_every_column_of_a_tables_asset_is_explained_and_a_quantity_has_a_unit(name: str) -> None:
    tables = {f"{table.schema}/{table.name}": table for table in TABLES}
    schema = SPECS[name].metadata["dagster/column_schema"]

    assert all(column.description for column in schema.columns)
    if name in tables:
        units = {column.name: column.unit for column in tables[name].columns}
        assert all(f"[{unit}]" in c.description for c in schema.columns if (unit := units.get(c.name)))


@pytest.mark.parametrize("name", [name for name in sorted(OF_TABLES) if not name.startswith("kpi/")])
def test_a_tables_asset_says_what_makes_a_row_unique(name: str) -> None:
    table = next(table for table in TABLES if f"{table.schema}/{table.name}" == name)
    spec = SPECS[name]

    assert spec.metadata["dagster/column_schema"].constraints.other == [f"unique: {', '.join(table.key)}"]
    assert "One row per" in spec.description
    assert f"`{table.full_name}` in `warehouse.duckdb`" in spec.description


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.group_name == SOURCES])
def test_a_source_says_where_it_is_how_long_it_keeps_what_and_how_late_it_is(name: str) -> None:
    metadata = SPECS[name].metadata

    assert metadata["address"].value.startswith("https://")
    assert metadata["keeps"].value
    assert metadata["delay"].value
    assert not SPECS[name].deps


def test_everything_outside_is_among_the_sources_and_nothing_else_is_made_of_nothing() -> None:
    graph = defs.resolve_asset_graph()
    roots = {key.to_user_string() for key in graph.external_asset_keys if not graph.get(key).parent_keys}

    assert roots == {name for name, spec in SPECS.items() if spec.group_name == SOURCES}


MADE = sorted(key.to_user_string() for key in defs.resolve_asset_graph().materializable_asset_keys)


@pytest.mark.parametrize("name", MADE)
def test_everything_that_is_made_by_the_clock_has_a_freshness_policy_and_a_link_to_its_code(name: str) -> None:
    assert SPECS[name].freshness_policy is not None
    assert SPECS[name].metadata["dagster/code_references"]


def asked(pages: Any, query: str) -> dict[str, Any]:
    """What Dagster's webserver answers to a question, without a port."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(pages)
        async with httpx.AsyncClient(transport=transport, base_url="http://dagster") as client:
            return await client.post("/graphql", json={"query": query})

    return asyncio.run(ask()).json()


@pytest.mark.servers
def test_the_served_location_answers_a_page_of_each_kind() -> None:
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import ModuleTarget
    from dagster_webserver.app import create_app_from_workspace_process_context

    query = """{
      assetNodes { assetKey { path } groupName description owners { ... on TeamAssetOwner { team } } }
      repositoriesOrError { ... on RepositoryConnection { nodes { name
        jobs { name description } schedules { name description } sensors { name description }
        allTopLevelResourceDetails { name description } } } }
    }"""
    target = ModuleTarget("etl_assets.definitions", None, None, "etl_assets")
    with dg.instance_for_test() as instance, WorkspaceProcessContext(instance, target) as workspace:
        answer = asked(create_app_from_workspace_process_context(workspace), query)

    assert "errors" not in answer
    nodes = answer["data"]["assetNodes"]
    assert {"/".join(node["assetKey"]["path"]) for node in nodes} == SPECS.keys()
    assert all(node["description"] and node["owners"] for node in nodes)
    [repository] = answer["data"]["repositoriesOrError"]["nodes"]
    shown = [*repository["jobs"], *repository["schedules"], *repository["sensors"]]
    shown += repository["allTopLevelResourceDetails"]
    assert all(each["description"] for each in shown if not each["name"].startswith("__"))
