"""The browsers that Playwright can drive, Millrace's pages in them, and pictures of what they show."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import FrameLocator, Locator, Page, expect

from include.local.stack import Stack

# The width of a telephone, in CSS pixels.
NARROW = 400

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def installed_browser() -> str | None:
    """The path of the first one that is installed, None without one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def picture(page: Page | Locator, path: Path) -> None:
    """Save what the page or a part of it shows."""
    page.screenshot(path=path, animations="disabled", style="[role=status] { visibility: hidden }")


def open_page(page: Page, stack: Stack, path: str) -> None:
    """Open a page by its own address, outside of Airflow's frame, and wait until all of it has been read."""
    page.goto(f"{stack.record.url}/millrace/{path}")
    expect(page.locator("[data-pending]")).to_have_count(0)


def chart_with(page: Page | FrameLocator, name: str) -> Locator:
    """The one figure whose drawing has a name, as a screen reader says it, by a regular expression; it is visible."""
    drawing = page.get_by_role("img", name=re.compile(name))
    expect(drawing).to_be_visible()
    return drawing.locator("xpath=ancestor::figure")


def faults(page: Page) -> list[str]:
    """What axe-core finds serious or critical, by rule and element."""
    return [
        f"{rule['id']}: {node['html'][:200]} {[check['message'] for check in node['any']]}"
        for rule in Axe().run(page).response["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def assert_accessible(page: Page) -> None:
    """axe-core finds nothing serious in light, in dark and on a narrow screen, which nothing is wider than."""
    page.emulate_media(color_scheme="light")
    assert faults(page) == []
    page.emulate_media(color_scheme="dark")
    assert faults(page) == []
    page.set_viewport_size({"width": NARROW, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW
    assert faults(page) == []
