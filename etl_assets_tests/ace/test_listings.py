"""The list of a site's points, and the site itself."""

from datetime import UTC, datetime, timedelta

import pytest

from etl_assets.ace.client import AceClient
from etl_assets.ace.listings import REFRESH, collect_points
from etl_assets.http import SourceError
from etl_assets.lake.account import Account
from etl_assets.settings import SiteSettings
from etl_assets_tests.ace.conftest import NOW, Building, ScriptedServer, assert_balanced

SITE = SiteSettings(name="real", time_zone="Australia/Melbourne", region_id="VIC1")


def collect(building: Building, now: datetime = NOW, *, force: bool = False) -> Account | None:
    with AceClient(building.settings, limiter=lambda: None) as client:
        account = collect_points(building.settings, client, SITE, now=now, force=force)
    if account:
        assert_balanced(account)
    return account


def test_all_points_of_a_site_are_listed_with_what_the_account_says_of_them(real_building: Building) -> None:
    account = collect(real_building)

    layout = real_building.server.ace.layout("real")
    found = real_building.query(
        "SELECT point_name, collect_interval, is_configured, first_seen, last_seen FROM lake.ace.points"
    )
    assert (account.fetched, account.inserted) == (40, 40)
    assert {(name, interval, configured) for name, interval, configured, _, _ in found} == {
        (name, int(layout.interval[n]) if layout.interval_said[n] else None, bool(layout.enabled[n]))
        for n, name in enumerate(layout.names)
    }
    assert {moment.astimezone(UTC) for row in found for moment in row[3:]} == {NOW}


def test_the_site_has_what_the_account_says_and_what_the_settings_say(real_building: Building) -> None:
    collect(real_building)

    columns = "site_name, client, nice_name, latitude, longitude, archived, time_zone, region_id"
    assert real_building.query(f"SELECT {columns} FROM lake.ace.sites") == [
        ("real", "demo-client", "Real", -33.87, 151.21, False, "Australia/Melbourne", "VIC1")
    ]


def test_a_list_is_fresh_for_an_hour(real_building: Building) -> None:
    collect(real_building)

    assert collect(real_building, NOW + REFRESH - timedelta(seconds=1)) is None
    assert collect(real_building, NOW + timedelta(minutes=1), force=True).unchanged == 40
    assert collect(real_building, NOW + 3 * REFRESH).unchanged == 40


def test_an_account_without_descriptions_of_sites_is_none_the_worse(
    real_building: Building, server: ScriptedServer
) -> None:
    building = real_building.changed(ace_api_url=server.url)
    missing = (404, {}, b'{"message": "Not found"}')
    server.answers = [missing, (200, {}, b'{"data": ["a", "b"]}'), missing]

    account = collect(building)

    assert account.inserted == 2
    assert building.query("SELECT point_name, is_configured FROM lake.ace.points ORDER BY ALL") == [
        ("a", None),
        ("b", None),
    ]
    assert building.query("SELECT site_name, client, region_id FROM lake.ace.sites") == [("real", None, "VIC1")]


def test_a_description_that_makes_no_sense_leaves_its_fields_empty(
    real_building: Building, server: ScriptedServer
) -> None:
    building = real_building.changed(ace_api_url=server.url)
    odd = b'{"client": {"id": 7}, "nice_name": ["x"], "latitude": "-33.5", "longitude": "east", "archived": "no"}'
    points = (200, {}, b'{"items": [{"name": "a"}], "page": 1, "pages": 1}')
    server.answers = [points, points, (200, {}, odd)]

    collect(building)

    columns = "client, nice_name, latitude, longitude, archived"
    assert building.query(f"SELECT {columns} FROM lake.ace.sites") == [(None, None, -33.5, None, None)]


def test_a_list_that_breaks_off_is_asked_for_again_the_next_time(real_building: Building) -> None:
    real_building.server.faults.switch_on("server_error", "*/sites/real")

    with pytest.raises(SourceError):
        collect(real_building)
    real_building.server.faults.switch_off()

    assert collect(real_building).unchanged == 40
