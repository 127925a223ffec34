"""Where the page leads to in Dagster: assets, their partitions, runs. The address is DAGSTER_URL."""

from datetime import date
from urllib.parse import quote, urlencode

from etl_assets.settings import Settings


class Links:
    """Addresses of Dagster's pages."""

    def __init__(self, settings: Settings) -> None:
        self.root = settings.dagster_url

    def dataset(self, table: str, partition: str = "") -> str:
        """The asset of a table, ``schema.name``; with a partition key the page that shows what became of it."""
        return self.asset(*table.split("."), partition=partition)

    def asset(self, *key: str, partition: str = "") -> str:
        """The asset of a key."""
        path = "/".join(quote(part, safe="") for part in key)
        shown = f"?{urlencode({'view': 'partitions', 'partition': partition})}" if partition else ""
        return f"{self.root}/assets/{path}{shown}"

    def run(self, run_id: str) -> str:
        """A run, with its log."""
        return f"{self.root}/runs/{quote(run_id, safe='')}"


def site_day(day: date, site: str) -> str:
    """The partition of a site's market day, as ``partitions.py`` has it, which loads Dagster."""
    return f"{day}|{site}"
