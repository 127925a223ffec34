"""For whom the page works: on a phone, with a keyboard alone, for a screen reader, in either theme; and how soon."""

import shutil
import subprocess
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from etl_assets_tests.browser.looking import eventually
from etl_assets_tests.browser.world import REGIONS

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
DESK = {"viewport": {"width": 1440, "height": 900}}
LOOKS = {
    "light": {**DESK, "color_scheme": "light"},
    "dark": {**DESK, "color_scheme": "dark"},
    "phone": PHONE,
}
SECTIONS = ("market", "flows", "completeness", "freshness", "sites", "kpis", "jobs")

CONTRAST = """names => {
  const probe = document.body.appendChild(document.createElement("span"));
  const parts = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color.match(/[0-9.]+/g).slice(0, 3).map(Number);
  };
  const light = (name) => {
    const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = parts(name).map((part) => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = light("panel");
  return names.map((name) => (Math.max(light(name), ground) + 0.05) / (Math.min(light(name), ground) + 0.05));
}"""


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The accessibility checker ``axe-core`` from npm, as a script."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not at hand")
    folder = tmp_path_factory.mktemp("axe")
    once = ["--fetch-retries=0", "--fetch-timeout=20000"]
    line = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *once, "axe-core@4"]
    installed = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip("axe-core could not be installed: no registry of npm answers")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


def walk_through(page: Page) -> None:
    """Go to every section, and wait until it has its figures."""
    for section in SECTIONS:
        page.evaluate(f"document.getElementById('{section}').scrollIntoView()")
        eventually(page, f"document.querySelector('#{section} .body').childElementCount > 0")
    page.locator("#site-heat").scroll_into_view_if_needed()
    page.wait_for_selector("#site-heat .js-plotly-plot")


@pytest.mark.node
@pytest.mark.parametrize("look", LOOKS)
def test_the_accessibility_checker_finds_nothing_serious(opened: Callable[..., Page], axe: str, look: str) -> None:
    page = opened(**LOOKS[look])
    walk_through(page)
    page.evaluate(axe)

    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")

    grave = [violation for violation in found["violations"] if violation["impact"] in {"serious", "critical"}]
    assert [(each["id"], each["help"], [node["html"] for node in each["nodes"]][:3]) for each in grave] == []


def test_a_phone_needs_no_sideways_scrolling(opened: Callable[..., Page]) -> None:
    page = opened(**PHONE)

    walk_through(page)

    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_the_page_is_gone_through_with_the_keyboard_alone(opened: Callable[..., Page]) -> None:
    page = opened()
    page.wait_for_selector("#market .js-plotly-plot")
    reached = set()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the figures")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()

    for _ in range(90):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.closest('section[id], nav')?.id || document.activeElement.tagName")
        )

    assert {*SECTIONS, "site-points"} - {"flows", "kpis", "jobs"} <= reached
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_button_that_was_pressed_by_key_keeps_the_focus(opened: Callable[..., Page]) -> None:
    page = opened()
    page.wait_for_selector("#market .js-plotly-plot")
    page.locator("#market").get_by_role("button", name="Week").focus()

    page.keyboard.press("Enter")

    week = page.locator("#market").get_by_role("button", name="Week")
    expect(week).to_have_attribute("aria-pressed", "true")
    expect(week).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_region_s_line_stands_out_from_its_ground(opened: Callable[..., Page], scheme: str) -> None:
    page = opened(color_scheme=scheme)

    lines = page.evaluate(CONTRAST, [f"region-{region.lower()}" for region in REGIONS])
    words = page.evaluate(CONTRAST, ["ink", "ink-2", "accent", "good", "late", "bad", "negative"])

    # The bounds of WCAG 2.2 for what is drawn and for text.
    assert min(lines) >= 3
    assert min(words) >= 4.5


def test_a_plot_is_told_in_a_sentence_and_in_a_table(opened: Callable[..., Page]) -> None:
    page = opened()
    page.wait_for_selector("#market .js-plotly-plot")

    assert "NSW1 price mean" in page.locator("#market .plot").get_attribute("aria-label")
    page.get_by_text("In numbers").click()
    expect(page.locator(".in-numbers tbody tr", has_text="NSW1")).to_contain_text("15,100.50 at")


def test_with_reduced_motion_nothing_moves(opened: Callable[..., Page]) -> None:
    page = opened(reduced_motion="reduce")

    assert page.evaluate("document.getAnimations().length") == 0


def test_tiles_are_there_without_the_plots_script(opened: Callable[..., Page]) -> None:
    page = opened()

    order = page.evaluate(
        "[performance.getEntriesByName('tiles')[0].startTime,"
        " performance.getEntriesByType('resource').find(({name}) => name.includes('plotly'))?.startTime ?? Infinity]"
    )

    assert order[0] < order[1]
