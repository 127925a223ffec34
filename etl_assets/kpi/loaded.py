"""The KPIs that this process has loaded: the registry in force, and the assets that are made of it.

Apart from how assets are made, because a registry is tried on that before it comes into force.
"""

import logging

import dagster as dg

from etl_assets.kpi.assets import kpi_assets, kpi_registry
from etl_assets.kpi.registry import Registry, built_in, in_force
from etl_assets.settings import settings

_log = logging.getLogger(__name__)


def _loaded() -> tuple[Registry, list[dg.AssetsDefinition]]:
    """The registry in force and its assets. One that no assets can be made of must not stop the market's ticks."""
    registry = in_force(settings())
    try:
        return registry, [kpi_assets(registry.kpis)] if registry.kpis else []
    except Exception:  # noqa: BLE001 - whatever it is, all definitions would fail with it
        _log.exception("No assets can be made of the KPIs in force; the built-in ones alone are there")
        return built_in(), [kpi_assets(built_in().kpis)]


REGISTRY, _OF_REGISTRY = _loaded()
"""As this process read it. Reload the code location in Dagster to see a newer one."""

KPI_ASSETS: list[dg.AssetsDefinition] = [kpi_registry, *_OF_REGISTRY]
