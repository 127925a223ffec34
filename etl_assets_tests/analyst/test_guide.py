"""The analyst's guide: every query runs, and gives what is printed below it."""

import re
from pathlib import Path

import duckdb
import pytest

from etl_assets.settings import Settings

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "analyst.md").read_text()
EXAMPLES = re.findall(
    r"(?:### (?P<title>.+?)\n(?:(?!\n### |```).)*?)?```sql\n(.*?)```\n\n\| (.+?) \|\n", GUIDE, re.DOTALL
)


def test_every_query_in_the_guide_has_its_result_below_it() -> None:
    assert len(EXAMPLES) == GUIDE.count("```sql") >= 20


@pytest.mark.parametrize(("query", "printed"), [pytest.param(q, p, id=t or q[:30]) for t, q, p in EXAMPLES])
def test_a_query_of_the_guide_gives_rows_of_the_columns_that_are_printed(
    query: str, printed: str, market: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with duckdb.connect(str(market.warehouse_path), read_only=True) as warehouse:
        answer = warehouse.execute(query)
        columns = [column[0] for column in answer.description]
        rows = answer.fetchall()

    assert columns == printed.split(" | ")
    assert rows


def test_what_is_exported_can_be_read_again(market: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [export] = [query for _, query, _ in EXAMPLES if query.startswith("COPY")]
    monkeypatch.chdir(tmp_path)

    with duckdb.connect(str(market.warehouse_path), read_only=True) as warehouse:
        [(exported,)] = warehouse.execute(export).fetchall()
        [(read,)] = warehouse.execute("SELECT count(*) FROM 'prices.parquet'").fetchall()

    assert exported == read == 2 * 288 * 5


def test_files_and_sections_that_the_guide_points_to_are_there() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", GUIDE)

    for path, section in targets:
        file = ROOT / "docs" / path if path else ROOT / "docs" / "analyst.md"
        assert file.exists(), path
        headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE) if section else []
        assert not section or section in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


def test_settings_that_the_guide_names_are_settings() -> None:
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", GUIDE))

    assert {"LAKE_RETENTION", "RAW_RETENTION"} <= named
    assert {name.lower() for name in named} <= set(Settings.model_fields)
