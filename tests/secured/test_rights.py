"""The rights of a step suffice, none of them is superfluous, and one that is missing is one clear refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from include.definition.pipeline import Pipeline
from include.definition.rights import step_rights
from include.definition.tables import WorkStep
from include.exactly_once import ledger
from include.exactly_once.attempt import Attempt
from include.exactly_once.lost_ledger import refuse_new_ledger
from include.exactly_once.progress import count_records
from include.export.export import export_predictions
from include.export.folder import ExportFolder
from include.feed.feed import Feed
from include.feed.manifest import Manifest
from include.feed.split import Split
from include.ingest.batch import ingest_batch
from include.kafka.connection import KafkaConnection
from include.kafka.errors import AccessDenied, LedgerLost
from include.kafka.ranges import freeze_ranges
from include.kafka.rights import Right
from include.kafka.topics import TopicSpec, ensure_topics, refuse_denied
from include.prediction.backlog import freeze_requests
from include.prediction.publish import publish_predictions
from include.prediction.repredict import RequestSelection, repredict
from include.replay.replay import replay_dead_letters
from include.replay.selection import Selection
from include.training.backlog import freeze_training
from include.training.job import TrainingJob
from include.training.versioned import train_version
from include.watching.watch import watch
from tests.support.assertions import assert_readable
from tests.support.mlflow_database import put_database
from tests.support.producers import Record, produce
from tests.support.secured import Users
from tests.support.tiny_pipelines import LETTERS, tiny_pipeline, tiny_predictor, tiny_watched

STEPS: tuple[WorkStep, ...] = get_args(WorkStep)


def pipeline_of(step: str, environment: str = "local") -> Pipeline:
    watched = {"watch": {"min_samples": 1, "labels": {"topic": "rights_labels"}}} if step == "watch" else {}
    return tiny_pipeline(f"rights_{step}", total=40, **watched).model_copy(update={"environment": environment})


def create_topics(kafka: KafkaConnection, pipeline: Pipeline, folder: Path) -> None:
    refuse_new_ledger(kafka, (pipeline.predictions_topic, pipeline.dead_letters_topic))
    ensure_topics(kafka, pipeline.topic_specs())


def ingest(kafka: KafkaConnection, pipeline: Pipeline, folder: Path) -> None:
    ingest_batch(Attempt(kafka, pipeline.name, "ingest", "run"), pipeline, "batch", records=40)


def train(kafka: KafkaConnection, pipeline: Pipeline, folder: Path) -> None:
    """All that a training does with Kafka."""
    ranges = freeze_training(kafka, pipeline, min_new_samples=1).ranges
    manifest = Manifest(
        pipeline=pipeline.name,
        ranges=ranges,
        schema=pipeline.format.schema_name,
        labels=LETTERS,
        split=Split("salt", 0.2),
        seed=1,
    )
    assert list(Feed(kafka, manifest, pipeline.format, batch_size=10))
    Attempt(kafka, pipeline.name, "train", "run").record_progress(ranges)


def predict(kafka: KafkaConnection, pipeline: Pipeline, folder: Path) -> None:
    ranges = freeze_requests(kafka, pipeline).ranges
    predictor = tiny_predictor(pipeline.name)
    publish_predictions(Attempt(kafka, pipeline.name, "predict", "run"), pipeline, ranges, predictor)


def predict_again(kafka: KafkaConnection, pipeline: Pipeline, folder: Path) -> None:
    selection = RequestSelection(since=datetime.fromtimestamp(0, UTC), answered_by=7)
    repredict(Attempt(kafka, pipeline.name, "repredict", "run"), pipeline, selection, tiny_predictor(pipeline.name))


def find_lost_ledger(kafka: KafkaConnection, pipeline: Pipeline, folder: Path) -> None:
    with pytest.raises(LedgerLost):
        freeze_requests(kafka, pipeline)


def replay(kafka: KafkaConnection, pipeline: Pipeline, folder: Path) -> None:
    replay_dead_letters(Attempt(kafka, pipeline.name, "replay", "run"), pipeline, Selection())


def export(kafka: KafkaConnection, pipeline: Pipeline, folder: Path) -> None:
    place = ExportFolder(str(folder / "export"))
    assert export_predictions(Attempt(kafka, pipeline.name, "export", "run"), pipeline, place, rows=100).rows


def watch_model(kafka: KafkaConnection, pipeline: Pipeline, folder: Path) -> None:
    model = tiny_watched(tiny_predictor(pipeline.name))
    assert watch(Attempt(kafka, pipeline.name, "watch", "run"), pipeline, model).figures.inputs


WORK: dict[WorkStep, Callable[[KafkaConnection, Pipeline, Path], None]] = {
    "topics": create_topics,
    "ingest": ingest,
    "train": train,
    "predict": predict,
    "repredict": predict_again,
    "replay": replay,
    "export": export,
    "watch": watch_model,
}


@dataclass(frozen=True)
class Case:
    """A step without one of its rights, and the pipeline for which it works."""

    step: WorkStep
    pipeline: Pipeline
    missing: Right
    work: Callable[[KafkaConnection, Pipeline, Path], None]

    @property
    def rights(self) -> list[Right]:
        return [right for right in step_rights(self.pipeline, self.step) if right != self.missing]

    def __str__(self) -> str:
        return f"{self.step} without {self.missing}"


def cases() -> list[Case]:
    found = []
    for step in STEPS:
        for number, needed in enumerate(step_rights(pipeline_of(step), step)):
            if needed.resource == "Group" and needed.operation == "Describe":
                continue  # see test_a_right_on_a_reader_s_group_that_is_missing_is_refused
            pipeline, work, right = pipeline_of(step), WORK[step], needed
            if step == "topics":
                # Each one creates its topics, so each has an environment of its own, and a ledger.
                pipeline = pipeline_of(step, f"topics{number}")
                right = step_rights(pipeline, step)[number]
            elif step == "predict" and (lost := lost_ledger_of(needed)) is not None:
                pipeline, work = lost, find_lost_ledger
                right = replace(needed, name=needed.name.replace("rights_predict", lost.name))
            found.append(Case(step, pipeline, right, work))
    return found


def lost_ledger_of(right: Right) -> Pipeline | None:
    """A pipeline whose ledger is lost, for a right that only the search for a lost ledger needs."""
    outputs = {"predictions": "rights_lost_answers", "dead-letters": "rights_lost_letters"}
    for output, name in outputs.items():
        if right == Right("Topic", f"rights_predict.{output}", "Read"):
            return tiny_pipeline(name)
    return None


def transactional(step: WorkStep) -> list[Right]:
    return [right for right in step_rights(pipeline_of(step), step) if right.resource == "TransactionalId"]


CASES = cases()


@pytest.fixture(scope="module")
def connections(
    administrator: KafkaConnection, users: Users, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, KafkaConnection]:
    """A connection for each case, by its text; there are topics with work for every step but `topics`."""
    folder = tmp_path_factory.mktemp("prepared")
    made = {step: pipeline_of(step) for step in STEPS if step != "topics"}
    ensure_topics(administrator, [spec for pipeline in made.values() for spec in pipeline.topic_specs()])
    ensure_topics(administrator, [TopicSpec("rights_labels")])
    for step in ("train", "predict", "repredict", "replay", "export", "watch"):
        ingest(administrator, made[step], folder)
    for step in ("predict", "replay"):
        produce(administrator, made[step].requests_topic, [Record(b"no sample")])
    for step in ("repredict", "replay", "export", "watch"):
        predict(administrator, made[step], folder)
    answers, letters = tiny_pipeline("rights_lost_answers"), tiny_pipeline("rights_lost_letters")
    ensure_topics(administrator, [*answers.topic_specs(), *letters.topic_specs()])
    produce(administrator, answers.predictions_topic, [Record()])
    produce(administrator, letters.dead_letters_topic, [Record()])
    # The ledger is read only where a partition has entries.
    for partition in range(ledger.PARTITIONS):
        produce(administrator, ledger.LEDGER_TOPIC, [Record(b"{}", b"local/other/step/scope")], partition=partition)
    return {
        str(case): replace(connection, environment=case.pipeline.environment)
        for case, connection in zip(CASES, users.with_rights([case.rights for case in CASES]), strict=True)
    }


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_right_that_is_missing_is_one_clear_refusal(connections, case, tmp_path):
    connection = connections[str(case)]

    with pytest.raises(AccessDenied) as refusal:
        case.work(connection, case.pipeline, tmp_path)

    # Without Read or Write a step may first lack Describe, which they imply.
    missing = case.missing
    name = f"{missing.resource} {missing.name}"
    assert_readable(refusal.value, f"denied {connection.principal} ", name, "kafka-acls", "--add")
    assert f"{missing.operation} on {name}" in str(refusal.value) or f"Describe on {name}" in str(refusal.value)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.step in ("train", "predict") and case.missing.resource == "Topic"], ids=str
)
def test_a_right_on_a_topic_that_is_missing_is_refused_before_a_step_begins(connections, case):
    connection = connections[str(case)]

    with pytest.raises(AccessDenied) as refusal:
        refuse_denied(connection, step_rights(case.pipeline, case.step), f"{case.pipeline.name}.{case.step}")

    assert_readable(refusal.value, f"denied {connection.principal} ", case.missing.name, "kafka-acls", "--add")


@pytest.mark.parametrize("missing", [Right("Topic", ledger.LEDGER_TOPIC, "Write"), *transactional("train")], ids=str)
def test_a_training_without_a_right_that_it_needs_at_its_end_does_not_begin(
    connections, missing, tmp_path, monkeypatch
):
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path))
    put_database(tmp_path)
    connection, pipeline = connections[f"train without {missing}"], pipeline_of("train")
    job = TrainingJob.of(pipeline, freeze_ranges(connection, pipeline.samples_topic))

    with pytest.raises(AccessDenied) as refusal:
        train_version(job, connection, run="run")

    assert_readable(refusal.value, f"denied {connection.principal} {missing} while")
    assert not (tmp_path / "runs").exists()


def test_a_right_on_a_reader_s_group_that_is_missing_is_refused(administrator, users, new_name):
    """The group's coordinator is asked beside the reading, so a short reading may end before the refusal."""
    topic = new_name()
    ensure_topics(administrator, [TopicSpec(topic)])
    produce(administrator, topic, [Record()])
    [connection] = users.with_rights([[Right("Topic", topic, "Read")]])

    def read_often() -> None:
        for _ in range(100):
            count_records(connection, "the-group", freeze_ranges(connection, topic), enough=2)

    with pytest.raises(AccessDenied) as refusal:
        read_often()

    assert_readable(refusal.value, connection.principal, "Describe on Group the-group", "--group the-group")


def test_the_rights_on_the_prefix_of_an_environment_suffice_for_every_step(users, tmp_path):
    everything = [
        *(
            Right("Topic", "blue.", operation, prefixed=True)
            for operation in ("Read", "Write", "Create", "DescribeConfigs")
        ),
        Right("Group", "blue.", "Read", prefixed=True),
        Right("TransactionalId", "blue.", "Write", prefixed=True),
    ]
    [granted] = users.with_rights([everything])
    connection = replace(granted, environment="blue")
    pipeline = pipeline_of("prefix", "blue")

    create_topics(connection, pipeline, tmp_path)
    ingest(connection, pipeline, tmp_path)
    produce(connection, pipeline.requests_topic, [Record(b"no sample")])
    for step in ("train", "predict", "repredict", "replay", "export"):
        WORK[step](connection, pipeline, tmp_path)
