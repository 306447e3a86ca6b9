"""From source to prediction with the real scheduler and broker, checked by what other applications see."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from include.definition.files import load_pipeline
from include.kafka.connection import KafkaConnection
from include.local.stack import Stack
from include.sources.base import Source
from tests.support.consumers import committed_records
from tests.support.secrets import WATCHED
from tests.support.stacks import runs_of, wait_for_run
from tests.support.workflows import LARGE, SMALL, TIMEOUT_S, successes

# The first test waits until all workflows have run.
pytestmark = pytest.mark.timeout(3600)

# On held-out samples, as the README says; for `languages` on texts of any length.
ACCURACY = {"digits": 0.97, "languages": 0.94, "passengers": 0.78, "spoken_digits": 0.9}
# Most texts of `languages` are a word or two, which are hard.
CHARACTERS = 20
ACCURACY_OF_LONGER_TEXTS = 0.95
# The pipeline for tests that do not depend on the samples.
ONE = "digits"
FIELDS = {
    "id": str,
    "label": str,
    "score": float,
    "model": str,
    "version": int,
    "digest": str,
    "manifest": str,
    "topic": str,
    "partition": int,
    "offset": int,
    "timestamp": int,
}


@pytest.fixture(params=[*SMALL, *(pytest.param(name, marks=pytest.mark.long) for name in LARGE)])
def pipeline(request: pytest.FixtureRequest) -> str:
    """Each of the bundled pipelines after its workflows have run, by its name."""
    if request.param in LARGE:
        request.getfixturevalue("whole_flow")
    return str(request.param)


def events(stack: Stack, name: str) -> list[dict[str, Any]]:
    answer = stack.api.get("/assets/events", limit=100, name_pattern=name)
    found: list[dict[str, Any]] = answer["asset_events"]
    return [event for event in found if event.get("name") == name]


def first_labels(source: Source, number: int) -> dict[str, str | None]:
    """The labels of a source's first samples, by their ids."""
    labels: dict[str, str | None] = {}
    while len(labels) < number:
        labels |= {sample.id: sample.label for sample in source.read(len(labels), number - len(labels))}
    return labels


def test_each_request_is_predicted_exactly_once(flow: Stack, kafka: KafkaConnection, pipeline: str) -> None:
    requests = committed_records(kafka, f"{pipeline}.requests")
    predictions = committed_records(kafka, f"{pipeline}.predictions")

    asked = Counter(f"{record.topic()}/{record.partition()}/{record.offset()}" for record in requests)
    values = [json.loads(record.value() or b"") for record in predictions]
    answered = Counter(f"{value['topic']}/{value['partition']}/{value['offset']}" for value in values)
    assert len(asked) > 100
    assert answered == asked
    assert committed_records(kafka, f"{pipeline}.dead-letters") == []


def test_a_prediction_has_the_documented_fields_and_names_its_request_and_model(
    flow: Stack, kafka: KafkaConnection, pipeline: str
) -> None:
    requests = {
        (record.partition(), record.offset()): record for record in committed_records(kafka, f"{pipeline}.requests")
    }
    champion = successes(flow, pipeline, "train", "promote_model")[0]["version"]
    fields = FIELDS | ({"top": list} if pipeline == WATCHED else {})

    for record in committed_records(kafka, f"{pipeline}.predictions"):
        value = json.loads(record.value() or b"")
        assert {name: type(content) for name, content in value.items()} == fields
        request = requests[value["partition"], value["offset"]]
        assert value["id"].encode() == record.key() == request.key()
        assert value["timestamp"] == request.timestamp()[1] <= record.timestamp()[1]
        assert 0 < value["score"] <= 1
        assert (value["model"], value["version"]) == (pipeline, champion)
        assert dict(record.headers() or [])["model"] == f"{pipeline}/{champion}".encode()


def test_every_sample_is_ingested_once(flow: Stack, kafka: KafkaConnection, pipeline: str) -> None:
    results = successes(flow, pipeline, "ingest", "produce_batch")
    records = committed_records(kafka, f"{pipeline}.samples") + committed_records(kafka, f"{pipeline}.requests")

    assert len(records) == sum(result["sent_now"] for result in results)
    assert len({record.key() for record in records}) == len(records)


