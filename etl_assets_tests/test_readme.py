"""README says what is there: commands, schedules, tables, the analyst's start."""

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
import typer

from etl_assets.cli import app
from etl_assets.definitions import defs
from etl_assets.kpi.registry import built_in
from etl_assets.lake.connection import write_lake
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import DISPATCH_REGION
from etl_assets.lake.upsert import upsert
from etl_assets.ops.state import copies_for_analysts
from etl_assets.settings import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
NOT_OURS = {".venv", ".git", "data", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}
TEXT = {".py", ".sql", ".md", ".toml", ".yaml", ".yml", ".lock", ".example", ".txt", ".html", ".json", ""}


def section(title: str) -> str:
    """From a heading to the next of its level or above."""
    level, _, _ = title.partition(" ")
    _, found, rest = README.partition(f"\n{title}\n")
    assert found, f"README has no section {title!r}"
    return re.split(rf"\n#{{1,{len(level)}}} ", rest)[0]


def first_column(text: str) -> list[str]:
    """The names in the first column of a section's tables."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


@pytest.fixture
def published(settings: Settings, region_rows) -> Settings:
    with write_lake(settings, "a test") as lake:
        rows = region_rows(datetime(2026, 11, 21, tzinfo=UTC).date(), regions=("SA1",), intervals=2)
        upsert(lake, DISPATCH_REGION, rows, now=datetime(2026, 11, 22, tzinfo=UTC))
    publish(settings, now=datetime(2026, 11, 22, tzinfo=UTC), extra=copies_for_analysts(settings))
    return settings


def test_the_table_of_automation_names_every_schedule_and_sensor_and_nothing_else() -> None:
    there = [*(schedule.name for schedule in defs.schedules or ()), *(sensor.name for sensor in defs.sensors or ())]

    assert sorted(first_column(section("## For the operator").partition("\n### ")[0])) == sorted(there)


def test_the_table_of_built_in_kpis_is_the_registry() -> None:
    rows = re.findall(
        r"^\| `([a-z-]+)` \| ([^|]+) \| (\w+) \| ([^|]+) \|$", section("## KPIs: ten lines in a registry"), re.MULTILINE
    )

    assert rows == [(kpi.id, kpi.name, kpi.entity, kpi.unit) for kpi in built_in().kpis]


def test_the_times_in_the_table_of_automation_are_those_of_the_schedules() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section("## For the operator"), re.MULTILINE))
    crons = {s.name: (str(s.cron_schedule), s.execution_timezone) for s in defs.schedules or ()}

    assert {name: rows[name] for name in crons} == {name: in_words(*cron) for name, cron in crons.items()}


def in_words(cron: str, zone: str | None) -> str:
    minute, hour, *_ = cron.split()
    if minute == "*/5":
        return "every 5 minutes"
    if zone == "UTC":
        return f"{int(hour):02}:{int(minute):02} UTC"
    if minute == "1-59/5":
        return "minutes 1, 6, 11 …"
    return f"minute {minute}" if hour == "*" else f"{int(hour):02}:{int(minute):02}"


def test_the_table_of_tables_is_what_an_analyst_finds_in_the_file(published: Settings) -> None:
    with duckdb.connect(published.warehouse_path, read_only=True) as warehouse:
        found = warehouse.execute(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() UNION ALL "
            "SELECT schema_name || '.' || view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL"
        ).fetchall()

    rows = re.findall(r"^\| (`[^|]+`) \|", section("## For the analyst"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    wholes = {name for name in named if name.endswith(".*")}
    there = {name for (name,) in found}
    alone = {name for name in there if f"{name.partition('.')[0]}.*" not in wholes}

    assert named - wholes == alone
    assert wholes == {f"{name.partition('.')[0]}.*" for name in there - alone}


def test_every_column_has_a_comment_as_readme_says(published: Settings) -> None:
    with duckdb.connect(published.warehouse_path, read_only=True) as warehouse:
        silent = warehouse.execute(
            "SELECT schema_name, table_name, column_name FROM duckdb_columns() "
            "WHERE schema_name IN ('aemo', 'ace') AND comment IS NULL"
        ).fetchall()

    assert silent == []


def test_every_command_is_mentioned() -> None:
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    listed = re.search(r"cli\.py +([\w ·]+?)\s+\(", README)

    assert listed
    assert set(listed[1].split(" · ")) == commands


def test_every_command_that_readme_calls_exists() -> None:
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    called = set(re.findall(r"(?:\$ |`|bin/)etl-assets (\w+)", README))

    assert called
    assert called <= commands


def test_every_make_target_that_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|\$ |ETL_DATA=market )make ([a-z-]+)", README))

    assert {"demo", "test", "up", "bench"} <= named
    assert named <= targets


def test_the_python_of_the_analysts_start_runs_against_a_published_file(published: Settings, tmp_path: Path) -> None:
    [snippet] = re.findall(r"```python\n(.*?)```", section("## For the analyst"), re.DOTALL)
    assert published.warehouse_path == tmp_path / "data" / "warehouse.duckdb"

    done = subprocess.run(
        # DuckDB 1.5 itself uses what pandas 3.1 deprecates.
        [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            snippet + "print(prices[['region_id', 'rrp']].values.tolist())",
        ],
        cwd=tmp_path,
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[['SA1', 50.0], ['SA1', 50.0]]\n"


def test_the_queries_of_the_analysts_start_run_against_a_published_file(published: Settings) -> None:
    prompted = re.findall(r"^D (.+);$", section("## For the analyst"), re.MULTILINE)
    quoted = re.findall(r"`(SELECT [^`]+)`|etl-assets sql \"([^\"]+)\"", README)
    queries = prompted + [inner or outer for outer, inner in quoted]

    assert len(queries) >= 4
    with duckdb.connect(published.warehouse_path, read_only=True) as warehouse:
        for query in queries:
            warehouse.execute(query).fetchall()


def test_the_faults_and_files_that_readme_names_exist() -> None:
    from etl_assets.simulator.faults import CATALOGUE

    assert set(re.findall(r'"name": "(\w+)"', README)) <= set(CATALOGUE)
    linked = re.findall(r"\]\((?!https?:|#)([^)]+)\)", README)
    assert [path for path in linked if not (ROOT / path).exists()] == []


def test_the_tree_in_readme_is_the_tree() -> None:
    tree = section("## How it is built").partition("etl_assets/\n")[2].partition("```")[0]
    named = re.findall(r"^  (\w+(?:\.py|/))", tree, re.MULTILINE)
    there = {path.name + "/" * path.is_dir() for path in (ROOT / "etl_assets").iterdir() if path.name not in NOT_OURS}

    # What belongs to a line of the tree without one of its own stands in brackets there.
    names = "demo demo_summary cli_api cli_backup runs processes doctor dagster_home"
    with_cli = {f"{name}.py" for name in names.split()}
    assert set(named) == there - with_cli - {"__init__.py"}


def ours() -> list[Path]:
    """The project's text files: what git would track."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = (
        [ROOT / name for name in listed.stdout.splitlines()]
        if listed.returncode == 0
        else [path for path in ROOT.rglob("*") if not NOT_OURS & set(path.parts)]
    )
    return [path for path in found if path.is_file() and path.suffix in TEXT]


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    pattern = re.compile(r"(?<![\w.:}])/(?:home|root|Users|work|mnt|tmp|opt)/\w[\w./-]*")

    found = {
        (path.relative_to(ROOT).as_posix(), match) for path in ours() for match in pattern.findall(path.read_text())
    }

    assert len(ours()) > 50
    assert found == set()


def test_nothing_is_left_to_be_done() -> None:
    # In brackets, so that this line is not found itself.
    pattern = re.compile(r"TO[D]O|FIX[M]E|^[A-Z]+_TABLE$", re.MULTILINE)

    assert [path.relative_to(ROOT).as_posix() for path in ours() if pattern.search(path.read_text())] == []
