"""Every setting of the project, once: name, type, default, meaning.

Values come from the environment or from a ``.env`` file in the working directory, by the upper-case name of
the field (``NEMWEB_URL`` sets ``nemweb_url``). Nothing else in the project reads the environment.
"""

import json
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

BROWSER_USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36"
"""AEMO's front door answers the default agents of HTTP libraries with 403."""


class MixedDataError(RuntimeError):
    """Simulated and real data would meet in one folder."""


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

    lake_catalog: str = Field("", description="DuckLake catalog; empty is SQLite in the data folder.")
    lake_data: str = Field(
        "", description="Where the lake makes its own folder of Parquet files; empty: the data folder."
    )
    lake_lock_timeout: timedelta = Field(timedelta(minutes=2), description="Longest wait for another writer.")
    lake_retention: timedelta = Field(
        timedelta(days=7), description="How long files that a published warehouse.duckdb may name are kept."
    )
    state_database: str = Field("", description="SQLAlchemy address of the state database; empty is SQLite.")

    gap_horizon: timedelta = Field(timedelta(hours=36), description="How far back the gap sensor looks.")
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
