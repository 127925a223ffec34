"""Waiting for what a script in the page finds; the page's own policy forbids Playwright's way, which is ``eval``."""

import time

from playwright.sync_api import Page

PATIENCE_S = 15
EVERY_MS = 40


def eventually(page: Page, script: str) -> None:
    """Wait until a script finds something true; fails after 15 seconds."""
    deadline = time.monotonic() + PATIENCE_S
    while not page.evaluate(script):
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {script}"
        page.wait_for_timeout(EVERY_MS)
