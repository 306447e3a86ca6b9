"""Airflow's pages in a browser: the list of DAGs, the form of a training and its run, the asset graph."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from playwright.sync_api import Locator, Page, expect

from include.definition.files import load_pipeline
from include.local.stack import Stack
from tests.support.browsers import BROWSERS, installed_browser, picture
from tests.support.stacks import result_of
from tests.support.workflows import BUNDLED

PIPELINE = "digits"
INGEST, TRAIN, PREDICT, REPLAY, ROLLBACK = (
    f"{PIPELINE}.{workflow}" for workflow in ("ingest", "train", "predict", "replay", "rollback")
)
EPOCHS = 2
TIMEOUT_S = 600

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(installed_browser() is None, reason=f"no browser is installed: none of {', '.join(BROWSERS)}"),
    pytest.mark.usefixtures("whole_flow"),
    pytest.mark.timeout(3600),  # the first test may also start the stack and wait for its first runs
]


def open_list(page: Page) -> None:
    """Open the list of DAGs, and wait until the page before it, which has links of the same names, is gone."""
    page.get_by_role("link", name="Dags", exact=True).first.click()
    expect(page.get_by_role("heading", name=re.compile("^[1-9][0-9]* Dags?$"))).to_be_visible()


def open_form(page: Page, dag_id: str) -> Locator:
    """Open the form that triggers a DAG, and wait until its fields have their defaults."""
    open_list(page)
    page.get_by_role("link", name=dag_id, exact=True).click()
    expect(page.get_by_role("link", name="Overview")).to_be_visible()
    page.get_by_role("button", name="Trigger Dag").click()
    form = page.get_by_role("dialog")
    expect(form.get_by_role("heading", name=f"Trigger Dag - {dag_id}")).to_be_visible()
    expect(form.get_by_role("spinbutton").first).not_to_have_value("")
    return form


def test_the_list_of_dags_shows_the_pipelines_and_their_latest_runs(airflow: Page, screenshots: Path) -> None:
    open_list(airflow)

    for dag_id in (INGEST, TRAIN, PREDICT):
        expect(airflow.get_by_role("link", name=dag_id, exact=True)).to_be_visible()
        latest = airflow.locator(f'a[href^="/dags/{dag_id}/runs/"]', has=airflow.locator("time"))
        expect(latest).to_have_accessible_name(re.compile("success$"))
    airflow.get_by_role("button", name="Show table view").click()
    for pipeline in BUNDLED:
        link = airflow.get_by_role("table").get_by_role("link", name=f"{pipeline}.train", exact=True)
        expect(link).to_be_visible()
    picture(airflow, screenshots / "dags.png")


def test_a_field_of_the_form_has_a_description_its_default_and_its_limit(airflow: Page) -> None:
    training = load_pipeline(PIPELINE).training
    form = open_form(airflow, TRAIN)

    for title, default, least in (
        ("Epochs", training.epochs, 1),
        ("Batch size", training.batch_size, 1),
        ("New samples", training.min_new_samples, 0),
    ):
        field = form.get_by_role("spinbutton", name=title)
        expect(field).to_have_accessible_description(re.compile(r"\w+ \w+"))
        expect(field).to_have_value(str(default))
        field.fill(str(least - 1))
        field.blur()
        expect(field).to_have_value(str(least))


def test_a_training_that_is_triggered_from_its_form_succeeds_with_the_forms_values(
    airflow: Page, stack: Stack, screenshots: Path
) -> None:
    form = open_form(airflow, TRAIN)
    form.get_by_role("spinbutton", name="New samples").fill("0")  # other tests may have trained on all of them
    form.get_by_role("spinbutton", name="Epochs").fill(str(EPOCHS))
    airflow.set_viewport_size({"width": 1280, "height": 1100})
    picture(form, screenshots / "train-form.png")
    airflow.set_viewport_size({"width": 1280, "height": 800})
    form.get_by_role("button", name="Trigger").click()

    airflow.wait_for_url(re.compile(f"/dags/{TRAIN}/runs/manual__"))
    run_id = unquote(airflow.url.rsplit("/", 1)[-1])
    airflow.get_by_role("button", name="Show Graph").click()
    airflow.get_by_role("link", name="Details").click()
    ended = airflow.get_by_role("row", name=re.compile("^State (Success|Failed)$"))
    expect(ended).to_be_visible(timeout=TIMEOUT_S * 1000)
    expect(ended).to_contain_text("Success")
    settings = airflow.get_by_role("row", name="Conf").get_by_role("code")
    expect(settings).to_contain_text(f'"epochs": {EPOCHS},')
    settings.scroll_into_view_if_needed()
    picture(airflow, screenshots / "train-run.png")

    run = stack.api.get(f"/dags/{TRAIN}/dagRuns/{run_id}")
    assert (run["state"], run["triggered_by"], run["conf"]["epochs"]) == ("success", "ui", EPOCHS)
    assert result_of(stack.api, TRAIN, run_id, "train_model")["version"] >= 1
    assert any(f"Epoch {EPOCHS} of {EPOCHS}" in line for line in stack.api.log(TRAIN, run_id, "train_model", 1))


def test_the_asset_graph_connects_backlogs_model_and_predictions(
    airflow: Page, stack: Stack, screenshots: Path
) -> None:
    samples, requests, model, predictions = (
        f"{PIPELINE}.{name}" for name in ("train.backlog", "predict.backlog", "model", "predictions")
    )
    airflow.get_by_role("link", name="Assets", exact=True).first.click()
    airflow.get_by_role("table").get_by_role("link", name=model, exact=True).click()
    graph = airflow.get_by_role("application")
    nodes = {
        name: graph.get_by_role("link", name=name, exact=True)
        for name in (samples, requests, TRAIN, ROLLBACK, model, PREDICT, predictions)
    }
    arrows = {
        (samples, TRAIN),
        (TRAIN, model),
        (ROLLBACK, model),
        (model, PREDICT),
        (requests, PREDICT),
        (PREDICT, predictions),
    }
    for node in nodes.values():
        expect(node).to_be_visible()
    drawn = graph.get_by_role("group", name=re.compile("^Edge from "))
    expect(drawn).to_have_count(len(arrows))

    names = {f"asset:{asset['id']}": asset["name"] for asset in stack.api.get("/assets", limit=100)["assets"]}
    assert {
        tuple(names.get(end, end.removeprefix("dag:")) for end in ends)
        for arrow in drawn.all()
        for ends in re.findall("^Edge from (.+) to (.+)$", arrow.get_attribute("aria-label") or "")
    } == arrows
    lay_out_downwards(airflow, stack, nodes[samples], nodes[predictions])
    picture(airflow, screenshots / "assets.png")


def lay_out_downwards(page: Page, stack: Stack, first: Locator, last: Locator) -> None:
    """Lay the graph out from top to bottom, which fits the page with larger letters."""

    def turned() -> bool:
        top, bottom = first.bounding_box(), last.bounding_box()
        return top is not None and bottom is not None and top["y"] + top["height"] < bottom["y"]

    page.get_by_role("button", name="options").click()
    page.get_by_role("combobox", name="Graph Direction").click()
    page.get_by_role("option", name="Top to Bottom").click()
    page.keyboard.press("Escape")
    stack.api.wait_until(turned, timeout_s=30, what="the graph is not laid out from its top to its bottom")
    page.get_by_role("button", name="Fit View").click()
    page.get_by_role("button", name="Zoom Out").click()
    for node in (first, last):
        expect(node).to_be_in_viewport(ratio=0.99)
        node.hover(trial=True)  # returns when it has stopped moving
    expect(page.get_by_role("code").first).to_be_visible()
