"""The lake as a Dagster resource.

Extends dagster-duckdb's ``DuckDBResource``, so that a Dagster user recognises it, and mends what that one leaves
open: a connection is closed when the body raises, read-only is offered, and the wait for another writer is bounded
and says who is waited for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster_duckdb import DuckDBResource
from pydantic import Field

from etl_assets.lake.connection import read_lake, write_lake
from etl_assets.settings import Settings, settings


class Lake(DuckDBResource):
    """Connections to the lake for assets, checks and sensors. The configuration is the project's settings."""

    database: str = Field(default="", description="Data folder of the lake; empty takes ETL_DATA.")

    @property
    def settings(self) -> Settings:
        """The settings that this lake follows."""
        chosen = settings()
        return chosen.model_copy(update={"etl_data": Path(self.database)}) if self.database else chosen

    @contextmanager
    def get_connection(self, *, read_only: bool = False, purpose: str = "a Dagster run") -> Iterator[Any]:
        """A connection with the lake attached as ``lake``; always closed, the lock always released."""
        opened = read_lake(self.settings) if read_only else write_lake(self.settings, purpose)
        with opened as connection:
            yield connection
