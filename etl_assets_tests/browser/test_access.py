"""Who sees figures, and what a visitor is told who sees none."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from etl_assets_tests.api.operating import copied, operating
from etl_assets_tests.browser.conftest import UNLIMITED, Visitor
from etl_assets_tests.browser.world import NOW, fill

pytestmark = pytest.mark.browser


def test_behind_a_token_a_visitor_signs_in_and_out(chromium: Browser, published: Path, tmp_path: Path) -> None:
    visitor = Visitor(chromium)
    with operating(copied(published, tmp_path / "data"), dashboard="token", **UNLIMITED) as api:
        api.now = NOW
        page = visitor.visit(api.url, expects="#sign-in:not([hidden])")
        expect(page.get_by_label("Client id")).to_be_focused()
        expect(page.locator(".tile")).to_have_count(0)

        page.get_by_label("Client id").fill("reader")
        page.get_by_label("Client secret").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#sign-in-problem")).to_contain_text("do not go together")

        page.get_by_label("Client secret").fill("r")
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator(".tile")).to_have_count(5)
        assert page.evaluate("document.cookie") == ""

        page.reload()
        expect(page.locator(".tile")).to_have_count(5)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Client secret")).to_be_visible()
        assert "r" not in page.get_by_label("Client secret").input_value()
        assert visitor.elsewhere(api.url) == []
        visitor.leave()


def test_who_signs_in_again_after_the_session_ended_sees_what_happens_live(
    chromium: Browser, published: Path, tmp_path: Path
) -> None:
    visitor = Visitor(chromium)
    with operating(copied(published, tmp_path / "data"), dashboard="token", **UNLIMITED) as api:
        api.now = NOW
        page = visitor.visit(api.url, expects="#sign-in:not([hidden])")
        _sign_in(page)
        expect(page.locator("#live-word")).to_have_text("live")

        visitor.context.clear_cookies()
        page.locator("#market").get_by_role("button", name="Week", exact=True).click()
        expect(page.get_by_label("Client id")).to_be_visible()
        _sign_in(page)

        expect(page.locator("#live-word")).to_have_text("live")
        expect(page.locator("#live")).to_be_visible()
        visitor.leave()


def _sign_in(page: Page) -> None:
    page.get_by_label("Client id").fill("reader")
    page.get_by_label("Client secret").fill("r")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".tile")).to_have_count(5)


def test_before_anything_is_published_the_page_says_what_to_run_and_then_shows_it(
    chromium: Browser, tmp_path: Path
) -> None:
    visitor = Visitor(chromium)
    with operating(tmp_path / "data", **UNLIMITED) as api:
        api.now = NOW
        page = visitor.visit(api.url, expects=".problem")
        expect(page.locator(".problem").first).to_contain_text("make demo")

        fill(api.settings, with_history=False)
        page.get_by_role("button", name="Try again").click()

        expect(page.locator(".tile")).to_have_count(5)
        expect(page.locator("#overview-problem .problem")).to_have_count(0)
        visitor.leave()
