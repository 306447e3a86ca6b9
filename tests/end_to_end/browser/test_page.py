"""The page as people use it: from Airflow's navigation, by keyboard, in the dark and narrow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page, Request, expect

from include.local.airflow import USERNAME
from include.local.stack import Stack
from tests.support.browsers import BROWSERS, installed_browser, picture

LogIn = Callable[[str], Page]

PIPELINE = "digits"
NARROW = 400

# Pages, with a part of what is seen on each.
PAGES = {
    "": "with records that wait",
    f"{PIPELINE}/overview": PIPELINE,
    f"{PIPELINE}/look": "digit-",
    f"{PIPELINE}/requests/0/0": f"{PIPELINE}.requests, partition 0, offset 0",
    f"{PIPELINE}/dead-letters": f"No request of {PIPELINE} has died",
    f"{PIPELINE}/models": "promoted by its training",
    f"{PIPELINE}/models/1": "What it confuses",
}

pytestmark = [
    pytest.mark.skipif(installed_browser() is None, reason=f"no browser is installed: none of {', '.join(BROWSERS)}"),
    pytest.mark.usefixtures("flow"),
    pytest.mark.timeout(900),  # the first test may also start the stack and wait for its first runs
]


@pytest.fixture(autouse=True)
def complaints(page: Page, stack: Stack) -> Iterator[list[str]]:
    """What the browser finds wrong with the page, such as a script that its policy forbids: nothing."""
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


def open_page(page: Page, stack: Stack, path: str) -> None:
    """Open a page by its own address, outside of Airflow's frame, and wait until all of it has been read."""
    page.goto(f"{stack.record.url}/millrace/{path}")
    expect(page.locator("[data-pending]")).to_have_count(0)


def test_airflows_navigation_leads_to_the_pipelines_and_to_their_pictures(
    airflow: Page, stack: Stack, screenshots: Path
) -> None:
    airflow.get_by_role("link", name="Millrace").click()
    frame = airflow.frame_locator("iframe")
    card = frame.get_by_role("article", name=PIPELINE, exact=True)
    expect(card).to_contain_text(re.compile(r"Version [0-9]+ accuracy 0\.[0-9]{4}"))
    expect(card.get_by_role("link", name=re.compile(rf"^{PIPELINE}.train succeeded"))).not_to_have_count(0)
    expect(frame.locator("[data-pending]")).to_have_count(0)
    picture(airflow, screenshots / "page-overview.png")

    frame.get_by_role("link", name=PIPELINE, exact=True).click()
    frame.get_by_role("link", name="Look", exact=True).click()
    pictures = frame.get_by_role("img", name=re.compile("^Sample "))
    expect(pictures).to_have_count(24)
    for shown in pictures.all():
        shown.scroll_into_view_if_needed()
        expect(shown).to_have_js_property("naturalWidth", 8)
    pictures.first.scroll_into_view_if_needed()
    picture(airflow, screenshots / "page-look.png")

    airflow.goto(f"{stack.record.url}/plugin/millrace/millrace/{PIPELINE}/models/1")
    expect(frame.get_by_text("What it confuses")).to_be_visible()
    picture(airflow, screenshots / "page-model.png")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_accessible_light_dark_and_narrow(log_in: LogIn, stack: Stack, path: str) -> None:
    page = log_in(USERNAME)
    open_page(page, stack, path)
    expect(page.get_by_role("main")).to_contain_text(PAGES[path])

    page.emulate_media(color_scheme="light")
    assert faults(page) == []
    page.emulate_media(color_scheme="dark")
    assert faults(page) == []
    page.set_viewport_size({"width": NARROW, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW
    assert faults(page) == []


def faults(page: Page) -> list[str]:
    """What axe-core finds serious or critical, by rule and element."""
    return [
        f"{rule['id']}: {node['html'][:200]} {[check['message'] for check in node['any']]}"
        for rule in Axe().run(page).response["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def test_a_form_is_filled_and_sent_by_keyboard(log_in: LogIn, stack: Stack) -> None:
    page = log_in(USERNAME)
    open_page(page, stack, f"{PIPELINE}/look")

    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # to the content
    expect(page.get_by_role("main")).to_be_focused()
    for _ in range(4):  # past the three topics
        page.keyboard.press("Tab")
    expect(page.get_by_label("Predicted")).to_be_focused()
    page.keyboard.type("7")
    page.keyboard.press("Enter")

    page.wait_for_url(re.compile("label=7"))
    assert set(page.locator(".verdict strong").all_inner_texts()) == {"7"}
