"""The system's Chromium, driven by its DevTools protocol, with a page that a test clicks on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
MISSING = "Chromium is missing: install Debian's package chromium, as .ci/run does"
REQUIRED = "POSTIL_REQUIRE_CHROMIUM"
SCREENSHOTS = Path(__file__).resolve().parents[1] / "artifacts" / "screenshots"
LIMIT_MS = 20_000


@contextmanager
def open_page(**context: str) -> Iterator[Page]:
    """Open a page in a profile of its own; fails where .ci/run asks for a browser and none is."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        if os.environ.get(REQUIRED):
            pytest.fail(MISSING, pytrace=False)
        pytest.skip(MISSING)
    # a browser's own sandbox does not start for root, as whom containers run tests
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=arguments)
        try:
            page = browser.new_context(**context).new_page()  # type: ignore[arg-type]
            page.set_default_timeout(LIMIT_MS)
            yield page
        finally:
            browser.close()


def keep_screenshot(page: Page, name: str) -> None:
    """Keep what the page looks like where .ci/run finds it."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
