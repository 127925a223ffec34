"""Every setting of the project, once: name, type, default, meaning.

Values come from the environment or from a ``.env`` file in the working directory, by the upper-case name of
the field (``NEMWEB_URL`` sets ``nemweb_url``). Nothing else in the project reads the environment.
"""

import json
import re
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

BROWSER_USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36"
"""AEMO's front door answers the default agents of HTTP libraries with 403."""


CRON_FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
"""Lowest and highest number of minute, hour, day, month, weekday."""


def _is_cron_field(field: str, bounds: tuple[int, int]) -> bool:
    """Whether a field is ``*``, a number, a range, or some of them, each with a step where there is one."""
    for part in field.split(","):
        found = re.fullmatch(r"(?:\*|(\d{1,2})(?:-(\d{1,2}))?)(?:/(\d{1,2}))?", part)
        numbers = [int(number) for number in found.groups()[:2] if number] if found else []
        if found is None or found[3] == "0" or not all(bounds[0] <= number <= bounds[1] for number in numbers):
            return False
        if numbers != sorted(numbers):
            return False
    return True


class MixedDataError(RuntimeError):
    """Simulated and real data would meet in one folder."""


class SiteSettings(BaseModel):
    """One site to collect: its name in the ACE account, its own time zone, and the region whose price it pays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, pattern=r"^[^|/\\\s]+$")
    time_zone: str = "Australia/Sydney"
    region_id: Literal["NSW1", "QLD1", "SA1", "TAS1", "VIC1"] = "NSW1"
    power_points: tuple[str, ...] = ()
    """Points whose readings, in kW, add up to the site's electricity demand; energy KPIs need them."""

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"{value!r} is no IANA time zone, such as Australia/Sydney") from None
        return value


