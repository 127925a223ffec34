"""What changes on an open page while the world goes on, and what it says while the server is away."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect

from etl_assets.api.app import create_app
from etl_assets.api.server import server_of
from etl_assets.lake.publish import publish
from etl_assets.ops.state import copies_for_analysts, record_sync_run
from etl_assets.processes import free_port
from etl_assets.settings import Settings
from etl_assets_tests.api.operating import Operating, operating
from etl_assets_tests.browser.conftest import UNLIMITED, Visitor, chromium_path, visiting
from etl_assets_tests.browser.looking import eventually
from etl_assets_tests.browser.world import NEXT_END, NOW, fill, market_rows, price_at, store, sync_run

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operating]:
    """A world of these tests' own, since it goes on."""
    if chromium_path() is None:
        pytest.skip("there is no Chromium on this machine")
    folder = tmp_path_factory.mktemp("going-on") / "data"
    fill(Settings(_env_file=None, etl_data=folder), with_history=False)
    with operating(folder, **UNLIMITED) as it:
        it.now = NOW
        it.beat()
        yield it


@contextmanager
def serving_at(port: int, api: Operating) -> Iterator[uvicorn.Server]:
    """The API over the same world at a port that can be had again, as after a restart."""
    app = create_app(api.settings, now=lambda: api.now, submits=False)
    server = server_of(app, "127.0.0.1", port, log_level="critical")
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            thread.join(0.01)
        yield server
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def page(visitor: Visitor, api: Operating) -> Iterator[Page]:
    page = visitor.visit(api.url, viewport={"width": 1440, "height": 6000})
    expect(page.locator("#live-word")).to_have_text("live")
    page.evaluate("window.isTheSamePage = true")
    yield page
    page.close()


def test_a_new_interval_is_on_the_page_without_a_reload(page: Page, api: Operating) -> None:
    expect(page.locator("#trust")).to_contain_text("Data to 14:35")

    api.now = NOW + timedelta(minutes=5)
    store(api.settings, market_rows(NEXT_END), api.now)

    expect(page.locator("#trust")).to_contain_text("Data to 14:40")
    expect(page.locator(".tile[data-region=VIC1] .amount")).to_have_text(f"{price_at('VIC1', NEXT_END):.2f}")
    expect(page.locator("#said")).to_contain_text("New figures, prices to 14:40.")
    assert page.evaluate("window.isTheSamePage")


def test_a_publication_that_nobody_told_of_is_found_within_a_minute_and_shown_everywhere(
    chromium: Browser, api: Operating
) -> None:
    visitor = Visitor(chromium)
    visitor.visit(api.url)
    visitor.context.clock.install()
    visitor.context.route("**/dashboard/events", lambda route: route.abort())
    page = visitor.visit(api.url)
    page.wait_for_selector("#market .js-plotly-plot")

    # The same rows, published anew, as KPIs and syncs are.
    publish(api.settings, now=api.now + timedelta(seconds=20), extra=copies_for_analysts(api.settings))
    with page.expect_response("**/dashboard/market*") as answer:
        page.clock.fast_forward(61_000)

    assert answer.value.ok
    visitor.leave()


def test_the_keyboard_stays_where_it_was_when_something_new_comes(page: Page, api: Operating) -> None:
    dataset = page.locator("#freshness table a").first
    words = dataset.inner_text()
    dataset.focus()
    page.evaluate("document.activeElement.isTheOldOne = true")

    publish(api.settings, now=api.now + timedelta(seconds=30), extra=copies_for_analysts(api.settings))

    eventually(page, "!document.activeElement.isTheOldOne")
    assert page.evaluate("document.activeElement.innerText") == words


def test_a_sync_that_ends_is_on_top_of_the_list(page: Page, api: Operating) -> None:
    first = page.locator("#jobs table").first.locator("tbody tr").first
    expect(first).to_contain_text("dispatch_region")

    record_sync_run(api.settings, sync_run("aemo.unit_scada", NOW + timedelta(minutes=4), inserted=493))

    expect(first).to_contain_text("aemo.unit_scada")
    expect(first).to_contain_text("493")
    expect(page.locator("#said")).to_contain_text("aemo.unit_scada: 493 rows inserted")
    assert page.evaluate("window.isTheSamePage")


def test_a_section_without_an_answer_says_so_and_tries_again(chromium: Browser, api: Operating) -> None:
    visitor = Visitor(chromium)
    page = visitor.visit(api.url)
    expect(page.locator("#live-word")).to_have_text("live")
    page.wait_for_selector("#market .js-plotly-plot")

    visitor.context.set_offline(True)
    page.locator("#market").get_by_role("button", name="Month").click()
    expect(page.locator("#market .problem")).to_contain_text("No answer")
    expect(page.locator(".tile[data-region=NSW1] .amount")).not_to_be_empty()

    visitor.context.set_offline(False)
    page.locator("#market").get_by_role("button", name="Try again").click()
    expect(page.locator("#market .problem")).to_be_hidden()
    visitor.leave()


def test_a_server_that_ends_is_waited_for_and_found_again(chromium: Browser, api: Operating) -> None:
    visitor = Visitor(chromium)
    with serving_at(free_port(), api) as server:
        port = server.config.port
        page = visitor.visit(f"http://127.0.0.1:{port}")
        expect(page.locator("#live-word")).to_have_text("live")
    expect(page.locator("#live-word")).to_have_text("reconnecting")
    expect(page.locator(".tile")).to_have_count(5)

    with serving_at(port, api):
        expect(page.locator("#live-word")).to_have_text("live")
    visitor.leave()


def test_a_hidden_page_listens_to_nothing(chromium: Browser, api: Operating) -> None:
    with visiting(chromium, api.url) as visitor:
        page = visitor.visit(api.url)
        expect(page.locator("#live-word")).to_have_text("live")

        page.evaluate(
            "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        expect(page.locator("#live-word")).to_have_text("paused")

        page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
        expect(page.locator("#live-word")).to_have_text("live")
