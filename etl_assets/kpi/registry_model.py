"""What a registry says of a KPI: its fields, and what each may hold.

The names in JSON are those of the predecessor's document, and some more. How a text becomes a registry is in
``registry_text.py``.
"""

import json
import re
from difflib import get_close_matches
from hashlib import sha256
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel

from etl_assets.lake.tables import TABLES, VIEWS

SOURCE_TABLES = tuple(table.full_name for table in TABLES if table.schema in {"aemo", "ace", "quality"})
"""What a KPI may depend on. Not on other KPIs: all KPIs of a day are worked on side by side."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class _Part(BaseModel):
    """A part of the registry: camelCase in JSON, no value taken for another type, never shown in an error."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        populate_by_name=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )


class AlertThresholds(_Part):
    """Bounds of a KPI's value, in its unit; None is no bound. A value on a bound is within."""

    high: float | None = None
    low: float | None = None

    @field_validator("low")
    @classmethod
    def _is_below_high(cls, low: float | None, others: ValidationInfo) -> float | None:
        high = others.data.get("high")
        if low is not None and high is not None and low > high:
            raise ValueError(f"must be at most high ({high:.15g})")
        return low


class AnalysisConfig(_Part):
    """How a KPI is drawn, and which values are worth an alert."""

    chart_type: str = "line"
    alert_thresholds: AlertThresholds = AlertThresholds()


class KpiMetadata(_Part):
    """Where a KPI's data comes from, how often it changes, and what it is about; for people."""

    source: str = ""
    update_frequency: str = ""
    category: str = ""


def asset_name_of(kpi_id: str) -> str:
    """The name of a KPI's asset. Dagster's names have no dashes."""
    return kpi_id.replace("-", "_")


def _table(name: str) -> str:
    dotted = name.replace("/", ".")
    dotted = VIEWS.get(dotted, dotted)
    if dotted in SOURCE_TABLES:
        return dotted
    near = get_close_matches(dotted, SOURCE_TABLES, n=1)
    hint = f"did you mean {near[0]}?" if near else f"such as {SOURCE_TABLES[0]}"
    raise ValueError(f"must be a table of the lake in aemo, ace or quality, {hint}")


class Kpi(_Part):
    """One KPI: what it is called, how its value is computed, which workflow is triggered for it.

    ``sql`` is a query over the published tables with the parameter ``$market_day``; ``sql_file`` says which file it
    was read from. ``entity`` is what a row of it is (``region``, ``site``); empty where the KPI has one number.
    ``webhook_url`` triggers the workflow; it may hold a token, and is never shown. With ``reports_back`` the KPI is
    running until the workflow says how it ended.
    """

    id: str
    name: str = Field(min_length=1, max_length=200, pattern=r"\S")
    description: str = ""
    type: str = ""
    active: bool = True
    webhook_url: str = Field("", repr=False)
    analysis_config: AnalysisConfig = AnalysisConfig()
    metadata: KpiMetadata = KpiMetadata()
    sql_file: str = ""
    # After those that it is compared with.
    sql: str = Field("", validate_default=True)
    unit: str = Field("", max_length=40)
    entity: str = Field("", max_length=40)
    depends_on: tuple[Annotated[str, AfterValidator(_table)], ...] = Field((), strict=False)
    reports_back: bool = False

    @property
    def asset_name(self) -> str:
        """The name of its asset: the id, with underscores."""
        return asset_name_of(self.id)

    @field_validator("id")
    @classmethod
    def _is_an_id(cls, value: str) -> str:
        if not _ID.fullmatch(value):
            raise ValueError("must be 1 to 63 letters, digits, dashes and underscores, a letter or digit first")
        return value

    @field_validator("webhook_url")
    @classmethod
    def _is_an_http_address(cls, value: str) -> str:
        # urlsplit drops line breaks, and an address with a blank is none.
        if value and (not value.isprintable() or " " in value or not _has_host(value)):
            raise ValueError("must be an address that starts with http:// or https://")
        return value

    @field_validator("sql")
    @classmethod
    def _has_something_to_do(cls, value: str, others: ValidationInfo) -> str:
        known = others.data
        ways = (value.strip(), known.get("sql_file", "?"), known.get("webhook_url", "?"))
        if known.get("active") is True and not any(ways):
            raise ValueError("nothing to do: give sql, sqlFile or webhookUrl, or set active to false")
        return value

    @field_validator("depends_on")
    @classmethod
    def _names_each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value))

    @field_validator("reports_back")
    @classmethod
    def _has_a_workflow(cls, value: bool, others: ValidationInfo) -> bool:
        if value and others.data.get("webhook_url") == "":
            raise ValueError("needs webhookUrl: without a workflow nothing reports back")
        return value


def _has_host(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


class RegistryMetadata(_Part):
    """What a registry says of itself. Its counts, where given, are those of its list."""

    last_updated: str = ""
    version: str = ""
    total_kpis: NonNegativeInt | None = Field(None, alias="totalKPIs")
    active_kpis: NonNegativeInt | None = Field(None, alias="activeKPIs")


class Registry(_Part):
    """The KPIs, in the order of their file; no two have the same id or the same asset."""

    kpis: tuple[Kpi, ...] = ()
    metadata: RegistryMetadata = RegistryMetadata()

    def kpi(self, kpi_id: str) -> Kpi | None:
        """The KPI of that id, where there is one."""
        return next((kpi for kpi in self.kpis if kpi.id == kpi_id), None)

    @property
    def active(self) -> tuple[Kpi, ...]:
        """The KPIs that are scheduled."""
        return tuple(kpi for kpi in self.kpis if kpi.active)

    @property
    def digest(self) -> str:
        """A SHA-256 of the KPIs: another one where the definitions made of them differ."""
        content = [kpi.model_dump(mode="json", exclude={"sql_file"}) for kpi in self.kpis]
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
