"""External topics, from kafka-python's producer through training and prediction to kafka-python's consumer."""

from __future__ import annotations

import base64
import json
import shlex
from dataclasses import dataclass, replace

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from typer.testing import CliRunner

from include.__main__ import app
from include.artifact.model import load_model
from include.definition.files import read_pipeline
from include.exactly_once.attempt import Attempt
from include.kafka.ranges import freeze_ranges
from include.kafka.schema_registry import RegistryAway, registry_at
from include.kafka.topics import ensure_topics
from include.prediction.backlog import freeze_requests
from include.prediction.predictor import Predictor
from include.prediction.publish import publish_predictions
from include.replay.replay import NotOurTopic, replay_dead_letters
from include.replay.selection import Selection
from include.training.backlog import freeze_training
from include.training.job import TrainingJob
from include.training.launch import run_training
from tests.support.administrator import delete_topic
from tests.support.assertions import assert_readable
from tests.support.attempts import kill_at, predict_job
from tests.support.consumers import committed_records
from tests.support.external_topics import (
    ARTICLE,
    COMMANDS,
    CONSUMER,
    LABELLER,
    PRODUCER,
    SERVERS,
    WITHOUT_LZ4,
    external_pipeline,
    run_as_copied,
)
from tests.support.producers import Record, produce
from tests.support.publishing import ask, dead_letters, headers_of, predictions, publish, request
from tests.support.registry_server import USER, running_registry
from tests.support.tiny_pipelines import IDENTITY, letter, numbers, sample_id

IMAGES = 60


@dataclass(frozen=True)
class Article:
    """The documentation's example on a broker and topics of a test's own."""

    servers: str
    names: dict[str, str]

    def own(self, text: str) -> str:
        for name, ours in {**self.names, SERVERS: self.servers}.items():
            text = text.replace(name, ours)
        return text

    def run(self, program: str) -> list[str]:
        return run_as_copied(self.own(program)).splitlines()

    def command(self, command: str) -> None:
        arguments = [*shlex.split(self.own(command)), "--bootstrap-servers", self.servers]
        ran = CliRunner().invoke(app, arguments)
        assert ran.exit_code == 0, ran.output


@pytest.fixture
def article(kafka, new_name):
    name = new_name()
    names = {
        "image_topic": f"{name}-images",
        "image_labels": f"{name}-labels",
        "images.predictions": f"{name}.predictions",
    }
    return Article(kafka.bootstrap_servers, names)


@pytest.mark.long  # its programs wait for 5 s until no record comes any more
def test_the_article_s_loops_run_as_the_documentation_has_them(kafka, article, tmp_path):
    for command in COMMANDS[:2]:
        article.command(command)
    name = article.names["images.predictions"].removesuffix(".predictions")
    (tmp_path / f"{name}.toml").write_text(article.own(ARTICLE))
    pipeline = read_pipeline(tmp_path / f"{name}.toml")
    ensure_topics(kafka, pipeline.topic_specs())

    article.run(PRODUCER)
    article.run(LABELLER)
    training = freeze_training(kafka, pipeline)
    job = TrainingJob.of(pipeline, training.ranges, epochs=4)
    result = run_training(job, kafka, tmp_path / "run", run="run")

    assert result.outcome.train.total + result.outcome.held_out.total == IMAGES
    assert result.score == 1.0
    model = load_model(result.model_directory, result.digest)
    predictor = Predictor(model.network, model.card.target, IDENTITY)
    requests = freeze_requests(kafka, pipeline).ranges
    published = publish_predictions(Attempt(kafka, pipeline.name, "predict", "run"), pipeline, requests, predictor)
    assert (published.predictions, published.rejected) == (IMAGES, 0)
    read = dict(line.split() for line in article.run(CONSUMER))
    late = committed_records(kafka, pipeline.labels_topic)
    assert read == {record.key().decode(): record.value().decode() for record in late}
    assert len(read) == IMAGES


@pytest.mark.long
def test_predictions_are_read_without_lz4_where_the_topic_is_compressed_in_another_way(
    kafka, article, new_pipeline, predictor
):
    pipeline = new_pipeline(topics={"partitions": 3})
    article.names["images.predictions"] = pipeline.predictions_topic
    delete_topic(kafka, pipeline.predictions_topic)
    article.command(COMMANDS[2])
    publish(kafka, pipeline, ask(kafka, pipeline, *map(request, range(5))), predictor)

    read = dict(line.split() for line in article.run(WITHOUT_LZ4 + CONSUMER))

    assert read == {sample_id(n): letter(numbers(n)) for n in range(5)}


@pytest.fixture
def theirs(kafka, new_topic, new_name):
    """Makes a pipeline over one external topic, and its own topics."""

    def make(**tables):
        topic = new_topic()
        pipeline = external_pipeline(new_name(), **{"topics": {"samples": topic, "requests": topic}, **tables})
        ensure_topics(kafka, pipeline.topic_specs())
        return pipeline

    return make