class Settings(BaseSettings):
    """What can be configured. Every field has a default that works offline or against the live market."""

    # Some values are secrets: no error shows one.
    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True)

    etl_data: Path = Field(Path("data"), description="Folder of the lake, the state database and warehouse.duckdb.")
    etl_source: Literal["", "live", "demo"] = Field(
        "",
        description="`live`, or `demo` to read from the simulator; empty is live unless `make demo` filled the folder.",
    )
    market_start: date = Field(
        date(2021, 10, 1),
        description="First market day offered as a partition; 5-minute settlement began then.",
    )

    nemweb_url: str = Field(
        "https://www.nemweb.com.au",
        description="Root of NEMWeb's folders: an http address, or `file:///path` of a local mirror.",
    )
    aemo_api_url: str = Field(
        "https://visualisations.aemo.com.au/aemo/apps/api/report/5MIN",
        description="The 5MIN report (POST). Empty switches this source off.",
    )
    aemo_api_headers: Annotated[dict[str, str], NoDecode] = Field(
        default={
            "Referer": "https://visualisations.aemo.com.au/aemo/apps/visualisation/index.html",
            "Origin": "https://visualisations.aemo.com.au",
        },
        description="JSON object of headers sent with the 5MIN request.",
    )
    price_and_demand_url: str = Field(
        "https://aemo.com.au/aemo/data/nem/priceanddemand",
        description="Folder of the monthly aggregated price and demand files: http or `file:///path`.",
    )

    mms_footer: Literal["enforce", "warn"] = Field(
        "enforce",
        description="`warn` accepts MMS files whose footer does not fit, such as files that a third party reduced.",
    )

    http_timeout: timedelta = Field(timedelta(seconds=30), description="Longest wait for one answer.")
    http_retries: int = Field(4, ge=0, description="Further tries after a failed request.")
    http_backoff: float = Field(0.5, ge=0, description="Seconds before the first further try; doubles each time.")
    http_concurrency: int = Field(3, ge=1, description="Requests at once to one source.")
    http_user_agent: str = Field(BROWSER_USER_AGENT, description="User-Agent sent to AEMO.")

    ace_api_url: str = Field(
        "https://flightdeck.aceiot.cloud/api",
        description="Root of the ACE API. 001's documents name another; older accounts are at manager.aceiot.cloud.",
    )
    ace_api_key: SecretStr = Field(SecretStr(""), description="The account's key, sent as a Bearer token.")
    ace_api_secret: SecretStr = Field(SecretStr(""), description="Accepted, never sent: ACE has no use for it.")
    sites: Annotated[tuple[SiteSettings, ...], NoDecode] = Field(
        (),
        description='Sites to collect: names, or objects {"name", "time_zone", "region_id", "power_points"}.',
    )
    sites_start: date = Field(date(2024, 1, 1), description="First market day that sites can be backfilled from.")
    configured_points: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(), description="JSON array of the points to store; empty stores all."
    )
    page_size: int = Field(100_000, ge=1, description="Readings asked for at once; ACE takes a closed list of sizes.")
    site_lookback: timedelta = Field(timedelta(minutes=10), description="How far a sync reads behind the last one.")
    site_first_sync: timedelta = Field(timedelta(hours=24), description="How far back a site's first sync reads.")
    max_records_per_sync: int = Field(
        0,
        ge=0,
        description="Readings after which a site's sync defers the rest, by whole pages; 0: never.",
    )
    site_time_limit: timedelta = Field(
        timedelta(minutes=4), description="A site's sync that takes longer defers the rest to the next."
    )
    ace_timeout: timedelta = Field(timedelta(seconds=180), description="Longest wait for one answer of ACE.")
    ace_retries: int = Field(2, ge=0, description="Further tries after a failed request: three in all.")
    ace_retry_delay: timedelta = Field(
        timedelta(seconds=1), description="Unit of the waits between tries: 1, 2 … of it after 5xx; 2, 4, 8 after 429."
    )
    ace_requests_per_minute: int = Field(
        100, ge=1, description="Requests to ACE in any minute, by all processes of this machine together."
    )
    checkpoint_life: timedelta = Field(timedelta(hours=24), description="How long a walk may be resumed by its cursor.")
    site_concurrency: int = Field(4, ge=1, description="Sites collected side by side in one run.")

    quality_alert_below: float = Field(0.8, ge=0, le=1, description="Quality score below which a check is an error.")
    quality_target: float = Field(0.95, ge=0, le=1, description="Quality score that a check wants; below it warns.")
    error_rate_alert: float = Field(0.05, ge=0, le=1, description="Share of invalid records that raises an alert.")
    sync_duration_alert: timedelta = Field(timedelta(seconds=25), description="A longer sync raises an alert.")
    sync_requests_alert: int = Field(100, ge=1, description="A sync with more API requests raises an alert.")
    alert_webhook_url: SecretStr = Field(
        SecretStr(""), description="Where alerts are posted as JSON; empty: they are logged and tagged only."
    )
    metrics_webhook_url: SecretStr = Field(
        SecretStr(""), description="Where the metrics of each sync are posted as JSON; empty: nowhere."
    )

    environment: Literal["development", "production"] = Field(
        "development", description="Which environment job records and webhooks name."
    )
    kpi_registry: str = Field(
        "", description="Path or http address of a registry of KPIs (JSON), beside the built-in ones; empty: none."
    )
    kpi_built_in: bool = Field(True, description="Whether the built-in KPIs are there.")
    kpi_cron: str = Field("0 12 * * *", description="When the daily KPI run starts, as cron in UTC.")
    kpi_recompute_days: int = Field(
        3, ge=0, description="Market days before the daily run's whose values are computed again; calls no workflow."
    )
    kpi_concurrency: int = Field(64, ge=1, description="KPIs worked on at once in one run.")
    kpi_sql_timeout: timedelta = Field(
        timedelta(seconds=30), gt=timedelta(), description="Longest time of one KPI's query."
    )
    kpi_sql_memory: str = Field(
        "1GB", pattern=r"^\d+(\.\d+)? ?[KMGT]i?B$", description="Memory that the queries of a run may take together."
    )
    n8n_api_key: SecretStr = Field(SecretStr(""), description="Sent to KPI webhooks as the header X-N8N-API-KEY.")
    kpi_webhook_secret: SecretStr = Field(
        SecretStr(""), description="Signs the body of KPI webhooks (HMAC-SHA256, header X-Signature-256)."
    )
    kpi_webhook_timeout: timedelta = Field(
        timedelta(seconds=30), gt=timedelta(), description="Longest wait for a webhook's answer."
    )
    kpi_webhook_retries: int = Field(2, ge=0, description="Further tries after a webhook that failed.")
    kpi_webhook_backoff: float = Field(
        1.0, ge=0, description="Seconds before a webhook's first further try; doubles each time."
    )
    kpi_breaker_failures: int = Field(
        5, ge=1, description="Calls in a row without an answer after which a webhook's host is left alone."
    )
    kpi_breaker_pause: timedelta = Field(
        timedelta(minutes=1), gt=timedelta(), description="How long such a host is left alone before it is tried again."
    )
    kpi_report_timeout: timedelta = Field(
        timedelta(hours=6),
        gt=timedelta(),
        description="How long a workflow that reports back may take; then its KPI has failed.",
    )

    client_ids: SecretStr = Field(
        SecretStr(""),
        description='Clients of the API: ids with commas, or JSON array of ids or objects {"id", "secret", "scopes"}.',
    )
    signing_keys: SecretStr = Field(
        SecretStr(""),
        description="JSON array of keys, JWK or PEM; the newest signs, all verify. See `etl-assets keys new`.",
    )
    token_issuer: str = Field("etl-assets", min_length=1, description="Issuer (iss) that tokens name.")
    token_audience: str = Field("etl-assets-api", min_length=1, description="Audience (aud) that tokens name.")
    access_token_life: timedelta = Field(timedelta(minutes=15), description="How long an access token is good.")
    refresh_token_life: timedelta = Field(timedelta(days=30), description="How long a refresh token is good.")
    rate_limit_client: str = Field("600/minute", description="Requests of one client of the API.")
    rate_limit_address: str = Field("1200/minute", description="Requests to the API from one address.")
    rate_limit_token: str = Field("20/minute", description="Requests for tokens from one address.")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Web pages that may call the API: origins with commas, such as https://example.com."
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Addresses whose X-Forwarded-For is believed, with commas; empty: none."
    )
    dashboard: Literal["loopback", "token", "off"] = Field(
        "loopback",
        description="Who sees the page at /: in development also this machine without a token; `token` only; `off`.",
    )
    dagster_url: str = Field("http://127.0.0.1:3000", description="Where the page's links to Dagster lead.")
    max_body_bytes: int = Field(65_536, ge=1, description="Largest body that the API takes.")
    max_query_bytes: int = Field(16_384, ge=1, description="Longest path with query that the API takes.")

    small_threshold: int = Field(1_000, ge=1, description="Requests for fewer samples are answered without the cache.")
    large_threshold: int = Field(100_000, ge=1, description="Requests for more samples become jobs.")
    direct_timeout: timedelta = Field(timedelta(seconds=30), description="Longest time of a request's query.")
    cache_timeout: timedelta = Field(timedelta(seconds=5), description="Longest look into the cache.")
    cache_ttl: timedelta = Field(
        timedelta(hours=1), description="How long a cached result is good, if nothing changes."
    )
    cache_max_age: timedelta = Field(timedelta(days=1), description="Cached results older than this are removed.")
    cache_compression: bool = Field(True, description="Whether cached results are compressed.")
    cache_max_bytes: int = Field(2_000_000_000, ge=0, description="Size of the cache; the least used goes first.")
    job_batch_points: int = Field(50, ge=1, description="Points that a job reads at once.")
    job_retries: int = Field(3, ge=0, description="Further tries of a job that failed.")
    job_retry_delay: timedelta = Field(timedelta(seconds=1), description="Wait before a job's next try; doubles.")
    job_result_life: timedelta = Field(timedelta(days=7), description="How long a job's result can be fetched.")
    request_retention: timedelta = Field(timedelta(days=30), description="How long records of requests are kept.")

    raw_retention: timedelta = Field(timedelta(days=90), description="Raw readings older than this are archived.")
    archive_data: str = Field(
        "", description="Folder (or s3:// address) of archived readings; empty: archive/ in the data folder."
    )

    lake_catalog: str = Field("", description="DuckLake catalog; empty is SQLite in the data folder.")
    lake_data: str = Field(
        "", description="Where the lake makes its own folder of Parquet files; empty: the data folder."
    )
    lake_lock_timeout: timedelta = Field(timedelta(minutes=2), description="Longest wait for another writer.")
    lake_retention: timedelta = Field(
        timedelta(days=7), description="How long files that a published warehouse.duckdb may name are kept."
    )
    state_database: str = Field("", description="SQLAlchemy address of the state database; empty is SQLite.")

    gap_horizon: timedelta = Field(timedelta(hours=36), description="How far back the gap and recheck sensors look.")
    run_retention: timedelta = Field(
        timedelta(days=14), description="Superseded Dagster runs older than this are removed."
    )
    sync_run_retention: timedelta = Field(timedelta(days=30), description="How long ops.sync_runs keeps a row.")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, values: dict[str, Any]) -> dict[str, Any]:
        """An empty value is the default, except where it has a meaning of its own."""
        return {name: value for name, value in values.items() if value != "" or name == "aemo_api_url"}

    @field_validator("nemweb_url", "price_and_demand_url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        if not value.startswith(("http://", "https://", "file:///")):
            raise ValueError("must start with http://, https:// or file:///")
        return value.rstrip("/")

    @field_validator("aemo_api_url")
    @classmethod
    def _is_an_http_url(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://, or be empty")
        return value

    @field_validator("aemo_api_headers", mode="before")
    @classmethod
    def _is_a_json_object(cls, value: object) -> object:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except json.JSONDecodeError:
            raise ValueError('must be a JSON object such as {"Referer": "https://…"}') from None

    @field_validator("ace_api_url", "dagster_url")
    @classmethod
    def _is_an_api_url(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/")

    @field_validator("sites", mode="before")
    @classmethod
    def _are_sites(cls, value: object) -> object:
        """`a, b`, or a JSON array of names and objects. Raises ``ValueError`` where one is named twice."""
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            entries = json.loads(value)
        else:
            entries = [name.strip() for name in value.split(",") if name.strip()]
        found = [{"name": entry} if isinstance(entry, str) else entry for entry in entries]
        names = [entry.get("name") for entry in found if isinstance(entry, dict)]
        if twice := sorted({str(name) for name in names if names.count(name) > 1}):
            raise ValueError(f"names {', '.join(twice)} more than once")
        return tuple(found)

    @field_validator("kpi_cron")
    @classmethod
    def _is_a_cron(cls, value: str) -> str:
        fields = value.split()
        if len(fields) != len(CRON_FIELDS) or not all(map(_is_cron_field, fields, CRON_FIELDS)):
            raise ValueError(f"{value!r} is no cron of minute, hour, day, month and weekday, such as 0 12 * * *")
        return value

    @field_validator("cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _are_listed(cls, value: object) -> object:
        """``a, b`` as a tuple."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("configured_points", mode="before")
    @classmethod
    def _are_points(cls, value: object) -> object:
        try:
            return frozenset(json.loads(value)) if isinstance(value, str) else value
        except (json.JSONDecodeError, TypeError):
            raise ValueError('must be a JSON array such as ["hvac_temp_zone1"]') from None

    @property
    def simulated_marker(self) -> Path:
        """A file that marks a data folder as filled by the simulator, so that real data is never mixed with it."""
        return self.etl_data / "SIMULATED"

    @property
    def is_demo(self) -> bool:
        """Whether data comes from the simulator."""
        return self.etl_source == "demo" or (not self.etl_source and self.simulated_marker.exists())

    @property
    def reads_live_market(self) -> bool:
        """Whether NEMWeb's address is the real one."""
        return bool(self.nemweb_url == Settings.model_fields["nemweb_url"].default)

    @property
    def reads_live_account(self) -> bool:
        """Whether ACE's address is the real one."""
        return bool(self.ace_api_url == Settings.model_fields["ace_api_url"].default)

    def refuse_mixing(self, because: str, *, is_live: bool) -> None:
        """Raise ``MixedDataError`` where a source is live and the folder is the simulator's; ``because`` names it.

        Asked by the sources, and not only in the command line: a daemon that was started without it passes there too.
        """
        if self.simulated_marker.exists() and is_live:
            raise MixedDataError(
                f"{self.etl_data} holds the simulator's data, and {because}. "
                "Remove that folder, or set ETL_DATA to another."
            )

    def site(self, name: str) -> SiteSettings:
        """The settings of a site; the defaults for one that is configured no more."""
        return next((site for site in self.sites if site.name == name), SiteSettings(name=name))

    @property
    def dagster_home(self) -> Path:
        """Folder of Dagster's own storage: runs, events, schedules."""
        return (self.etl_data / "dagster").absolute()

    @property
    def catalog_path(self) -> Path:
        """The SQLite file of the lake's catalog."""
        return self.etl_data / "lake" / "catalog.sqlite"

    @property
    def lake_files(self) -> str:
        """Folder (or address) of the lake's Parquet files, absolute where local."""
        if "://" in self.lake_data:
            return f"{self.lake_data.rstrip('/')}/etl_assets_lake"
        # A folder of the lake's own: maintenance removes files in it that no snapshot names.
        owned = Path(self.lake_data) / "etl_assets_lake" if self.lake_data else self.etl_data / "lake" / "files"
        return str(owned.absolute())

    @property
    def archive_files(self) -> str:
        """Folder (or address) of archived readings, absolute where local."""
        if "://" in self.archive_data:
            return self.archive_data.rstrip("/")
        return str((Path(self.archive_data) if self.archive_data else self.etl_data / "archive").absolute())

    @property
    def kpi_folder(self) -> Path:
        """Folder of the registry's last good copy."""
        return self.etl_data / "kpi"

    @property
    def api_folder(self) -> Path:
        """Folder of the API's own files: keys that it made, cached results, results of jobs."""
        return self.etl_data / "api"

    @property
    def warehouse_path(self) -> Path:
        """The analysts' DuckDB file."""
        return self.etl_data / "warehouse.duckdb"

    @property
    def state_url(self) -> str:
        """SQLAlchemy address of the state database."""
        return self.state_database or f"sqlite:///{(self.etl_data / 'state.sqlite').absolute()}"


@cache
def settings() -> Settings:
    """The process's settings, read once, at first use."""
    return Settings()
