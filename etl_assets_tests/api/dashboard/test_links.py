"""Addresses of Dagster's pages, in the form that its webserver has them."""

from datetime import date

import pytest
from pydantic import ValidationError

from etl_assets.api.dashboard.links import Links, site_day
from etl_assets.partitions import site_day_key
from etl_assets.settings import Settings

LINKS = Links(Settings(_env_file=None, dagster_url="https://dagster.example/prefix/"))


def test_a_dataset_leads_to_its_asset_and_a_partition_to_its_page() -> None:
    assert LINKS.dataset("aemo.dispatch_region") == "https://dagster.example/prefix/assets/aemo/dispatch_region"
    assert LINKS.dataset("aemo.dispatch_region", "2026-11-24") == (
        "https://dagster.example/prefix/assets/aemo/dispatch_region?view=partitions&partition=2026-11-24"
    )


def test_what_an_address_would_take_for_its_own_is_escaped() -> None:
    assert LINKS.asset("kpi", "a/b?c#d") == "https://dagster.example/prefix/assets/kpi/a%2Fb%3Fc%23d"
    assert LINKS.dataset("ace.points", "2026-11-24|a&b=c").endswith("partition=2026-11-24%7Ca%26b%3Dc")
    assert LINKS.run("../x") == "https://dagster.example/prefix/runs/..%2Fx"


def test_a_sites_day_is_the_partition_that_dagster_has() -> None:
    assert site_day(date(2026, 11, 24), "tower") == site_day_key(date(2026, 11, 24), "tower")


@pytest.mark.parametrize("address", ["javascript:alert(1)", "dagster:3000", "//dagster"])
def test_an_address_of_dagster_that_is_no_web_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="http"):
        Settings(_env_file=None, dagster_url=address)
