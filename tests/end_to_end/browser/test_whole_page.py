"""All of the page, which takes minutes: every link, hostile records, a person who may only read, and replay."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
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
from millrace.page.look import SHOWN
from tests.support.browsers import BROWSERS, assert_accessible, chart_with, installed_browser, open_page, picture
from tests.support.consumers import committed_records
from tests.support.producers import Record, produce
from tests.support.secrets import TOP_K, WATCHED
from tests.support.stacks import READER, added_pipelines, result_of, runs_of, wait_for_run
from tests.support.workflows import pause_when_idle

LogIn = Callable[[str], Page]

# The flow of the one has run; of the others there are records that no step has written.
PIPELINE, HOSTILE, SCANS = "digits", "untrusted", "scans"
TRAIN = f"{PIPELINE}.train"
ATTACK = """</pre></title><img src=x onerror="window.attacked = 1"><script>window.attacked = 1</script>"""
LETTERS = 3
# Dead letters of one pipeline by reason: for how many seconds each is dead.
DEATHS = {
    "undecodable": range(1800, 80_000, 2600),
    "wrong-size": range(600, 9000, 700),
    "empty": range(40_000, 43_000, 1000),
}
TIMEOUT_S = 600

# Pages, with a part of what is seen on each.
PAGES = {
    "spoken_digits/look": "UTC",
    "passengers/look": "fare",
    f"{WATCHED}/look": "UTC",
    f"{WATCHED}/overview": f"What {WATCHED}.watch has found",
    f"{WATCHED}/models/1": "Held-out accuracy",
    f"{PIPELINE}/models": "Held-out accuracy by version",
    f"{HOSTILE}/overview": "1 of the newest records is no prediction of this pipeline",
    f"{HOSTILE}/look": "1 of the records that were searched is no prediction of this pipeline",
    f"{HOSTILE}/look?topic=samples": ATTACK,
    f"{HOSTILE}/samples/0/0": ATTACK,
    f"{HOSTILE}/dead-letters?reason=wrong-size": ATTACK,
    f"{HOSTILE}/dead-letters/0/0": ATTACK,
}

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(installed_browser() is None, reason=f"no browser is installed: none of {', '.join(BROWSERS)}"),
    pytest.mark.usefixtures("hostile", "looks", "never_champion", "complaints"),
    pytest.mark.timeout(3600),  # the first test may also start the stack and wait for its first runs
]


@pytest.fixture(scope="module")
def hostile(whole_flow: Stack, kafka: KafkaConnection) -> Iterator[Pipeline]:
    """A pipeline of which somebody has written all records by hand, dead letters among them that can be replayed."""
    file = re.sub("^description = .*", f"description = {json.dumps(ATTACK)}", bundled(), flags=re.MULTILINE)
    with added_pipelines(whole_flow, {HOSTILE: file, SCANS: bundled()}, workflows=["predict", "replay", "rollback"]):
        pipeline, scans = (own_pipeline(whole_flow, kafka, name) for name in (HOSTILE, SCANS))
        attack = ATTACK.encode()
        for topic in (pipeline.samples_topic, pipeline.requests_topic, pipeline.predictions_topic):
            produce(kafka, topic, [Record(attack, attack, [("schema", attack), ("label", attack), (ATTACK, attack)])])
        produce(kafka, pipeline.dead_letters_topic, [letter(pipeline, number) for number in range(LETTERS)])
        produce(kafka, scans.dead_letters_topic, deaths(scans))
        yield pipeline


def own_pipeline(stack: Stack, kafka: KafkaConnection, name: str) -> Pipeline:
    """A pipeline of the stack's, with its topics."""
    pipeline = read_pipeline(Path(stack.record.settings["MILLRACE_PIPELINES"]) / f"{name}.toml")
    assert isinstance(pipeline, Pipeline)
    ensure_topics(kafka, pipeline.topic_specs())
    return pipeline


