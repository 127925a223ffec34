"""Pictures in metadata: short enough to be shown in place, and well-formed."""

import re
import xml.etree.ElementTree as ET
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import settings as run_with
from hypothesis import strategies as st

from etl_assets.quality.plots import COLOURS, legend, sparkline, strip

STATES = tuple(COLOURS)
SVG = "{http://www.w3.org/2000/svg}"


def decoded(markdown: str) -> ET.Element:
    found = re.fullmatch(r"!\[([^]]*)\]\(data:image/svg\+xml,([^ ()<>\"']+)\)", markdown)
    assert found, markdown
    return ET.fromstring(unquote(found[2]))  # noqa: S314 - our own


def drawn_cells(markdown: str) -> dict[str, int]:
    """By colour, how many of the strip's 576 units are drawn in it."""
    paths = decoded(markdown).iter(f"{SVG}path")
    return {path.get("stroke"): sum(map(int, re.findall(r"h(\d+)", path.get("d")))) for path in paths}


@run_with(deadline=None)
@given(st.lists(st.sampled_from(STATES), min_size=288, max_size=288))
def test_a_strip_is_shown_in_place_whatever_the_day(states: list[str]) -> None:
    markdown = strip(states, "2026-11-22 by interval")

    assert len(markdown) < 1000
    assert decoded(markdown).tag == f"{SVG}svg"
    assert sum(drawn_cells(markdown).values()) == 576


@pytest.mark.parametrize("length", [288, 48, 1])
def test_the_worst_pattern_is_shown_in_place_too(length: int) -> None:
    states = [STATES[n % 5] for n in range(length)]

    assert len(strip(states, "2026-11-22 by interval")) < 1000


def test_each_interval_is_a_cell_where_there_is_room() -> None:
    cells = drawn_cells(strip(["complete"] * 100 + ["missing"] + ["expected"] * 187, "a day"))

    assert cells == {COLOURS["complete"]: 200, COLOURS["missing"]: 2, COLOURS["expected"]: 374}


@run_with(deadline=None)
@given(st.lists(st.sampled_from(("complete", "provisional", "expected")), min_size=287, max_size=287), st.data())
def test_one_missing_interval_is_always_seen(states: list[str], data: st.DataObject) -> None:
    states.insert(data.draw(st.integers(0, 287)), "missing")

    assert COLOURS["missing"] in drawn_cells(strip(states, "a day"))


@run_with(deadline=None)
@given(st.lists(st.floats(-1000, 20300), max_size=288))
def test_a_line_is_shown_in_place_and_well_formed(values: list[float]) -> None:
    markdown = sparkline(values, "price")

    assert len(markdown) < 1000
    assert decoded(markdown).tag == f"{SVG}svg" if values else markdown == ""


def test_a_legend_names_what_there_is() -> None:
    assert legend({"complete": 280, "missing": 0, "expected": 8}) == "280 complete, 8 expected"
