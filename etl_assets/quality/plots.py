"""Pictures for metadata: small SVG images as Markdown, short enough for Dagster to show them in place.

Dagster shows Markdown below 1,000 characters inline and hides longer text behind a link, so each picture is drawn as
fine as fits. The large heat map is the exception: some kilobytes, behind a click.
"""

import struct
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
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


def sparkline(values: Sequence[float | None], title: str, limits: Sequence[float] = ()) -> str:
    """Values as a line, thinned to what fits; empty text where there is nothing to draw.

    None leaves a hole. Limits are dashed lines; one that lies so far off that the line would be flat is left out.
    """
    points = list(values)
    while any(value is not None for value in points):
        drawn = _image(_spark_svg(points, limits), title)
        if len(drawn) <= INLINE_LIMIT:
            return drawn
        # The newest value is the one that is looked at: it stays.
        points = points[::-2][::-1]
    return ""


def _spark_svg(values: Sequence[float | None], limits: Sequence[float]) -> str:
    known = [value for value in values if value is not None]
    span = (max(known) - min(known)) or abs(max(known)) or 1
    near = [limit for limit in limits if min(known) - 2 * span <= limit <= max(known) + 2 * span]
    low, high = min(*known, *near, known[0]), max(*known, *near, known[0])
    scale = 56 / ((high - low) or 1)
    step = 480 / max(1, len(values) - 1)

    def height(value: float) -> int:
        return round(60 - (value - low) * scale)

    line = ""
    for is_known, run in groupby(enumerate(values), key=lambda point: point[1] is not None):
        if is_known:
            # A value between two holes is a dot.
            line += "M" + " ".join(f"{round(n * step)},{height(v)}" for n, v in run if v is not None) + "h1"
    drawn = f"<path d='{line}' fill='none' stroke='#06c'/>"
    dashed = "".join(f"M0 {height(limit)}h480" for limit in near)
    return _svg(481, 64, drawn + (f"<path d='{dashed}' stroke='#c03' stroke-dasharray='4'/>" if dashed else ""))


def _svg(width: int, height: int, body: str) -> str:
    return f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}'>{body}</svg>"


def _image(svg: str, title: str) -> str:
    return f"![{title}](data:image/svg+xml,{quote(svg, safe=',/:=')})"


def legend(counts: Mapping[str, int]) -> str:
    """States and how many, for a caption."""
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


SHADES = ("#440154", "#472c7a", "#3b518b", "#2c718e", "#21908d", "#27ad81", "#5cc863", "#aadc32", "#fde725")
"""From no reading to all of them: viridis, which keeps its order in every kind of colour blindness and in grey."""

NONE_DUE = "#dddddd"
"""Where nothing was expected."""

MAP_WIDTH = 600
MAP_ROWS = 450
"""Rows of a heat map at most, each a pixel high: of more points the neighbours share a row, which shows the worst."""

SMALL_MAP_ROWS = (60, 40, 30, 20, 12, 6)
"""Rows of a small one: readings are either there or not, and what is alike takes no room in the file."""

LEAST_MAP_HEIGHT = 120
LABELLED_POINTS = 10

Shares = Sequence[float | None]
"""Parts of what was expected that came, 0 to 1; None where nothing was."""


