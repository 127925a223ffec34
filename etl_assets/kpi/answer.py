"""What a KPI's query may give: one number, or a number for each entity."""

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from etl_assets.kpi.query import KpiSqlError, KpiValue

MOST_ROWS = 10_000
"""Entities of one KPI and day: NEM units are some 500, points of a large site 4,500."""

LONGEST_ENTITY = 200
"""Characters; points of a building have names of some 100."""


def values_of(columns: Sequence[str], rows: Sequence[tuple[Any, ...]], entity: str) -> list[KpiValue]:
    """What a query gave as values. ``rows`` may be cut after ``MOST_ROWS`` and one more.

    Without ``entity`` it is one number; with it two columns, named entity and value, or in this order. Raises
    ``KpiSqlError`` where it is anything else.
    """
    if not entity:
        return [_single(columns, rows)]
    if len(columns) != 2:  # noqa: PLR2004 - an entity and its value
        raise KpiSqlError(f"The query gives {_listed(columns)}; for each {entity} give two: entity and value.")
    if len(rows) > MOST_ROWS:
        raise KpiSqlError(f"The query gives more than {MOST_ROWS:,} rows; give one for each {entity}.")
    at = 1 if [name.lower() for name in columns] == ["value", "entity"] else 0
    found = [KpiValue(_entity(row[at], entity), _number(row[1 - at], f" for {row[at]}")) for row in rows]
    seen: set[str] = set()
    for value in found:
        if value.entity in seen:
            raise KpiSqlError(f"The query gives {value.entity!r} more than once; give one row for each {entity}.")
        seen.add(value.entity)
    return found


def _single(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> KpiValue:
    if len(columns) != 1:
        raise KpiSqlError(f"The query gives {_listed(columns)}; give one number, or say in `entity` what a row is.")
    if len(rows) > 1:
        raise KpiSqlError("The query gives more than one row; give one number, or say in `entity` what a row is.")
    return KpiValue("", _number(rows[0][0], "") if rows else None)


def _listed(columns: Sequence[str]) -> str:
    names = [name[:30] for name in columns[:10]]
    return f"{len(columns)} columns ({', '.join(names)}{', …' if len(columns) > len(names) else ''})"


def _entity(name: object, entity: str) -> str:
    if not isinstance(name, str):
        raise KpiSqlError(f"The query gives {_shown(name)} as {entity}, which is no text.")
    if not name.strip() or len(name) > LONGEST_ENTITY:
        raise KpiSqlError(f"The query gives {_shown(name)} as {entity}; give 1 to {LONGEST_ENTITY} characters.")
    return name


def _number(value: object, of: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise KpiSqlError(f"The query gives {_shown(value)}{of}, which is no number.")
    try:
        number = float(value)
    except (OverflowError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise KpiSqlError(f"The query gives {_shown(value)}{of}, which is no finite number.")
    return number


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 50 else f"{text[:49]}…"  # noqa: PLR2004
