"""The browsers that Playwright can drive."""

from __future__ import annotations

import shutil

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def installed_browser() -> str | None:
    """The path of the first one that is installed, None without one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)