def heat_map(points: Sequence[str], shares: Sequence[Shares], labels: Sequence[str], title: str) -> str:
    """Points by hours or days as Markdown, the worst points on top and named below; empty text without points.

    ``shares`` has a row a point and a column a label. A PNG of one byte a cell inside an SVG that scales it: 4,500
    points take some 10 kB or less, whatever is in them.
    """
    if not points:
        return ""
    means = [_mean(row) for row in shares]
    order = sorted(range(len(points)), key=lambda n: (means[n] is None, means[n], points[n]))
    grouped = -(-len(points) // MAP_ROWS)
    rows = _shaded([shares[n] for n in order], grouped)
    worst = [(points[n], mean) for n in order[:LABELLED_POINTS] if (mean := means[n]) is not None and mean < 1]
    each = f", {grouped} points a row, the worst of them shown" if grouped > 1 else ""
    caption = f"{len(points)} points, worst first{each}."
    named = "\n".join(f"- `{point}` {mean:.1%}" for point, mean in worst)
    return f"{_image(_map_svg(rows, labels), title)}\n\n{caption}" + (f" The worst:\n\n{named}" if named else "")


def small_heat_map(shares: Sequence[Shares], title: str) -> str:
    """The same without names and labels, inline-short: as many rows as fit, the worst on top; empty without points."""
    known = [(_mean(row), row) for row in shares]
    ordered = [row for _, row in sorted(known, key=lambda found: (found[0] is None, found[0] or 0.0))]
    drawn = ""
    for rows in SMALL_MAP_ROWS:
        if ordered:
            drawn = _image(_small_map_svg(_shaded(ordered, -(-len(ordered) // rows))), title)
        if len(drawn) <= INLINE_LIMIT:
            break
    return drawn


def _shaded(shares: Sequence[Shares], grouped: int) -> list[bytes]:
    """Rows of places in the palette, so many of the given ones in each: the worst of them."""
    return [
        bytes(_shade(_worst(column)) for column in zip(*shares[at : at + grouped], strict=True))
        for at in range(0, len(shares), grouped)
    ]


def _small_map_svg(rows: Sequence[bytes]) -> str:
    picture = b64encode(_png(rows, (*SHADES, NONE_DUE))).decode()
    size = f"width='{STRIP_WIDTH}' height='{LEAST_MAP_HEIGHT}'"
    return _svg(
        STRIP_WIDTH,
        LEAST_MAP_HEIGHT,
        f"<image {size} preserveAspectRatio='none' style='image-rendering:pixelated' "
        f"href='data:image/png;base64,{picture}'/>",
    )


def _mean(row: Shares) -> float | None:
    known = [share for share in row if share is not None]
    return sum(known) / len(known) if known else None


def _worst(shares: Shares) -> float | None:
    return min((share for share in shares if share is not None), default=None)


def _shade(share: float | None) -> int:
    """Place in the palette; only what is complete has the last shade, and only what is empty the first."""
    if share is None:
        return len(SHADES)
    if share in (0, 1):
        return round(share) * (len(SHADES) - 1)
    return 1 + int(share * (len(SHADES) - 2))


def _map_svg(rows: Sequence[bytes], labels: Sequence[str]) -> str:
    height = max(len(rows), LEAST_MAP_HEIGHT)
    step = MAP_WIDTH / len(labels)
    every = -(-len(labels) // 12)
    ticks = "".join(
        f"<text x='{round((n + 0.5) * step)}' y='11'>{label}</text>" for n, label in enumerate(labels) if n % every == 0
    )
    keys = (*SHADES[::2], NONE_DUE)
    names = ("none", "25%", "50%", "75%", "all", "not due")
    legend_y = height + 24
    swatches = "".join(
        f"<path d='M{n * 80} {legend_y}h14v14h-14z' fill='{colour}'/>"
        f"<text x='{n * 80 + 18}' y='{legend_y + 11}' text-anchor='start'>{name}</text>"
        for n, (colour, name) in enumerate(zip(keys, names, strict=True))
    )
    picture = b64encode(_png(rows, (*SHADES, NONE_DUE))).decode()
    return _svg(
        MAP_WIDTH,
        height + 42,
        f"<rect width='{MAP_WIDTH}' height='{height + 42}' fill='#fff'/>"
        f"<image y='16' width='{MAP_WIDTH}' height='{height}' preserveAspectRatio='none' "
        f"style='image-rendering:pixelated' href='data:image/png;base64,{picture}'/>"
        f"<g font-family='sans-serif' font-size='11' fill='#444' text-anchor='middle'>{ticks}{swatches}</g>",
    )


def _png(rows: Sequence[bytes], palette: Sequence[str]) -> bytes:
    """An indexed picture, one byte a cell (PNG, colour type 3)."""
    header = struct.pack(">2I5B", len(rows[0]), len(rows), 8, 3, 0, 0, 0)
    colours = bytes.fromhex("".join(colour[1:] for colour in palette))
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    chunks = ((b"IHDR", header), (b"PLTE", colours), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


CALENDAR_STEPS = (("#440154", 0.5), ("#3b518b", 0.8), ("#21908d", 0.95), ("#5cc863", 0.99), ("#fde725", float("inf")))
"""Colours of days, and the score that each stays below: the two in the middle end at the usual alert and target."""

CELL = 20


def calendar(scores: Mapping[date, float | None], title: str) -> str:
    """The month of the first day in ``scores`` as Markdown: weeks as rows from Monday, a colour a score; inline-short.

    Days that are missing or None are grey. Each row is labelled with the day of the month that it begins with, where
    the title leaves room for that.
    """
    first = min(scores).replace(day=1)
    days = [first + timedelta(days=n) for n in range(31) if (first + timedelta(days=n)).month == first.month]
    paths: dict[str, str] = {}
    numbers = ""
    for day in days:
        cell = day.day + first.weekday() - 1
        row, column = divmod(cell, 7)
        colour = _day_colour(scores.get(day))
        paths[colour] = f"{paths.get(colour, '')}M{(column + 1) * CELL},{row * CELL + 9}h18"
        if column == 0 or day == first:
            numbers += f"<text y='{row * CELL + 13}'>{day.day}</text>"
    cells = "".join(f"<path d='{d}' stroke='{colour}'/>" for colour, d in paths.items())
    height = (days[-1].day + first.weekday() - 1) // 7 * CELL + CELL
    for labels in (f"<g fill='#777'>{numbers}</g>", ""):
        drawn = _image(_svg(8 * CELL, height, f"{labels}<g stroke-width='18'>{cells}</g>"), title)
        if len(drawn) <= INLINE_LIMIT:
            break
    return drawn


def _day_colour(score: float | None) -> str:
    if score is None:
        return "#ddd"
    return next(colour for colour, below in CALENDAR_STEPS if score < below)
