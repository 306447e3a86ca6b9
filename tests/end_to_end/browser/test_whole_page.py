"""All of the page, which takes minutes: every link, hostile records, a person who may only read, and replay."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from playwright.sync_api import FrameLocator, Page, expect

from include.definition.files import PIPELINES, read_pipeline
from include.definition.pipeline import Pipeline
from include.kafka.connection import KafkaConnection
from include.kafka.dead_letters import ADDRESS, ERROR, REASON, RUN
from include.kafka.topics import ensure_topics
from include.local.airflow import USERNAME
from include.local.stack import Stack
from include.sources.digits import DigitsSource
from tests.support.browsers import BROWSERS, assert_accessible, installed_browser, open_page, picture
from tests.support.consumers import committed_records
from tests.support.producers import Record, produce
from tests.support.stacks import READER, added_pipelines, runs_of, wait_for_run

LogIn = Callable[[str], Page]

# The flow of the one has run; of the other there are records that no step has written.
PIPELINE, HOSTILE = "digits", "untrusted"
ATTACK = """</pre></title><img src=x onerror="window.attacked = 1"><script>window.attacked = 1</script>"""
LETTERS = 3
TIMEOUT_S = 240

# Pages, with a part of what is seen on each.
PAGES = {
    "spoken_digits/look": "UTC",
    "passengers/look": "fare",
    "languages/look": "UTC",
    "languages/models/1": "Held-out accuracy",
    f"{HOSTILE}/look?topic=samples": ATTACK,
    f"{HOSTILE}/samples/0/0": ATTACK,
    f"{HOSTILE}/dead-letters?reason=wrong-size": ATTACK,
    f"{HOSTILE}/dead-letters/0/0": ATTACK,
}

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(installed_browser() is None, reason=f"no browser is installed: none of {', '.join(BROWSERS)}"),
    pytest.mark.usefixtures("hostile", "complaints"),
    pytest.mark.timeout(1800),  # the first test may also start the stack and wait for its first runs
]


@pytest.fixture(scope="module")
def hostile(whole_flow: Stack, kafka: KafkaConnection) -> Iterator[Pipeline]:
    """A pipeline of which somebody has written all records by hand, dead letters among them that can be replayed."""
    file = re.sub("^description = .*", f"description = {json.dumps(ATTACK)}", bundled(), flags=re.MULTILINE)
    with added_pipelines(whole_flow, {HOSTILE: file}, workflows=["predict", "replay", "rollback"]):
        pipeline = read_pipeline(Path(whole_flow.record.settings["MILLRACE_PIPELINES"]) / f"{HOSTILE}.toml")
        assert isinstance(pipeline, Pipeline)
        ensure_topics(kafka, pipeline.topic_specs())
        attack = ATTACK.encode()
        for topic in (pipeline.samples_topic, pipeline.requests_topic, pipeline.predictions_topic):
            produce(kafka, topic, [Record(attack, attack, [("schema", attack), ("label", attack), (ATTACK, attack)])])
        produce(kafka, pipeline.dead_letters_topic, [letter(pipeline, number) for number in range(LETTERS)])
        yield pipeline


def bundled() -> str:
    return (PIPELINES / f"{PIPELINE}.toml").read_text()


def letter(pipeline: Pipeline, number: int) -> Record:
    """A good request that has died, with an explanation that attacks who reads it."""
    (sample,) = DigitsSource().read(number, 1)
    explanation = [(REASON, b"wrong-size"), *((name, ATTACK.encode()) for name in (ERROR, ADDRESS, RUN, ATTACK))]
    schema = ("schema", pipeline.format.schema_name.encode())
    return Record(pipeline.format.encode(sample.content), ATTACK.encode(), [schema, *explanation])


def frame_of(page: Page) -> FrameLocator:
    return page.frame_locator("iframe")


def test_links_lead_from_the_overview_to_every_page_of_a_pipeline(airflow: Page) -> None:
    airflow.get_by_role("link", name="Millrace").click()
    frame = frame_of(airflow)
    card = frame.get_by_role("article", name=PIPELINE, exact=True)
    expect(card).to_contain_text(re.compile(r"Version [0-9]+ accuracy 0\.[0-9]{4}"))
    expect(card.get_by_role("link", name=re.compile(rf"^{PIPELINE}.train succeeded"))).not_to_have_count(0)
    expect(frame.locator("[data-pending]")).to_have_count(0)

    frame.get_by_role("link", name=PIPELINE, exact=True).click()
    expect(frame.get_by_role("img", name=re.compile("^Requests an hour.*: [1-9]"))).to_be_visible()
    expect(frame.get_by_text(re.compile("Half came within"))).to_be_visible()

    frame.get_by_role("link", name="Look", exact=True).click()
    pictures = frame.get_by_role("img", name=re.compile("^Sample "))
    expect(pictures).to_have_count(24)
    for shown in pictures.all():
        shown.scroll_into_view_if_needed()
        expect(shown).to_have_js_property("naturalWidth", 8)
    pictures.first.scroll_into_view_if_needed()
    frame.get_by_label("Predicted").fill("3")
    frame.get_by_role("button", name="Show").click()
    expect(frame.get_by_label("Predicted")).to_have_value("3")
    expect(pictures).not_to_have_count(0)
    expect(frame.locator(".verdict strong").filter(has_not_text=re.compile("^3$"))).to_have_count(0)

    frame.get_by_role("link", name=re.compile(rf"^Record {PIPELINE}.predictions")).first.click()
    expect(frame.get_by_text(re.compile(rf"^millrace trace {PIPELINE}.predictions"))).to_be_visible()
    frame.get_by_role("link", name=re.compile(rf"^{PIPELINE}.requests")).click()
    expect(frame.get_by_role("heading", name=re.compile(rf"^{PIPELINE}.requests"))).to_be_visible()

    frame.get_by_role("link", name="Dead letters", exact=True).click()
    expect(frame.get_by_text(f"No request of {PIPELINE} has died")).to_be_visible()

    frame.get_by_role("link", name="Models", exact=True).click()
    versions = frame.get_by_role("region", name="Versions")
    expect(versions.get_by_role("row", name=re.compile("champion"))).to_have_count(1)
    expect(frame.get_by_text("promoted by its training").first).to_be_visible()
    versions.get_by_role("link", name="1", exact=True).click()
    matrix = frame.get_by_role("region", name="Confusion matrix")
    expect(matrix).to_be_visible()
    matrix.get_by_title("3 predicted as 3").click()
    expect(frame.get_by_label("Label")).to_have_value("3")
    expect(pictures).not_to_have_count(0)
    assert set(frame.locator(".verdict strong").all_inner_texts()) == {"3"}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_shows_hostile_content_as_text_and_is_accessible_light_dark_and_narrow(
    log_in: LogIn, stack: Stack, path: str
) -> None:
    page = log_in(USERNAME)
    open_page(page, stack, path)
    expect(page.get_by_role("main")).to_contain_text(PAGES[path])

    assert_accessible(page)
    assert page.evaluate("window.attacked") is None


@pytest.mark.parametrize(
    "path", [f"{PIPELINE}/look", f"{PIPELINE}/models/1", f"{HOSTILE}/dead-letters?reason=wrong-size"]
)
def test_the_tab_key_reaches_everything_in_its_order_and_the_focus_is_seen(
    log_in: LogIn, stack: Stack, path: str
) -> None:
    page = log_in(USERNAME)
    open_page(page, stack, path)

    for element in page.locator("a[href], button, input:not([type=hidden]), select, textarea, summary, .wide").all():
        tab(page)
        expect(element).to_be_focused()
        expect(element).to_be_in_viewport()
        outline = element.evaluate("it => getComputedStyle(it).outline")
        assert "2px" in outline, f"{outline} of {element.inner_text()}"


def tab(page: Page) -> None:
    """Press the key until the focus is on another element: a field for a time has parts of its own."""
    before = page.evaluate_handle("document.activeElement")
    for _ in range(10):
        page.keyboard.press("Tab")
        if not page.evaluate("it => it === document.activeElement", before):
            break


def test_who_may_only_read_sees_the_same_without_a_form_that_triggers(log_in: LogIn, stack: Stack) -> None:
    page = log_in(READER)

    open_page(page, stack, f"{HOSTILE}/dead-letters?reason=wrong-size")
    expect(page.get_by_role("heading", name=re.compile("^wrong-size"))).to_be_visible()
    expect(page.locator("form")).to_have_count(0)
    open_page(page, stack, f"{PIPELINE}/models")
    expect(page.get_by_role("region", name="Versions")).to_be_visible()
    expect(page.locator("form")).to_have_count(0)


def test_dead_letters_are_replayed_from_the_page(
    airflow: Page, stack: Stack, kafka: KafkaConnection, hostile: Pipeline, screenshots: Path
) -> None:
    airflow.goto(f"{stack.record.url}/plugin/millrace/millrace/{HOSTILE}/dead-letters")
    frame = frame_of(airflow)
    frame.get_by_role("link", name="wrong-size", exact=True).click()
    frame.get_by_label("Number at most").fill(str(LETTERS - 1))
    picture(airflow, screenshots / "page-dead-letters.png")
    frame.get_by_role("button", name="Replay").click()

    link = frame.get_by_role("status").get_by_role("link")
    expect(link).to_have_text(re.compile("^manual__"))
    run = link.inner_text()
    assert wait_for_run(stack.api, f"{HOSTILE}.replay", run, timeout_s=TIMEOUT_S)["state"] == "success"
    expect(frame.get_by_text(f"{LETTERS - 1} replayed")).to_be_visible()
    link.click()
    airflow.wait_for_url(re.compile(f"/dags/{HOSTILE}.replay/runs/manual__"))
    assert unquote(airflow.url.rsplit("/", 1)[-1]) == run
    replayed = [record.value() for record in committed_records(kafka, hostile.requests_topic)][-(LETTERS - 1) :]
    assert replayed == [letter(hostile, number).value for number in range(LETTERS - 1)]


def test_links_beside_a_task_lead_to_the_page_and_to_mlflow(airflow: Page, stack: Stack) -> None:
    run = runs_of(stack.api, f"{PIPELINE}.train")[-1]["dag_run_id"]
    details = f"{stack.record.url}/dags/{PIPELINE}.train/runs/{quote(run)}/tasks/train_model/details"

    airflow.goto(details)
    airflow.get_by_role("link", name="Millrace", exact=True).and_(airflow.locator(f"[href*='{PIPELINE}/look']")).click()
    expect(frame_of(airflow).get_by_role("heading", name=f"The newest predictions of {PIPELINE}")).to_be_visible()

    airflow.goto(details)
    address = airflow.get_by_role("link", name="MLflow", exact=True).get_attribute("href")
    assert address is not None
    airflow.goto(address)
    expect(airflow.get_by_text(PIPELINE, exact=True).first).to_be_visible()