@pytest.fixture(scope="module")
def looks(whole_flow: Stack) -> int:
    """How often the watch has looked at a champion: twice at least."""
    watch = f"{WATCHED}.watch"
    whole_flow.api.unpause(watch)  # which may begin a run, too
    for _ in range(2):
        run = whole_flow.api.trigger(watch)
        assert wait_for_run(whole_flow.api, watch, run, timeout_s=TIMEOUT_S)["state"] == "success"
    pause_when_idle(whole_flow, watch)
    return len(runs_of(whole_flow.api, watch))


@pytest.fixture(scope="module")
def never_champion(whole_flow: Stack) -> int:
    """The number of a version that has learnt next to nothing."""
    run = whole_flow.api.trigger(TRAIN, {"epochs": 1, "learning_rate": 1e-6, "min_new_samples": 0})
    assert wait_for_run(whole_flow.api, TRAIN, run, timeout_s=TIMEOUT_S)["state"] == "success"
    return int(result_of(whole_flow.api, TRAIN, run, "train_model")["version"])


def bundled() -> str:
    return (PIPELINES / f"{PIPELINE}.toml").read_text()


def deaths(pipeline: Pipeline) -> list[Record]:
    """Dead letters as a prediction writes them."""
    large = pipeline.format.model_copy(update={"height": 16, "width": 16})
    values = {"undecodable": b"%PDF-1.7", "wrong-size": large.encode(np.zeros((1, 16, 16), np.uint8)), "empty": b""}
    now_ms = int(time.time() * 1000)
    found = sorted(((age, reason) for reason, ages in DEATHS.items() for age in ages), reverse=True)
    records = []
    for number, (age, reason) in enumerate(found):
        refusal = pipeline.format.decode([values[reason]]).refusals[0]
        assert refusal.reason == reason
        explanation = {
            REASON: reason,
            ERROR: refusal.error,
            ADDRESS: f"{pipeline.requests_topic}/0/{2 * number}",
            RUN: f"{pipeline.name}.predict/asset_triggered__{number}",
        }
        headers = [(name, text.encode()) for name, text in explanation.items()]
        records.append(Record(values[reason], f"scan-{number:04d}".encode(), headers, now_ms - 1000 * age))
    return records


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
    expect(frame.get_by_role("img", name=re.compile("^Requests, each hour: ≈ [1-9]"))).to_be_visible()
    expect(frame.get_by_text(re.compile("Half came within"))).to_be_visible()

    frame.get_by_role("link", name="Records", exact=True).click()
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
    expect(frame.get_by_text(f"promoted automatically by {PIPELINE}.train").first).to_be_visible()
    versions.get_by_role("link", name="1", exact=True).click()
    matrix = frame.get_by_role("region", name="Confusion matrix")
    expect(matrix).to_be_visible()
    frame.get_by_role("link", name=re.compile("^[0-9] taken for [0-9]$")).first.click()
    expect(frame.get_by_role("heading", name=re.compile("^[0-9] taken for [0-9]$"))).to_be_visible()
    expect(pictures.first).to_have_js_property("naturalWidth", 8)
    frame.get_by_role("link", name="version 1", exact=True).click()
    matrix.get_by_title("Samples of 3").click()
    expect(frame.get_by_label("Label")).to_have_value("3")
    expect(pictures).not_to_have_count(0)
    assert set(frame.locator(".verdict strong").all_inner_texts()) == {"3"}


def test_the_figures_of_a_watched_champion_are_drawn_and_beside_their_limits(
    log_in: LogIn, stack: Stack, looks: int
) -> None:
    page = log_in(USERNAME)
    open_page(page, stack, f"{WATCHED}/overview")

    drift = chart_with(
        page, r"^Drift, by look \(UTC\): inputs ends at [\d.e-]+, answers ends at [\d.e-]+, limit ends at 0.5$"
    )
    drift.get_by_text("As a table").click()
    expect(drift.get_by_role("columnheader")).to_have_text(["At", "inputs", "answers", "limit"])
    expect(drift.get_by_role("row")).to_have_count(1 + looks)
    expect(drift.get_by_role("rowheader").last).to_have_text(re.compile("^[0-9]{2} [A-Z][a-z]{2} [0-9:]{5} v[0-9]+$"))
    figures = page.get_by_role("table").filter(has=page.get_by_role("columnheader", name="Figure"))
    expect(figures.get_by_role("columnheader")).to_have_text(["Figure", "Value", "Limit", "Answers", "Most"])
    row = figures.get_by_role("row", name=re.compile("^Drift of the inputs"))
    drawn = drift.get_by_role("row").last.get_by_role("cell")
    value = row.get_by_role("cell").nth(0).inner_text()
    assert float(value) == pytest.approx(float(drawn.nth(0).inner_text()), abs=1e-4)
    assert [row.get_by_role("cell").nth(1).inner_text(), drawn.nth(2).inner_text()] == ["0.5000", "0.5"]


