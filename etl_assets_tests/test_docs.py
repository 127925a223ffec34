"""The handbook says what is there: commands, settings, queries, links, names, alerts."""

import ast
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import duckdb
import pytest
import typer
import yaml

from etl_assets.cli import app
from etl_assets.definitions import defs
from etl_assets.lake.connection import write_lake
from etl_assets.lake.publish import publish
from etl_assets.ops.state import copies_for_analysts
from etl_assets.processes import WORKSPACE
from etl_assets.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
OURS = [path for path in PAGES if path.name in {"README.md", "operating.md", "deploying.md", "troubleshooting.md"}]
OF_OTHERS = {"DAGSTER_HOME", "TOKEN"}
"""In capitals, and no setting: Dagster's, and a shell's in an example."""
OTHER_NAMES = {"pg_dump", "secret_hash"}
"""With an underscore, and of no list: what a sentence explains itself."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
each_of_ours = pytest.mark.parametrize("page", OURS, ids=lambda page: page.name)


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of a language; those in lists without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def typed(page: Path) -> Iterator[list[str]]:
    """Every ``etl-assets …`` of a page, in blocks and in sentences, as words; not the service of that name."""
    text = page.read_text()
    prompted = [line for block in blocks(page, "console") for line in block.splitlines() if re.match(r"[$#] ", line)]
    quoted = [code.replace("\n", " ") for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
    for line in [*(line[2:] for line in prompted), *quoted]:
        for called in re.findall(r"(?:^|[ (/])(?<!exec )etl-assets ([a-z][^|;&)#]*)", line):
            yield shlex.split(called.replace("…", ""))


def complaint(words: list[str]) -> str:
    """What is wrong with a command as it is typed; empty where the command line knows it."""
    command = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands"):
        if not rest or rest[0] not in command.commands:
            return f"no command: {' '.join(words)}"
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    unknown = [word for word in rest if word.startswith("--") and word not in known]
    return f"{command.name} has no {unknown}" if unknown else ""


@each_page
def test_every_command_and_option_exists(page: Path) -> None:
    assert [wrong for words in typed(page) if (wrong := complaint(words))] == []


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    assert complaint(["restore", "folder", "--gently"]) == "restore has no ['--gently']"
    assert complaint(["heal"]) == "no command: heal"


def test_schedules_are_switched_off_in_the_code_location_that_is_up() -> None:
    shown = [block for page in OURS for block in blocks(page, "console")]
    switched = [line for block in shown for line in re.findall(r"dagster schedule .*", block)]
    here, up = (yaml.safe_load(text)["load_from"] for text in ((ROOT / "workspace.yaml").read_text(), WORKSPACE))

    assert switched == ["dagster schedule stop market_tick"]
    assert here[0]["python_module"]["location_name"] == up[0]["grpc_server"]["location_name"]


def test_homes_of_dagster_are_absolute_as_dagster_wants_them() -> None:
    homes = re.findall(r"DAGSTER_HOME=(\S+)", "".join(page.read_text() for page in OURS))

    assert homes
    assert [home for home in homes if not home.startswith(("/", "$PWD/"))] == []


def test_commands_of_backup_restore_and_doctor_are_shown() -> None:
    shown = {words[0] for page in OURS for words in typed(page)}

    assert {"up", "doctor", "backup", "restore", "keys", "token", "tick", "publish", "kpi"} <= shown


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A published file with every table and nothing in them."""
    settings = Settings(_env_file=None, etl_data=tmp_path_factory.mktemp("docs") / "data")
    with write_lake(settings, "a test"):
        pass
    publish(settings, now=datetime(2026, 11, 22, tzinfo=UTC), extra=copies_for_analysts(settings))
    with duckdb.connect(settings.warehouse_path, read_only=True) as connection:
        yield connection


@each_of_ours
def test_every_query_runs_on_the_published_file(page: Path, warehouse: duckdb.DuckDBPyConnection) -> None:
    inline = re.findall(r"`(SELECT [^`]+)`", page.read_text())

    for query in [*blocks(page, "sql"), *inline]:
        assert warehouse.execute(query).description


def test_there_are_queries_to_run() -> None:
    assert sum(len(blocks(page, "sql")) for page in OURS) >= 10


@each_of_ours
def test_every_setting_exists(page: Path) -> None:
    words = set(re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", page.read_text()))

    assert words <= {name.upper() for name in Settings.model_fields} | OF_OTHERS


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", page.read_text())
    missing = [path for path, _ in links if path and not (page.parent / path).exists()]
    lost = [
        f"{path}#{anchor}"
        for path, anchor in links
        if anchor and path not in missing and anchor not in anchors(page.parent / path if path else page)
    ]

    assert (missing, lost) == ([], [])


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()

    assert [page.name for page in PAGES if page.name != "README.md" and f"({page.name})" not in index] == []


@cache
def dagsters_names() -> set[str]:
    """Assets, as a path and by their last part, checks, jobs, schedules and sensors."""
    keys = defs.resolve_asset_graph().get_all_asset_keys()
    checks = {key.name for key in defs.resolve_asset_graph().asset_check_keys}
    parts = [*(defs.schedules or ()), *(defs.sensors or ()), *defs.resolve_all_job_defs()]
    return {key.path[-1] for key in keys} | {"/".join(key.path) for key in keys} | checks | {p.name for p in parts}


@cache
def columns_and_tables(warehouse: duckdb.DuckDBPyConnection) -> set[str]:
    rows = warehouse.execute("SELECT column_name, table_name, schema_name FROM duckdb_columns()").fetchall()
    return {name for row in rows for name in (row[0], row[1], f"{row[2]}.{row[1]}")}


@each_of_ours
def test_every_asset_check_job_sensor_table_and_column_exists(page: Path, warehouse: duckdb.DuckDBPyConnection) -> None:
    named = set(re.findall(r"`((?:[a-z]+\.)?[a-z0-9]+(?:_[a-z0-9]+)+(?:/[a-z_]+)?)`", page.read_text()))
    named = {name for name in named if not name.startswith("etl_assets")}

    assert named - dagsters_names() - columns_and_tables(warehouse) - alert_kinds() - OTHER_NAMES == set()


@cache
def alert_kinds() -> set[str]:
    """Kinds of all conditions that the code makes."""
    kinds = set()
    for path in (ROOT / "etl_assets").rglob("*.py"):
        tree = ast.parse(path.read_text())
        constants = {
            target.id: value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target, value in _assigned(node)
            if isinstance(target, ast.Name) and isinstance(value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Condition":
                match node.args[1]:
                    case ast.Constant(value=kind):
                        kinds.add(kind)
                    case ast.Name(id=name):
                        kinds.add(constants[name])
    return kinds


def _assigned(node: ast.Assign) -> list[tuple[ast.expr, ast.expr]]:
    [target] = node.targets
    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
        return list(zip(target.elts, node.value.elts, strict=True))
    return [(target, node.value)]


def test_every_kind_of_alert_is_explained_and_no_other() -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    explained = re.findall(r"^\| `(\w+)` \|", text.partition("## Read an alert")[2].partition("\n## ")[0], re.MULTILINE)

    assert set(explained) == alert_kinds()
    assert len(explained) == len(set(explained))
