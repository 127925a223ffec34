"""What is stale, and since when: by what each source declares should be there by now."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_assets.api.dashboard.freshness import Freshness
from etl_assets.api.dashboard.links import Links
from etl_assets.settings import Settings
from etl_assets_tests.api.dashboard.filled import DAY, ENDS, NOW, SITE, epoch
from etl_assets_tests.api.operating import Operating

MINUTE = timedelta(minutes=1)
LINKS = Links(Settings(_env_file=None, dagster_url="http://d:1/"))


def freshness_at(api: Operating, now: datetime) -> dict[tuple[str, str], dict[str, Any]]:
    api.now = now
    try:
        found = api.get("/dashboard/state").json()["freshness"]
    finally:
        api.now = NOW
    return {(each["dataset"], each["entity"]): each for each in found}


def test_what_is_there_as_its_source_declares_is_fresh(api: Operating) -> None:
    found = freshness_at(api, NOW)

    fresh = {name for (name, _), each in found.items() if not each["is_stale"]}
    assert fresh == {"aemo.dispatch_region", "aemo.dispatch_interconnector", "aemo.price_and_demand",
                     "aemo.region_forecast", "ace.timeseries_raw", "ace.weather_raw"}  # fmt: skip


def test_what_was_never_collected_is_stale_nobody_knows_since_when(api: Operating) -> None:
    found = freshness_at(api, NOW)["aemo.trading_price", ""]

    assert (found["is_stale"], found["newest_at"], found["stale_since"]) == (True, None, None)


@pytest.mark.parametrize(("minutes", "is_stale"), [(9, False), (10, True), (60, True)])
def test_dispatch_is_stale_when_its_next_interval_is_five_minutes_over(
    api: Operating, minutes: int, is_stale: bool
) -> None:
    newest = epoch(ENDS[-1])

    found = freshness_at(api, ENDS[-1] + minutes * MINUTE)["aemo.dispatch_region", ""]

    assert (found["newest_at"], found["is_stale"]) == (newest, is_stale)
    # The next one ends at +5 min, appears then at the latest, and is a gap five minutes later.
    assert found["stale_since"] == (newest + 600 if is_stale else None)


def test_a_site_that_falls_silent_is_stale_after_twenty_minutes(api: Operating) -> None:
    newest = NOW - 3 * MINUTE

    quiet = freshness_at(api, newest + 20 * MINUTE)["ace.timeseries_raw", SITE]
    silent = freshness_at(api, newest + 22 * MINUTE)["ace.timeseries_raw", SITE]

    assert (quiet["is_stale"], silent["is_stale"]) == (False, True)
    assert silent["stale_since"] == epoch(newest) + 21 * 60
    assert silent["dagster_url"].endswith(f"?view=partitions&partition={DAY}%7Ctower+a%2F%C3%BC")


@given(
    newest=st.integers(1_500_000_000, 1_900_000_000),
    later=st.integers(0, 10**7),
    step=st.sampled_from([60, 300, 1800, 3600]),
    grace=st.integers(0, 200_000),
)
def test_it_turns_stale_at_the_moment_that_it_says_and_stays_so(newest: int, later: int, step: int, grace: int) -> None:
    newest -= newest % step
    each = Freshness("aemo.rooftop_pv", "", newest, timedelta(seconds=step), timedelta(seconds=grace))

    found = each.as_json(datetime.fromtimestamp(newest + later, UTC), LINKS)

    assert found["is_stale"] == (later >= step + grace)
    assert found["stale_since"] == (newest + step + grace if found["is_stale"] else None)
