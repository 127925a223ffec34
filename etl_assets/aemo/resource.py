"""The market operator as a Dagster resource: an HTTP client with the project's manners, opened late, closed early."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from etl_assets.http import HttpClient
from etl_assets.settings import settings


class Aemo(dg.ConfigurableResource):  # type: ignore[type-arg]  # dagster's base is generic over what it yields
    """Access to AEMO's sites, or to a local mirror: `NEMWEB_URL`, `AEMO_API_URL`, `PRICE_AND_DEMAND_URL`."""

    @contextmanager
    def client(self) -> Iterator[HttpClient]:
        """One client for one collection, so that its counters are the collection's own."""
        chosen = settings()
        chosen.refuse_mixing("NEMWEB_URL is the real market's", is_live=chosen.reads_live_market)
        with HttpClient(chosen) as http:
            yield http
