# ruff: noqa: PLR2004  invented rows: their numbers mean nothing
"""The constraint rows that make up most of a DISPATCHIS file: about 860 lines that few readers want.

They are rendered once, with marks where a time stands, so that a file costs three replacements.
"""

from functools import cache

from etl_assets.simulator.draws import one
from etl_assets.simulator.figures import plain
from etl_assets.simulator.tables import DISPATCHIS_CONSTRAINT

CONSTRAINT_ROWS = 862
_SYSTEMS = (
    "DSNAP",
    "F_I",
    "F_MAIN",
    "F_Q",
    "F_T",
    "I",
    "N>>",
    "N^^",
    "N>",
    "Q>>",
    "Q^^",
    "S>>",
    "S>",
    "T>T",
    "V>>",
    "V^^",
)
_CAUSES = ("NIL", "LDTW", "BLKV", "GTRN", "MRDN", "ROC", "OUT")
_SETTLEMENT, _INTERVAL, _CHANGED = "@S@", "@I@", "@C@"


@cache
def _template() -> str:
    rows = sorted(_row(number) for number in range(CONSTRAINT_ROWS))
    return "\r\n".join(rows)


def _row(number: int) -> str:
    def draw(stream: str) -> float:
        return one(11, f"constraint {stream}", number)

    system = _SYSTEMS[int(len(_SYSTEMS) * draw("system"))]
    cause = _CAUSES[int(len(_CAUSES) * draw("cause"))]
    name = f"{system}_{cause}_{int(36**4 * draw('place')):05X}_{number}"[:20]
    right = plain(int(10 ** (7 + 3 * draw("rhs")) * (1 if draw("sign") < 0.88 else -1)), 5)
    left = plain(int(10 ** (6 + 2.2 * draw("lhs")) * (1 if draw("side") < 0.65 else -1)), 5)
    marginal = plain(int(100 * draw("value") * 100), 2) if draw("binding") < 0.014 else "0"
    effective = f"{2012 + int(14 * draw('year'))}/{1 + int(12 * draw('month')):02d}/{1 + int(28 * draw('day')):02d}"
    return (
        f"{DISPATCHIS_CONSTRAINT.prefix}{_SETTLEMENT},1,{name},{_INTERVAL},0,{right},{marginal},0,{_CHANGED},,"
        f'"{effective} 00:00:00",1,{left}'
    )


def constraint_rows(settlement: str, interval: str, changed: str) -> str:
    """All rows of an interval as one text, from its printed stamps."""
    text = _template().replace(_SETTLEMENT, settlement)
    return text.replace(_INTERVAL, interval).replace(_CHANGED, changed)
