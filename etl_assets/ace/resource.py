"""The ACE account as a Dagster resource: a client for one site's sync, opened late, closed early."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from etl_assets.settings import MixedDataError, Settings, settings

if TYPE_CHECKING:
    from etl_assets.ace.client import AceClient


def refuse_mixing(chosen: Settings) -> None:
    """Raise ``MixedDataError`` where the real account would be read into the simulator's folder."""
    if chosen.simulated_marker.exists() and chosen.reads_live_account:
        raise MixedDataError(
            f"{chosen.etl_data} holds the simulator's data, and ACE_API_URL is the real account's. "
            "Remove that folder, or set ETL_DATA to another."
        )


class Ace(dg.ConfigurableResource):  # type: ignore[type-arg]  # dagster's base is generic over what it yields
    """Access to the ACE account that the settings name."""

    @contextmanager
    def client(self) -> "Iterator[AceClient]":
        """One client for one sync, so that its counters are the sync's own; the rate limit is shared by all."""
        from etl_assets.ace.client import AceClient

        refuse_mixing(settings())
        with AceClient(settings()) as client:
            yield client
