"""What a person reads on the page, against what a query of the published file says."""

from collections.abc import Iterator

import duckdb
import pytest
from playwright.sync_api import Browser, Page, expect

from etl_assets_tests.api.operating import Operating
from etl_assets_tests.browser.conftest import visiting
from etl_assets_tests.browser.world import DAY, REGIONS, SITE

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(chromium: Browser, api: Operating) -> Iterator[Page]:
    """One page for all who only read, tall enough that every section is near."""
    with visiting(chromium, api.url) as visitor:
        yield visitor.visit(api.url, viewport={"width": 1440, "height": 6000})


@pytest.fixture
def warehouse(api: Operating) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{api.settings.etl_data}/warehouse.duckdb' AS w (READ_ONLY)")
        connection.execute("USE w")
        yield connection


def as_read(value: float, digits: int = 2) -> str:
    """A number as the page writes it: a comma between thousands, a true minus."""
    return f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


@pytest.mark.parametrize("region", REGIONS)
def test_a_tile_has_the_price_and_demand_of_the_newest_interval(page: Page, warehouse, region: str) -> None:
    price, demand = warehouse.execute(
        "SELECT rrp, total_demand FROM aemo.dispatch_region WHERE region_id = ? ORDER BY interval_end DESC LIMIT 1",
        [region],
    ).fetchone()
    tile = page.locator(f".tile[data-region={region}]")

    expect(tile.locator(".amount")).to_have_text(as_read(price))
    expect(tile).to_contain_text(f"{as_read(demand, 0)} MW")


def test_a_negative_price_is_said_to_be_negative(page: Page, warehouse) -> None:
    lowest = warehouse.execute(
        "SELECT min(rrp) FROM aemo.dispatch_region WHERE region_id = 'SA1' AND market_day = ?", [DAY]
    ).fetchone()[0]
    tile = page.locator(".tile[data-region=SA1]")

    expect(tile.locator(".mark")).to_have_text("negative")
    expect(tile.locator("dl")).to_contain_text(f"{as_read(lowest, 0)} …")


def test_the_first_line_says_up_to_when_there_is_data_and_what_is_wrong(page: Page, warehouse) -> None:
    gaps = warehouse.execute("SELECT count(*) FROM quality.gaps WHERE healed_at IS NULL").fetchone()[0]
    trust = page.locator("#trust")

    expect(trust).to_contain_text("Data to 14:35 NEM time")
    expect(trust).to_contain_text(f"{gaps} gaps open")
    expect(trust).to_contain_text("datasets late")


def test_a_time_tells_the_readers_own_time_when_it_is_pointed_at(page: Page) -> None:
    expect(page.locator("#trust time").first).to_have_attribute(
        "title", "21 Nov 14:35 NEM time; Fri, 21 Nov, 15:35 your time (Australia/Sydney)"
    )


def test_a_flow_against_its_name_is_shown_the_way_that_it_runs(page: Page, warehouse) -> None:
    flow = warehouse.execute(
        "SELECT mw_flow FROM aemo.dispatch_interconnector WHERE interconnector_id = 'T-V-MNSP1' "
        "ORDER BY interval_end DESC LIMIT 1"
    ).fetchone()[0]
    row = page.locator("#flows tbody tr", has_text="T-V-MNSP1")

    expect(row).to_contain_text("VIC1 → TAS1")
    expect(row.locator("td").nth(1)).to_have_text(as_read(-flow, 0))
    expect(page.get_by_role("img", name="from VIC1 to TAS1")).to_be_visible()


def test_a_day_with_a_hole_leads_to_its_partition_in_dagster(page: Page) -> None:
    cell = page.get_by_role("link", name="Dispatch prices and demand, Thursday 20 November 2025: partial")

    href = cell.get_attribute("href")

    assert href.startswith("http://127.0.0.1:3000/assets/aemo/dispatch_region?")
    assert "partition=2025-11-20" in href
    expect(cell).to_have_attribute("target", "_blank")


def test_states_of_days_differ_in_shape_and_not_in_colour_alone(page: Page) -> None:
    shapes = page.locator("#completeness .legend .cell path").evaluate_all(
        "all => all.map(one => one.getAttribute('d'))"
    )

    assert len(set(shapes)) == len(shapes) == 5


def test_a_kpi_beyond_its_threshold_says_so_in_words(page: Page) -> None:
    tile = page.locator("[data-kpi=peak-price]")

    expect(tile.locator("li", has_text="NSW1")).to_contain_text("90")
    expect(tile.locator("li", has_text="NSW1").locator(".mark")).to_have_text("above")
    expect(tile).to_contain_text("1 of 5 beyond threshold")


def test_the_jobs_have_the_mean_duration_and_the_mean_of_inserted_rows(page: Page) -> None:
    totals = page.locator("#jobs .totals")

    # Four syncs of 1 to 4 seconds that inserted 0, 10, 20 and 30 rows.
    expect(totals).to_contain_text("2.5 s")
    expect(totals).to_contain_text("15 rows")
    expect(page.locator("#jobs table").first.locator("tbody tr")).to_have_count(4)


def test_what_is_stale_is_named_with_since_when(page: Page) -> None:

    expect(page.locator("#freshness tbody tr", has_text="Rooftop solar")).to_contain_text("nothing yet")
    # The newest observation is of 11:38, the next is due an hour later, and may be an hour late.
    expect(page.locator("#freshness tbody tr", has_text="Weather works")).to_contain_text("late since 13:38")
    expect(page.locator("#freshness tbody tr", has_text="Dispatch prices")).to_contain_text("on time")


def test_a_building_has_its_score_its_points_by_kind_and_its_weather(page: Page) -> None:
    card = page.locator(f".card[data-site='{SITE}']")

    # The mean of three points' scores: 1, 1 and 0.9.
    expect(card.locator(".score b")).to_have_text("97\u202f%")
    expect(card).to_contain_text("1 power")
    expect(card).to_contain_text("20.0 °C")