def test_the_best_labels_of_a_prediction_are_beside_it_and_on_its_page(log_in: LogIn, stack: Stack) -> None:
    page = log_in(USERNAME)
    open_page(page, stack, f"{WATCHED}/look")

    following = re.compile(r"then [\w-]+ [01]\.[0-9]{2}, [\w-]+ [01]\.[0-9]{2}")
    expect(page.locator(".verdict").filter(has_text=following)).to_have_count(SHOWN)
    predicted = page.locator(".verdict strong").first.inner_text()
    page.get_by_role("link", name=re.compile(f"^Record {WATCHED}.predictions")).first.click()
    best = [text.split() for text in page.locator(".pair").all_inner_texts()]
    assert len(best) == TOP_K
    assert best[0][0] == predicted
    scores = [float(words[-1]) for words in best]
    assert scores == sorted(scores, reverse=True)
    assert 0 < sum(scores) <= 1.001


def test_the_scores_of_the_versions_are_drawn_and_are_those_of_their_table(
    log_in: LogIn, stack: Stack, never_champion: int
) -> None:
    page = log_in(USERNAME)
    open_page(page, stack, f"{PIPELINE}/models")

    chart = chart_with(page, r"^Held-out accuracy by version: accuracy ends at 0\.[0-9]+$")
    chart.get_by_text("As a table").click()
    expect(chart.get_by_role("columnheader")).to_have_text(["Version", "accuracy"])
    versions = page.get_by_role("region", name="Versions")
    column = versions.get_by_role("columnheader").all_inner_texts().index("accuracy")
    listed = {
        row.get_by_role("link").first.inner_text(): float(row.locator("th, td").nth(column).inner_text())
        for row in versions.get_by_role("row").all()[1:]
    }
    drawn = {
        row.get_by_role("rowheader").inner_text(): float(row.get_by_role("cell").inner_text())
        for row in chart.get_by_role("row").all()[1:]
    }
    assert drawn == pytest.approx(listed, abs=1e-4)
    assert str(never_champion) in drawn


def test_a_version_that_was_never_champion_is_compared_again_from_its_page(
    airflow: Page, stack: Stack, never_champion: int
) -> None:
    airflow.goto(f"{stack.record.url}/plugin/millrace/millrace/{PIPELINE}/models/{never_champion}")
    frame = frame_of(airflow)
    expect(frame.get_by_role("heading", name="It was never champion")).to_be_visible()
    run = runs_of(stack.api, TRAIN)[-1]["dag_run_id"]
    before = tries(stack, run)
    frame.get_by_role("button", name="Compare again").press("Enter")

    link = frame.get_by_role("status").get_by_role("link")
    expect(link).to_have_text(run)
    wait_for_run(stack.api, TRAIN, run, timeout_s=TIMEOUT_S)
    assert tries(stack, run) == {**before, "promote_model": before["promote_model"] + 1}
    link.click()
    airflow.wait_for_url(re.compile(f"/dags/{TRAIN}/runs/manual__"))
    airflow.goto(f"{stack.record.url}/plugin/millrace/millrace/{PIPELINE}/models")
    row = frame.get_by_role("region", name="Versions").get_by_role("row", name=re.compile(f"^{never_champion} "))
    expect(row).to_be_visible()
    expect(row).not_to_contain_text("champion")


