"""What happens on the page when a person clicks, types, or opens a link that somebody shared."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from etl_assets_tests.browser.looking import eventually
from etl_assets_tests.browser.world import DAY, POINTS_SHOWN, SITE

pytestmark = pytest.mark.browser

TRACES = "place => place.data.filter(trace => trace.yaxis !== 'y2' && !trace.name.includes('forecast'))"
MARKET = "#market .plot.js-plotly-plot"


def first_day_shown(page: Page) -> str:
    return page.locator(MARKET).evaluate(f"place => ({TRACES})(place)[0].x[0].slice(0, 10)")


def test_the_month_is_shown_at_five_minutes(page: Page) -> None:
    page.wait_for_selector(MARKET)

    page.get_by_role("button", name="Month", exact=True).first.click()

    eventually(page, f"document.querySelector('{MARKET}').data[0].x.length === 31 * 288")
    assert first_day_shown(page) == "2025-10-21"
    expect(page.get_by_role("button", name="Month", exact=True).first).to_have_attribute("aria-pressed", "true")


def test_a_missing_stretch_breaks_the_line(page: Page) -> None:
    page.wait_for_selector(MARKET)

    page.get_by_role("button", name="Week", exact=True).first.click()

    eventually(page, f"document.querySelector('{MARKET}').data[0].x.length === 7 * 288")
    prices = f"({TRACES})(place).find(({{name}}) => name === 'QLD1').customdata"
    holes = page.locator(MARKET).evaluate(f"place => {prices}.filter(price => price === null).length")
    # The week begins before the aggregated days end, so that only the hole of 40 minutes is missing.
    assert holes == 8
    expect(page.locator("#market .note")).to_contain_text("8 intervals here")


def test_a_negative_price_and_a_spike_keep_their_values_on_the_compressed_scale(page: Page) -> None:
    page.wait_for_selector(MARKET)
    prices = page.locator(MARKET).evaluate(
        f"place => Object.fromEntries(({TRACES})(place).map(({{name, customdata}}) => [name, customdata]))"
    )

    assert max(prices["NSW1"]) == 15_100.5
    assert min(price for price in prices["SA1"] if price is not None) < -40
    expect(page.locator(".market-plot .ytick", has_text="10,000").first).to_be_attached()


def test_the_forecast_is_dashed_and_apart(page: Page) -> None:
    page.wait_for_selector(MARKET)
    dashes = page.locator(MARKET).evaluate(
        "place => place.data.map(({name, line, opacity}) => [name.includes('forecast'), !!line.dash, opacity < 1])"
    )

    assert {tuple(dash) for dash in dashes} == {(True, True, True), (False, False, False)}
    expect(page.locator("#market .note")).to_contain_text("forecast issued 21 Nov 14:35")


def test_a_region_is_switched_off_and_on(page: Page) -> None:
    page.wait_for_selector(MARKET)
    names = f"() => ({TRACES})(document.querySelector('{MARKET}')).map(({{name}}) => name).sort().join()"

    page.get_by_role("button", name="NSW1").click()

    eventually(page, f"({names})() === 'QLD1,SA1,TAS1,VIC1'")
    assert "regions=" in page.url
    page.get_by_role("button", name="NSW1").click()
    eventually(page, f"({names})() === 'NSW1,QLD1,SA1,TAS1,VIC1'")


def test_the_plot_zooms_by_buttons_and_comes_back(page: Page) -> None:
    page.wait_for_selector(MARKET)
    shown = f"document.querySelector('{MARKET}').layout.xaxis.range.map(Date.parse)"
    width = f"() => {shown}[1] - {shown}[0]"
    whole = page.evaluate(width)

    page.locator("#market").get_by_role("button", name="Zoom in").click()

    eventually(page, f"({width})() < {whole} * 0.7")
    page.locator("#market").get_by_role("button", name="Reset zoom").click()
    eventually(page, f"({width})() > {whole} * 0.99")


def test_a_month_without_data_before_it_cannot_be_gone_to(page: Page) -> None:
    page.locator("#completeness").scroll_into_view_if_needed()

    expect(page.get_by_role("button", name="Month before")).to_be_disabled()


def test_a_building_and_one_of_its_points_are_chosen(page: Page) -> None:
    page.locator("#sites").scroll_into_view_if_needed()
    page.get_by_role("button", name="works").click()
    expect(page.locator("#site-points-title")).to_have_text("Points of works")

    page.get_by_label("Filter").fill("temperature")
    page.locator(".point", has_text="room-12").click()

    expect(page.locator("#site-curve-title")).to_contain_text(f"client/works/{POINTS_SHOWN[2]}, °C")
    expect(page.locator(".points li")).to_have_count(1)
    expect(page.locator("#site-curve .scores")).to_contain_text("90\u202f% 20 Nov 1,296 of 1,440, 2 outliers")
    expect(page.locator("#site-curve .note")).to_contain_text("No readings: 21 Nov 02:59 to 21 Nov 06:00")


def test_the_heat_map_names_the_least_complete_point(page: Page) -> None:
    page.locator("#sites").scroll_into_view_if_needed()
    page.locator("#site-heat").scroll_into_view_if_needed()

    expect(page.locator("#site-heat .note")).to_contain_text("Least complete: room-12/temperature")


def test_a_shared_link_opens_the_same_site_point_and_span(opened: Callable[..., Page]) -> None:
    page = opened(f"#sites&span=week&site=works&point=client/works/{POINTS_SHOWN[1]}")

    expect(page.locator("#site-curve-title")).to_contain_text(POINTS_SHOWN[1])
    expect(page.locator("#sites-title")).to_be_in_viewport()
    expect(page.locator("#market").get_by_role("button", name="Week")).to_have_attribute("aria-pressed", "true")


def test_a_site_with_a_slash_and_an_umlaut_in_its_name_has_its_curve(opened: Callable[..., Page]) -> None:
    page = opened("#sites")

    page.get_by_role("button", name=SITE).click()

    expect(page.locator("#site-curve-title")).to_contain_text(f"client/{SITE}/{POINTS_SHOWN[1]}, kW")


def test_the_theme_is_chosen_and_kept(page: Page) -> None:
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)

    page.get_by_role("button", name="Theme").click()
    page.get_by_role("button", name="Theme").click()

    expect(page.get_by_role("button", name="Theme")).to_have_text("Theme: dark")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    page.wait_for_selector(".tile")
    assert page.evaluate(ground) == dark
    page.evaluate("localStorage.clear()")


def test_a_day_of_the_calendar_is_reached_by_arrow_keys(page: Page) -> None:
    page.locator("#completeness").scroll_into_view_if_needed()
    cell = page.get_by_role("link", name="Dispatch prices and demand, Thursday 20 November 2025")
    cell.focus()

    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")

    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused.startswith(f"Interconnector flows, {DAY:%A} 21 November 2025")


def test_a_broken_link_still_opens_the_page(opened: Callable[..., Page]) -> None:
    page = opened("#%&site=%zz")

    expect(page.locator(".tile")).to_have_count(5)
