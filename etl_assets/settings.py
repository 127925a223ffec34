"""Every setting of the project, once: name, type, default, meaning.

Values come from the environment or from a ``.env`` file in the working directory, by the upper-case name of
the field (``NEMWEB_URL`` sets ``nemweb_url``). Nothing else in the project reads the environment.
"""

from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

BROWSER_USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36"
"""AEMO's front door answers the default agents of HTTP libraries with 403."""


class Settings(BaseSettings):
    """What can be configured. Every field has a default that works offline or against the live market."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    etl_data: Path = Field(Path("data"), description="Folder of the lake, the state database and warehouse.duckdb.")
    etl_source: Literal["", "live", "demo"] = Field(
        "",
        description="`live`, or `demo` to read from the simulator; empty is live, unless `make demo` filled the folder.",
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
    aemo_api_headers: dict[str, str] = Field(
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
    lake_data: str = Field("", description="Folder of the lake's Parquet files; empty is inside the data folder.")
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

    @field_validator("nemweb_url", "price_and_demand_url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        if not value.startswith(("http://", "https://", "file://")):
            raise ValueError(f"{value!r} must start with http://, https:// or file:///")
        return value.rstrip("/")

    @property
    def simulated_marker(self) -> Path:
        """A file that marks a data folder as filled by the simulator, so that real data is never mixed with it."""
        return self.etl_data / "SIMULATED"

    @property
    def is_demo(self) -> bool:
        """Whether data comes from the simulator."""
        return self.etl_source == "demo" or (not self.etl_source and self.simulated_marker.exists())

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
            return self.lake_data
        return str(Path(self.lake_data or self.etl_data / "lake" / "files").absolute())

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
