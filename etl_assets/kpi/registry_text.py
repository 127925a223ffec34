"""A registry's text becomes the registry, or a list of all that is wrong with it, each naming KPI and field.

Not here: strict JSON and mistyped names (``registry_json.py``), what a field may hold (``registry_model.py``), and the
checks that need a database engine (``registry_source.py``).
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from etl_assets.kpi.registry_json import JsonObject, joined, misspelt, oddities, read_object, text_beside
from etl_assets.kpi.registry_model import Kpi, Registry, RegistryMetadata, asset_name_of

MAX_KPIS = 1_000
"""Each is an asset, and Dagster draws them all."""


class RegistryError(ValueError):
    """A registry that cannot be taken: whose, and all that is wrong, each naming KPI and field.

    No value is quoted but an id: a webhook's address may hold a token.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        listed = f" {problems[0]}" if len(problems) == 1 else "".join(f"\n  {problem}" for problem in problems)
        super().__init__(f"{source}:{listed}")


def parse_registry(text: str | bytes, source: str, folder: Path | None = None) -> Registry:
    """The registry that a text holds; files of SQL are read from ``folder``, the registry's own.

    Raises ``RegistryError`` with all that is wrong. ``source`` names the text in it, fit to be shown.
    """
    try:
        document = read_object(text)
        entries = _entries(document)
    except ValueError as error:
        raise RegistryError(source, [str(error)]) from None
    read = [_kpi(entry, folder) for entry in entries]
    shared = _shared_names(entries)
    problems = [
        problem
        for n, (_, wrong) in enumerate(read)
        for problem in _told(labelled(n, entries[n]), wrong | shared.get(n, {}))
    ]
    kpis = tuple(kpi for kpi, _ in read if kpi is not None)
    metadata, wrong = _metadata(document, kpis, len(entries))
    problems += _told("", wrong)
    if problems or metadata is None:
        raise RegistryError(source, problems)
    return Registry(kpis=kpis, metadata=metadata)


def _entries(document: JsonObject) -> list[object]:
    entries = document.get("kpis")
    if not isinstance(entries, list):
        raise ValueError('kpis: must be there, a list of KPIs: {"kpis": […]}')  # noqa: TRY004
    if len(entries) > MAX_KPIS:
        raise ValueError(f"kpis: has {len(entries):,} KPIs; at most {MAX_KPIS:,} are taken")
    return entries


def labelled(number: int, entry: object) -> str:
    """How a message names a KPI: its place in the list, from 0, and its id."""
    kpi_id = entry.get("id") if isinstance(entry, dict) else getattr(entry, "id", None)
    return f"kpis[{number}] {json.dumps(kpi_id[:80])}" if isinstance(kpi_id, str) else f"kpis[{number}]"


def _told(label: str, problems: dict[str, str]) -> list[str]:
    return [": ".join(filter(None, (label, path, problem))) for path, problem in problems.items()]


def _kpi(entry: object, folder: Path | None) -> tuple[Kpi | None, dict[str, str]]:
    """A KPI where it can be read, and what is wrong with it by path; the last word on a path is the clearest."""
    if not isinstance(entry, JsonObject):
        return None, {"": "must be a JSON object"}
    filled, unread = _with_sql(entry, folder)
    kpi, invalid = _validated(Kpi, filled)
    return kpi, invalid | _misplaced(entry) | misspelt(Kpi, entry) | unread | oddities(entry)


def _with_sql(entry: JsonObject, folder: Path | None) -> tuple[dict[str, Any], dict[str, str]]:
    """The entry with the text of its file of SQL."""
    name = entry.get("sqlFile", entry.get("sql_file"))
    if not isinstance(name, str) or not name:
        return entry, {}
    if entry.get("sql"):
        return entry, {"sqlFile": "is given beside sql: one of them is the query"}
    try:
        return {**entry, "sql": text_beside(folder, name)}, {}
    except ValueError as error:
        return entry, {"sqlFile": str(error)}


def _misplaced(entry: JsonObject) -> dict[str, str]:
    """Thresholds a level too high would be no thresholds, and nobody would know."""
    home = "analysisConfig.alertThresholds"
    found = {key: f"belongs into {home}" for key in ("high", "low") if key in entry}
    return found | ({"alertThresholds": "belongs into analysisConfig"} if "alertThresholds" in entry else {})


_IN_JSON = {"tuple_type": "must be a list", "model_type": "must be a JSON object", "missing": "is missing"}
"""Kinds of errors of pydantic whose own words are about Python."""

_M = TypeVar("_M", bound=BaseModel)


def _validated(model: type[_M], given: object) -> tuple[_M | None, dict[str, str]]:
    try:
        return model.model_validate(given), {}
    except ValidationError as error:
        found: dict[str, str] = {}
        for wrong in error.errors(include_input=False, include_url=False, include_context=False):
            path = ""
            for part in wrong["loc"]:
                path = joined(path, part)
            found[path] = _IN_JSON.get(wrong["type"], wrong["msg"].removeprefix("Value error, "))
        return None, found


def _shared_names(entries: Sequence[object]) -> dict[int, dict[str, str]]:
    """KPIs whose id, or the asset of it, an earlier one has, by their place in the list."""
    first: dict[str, int] = {}
    found: dict[int, dict[str, str]] = {}
    ids = [entry.get("id") if isinstance(entry, dict) else None for entry in entries]
    for n, kpi_id in enumerate(ids):
        if not isinstance(kpi_id, str):
            continue
        earlier = first.setdefault(asset_name_of(kpi_id), n)
        if earlier != n and ids[earlier] == kpi_id:
            found[n] = {"id": f"is that of kpis[{earlier}] too"}
        elif earlier != n:
            found[n] = {"id": f"names the same asset as {labelled(earlier, entries[earlier])}"}
    return found


def _metadata(document: JsonObject, kpis: Sequence[Kpi], total: int) -> tuple[RegistryMetadata | None, dict[str, str]]:
    """The registry's metadata, and what is wrong with it or elsewhere outside the list."""
    rest = {key: value for key, value in document.items() if key != "kpis"}
    wrong = misspelt(Registry, rest) | oddities(rest)
    wrong |= {joined("", key): "is given more than once" for key in document.repeated}
    metadata, invalid = _validated(RegistryMetadata, rest.get("metadata", {}))
    wrong = {joined_path("metadata", path): problem for path, problem in invalid.items()} | wrong
    if metadata is None:
        return None, wrong
    found = {"totalKPIs": (metadata.total_kpis, total)}
    # How many are active is known where each could be read.
    if len(kpis) == total:
        found["activeKPIs"] = (metadata.active_kpis, sum(kpi.active for kpi in kpis))
    for name, (said, there) in found.items():
        if said not in {None, there}:
            wrong[f"metadata.{name}"] = f"says {said}, the list has {there}: so looks a file cut, or edited by half"
    return metadata, wrong


def joined_path(path: str, rest: str) -> str:
    """Two paths as one; either may be empty."""
    return ".".join(filter(None, (path, rest)))


@cache
def built_in() -> Registry:
    """The KPIs that come with the project."""
    file = Path(__file__).with_name("registry.json")
    return parse_registry(file.read_bytes(), file.name, file.parent)
