"""The ACE account as a Dagster resource: a client for one site's sync, opened late, closed early."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from etl_assets.settings import settings

if TYPE_CHECKING:
    from etl_assets.ace.client import AceClient


class Ace(dg.ConfigurableResource):  # type: ignore[type-arg]  # dagster's base is generic over what it yields
    """Access to the ACE account of `ACE_API_URL` and `ACE_API_KEY`, at `ACE_REQUESTS_PER_MINUTE` for all processes."""

    @contextmanager
    def client(self) -> "Iterator[AceClient]":
        """One client for one sync, so that its counters are the sync's own; the rate limit is shared by all."""
        from etl_assets.ace.client import AceClient

        chosen = settings()
        chosen.refuse_mixing("ACE_API_URL is the real account's", is_live=chosen.reads_live_account)
        with AceClient(chosen) as client:
            yield client
