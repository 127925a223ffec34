"""Where a registry comes from, a file or an http address, and all that is asked of it before it is taken.

Beyond its text: each query is one that the sandbox would run, and no asset is one of the built-in KPIs' under another
id. The definitions do not import this module; it needs an HTTP client and a database engine.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
from httpx_retries import Retry

from etl_assets.http import LONGEST_PAUSE_S, Expect, HttpClient, HttpPolicy, SourceError, Unintelligible, shown
from etl_assets.kpi.registry_json import MAX_BYTES
from etl_assets.kpi.registry_model import Registry
from etl_assets.kpi.registry_text import RegistryError, built_in, labelled, parse_registry
from etl_assets.settings import Settings

FETCH_TIMEOUT_S = 30.0
LONGEST_TRY_S = 60.0
"""Whatever trickles in: a refresh is done in minutes."""
UNNAMED = "the address in KPI_REGISTRY"
RETRIED_STATUSES = (408, 429, 500, 502, 503, 504)


def shown_source(address: str) -> str:
    """A registry's address fit for messages and logs: no credentials, no query values, also where it is mistyped."""
    if not _is_address(address):
        path, query, _ = address.partition("?")
        return re.sub(r"[^/]*:[^/]*@", "…@", path) + ("?…" if query else "")
    try:
        return shown(address) if httpx.URL(address).host else UNNAMED
    except httpx.InvalidURL:
        return UNNAMED


def _is_address(address: str) -> bool:
    return "://" in address or address.lower().startswith(("http:", "https:"))


def load_registry(settings: Settings, address: str) -> Registry:
    """The registry at a path or http address, checked in every way that a refresh checks it.

    Raises ``RegistryError`` with all that is wrong, also where nothing could be fetched.
    """
    source = shown_source(address)
    if _is_address(address):
        registry = parse_registry(_fetched(settings, address, source), source)
    else:
        path = Path(address)
        registry = parse_registry(_file(path, source), source, path.absolute().parent)
    problems = [*_bad_queries(registry), *_taken_assets(settings, registry)]
    # Every run loads the definitions: a registry that they cannot be built of would stop them all.
    if problems := problems or list(_unbuildable(settings, registry)):
        raise RegistryError(source, problems)
    return registry


def _file(path: Path, source: str) -> bytes:
    try:
        # A pipe or a device might never end.
        if path.is_file():
            with path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RegistryError(source, [f"cannot be read ({type(error).__name__}): see who owns it"]) from None
    raise RegistryError(source, ["there is no such file"])


def _fetched(settings: Settings, address: str, source: str) -> bytes:
    if not address.lower().startswith(("http://", "https://")):
        raise RegistryError(source, ["must be a path, or an address that starts with http:// or https://"])
    retry = Retry(
        total=settings.http_retries,
        status_forcelist=RETRIED_STATUSES,
        backoff_factor=settings.http_backoff,
        max_backoff_wait=LONGEST_PAUSE_S,
    )
    timeout = min(FETCH_TIMEOUT_S, settings.http_timeout.total_seconds())
    headers = {"User-Agent": "etl-assets", "Accept": "application/json", "Accept-Encoding": "identity"}
    policy = HttpPolicy(
        retry, timeout, concurrency=1, headers=headers, max_body_bytes=MAX_BYTES, longest_try=LONGEST_TRY_S
    )
    try:
        with HttpClient(settings, policy=policy) as http:
            return http.get(address, Expect.JSON).body
    except Unintelligible as error:
        raise RegistryError(source, [f"{error} A registry is JSON of at most {MAX_BYTES / 1e6:g} MB."]) from None
    except SourceError as error:
        raise RegistryError(source, [str(error)]) from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError):
        raise RegistryError(source, ["is no http address: see host and port in KPI_REGISTRY"]) from None


def _bad_queries(registry: Registry) -> Iterator[str]:
    from etl_assets.kpi.query import KpiSqlError, check_sql

    for n, kpi in enumerate(registry.kpis):
        try:
            if kpi.sql:
                check_sql(kpi.sql)
        except KpiSqlError as error:
            # DuckDB draws the place of an error over several lines.
            sentence = " ".join(str(error).split())
            yield f"{labelled(n, kpi)}: {'sqlFile' if kpi.sql_file else 'sql'}: {sentence}"


def _unbuildable(settings: Settings, registry: Registry) -> Iterator[str]:
    """What Dagster itself says against the assets of the registry and the built-in KPIs."""
    from etl_assets.kpi.assets import kpi_assets

    ours = built_in().kpis if settings.kpi_built_in else ()
    merged = {kpi.id: kpi for kpi in (*ours, *registry.kpis)}
    try:
        if merged:
            kpi_assets(tuple(merged.values()))
    except Exception as error:  # noqa: BLE001 - whatever it is, the definitions would not load
        yield f"no assets can be made of its KPIs: {' '.join(str(error).split())}"


def _taken_assets(settings: Settings, registry: Registry) -> Iterator[str]:
    """KPIs that would take the asset of a built-in one without being meant to replace it."""
    owners = {kpi.asset_name: kpi.id for kpi in built_in().kpis} if settings.kpi_built_in else {}
    for n, kpi in enumerate(registry.kpis):
        owner = owners.get(kpi.asset_name, kpi.id)
        if owner != kpi.id:
            yield (
                f'{labelled(n, kpi)}: id: names the same asset as the built-in KPI "{owner}": '
                "take that very id to replace it, or another"
            )