def tries(stack: Stack, run: str) -> dict[str, int]:
    return {task["task_id"]: task["try_number"] for task in stack.api.tasks(TRAIN, run)}


def test_records_that_are_no_predictions_are_counted_and_lead_to_themselves(log_in: LogIn, stack: Stack) -> None:
    page = log_in(USERNAME)

    open_page(page, stack, f"{HOSTILE}/overview")
    expect(page.get_by_role("heading", name="The newest 0 predictions")).to_be_visible()
    expect(page.get_by_text(re.compile("^1 of the newest records is no prediction"))).to_be_visible()
    page.get_by_text(re.compile("^1 of the newest records")).get_by_role("link", name="Look").click()
    expect(page.get_by_text(re.compile("^1 of the records that were searched is no prediction"))).to_be_visible()
    expect(page.get_by_text("No record was found.")).to_be_visible()
    page.get_by_role("link", name=f"{HOSTILE}.predictions/0/0").click()
    expect(page.get_by_role("definition").get_by_text("The record is no prediction of this pipeline.")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text(ATTACK)


def test_dead_letters_are_drawn_by_time_and_counted_by_reason(airflow: Page, stack: Stack, screenshots: Path) -> None:
    airflow.goto(f"{stack.record.url}/plugin/millrace/millrace/{SCANS}/dead-letters")
    frame = frame_of(airflow)
    counts = {reason: len(ages) for reason, ages in DEATHS.items()}
    chart = chart_with(frame, rf"^When they died \(UTC\): {sum(counts.values())} dead letters in all, [1-9] at most$")
    picture(airflow, screenshots / "page-dead-letters.png")

    ranked = sorted(counts.items(), key=lambda item: -item[1])
    headings = frame.get_by_role("listitem").get_by_role("heading", level=2)
    expect(headings).to_have_text([re.compile(f"^{reason} *{count}$") for reason, count in ranked])
    chart.get_by_text("As a table").click()
    expect(chart.get_by_role("columnheader")).to_have_text(["From", "Dead letters"])
    assert sum(map(int, chart.get_by_role("cell").all_inner_texts())) == sum(counts.values())
    frame.get_by_role("link", name="empty", exact=True).click()
    expect(frame.get_by_label("Reasons")).to_have_value("empty")
    expect(frame.get_by_text("The record has no value and a PNG image was expected.")).to_have_count(counts["empty"])


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


def test_who_may_only_read_sees_the_same_without_a_form_that_triggers(
    log_in: LogIn, stack: Stack, never_champion: int
) -> None:
    page = log_in(READER)

    open_page(page, stack, f"{HOSTILE}/dead-letters?reason=wrong-size")
    expect(page.get_by_role("heading", name=re.compile("^wrong-size"))).to_be_visible()
    expect(page.locator("form")).to_have_count(0)
    open_page(page, stack, f"{PIPELINE}/models")
    expect(page.get_by_role("region", name="Versions")).to_be_visible()
    expect(page.locator("form")).to_have_count(0)
    open_page(page, stack, f"{PIPELINE}/models/{never_champion}")
    expect(page.get_by_role("heading", name="It was never champion")).to_be_visible()
    expect(page.locator("form")).to_have_count(0)


def test_dead_letters_are_replayed_from_the_page(
    airflow: Page, stack: Stack, kafka: KafkaConnection, hostile: Pipeline, screenshots: Path
) -> None:
    airflow.goto(f"{stack.record.url}/plugin/millrace/millrace/{HOSTILE}/dead-letters")
    frame = frame_of(airflow)
    frame.get_by_role("link", name="wrong-size", exact=True).click()
    frame.get_by_label("Number at most").fill(str(LETTERS - 1))
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
    expect(frame_of(airflow).get_by_role("heading", name=re.compile("^The newest [0-9]+ predictions$"))).to_be_visible()

    airflow.goto(details)
    address = airflow.get_by_role("link", name="MLflow", exact=True).get_attribute("href")
    assert address is not None
    airflow.goto(address)
    expect(airflow.get_by_text(PIPELINE, exact=True).first).to_be_visible()
