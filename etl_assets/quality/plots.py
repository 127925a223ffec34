"""Pictures for metadata: small SVG images as Markdown, short enough for Dagster to show them in place.

Dagster shows Markdown below 1,000 characters inline and hides longer text behind a link, so each picture is drawn as
fine as fits.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from urllib.parse import quote

INLINE_LIMIT = 999
"""Characters of Markdown that Dagster's pages show without a click."""

STRIP_WIDTH = 576
STRIP_HEIGHT = 16
STRIP_CELLS = (288, 144, 96, 48, 24)
"""Cells of a strip, from one an interval to one an hour: the finest that fits is drawn."""

COLOURS = {
    "complete": "#0a8",
    "provisional": "#fb0",
    "partial": "#f60",
    "missing": "#c03",
    "expected": "#ddd",
}
"""By state; told apart in the common kinds of colour blindness, and by lightness."""


def strip(states: Sequence[str], title: str) -> str:
    """A day as a strip of cells, one colour a state, as Markdown; a coarser cell shows the worst state in it."""
    for cells in STRIP_CELLS:
        drawn = _image(_strip_svg(_coarsened(states, min(cells, len(states)))), title)
        if len(drawn) <= INLINE_LIMIT:
            return drawn
    return drawn


def _coarsened(states: Sequence[str], cells: int) -> list[str]:
    severity = list(COLOURS)
    size = len(states) / cells
    parts = (states[round(n * size) : round((n + 1) * size)] for n in range(cells))
    return [max(part, key=lambda s: (s != "expected", severity.index(s))) for part in parts]


def _strip_svg(states: Sequence[str]) -> str:
    width = STRIP_WIDTH // len(states)
    paths: dict[str, str] = {}
    at = 0
    for state, run in groupby(states):
        length = width * len(list(run))
        paths[state] = f"{paths.get(state, '')}M{at} 8h{length}"
        at += length
    drawn = "".join(f"<path d='{d}' stroke='{COLOURS[state]}'/>" for state, d in paths.items())
    return _svg(STRIP_WIDTH, STRIP_HEIGHT, f"<g stroke-width='{STRIP_HEIGHT}'>{drawn}</g>")


def sparkline(values: Sequence[float], title: str) -> str:
    """Values as a line, thinned to what fits; empty text where there is nothing to draw."""
    points = list(values)
    while points:
        drawn = _image(_spark_svg(points), title)
        if len(drawn) <= INLINE_LIMIT:
            return drawn
        points = points[::2]
    return ""


def _spark_svg(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    scale = 56 / ((high - low) or 1)
    step = 480 / max(1, len(values) - 1)
    points = " ".join(f"{round(n * step)},{round(60 - (v - low) * scale)}" for n, v in enumerate(values))
    return _svg(480, 64, f"<polyline points='{points}' fill='none' stroke='#06c'/>")


def _svg(width: int, height: int, body: str) -> str:
    return f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}'>{body}</svg>"


def _image(svg: str, title: str) -> str:
    return f"![{title}](data:image/svg+xml,{quote(svg, safe=',/:=')})"


def legend(counts: Mapping[str, int]) -> str:
    """States and how many, for a caption."""
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)
