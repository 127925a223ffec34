"""The registry of KPIs: what there is to know of each, and which KPIs are in force.

The fields are in ``registry_model``, reading a text in ``registry_text`` and ``registry_json``, fetching and checking
in ``registry_source``, the last good copy and its status in ``registry_copy``. The definitions load this module: it
imports neither a database engine nor an HTTP client.
"""

from etl_assets.kpi.registry_copy import RegistryStatus, in_force, refresh, registry_digest, registry_status
from etl_assets.kpi.registry_model import (
    AlertThresholds,
    AnalysisConfig,
    Kpi,
    KpiMetadata,
    Registry,
    RegistryMetadata,
)
from etl_assets.kpi.registry_text import RegistryError, built_in, parse_registry

__all__ = [
    "AlertThresholds",
    "AnalysisConfig",
    "Kpi",
    "KpiMetadata",
    "Registry",
    "RegistryError",
    "RegistryMetadata",
    "RegistryStatus",
    "built_in",
    "in_force",
    "parse_registry",
    "refresh",
    "registry_digest",
    "registry_status",
]