def test_the_model_is_as_accurate_as_the_readme_says(
    flow: Stack, pipeline: str, record_property: Callable[[str, object], None]
) -> None:
    promoted = successes(flow, pipeline, "train", "promote_model")[0]

    record_property(pipeline, f"accuracy {promoted['accuracy']:.4f} on held-out samples")
    assert promoted["accuracy"] >= ACCURACY[pipeline]


def test_predictions_agree_with_the_labels_that_the_requests_leave_out(
    flow: Stack, kafka: KafkaConnection, pipeline: str, record_property: Callable[[str, object], None]
) -> None:
    sent = sum(result["sent_now"] for result in successes(flow, pipeline, "ingest", "produce_batch"))
    labels = first_labels(load_pipeline(pipeline).source, sent)
    values = [json.loads(record.value() or b"") for record in committed_records(kafka, f"{pipeline}.predictions")]

    right = sum(labels[value["id"]] == value["label"] for value in values)
    record_property(pipeline, f"{right} of {len(values)} requests got their own label")
    assert right / len(values) >= ACCURACY[pipeline] - 0.03


@pytest.mark.long
@pytest.mark.usefixtures("whole_flow")
def test_the_languages_of_longer_texts_are_distinguished_as_the_readme_says(
    kafka: KafkaConnection, record_property: Callable[[str, object], None]
) -> None:
    source = load_pipeline("languages").source
    samples = {sample.id: sample for sample in source.read(0, source.count())}
    answered = [
        (samples[value["id"]], value["label"])
        for value in (json.loads(record.value() or b"") for record in committed_records(kafka, "languages.predictions"))
    ]

    right = [sample.label == label for sample, label in answered if len(str(sample.content)) >= CHARACTERS]

    record_property(
        "languages", f"{sum(right)} of {len(right)} requests of {CHARACTERS} characters got their own label"
    )
    assert len(right) > 300
    assert sum(right) / len(right) >= ACCURACY_OF_LONGER_TEXTS


def test_asset_events_carry_counts_ranges_and_versions(flow: Stack, pipeline: str) -> None:
    (sent, *_) = events(flow, f"{pipeline}.samples")
    (promoted, *_) = events(flow, f"{pipeline}.model")
    (published, *_) = events(flow, f"{pipeline}.predictions")

    assert sent["extra"]["samples"] > 0
    assert sent["extra"]["batch"]
    assert promoted["extra"]["version"] >= 1
    assert published["extra"]["ranges"][0]["topic"] == f"{pipeline}.requests"
    assert published["extra"]["predictions"] > 0


def test_a_training_without_enough_new_samples_skips_and_triggers_nothing(flow: Stack) -> None:
    train, predict = f"{ONE}.train", f"{ONE}.predict"
    before = (len(events(flow, f"{ONE}.model")), len(runs_of(flow.api, predict)))

    run = flow.api.trigger(train)
    ended = wait_for_run(flow.api, train, run, timeout_s=TIMEOUT_S)

    assert ended["state"] == "success"
    assert {task["task_id"]: task["state"] for task in flow.api.tasks(train, run)} == {
        "freeze_ranges": "skipped",
        "train_model": "skipped",
        "promote_model": "skipped",
    }
    assert any("it waits for more" in line for line in flow.api.log(train, run, "freeze_ranges", 1))
    assert (len(events(flow, f"{ONE}.model")), len(runs_of(flow.api, predict))) == before


def test_a_replay_without_matching_dead_letters_skips_and_triggers_nothing(flow: Stack) -> None:
    """The DAG is not paused, and the values of its form reach the task."""
    replay, predict = f"{ONE}.replay", f"{ONE}.predict"
    before = (len(events(flow, f"{ONE}.requests")), len(runs_of(flow.api, predict)))

    run = flow.api.trigger(replay, {"reasons": ["wrong-size"], "since": "2026-01-01T00:00:00+00:00"})
    wait_for_run(flow.api, replay, run, timeout_s=TIMEOUT_S)

    assert [task["state"] for task in flow.api.tasks(replay, run)] == ["skipped"]
    assert any("has no dead letter of these" in line for line in flow.api.log(replay, run, "replay_dead_letters", 1))
    assert (len(events(flow, f"{ONE}.requests")), len(runs_of(flow.api, predict))) == before


def test_the_plugins_folder_is_loaded_without_errors(flow: Stack) -> None:
    assert flow.api.import_errors() == []
    assert flow.api.get("/plugins/importErrors")["import_errors"] == []
