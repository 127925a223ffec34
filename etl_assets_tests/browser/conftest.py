"""A person's browser, a real Chromium, before the real API over a published world.

Whatever a test looks at: a page that writes an error into its console, or asks another server for anything, fails it.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from etl_assets.settings import Settings
from etl_assets_tests.api.operating import Operating, operating
from etl_assets_tests.browser.world import NOW, fill

UNLIMITED = {"rate_limit_address": "100000/minute", "rate_limit_client": "100000/minute"}
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE_MS = 15_000
expect.set_options(timeout=PATIENCE_MS)


def chromium_path() -> str | None:
    """The Chromium that is on the machine."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if chromium_path() is None:
        pytest.skip("there is no Chromium on this machine")
    folder = tmp_path_factory.mktemp("world") / "data"
    fill(Settings(_env_file=None, etl_data=folder))
    return folder


@pytest.fixture(scope="module")
def api(published: Path) -> Iterator[Operating]:
    """The API over the world, which only looks at it."""
    with operating(published, **UNLIMITED) as it:
        it.now = NOW
        it.beat()
        yield it


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = chromium_path()
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Visitor:
    """Somebody with a browser; what its pages complained of, and which servers they asked."""

    chromium: Browser
    context: BrowserContext | None = None
    options: dict[str, object] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def visit(self, url: str, *, expects: str = ".tile", **options: object) -> Page:
        """The page at an address, when what is expected has come; options are those of a browser's context.

        With the same options it is the same browser as before, which has the page's files already.
        """
        if options != self.options or self.context is None:
            self.leave()
            self.options = options
            self.context = self.chromium.new_context(
                **{"viewport": {"width": 1440, "height": 900}, "timezone_id": "Australia/Sydney", **options}
            )
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(url)
        page.wait_for_selector(expects)
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} ({message.location['url']})")

    def leave(self) -> None:
        """Close the browser, and forget what it stored."""
        if self.context:
            self.context.close()
        self.context = None

    def must_be_content(self, url: str) -> None:
        """Fails where a page complained, or asked others than the server at ``url``; then all is forgotten."""
        complaints, asked = self.complaints, self.elsewhere(url)
        self.complaints, self.asked = [], []
        assert complaints == []
        assert asked == []

    def elsewhere(self, url: str) -> list[str]:
        """What was asked of others than the server at ``url``."""
        return [asked for asked in self.asked if not asked.startswith((url, "data:", "blob:"))]


@contextmanager
def visiting(chromium: Browser, url: str) -> Iterator[Visitor]:
    """A visitor of a page that has to be in order."""
    it = Visitor(chromium)
    yield it
    it.leave()
    it.must_be_content(url)


@pytest.fixture(scope="module")
def visitor(chromium: Browser, api: Operating) -> Iterator[Visitor]:
    with visiting(chromium, api.url) as it:
        yield it


@pytest.fixture
def page(visitor: Visitor, api: Operating) -> Iterator[Page]:
    """The page as it is for a visitor at a desk."""
    page = visitor.visit(api.url)
    yield page
    page.close()
    visitor.must_be_content(api.url)


@pytest.fixture
def opened(visitor: Visitor, api: Operating) -> Iterator[Callable[..., Page]]:
    """The page at some hash, with options of the browser's context."""
    pages = []

    def opening(fragment: str = "", **options: object) -> Page:
        pages.append(visitor.visit(f"{api.url}/{fragment}", **options))
        return pages[-1]

    yield opening
    for page in pages:
        page.close()
    visitor.must_be_content(api.url)
