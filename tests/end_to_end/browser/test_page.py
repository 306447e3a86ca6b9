"""The page as people use it: from Airflow's navigation, by keyboard, in the dark and narrow."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from include.local.airflow import USERNAME
from include.local.stack import Stack
from include.overview.history import HOURS
from tests.support.browsers import BROWSERS, assert_accessible, chart_with, installed_browser, open_page, picture

LogIn = Callable[[str], Page]

PIPELINE = "digits"

# Pages, with a part of what is seen on each.
PAGES = {
    "": "with records that wait",
    f"{PIPELINE}/overview": PIPELINE,
    f"{PIPELINE}/look": "digit-",
    f"{PIPELINE}/requests/0/0": f"{PIPELINE}.requests, partition 0, offset 0",
    f"{PIPELINE}/dead-letters": f"No request of {PIPELINE} has died",
    f"{PIPELINE}/models": f"promoted automatically by {PIPELINE}.train",
    f"{PIPELINE}/models/1": "What it confuses",
}

# What is drawn of a pipeline's last day, as a person who can't see it is told, and the columns of the same numbers.
CHARTS = {
    r"^Waiting requests, each hour: waiting ends at 0$": ["At", "waiting"],
    r"^Time to a prediction: half within ends at [0-9.]+ \w+, 95 % within ends at [0-9.]+ \w+$": [
        "From",
        "half within",
        "95 % within",
    ],
    r"^Samples, each hour: ≈ [1-9][0-9,]* samples in all": ["From", "Samples"],
    r"^Requests, each hour: ≈ [1-9][0-9,]* requests in all": ["From", "Requests"],
    r"^Predictions, each hour: ≈ [1-9][0-9,]* predictions in all": ["From", "Predictions"],
    r"^Dead letters, each hour: 0 dead letters in all": ["From", "Dead letters"],
}

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(installed_browser() is None, reason=f"no browser is installed: none of {', '.join(BROWSERS)}"),
    pytest.mark.usefixtures("whole_flow", "complaints"),
    pytest.mark.timeout(3600),  # the first test may also start the stack and wait for its first runs
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
    frame.get_by_role("link", name="Records", exact=True).click()
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


def test_the_last_day_of_a_pipeline_is_drawn_with_its_numbers_as_tables(log_in: LogIn, stack: Stack) -> None:
    page = log_in(USERNAME)
    open_page(page, stack, f"{PIPELINE}/overview")

    charts = [chart_with(page, name) for name in CHARTS]
    for chart, columns in zip(charts, CHARTS.values(), strict=True):
        chart.get_by_text("As a table").click()
        expect(chart.get_by_role("columnheader")).to_have_text(columns)
        expect(chart.get_by_role("row")).to_have_count(1 + HOURS + (columns[0] == "At"))  # what waits now, too
    latencies = charts[1].get_by_role("cell").filter(has_text=re.compile("^[0-9.]+ (s|min)$"))
    expect(latencies).not_to_have_count(0)


def test_the_balance_of_the_predictions_is_beside_that_of_the_training(log_in: LogIn, stack: Stack) -> None:
    page = log_in(USERNAME)
    open_page(page, stack, f"{PIPELINE}/overview")

    table = page.get_by_role("table").filter(has=page.get_by_role("columnheader", name="Predicted"))
    columns = ["Label", "Predicted", re.compile("^In the training of version [0-9]+$")]
    expect(table.get_by_role("columnheader")).to_have_text(columns)
    assert sorted(table.get_by_role("rowheader").all_inner_texts()) == [str(digit) for digit in range(10)]
    counts = [int(text.replace(",", "")) for text in table.locator("td:nth-child(2) small").all_inner_texts()]
    expect(page.get_by_role("heading", name=f"The newest {sum(counts)} predictions")).to_be_visible()
    assert counts == sorted(counts, reverse=True)
    for trained in table.locator("td:nth-child(3) small").all_inner_texts():
        assert int(trained.replace(",", "")) > 0

    label = table.get_by_role("link").first.inner_text()
    table.get_by_role("link").first.click()
    expect(page.get_by_label("Predicted")).to_have_value(label)
    assert set(page.locator(".verdict strong").all_inner_texts()) == {label}


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
