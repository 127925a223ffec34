"""The market operator as a Dagster resource: an HTTP client with the project's manners, opened late, closed early."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from etl_assets.http import HttpClient
from etl_assets.settings import MixedDataError, Settings, settings


def refuse_mixing(chosen: Settings) -> None:
    """Raise ``MixedDataError`` where the real market would be read into the simulator's folder.

    Here, and not only in the command line: a daemon that was started without it passes through here as well.
    """
    if chosen.simulated_marker.exists() and chosen.reads_live_market:
        raise MixedDataError(
            f"{chosen.etl_data} holds the simulator's data, and NEMWEB_URL is the real market's. "
            "Remove that folder, or set ETL_DATA to another."
        )


class Aemo(dg.ConfigurableResource):  # type: ignore[type-arg]  # dagster's base is generic over what it yields
    """Access to AEMO's sites, or to a local mirror of them, as the settings say."""

    @contextmanager
    def client(self) -> Iterator[HttpClient]:
        """One client for one collection, so that its counters are the collection's own."""
        refuse_mixing(settings())
        with HttpClient(settings()) as http:
            yield http
