"""Pictures in metadata: short enough to be shown in place, and well-formed."""

import random
import re
import struct
import xml.etree.ElementTree as ET
import zlib
from base64 import b64decode
from datetime import date, timedelta
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import settings as run_with
from hypothesis import strategies as st

from etl_assets.quality import plots
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


def lines_of(markdown: str) -> list[str]:
    return [path.get("d") for path in decoded(markdown).iter(f"{SVG}path")]


def test_a_day_without_a_value_is_a_hole_in_the_line_and_a_lone_value_a_dot() -> None:
    (line,) = lines_of(sparkline([0, 1, None, 1], "price"))

    # Four places over 480: 0, 160, 320, 480; the height runs from 60 (lowest) to 4.
    assert line == "M0,60 160,4h1M480,4h1"


def test_a_limit_is_a_dashed_line_over_the_whole_width() -> None:
    assert lines_of(sparkline([0, 10], "price", [5])) == ["M0,60 480,4h1", "M0 32h480"]


def test_a_limit_that_would_flatten_the_line_is_left_out() -> None:
    assert lines_of(sparkline([0, 10], "price", [5000])) == ["M0,60 480,4h1"]


def test_a_line_that_is_thinned_keeps_its_newest_value() -> None:
    values = [*(float(n % 7) for n in range(200)), 99.0]

    (line,) = lines_of(sparkline(values, "price"))

    assert line.endswith("480,4h1")


def test_a_legend_names_what_there_is() -> None:
    assert legend({"complete": 280, "missing": 0, "expected": 8}) == "280 complete, 8 expected"


# --- heat maps ------------------------------------------------------------------------------------------


def svg_of(markdown: str) -> str:
    return unquote(markdown.split("data:image/svg+xml,", 1)[1].split(")\n\n", 1)[0].removesuffix(")"))


def pixels_of(markdown: str) -> list[list[str]]:
    """Colours of the embedded PNG, read by its specification: signature, then length, kind, data and sum of chunks."""
    png = b64decode(svg_of(markdown).split("base64,")[1].split("'")[0])
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + data),)
        chunks[kind], at = data, at + 12 + length
    width, height = struct.unpack(">2I", chunks[b"IHDR"][:8])
    palette = [f"#{chunks[b'PLTE'][n : n + 3].hex()}" for n in range(0, len(chunks[b"PLTE"]), 3)]
    lines = zlib.decompress(chunks[b"IDAT"])
    return [[palette[byte] for byte in lines[y * (width + 1) + 1 : (y + 1) * (width + 1)]] for y in range(height)]


def test_a_heat_map_has_a_row_a_point_the_worst_on_top():
    drawn = plots.heat_map(["whole", "none", "half"], [[1.0, 1.0], [0.0, 0.0], [1.0, None]], ["00", "01"], "A day")

    empty, full, not_due = plots.SHADES[0], plots.SHADES[-1], plots.NONE_DUE
    assert pixels_of(drawn) == [[empty, empty], [full, not_due], [full, full]]
    assert drawn.startswith("![A day](data:image/svg+xml,")
    assert "- `none` 0.0%" in drawn
    assert "whole" not in drawn


def test_almost_all_is_not_all_and_almost_none_is_not_none():
    drawn = plots.heat_map(["p"], [[0.001, 0.999]], ["00", "01"], "A day")

    assert not {plots.SHADES[0], plots.SHADES[-1]} & set(pixels_of(drawn)[0])


def test_of_many_points_neighbours_share_a_row_that_shows_the_worst():
    shares = [[1.0]] * 899 + [[0.0]]

    drawn = plots.heat_map([f"p{n}" for n in range(900)], shares, ["00"], "A day")

    rows = pixels_of(drawn)
    assert len(rows) == plots.MAP_ROWS
    assert [row[0] for row in rows[:2]] == [plots.SHADES[0], plots.SHADES[-1]]
    assert "900 points, worst first, 2 points a row, the worst of them shown." in drawn


@pytest.mark.parametrize("columns", [24, 31])
def test_a_heat_map_of_4500_points_stays_small_whatever_is_in_it(columns: int):
    noise = random.Random(1)  # noqa: S311 - a picture, no secret
    shares = [[noise.choice([None, noise.random()]) for _ in range(columns)] for _ in range(4500)]

    drawn = plots.heat_map([f"p{n}" for n in range(4500)], shares, [str(n) for n in range(columns)], "A month")

    assert len(drawn) < 20_000
    ET.fromstring(svg_of(drawn))  # noqa: S314 - our own


def test_a_heat_map_of_no_points_is_no_picture():
    assert plots.heat_map([], [], ["00"], "A day") == ""


def test_a_small_heat_map_has_a_row_a_point_the_worst_on_top():
    drawn = plots.small_heat_map([[1.0, 1.0], [0.0, 0.0], [None, None]], "A day")

    assert pixels_of(drawn) == [
        [plots.SHADES[0], plots.SHADES[0]],
        [plots.SHADES[-1], plots.SHADES[-1]],
        [plots.NONE_DUE, plots.NONE_DUE],
    ]


@given(points=st.integers(1, 5000), share=st.floats(0, 1), seed=st.integers(0, 2**32))
@run_with(deadline=None, max_examples=15)
def test_a_small_heat_map_is_shown_inline_whatever_is_in_it(points: int, share: float, seed: int):
    noise = random.Random(seed)  # noqa: S311 - a picture, no secret
    shares = [[noise.random() if noise.random() < share else 1.0 for _ in range(24)] for _ in range(points)]

    drawn = plots.small_heat_map(shares, "building-a 2026-11-21, points by hour")

    assert len(drawn) <= plots.INLINE_LIMIT
    ET.fromstring(svg_of(drawn))  # noqa: S314 - our own


def test_a_small_heat_map_of_no_points_is_no_picture():
    assert plots.small_heat_map([], "A day") == ""


# --- calendars ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("month", [date(2026, 11, 1), date(2026, 8, 1), date(2027, 2, 1)])
def test_a_calendar_is_shown_inline_whatever_the_scores(month: date):
    days = [month + timedelta(days=n) for n in range(28)]
    scores = {day: (None, 0.3, 0.7, 0.9, 0.97, 1.0)[n % 6] for n, day in enumerate(days)}

    drawn = plots.calendar(scores, "building-a, November 2026: mean score")

    assert len(drawn) <= plots.INLINE_LIMIT
    ET.fromstring(svg_of(drawn))  # noqa: S314 - our own


def test_weeks_are_rows_from_monday():
    # 2026-11-01 is a Sunday, the 30th a Monday: six rows.
    svg = svg_of(plots.calendar({date(2026, 11, 1): 1.0, date(2026, 11, 2): 0.1}, "November"))

    assert f"<path d='M140,9h18' stroke='{plots.CALENDAR_STEPS[-1][0]}'/>" in svg
    assert f"<path d='M20,29h18' stroke='{plots.CALENDAR_STEPS[0][0]}'/>" in svg
    assert "height='120'" in svg
    assert ">30</text>" in svg


@pytest.mark.parametrize(("score", "place"), [(0.79, 1), (0.8, 2), (0.94, 2), (0.95, 3), (1.0, 4)])
def test_the_colours_of_days_change_at_the_alert_and_at_the_target(score: float, place: int):
    assert f"stroke='{plots.CALENDAR_STEPS[place][0]}'" in svg_of(
        plots.calendar({date(2026, 11, 1): score}, "November")
    )