def wrapped(number):
    return json.dumps({"n": number, "x": base64.b64encode(numbers(number).tobytes()).decode()}).encode()


JSON = {"kind": "json", "content": "x", "content_is": "base64", "id": "n"}


def test_a_prediction_has_the_id_that_its_record_names(kafka, theirs, predictor):
    pipeline = theirs(envelope=JSON)
    produce(kafka, pipeline.requests_topic, [Record(wrapped(number), b"key") for number in range(5)])

    publish(kafka, pipeline, freeze_ranges(kafka, pipeline.requests_topic), predictor)

    labels = {prediction["id"]: prediction["label"] for prediction in predictions(kafka, pipeline)}
    assert labels == {str(number): letter(numbers(number)) for number in range(5)}
    keys = sorted(record.key() for record in committed_records(kafka, pipeline.predictions_topic))
    assert keys == [str(number).encode() for number in range(5)]


def test_a_request_may_have_any_label(kafka, theirs, predictor):
    pipeline = theirs(envelope=JSON, labels={"kind": "field", "name": "class"})
    value = json.dumps({**json.loads(wrapped(1)), "class": ["not", "one"]}).encode()
    produce(kafka, pipeline.requests_topic, [Record(value, None)])

    assert publish(kafka, pipeline, freeze_ranges(kafka, pipeline.requests_topic), predictor).predictions == 1


def test_an_invalid_envelope_becomes_a_dead_letter_unchanged(kafka, theirs, predictor):
    pipeline = theirs(envelope=JSON)
    bad = [b"no json", b'{"n": 1}', b'{"n": 1, "x": "AAAA"}', b""]
    headers = [("traceparent", b"00-1")]
    produce(kafka, pipeline.requests_topic, [Record(value, b"key", headers) for value in bad])

    published = publish(kafka, pipeline, freeze_ranges(kafka, pipeline.requests_topic), predictor)

    assert published.dead_letters == {"invalid-json": 1, "missing-field": 1, "wrong-size": 1, "empty": 1}
    letters = dead_letters(kafka, pipeline)
    assert [(letter.key(), letter.value()) for letter in letters] == [(b"key", value) for value in bad]
    assert all(headers_of(letter)["traceparent"] == b"00-1" for letter in letters)


@pytest.mark.parametrize("point", ["before commit", "after commit"])
def test_every_envelope_is_answered_once_whatever_is_killed(kafka, theirs, predictor, point):
    """Killed in the second of three transactions; one of the requests has an invalid envelope."""
    pipeline = theirs(envelope=JSON, prediction={"schedule": "0 * * * *", "chunk_samples": 10})
    produce(kafka, pipeline.requests_topic, [Record(b"{" if n == 12 else wrapped(n), None) for n in range(30)])
    ranges = freeze_ranges(kafka, pipeline.requests_topic)
    kill_at(point, 2, predict_job(kafka, pipeline, ranges))

    publish(kafka, pipeline, ranges, predictor)

    assert sorted(int(prediction["id"]) for prediction in predictions(kafka, pipeline)) == [
        n for n in range(30) if n != 12
    ]
    assert [letter.value() for letter in dead_letters(kafka, pipeline)] == [b"{"]


def test_dead_letters_of_an_external_topic_are_not_replayed(kafka, theirs):
    pipeline = theirs()

    with pytest.raises(NotOurTopic) as refused:
        replay_dead_letters(Attempt(kafka, pipeline.name, "replay", "run"), pipeline, Selection())

    assert_readable(refused.value, pipeline.name, pipeline.requests_topic)
    assert committed_records(kafka, pipeline.requests_topic) == []


def test_while_the_registry_is_away_nothing_is_published(kafka, theirs, predictor):
    with running_registry() as server:
        user, _, password = USER.partition(":")
        registry = registry_at(server.url, login=user, password=password, extra={"max.retries": 0})
        pipeline = theirs(envelope={"kind": "avro", "content": "x"}, registry={"connection": "schemas"})
        schema = '{"type": "record", "name": "Four", "fields": [{"name": "x", "type": "bytes"}]}'
        serialize = AvroSerializer(SchemaRegistryClient(dict(registry.settings)), schema)
        context = SerializationContext(pipeline.requests_topic, MessageField.VALUE)
        values = [serialize({"x": numbers(number).tobytes()}, context) for number in range(3)]
        produce(kafka, pipeline.requests_topic, [Record(value, None) for value in [*values, b"\0\0\0\1\1unknown"]])
        ranges = freeze_ranges(kafka, pipeline.requests_topic)
        reaching = replace(kafka, registry=registry)
        server.status = 503
        with pytest.raises(RegistryAway):
            publish(reaching, pipeline, ranges, predictor)
        assert (predictions(kafka, pipeline), dead_letters(kafka, pipeline)) == ([], [])
        server.status = 200

        published = publish(reaching, pipeline, ranges, predictor)

    assert (published.predictions, published.dead_letters) == (3, {"unknown-schema": 1})
