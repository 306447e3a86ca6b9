"""The versions of a model, side by side and one by one, from a real MLflow database."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from include.definition.pipeline import Pipeline
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.connection import KafkaConnection
from include.overview.models import ModelReader
from include.registry.agreement import STEP, Agreement, Disagreement, pair_scope
from include.registry.tracking import open_registry
from include.storage.state import state_dir
from tests.support.mlflow_database import put_database
from tests.support.page import Person, Seen, Visit, wait_for
from tests.support.producers import Record, produce

Register = Callable[..., None]
SCRIPT = "<script>alert(1)</script>"
SIDE = {"total": 30, "samples": {"a": 10, SCRIPT: 20}, "refused": {"wrong-size": 1}}
CARD = {"created": "2026-11-30T00:00:00Z", "train": SIDE, "held_out": SIDE, "software": {"torch": SCRIPT}}


@pytest.fixture
def pipeline(pipeline: Pipeline) -> Pipeline:
    put_database(state_dir())
    return pipeline


@pytest.fixture
def register(pipeline: Pipeline, tmp_path: Path) -> Register:
    """Registers a version with two epochs, as another program may: with any settings and files."""
    client = open_registry().client
    experiment = client.create_experiment(pipeline.name, artifact_location=(tmp_path / "artifacts").as_uri())
    client.create_registered_model(pipeline.name)

    def make(score: float, *, setting: str = "8", **files: str) -> None:
        run = client.create_run(experiment, tags={"millrace.run": f"{pipeline.name}.train/manual__{setting[:1]}"})
        run_id = run.info.run_id
        for step in (1, 2):
            client.log_metric(run_id, "train_loss", 1 / step, step=step)
            client.log_metric(run_id, "held_out_loss", 2 / step, step=step)
            client.log_metric(run_id, "held_out_accuracy", score, step=step)
        client.log_param(run_id, "epochs", setting)
        for path, content in files.items():
            file = tmp_path / ("model_card.json" if path == "card" else "confusion_matrix.json")
            file.write_text(content)
            client.log_artifact(run_id, str(file), "model" if path == "card" else None)
        client.set_terminated(run_id)
        tags = {
            "digest": "a" * 64,
            "manifest": "0" * 16,
            "job": "b" * 64,
            "metric": "accuracy",
            "accuracy": repr(score),
        }
        client.create_model_version(pipeline.name, source=f"runs:/{run_id}/model", run_id=run_id, tags=tags)

    return make


def read(person: Person, path: str, word: str) -> Seen:
    """A page when it has a word: MLflow and the ledger are read in the background."""
    return wait_for(lambda: seen if word in (seen := Seen(person.get(path).text)).text else None)


def register_three(kafka: KafkaConnection, pipeline: Pipeline, register: Register) -> None:
    """Version 1 is champion, 2 was before, and 3 never."""
    for score in (0.5, 0.75, 0.875):
        register(score)
    open_registry().client.set_registered_model_alias(pipeline.name, "champion", "1")
    with TransactionalWriter(kafka, f"{pipeline.name}.test") as writer, writer.transaction():
        for number in (1, 2, 3):
            entry = {"digest": "a" * 64, "manifest": "0" * 16, "promoted": number < 3}
            writer.write_ledger(LedgerKey(kafka.environment, pipeline.name, "model", str(number)), entry)


def test_versions_are_side_by_side_with_their_figures_and_the_champion(
    pipeline: Pipeline, register: Register, visit: Visit
) -> None:
    register(0.75)
    register(0.875)
    open_registry().client.set_registered_model_alias(pipeline.name, "champion", "1")

    seen = read(visit("VIEWER"), f"/{pipeline.name}/models", "champion")

    assert "0.7500" in seen.text
    assert "0.8750" in seen.text
    labels = [attributes.get("aria-label") for tag, attributes in seen.elements if tag == "svg"]
    assert "Held-out accuracy by version: accuracy ends at 0.875" in labels
    assert seen.text.index("0.8750") < seen.text.index("0.7500")
    assert f"/dags/{pipeline.name}.train/runs/manual__8" in seen.links()
    assert seen.active() == []


def test_who_made_a_version_champion_is_said_and_only_earlier_champions_can_be_rolled_back_to(
    kafka: KafkaConnection, pipeline: Pipeline, register: Register, visit: Visit
) -> None:
    register_three(kafka, pipeline, register)
    with TransactionalWriter(kafka, f"{pipeline.name}.test") as writer, writer.transaction():
        rollback = {"version": 1, "before": 2, "why": SCRIPT, "by": "eve"}
        writer.write_ledger(LedgerKey(kafka.environment, pipeline.name, "rollback", "r"), rollback)

    seen = read(visit("USER"), f"/{pipeline.name}/models", "rolled back to by eve")

    assert SCRIPT in seen.text
    assert "Version 2 promoted automatically by" in seen.text
    assert seen.links().count(f"/dags/{pipeline.name}.train/runs/manual__8") == 5  # of 3 versions and 2 promotions
    assert seen.active() == []
    one = read(visit("USER"), f"/{pipeline.name}/models/1", "rolled back to by eve")
    assert "promoted automatically" in one.text
    forms = [attributes.get("data-dag") for tag, attributes in seen.elements if tag == "form"]
    assert forms == [f"{pipeline.name}.rollback"]
    assert sum(tag == "option" for tag, _ in seen.elements) == 1  # version 2: 1 is champion, and 3 never was
    reader = read(visit("VIEWER"), f"/{pipeline.name}/models", "rolled back to by eve")
    assert not [tag for tag, _ in reader.elements if tag == "form"]
    overview = read(visit("VIEWER"), "/", "rolled back to")
    assert "champion, rolled back to" in overview.text
    assert "by eve" in overview.text


def test_pairs_of_versions_have_their_counts_and_who_sees_records_sees_where_they_differ(
    kafka: KafkaConnection, pipeline: Pipeline, register: Register, visit: Visit
) -> None:
    for score in (0.5, 0.75):
        register(score)
    client = open_registry().client
    client.set_registered_model_alias(pipeline.name, "champion", "1")
    client.set_registered_model_alias(pipeline.name, "challenger", "2")
    apart = Disagreement(f"{pipeline.requests_topic}/2/46", "3 (0.9)", SCRIPT)
    with TransactionalWriter(kafka, f"{pipeline.name}.test") as writer, writer.transaction():
        for partition, found in enumerate((Agreement(30, 29, 0, 3.0, (apart,)), Agreement(10, 9, 1, 0.0))):
            key = f"{pair_scope(1, 2)}/{pipeline.requests_topic}/{partition}"
            writer.write_ledger(LedgerKey(kafka.environment, pipeline.name, STEP, key), found.entry("r"))
        writer.write_ledger(LedgerKey(kafka.environment, pipeline.name, STEP, "forged"), Agreement().entry("r"))

    seen = read(visit("VIEWER"), f"/{pipeline.name}/models", "Challengers beside champions")

    assert "2 challenger" in seen.text
    assert "40 95.00 % 1 +0.0769" in seen.text
    assert SCRIPT in seen.text
    assert f"/millrace/{pipeline.name}/requests/2/46" in seen.links()
    assert seen.active() == []


def test_a_version_that_was_never_champion_is_compared_again_by_its_own_training(
    kafka: KafkaConnection, pipeline: Pipeline, register: Register, visit: Visit
) -> None:
    register_three(kafka, pipeline, register)
    person, reader = visit("USER"), visit("VIEWER")
    person.see()  # the ledger and the champions are known

    never = read(person, f"/{pipeline.name}/models/3", "It was never champion")
    before = read(person, f"/{pipeline.name}/models/2", "It was champion before")
    champion = read(person, f"/{pipeline.name}/models/1", "Loss by epoch")

    forms = [[attributes for tag, attributes in seen.elements if tag == "form"] for seen in (never, before, champion)]
    place = {"data-dag": f"{pipeline.name}.train", "data-run": "manual__8", "data-task": "promote_model"}
    assert forms == [[{"class": "trigger", **place}], [], []]
    assert f"/millrace/{pipeline.name}/models" in before.links()
    seen = read(reader, f"/{pipeline.name}/models/3", "It was never champion")
    assert not [tag for tag, _ in seen.elements if tag == "form"]


def test_a_champion_has_its_own_run_which_is_read_once(pipeline: Pipeline, register: Register) -> None:
    register(0.5, setting="8")
    register(0.75, setting="9")
    registry, reader = open_registry().client, ModelReader()

    for number, run in ((1, "manual__8"), (2, "manual__9"), (1, "manual__8")):
        registry.set_registered_model_alias(pipeline.name, "champion", str(number))
        seen = reader.champions([pipeline.name])[pipeline.name]
        assert seen.version is not None
        assert (seen.version.number, seen.workflow_run) == (number, f"{pipeline.name}.train/{run}")
        assert reader.champions([pipeline.name])[pipeline.name] is seen


def test_promotions_that_wait_for_a_person_are_one_click_away(
    kafka: KafkaConnection, new_pipeline: Callable[..., Pipeline], known_dags: Callable[..., None], visit: Visit
) -> None:
    put_database(state_dir())
    asks, automatic = new_pipeline(floor='0.9\napproval = "person"'), new_pipeline()
    for pipeline in (asks, automatic):
        known_dags(pipeline)

    shown = [
        "/required_actions?response_received=false" in visit("VIEWER").see(f"/{pipeline.name}/models").links()
        for pipeline in (asks, automatic)
    ]

    assert shown == [True, False]


def test_a_version_shows_its_curves_its_card_and_what_it_confuses(
    pipeline: Pipeline, register: Register, visit: Visit
) -> None:
    confusion = {"labels": ["a", SCRIPT], "counts": [[9, 1], [0, 20]]}
    register(0.75, setting=SCRIPT, card=json.dumps(CARD), confusion=json.dumps(confusion))

    seen = read(visit("VIEWER"), f"/{pipeline.name}/models/1", "What it confuses")

    assert "Loss by epoch" in seen.text
    assert "30 for training, 30 held out" in seen.text
    assert f"a taken for {SCRIPT} 1" in seen.text
    assert f"/millrace/{pipeline.name}/look?topic=samples&label=a" in seen.links()
    assert seen.active() == []


def test_a_number_of_the_matrix_leads_to_the_samples_that_it_counts(
    kafka: KafkaConnection, pipeline: Pipeline, register: Register, visit: Visit
) -> None:
    produce(kafka, pipeline.samples_topic, [Record(key=b"mistaken", headers=[("label", b"a")])])
    place = {"true": "a", "predicted": SCRIPT, "topic": pipeline.samples_topic, "partition": 0}
    mistakes = [{**place, "offset": 0}, {**place, "offset": 7}, {**place, "offset": 0, "topic": "another"}]
    confusion = {"labels": ["a", SCRIPT], "counts": [[9, 3], [1, 20]], "mistakes": mistakes}
    register(0.75, confusion=json.dumps(confusion))
    person = visit("VIEWER")
    links = read(person, f"/{pipeline.name}/models/1", "What it confuses").links()

    (link,) = {link for link in links if "/mistakes?" in link}
    seen = read(person, link.removeprefix("/millrace"), "mistaken")

    assert seen.text.count("mistaken") == 1
    assert f"a taken for {SCRIPT}" in seen.text
    assert f"/millrace/{pipeline.name}/samples/0/0" in seen.links()
    assert seen.active() == []
    gone = Seen(person.get(f"/{pipeline.name}/models/1/mistakes?true={SCRIPT}&predicted=a").text)
    assert "None of these samples is kept with the version" in gone.text


@pytest.mark.parametrize("content", ["{", "[]", '{"labels": 3}', "9" * 5000, "[" * 100_000])
def test_files_of_another_program_leave_a_version_readable(
    pipeline: Pipeline, register: Register, visit: Visit, content: str
) -> None:
    register(0.75, card=content, confusion=content)

    seen = read(visit("VIEWER"), f"/{pipeline.name}/models/1", "Held-out accuracy")

    assert "What it confuses" not in seen.text


def test_a_version_that_does_not_exist_is_not_found(pipeline: Pipeline, register: Register, visit: Visit) -> None:
    person = visit("VIEWER")

    def answered() -> int | None:
        status = person.get(f"/{pipeline.name}/models/7").status_code
        return None if status == 200 else status  # while MLflow is read for the first time

    assert wait_for(answered) == 404
    assert person.get(f"/{pipeline.name}/models/0").status_code == 422
    assert visit(None).get(f"/{pipeline.name}/models").status_code == 401


def test_a_page_does_not_wait_for_an_mlflow_that_does_not_answer(
    pipeline: Pipeline, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.overview.models.open_registry", lambda: time.sleep(20))

    began = time.monotonic()
    answer = visit("VIEWER").get(f"/{pipeline.name}/models")

    assert time.monotonic() - began < 10
    assert "MLflow is being read" in answer.text
