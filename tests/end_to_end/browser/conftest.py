"""A headless browser for the one Airflow; a failed test reports its page's address and a screenshot."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, expect, sync_playwright

from include.local.airflow import USERNAME
from include.local.stack import Stack
from tests.support.browsers import installed_browser

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Long enough for a machine that trains at the same time; only a failure waits this long.
PAGE_TIMEOUT_MS = 120_000

OPEN_PAGE = pytest.StashKey[tuple[Page, Path]]()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """The folder for screenshots: `MILLRACE_SCREENSHOTS` where it is set."""
    folder = Path(os.environ.get("MILLRACE_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for each module: Playwright's event loop must have ended when other tests run theirs."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed_browser(), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    """An empty page without cookies; its screenshots have more pixels than it, to stay sharp."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, device_scale_factor=1.5, timezone_id="UTC", locale="en-US"
    )
    context.set_default_timeout(PAGE_TIMEOUT_MS)
    expect.set_options(timeout=PAGE_TIMEOUT_MS)
    page = context.new_page()
    request.node.stash[OPEN_PAGE] = page, tmp_path / "failed.png"
    yield page
    context.close()


@pytest.fixture
def airflow(page: Page, stack: Stack) -> Page:
    """Airflow's home page, after a login through its form."""
    page.goto(stack.record.url)
    page.get_by_label("Username").fill(USERNAME)
    page.get_by_label("Password").fill(stack.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    return page


@pytest.fixture
def log_in(page: Page, stack: Stack) -> Callable[[str], Page]:
    """Gives the browser the session of a person, as a login would, without its form."""

    def log_in_as(name: str) -> Page:
        password = json.loads(stack.layout.password_file.read_text())[name]
        login = {"username": name, "password": password}
        answer = httpx.post(f"{stack.record.url}/auth/token", json=login, trust_env=False, timeout=30)
        page.context.add_cookies([{"name": "_token", "value": answer.json()["access_token"], "url": stack.record.url}])
        return page

    return log_in_as


@pytest.fixture
def complaints(page: Page, stack: Stack) -> Iterator[list[str]]:
    """What the browser finds wrong with a page of Millrace, such as a script that its policy forbids: nothing."""
    said: list[str] = []
    own = f"{stack.record.url}/millrace/"

    def hear(message: ConsoleMessage) -> None:
        # On a busy machine a broker may answer too late for once, which the page says and mends itself.
        late = "the server responded with a status of 503" in message.text
        if message.type == "error" and message.location["url"].startswith(own) and not late:
            said.append(f"{message.location['url']}: {message.text}")

    def see(request: Request) -> None:
        if request.frame.url.startswith(own) and not request.url.startswith(stack.record.url):
            said.append(f"{request.frame.url} asks for {request.url}")

    page.on("console", hear)
    page.on("request", see)
    page.on("pageerror", lambda error: said.append(str(error)))
    yield said
    assert said == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the page's address and a screenshot to the report of a failed test."""
    report = yield
    page, path = item.stash.get(OPEN_PAGE, (None, None))
    if report.failed and page is not None and not page.is_closed():
        try:
            page.screenshot(path=path)
            picture = f"its screenshot is {path}"
        except Error as error:
            picture = f"no screenshot could be taken: {error.message}"
        report.sections.append(("Browser", f"The page was {page.url}; {picture}"))
    return report
