"""The browsers that Playwright can drive, and pictures of what they show."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Locator, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def installed_browser() -> str | None:
    """The path of the first one that is installed, None without one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def picture(page: Page | Locator, path: Path) -> None:
    """Save what the page or a part of it shows."""
    page.screenshot(path=path, animations="disabled", style="[role=status] { visibility: hidden }")
