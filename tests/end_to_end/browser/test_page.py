"""The page as people use it: from Airflow's navigation, by keyboard, in the dark and narrow."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from include.local.airflow import USERNAME
from include.local.stack import Stack
from tests.support.browsers import BROWSERS, assert_accessible, installed_browser, open_page, picture

LogIn = Callable[[str], Page]

PIPELINE = "digits"

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
    pytest.mark.long,
    pytest.mark.skipif(installed_browser() is None, reason=f"no browser is installed: none of {', '.join(BROWSERS)}"),
    pytest.mark.usefixtures("whole_flow", "complaints"),
    pytest.mark.timeout(1800),  # the first test may also start the stack and wait for its first runs
]


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

    assert_accessible(page)


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
