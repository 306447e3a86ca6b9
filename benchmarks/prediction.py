"""Requests to published predictions, against the slowest of the three stages alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING

from benchmarks import produce
from benchmarks.measure import Comparison, Run, Stopwatch, take_turns
from benchmarks.samples import CODEC, LABELS, EncodedSample
from include.definition.pipeline import Pipeline
from include.exactly_once.attempt import Attempt
from include.kafka.connection import KafkaConnection
from include.kafka.position import UNKNOWN_EPOCH
from include.kafka.ranges import freeze_ranges
from include.kafka.topics import TopicSpec, ensure_topics
from include.network.build import build_network
from include.prediction.answer import answer
from include.prediction.chunks import RequestChunk, read_chunks, request_consumer
from include.prediction.json_record import ModelIdentity
from include.prediction.outgoing import outgoing_records
from include.prediction.predictor import Predictor
from include.prediction.publish import publish_predictions
from include.reading.records import Records, record_reader

if TYPE_CHECKING:
    from include.kafka.records import OutgoingRecord

TARGET = 0.85
TOPIC = TopicSpec("bench.requests", partitions=4)

_numbers = count()


def compare(
    connection: KafkaConnection, samples: Sequence[EncodedSample], *, repeats: int, on_round: Callable[[int], None]
) -> Iterator[Comparison]:
    """Answer the same requests each time, for another pipeline, so that none of them has been answered."""
    ensure_topics(connection, [TOPIC])
    produce.written(connection, TOPIC.name, samples, seed=0)
    predictor = predictor_of(requests_pipeline(TOPIC.name))
    stages = _Stages(connection, predictor, len(samples))
    stages.read()
    runs = take_turns(
        {
            "ours": lambda: _publish(connection, predictor, len(samples)),
            "read": stages.read,
            "predict": stages.predict,
            "publish": stages.publish,
        },
        repeats=repeats,
        on_round=on_round,
    )
    alone = {stage: runs[stage] for stage in ("read", "predict", "publish")}
    yield Comparison(
        name="consume, predict, publish exactly once",
        question="How near is a prediction run to the slowest of its stages?",
        ours="publish_predictions: requests of 784 bytes in, predictions, ledger and offsets committed",
        limit="the slowest of three alone: reading and checking, decoding and predicting, committing what is ready",
        runs={
            "ours": runs["ours"],
            "limit": [min(stage, key=lambda run: run.rate) for stage in zip(*alone.values(), strict=True)],
            **alone,
        },
        target=TARGET,
    )


def predictor_of(pipeline: Pipeline) -> Predictor:
    """A network that has learnt nothing, as a model version."""
    target = pipeline.training.target()
    network = build_network(pipeline.model, CODEC.input_shape, target, file="bench.toml")
    return Predictor(network, target, ModelIdentity("bench", 1, "0" * 64, "0" * 16))


def requests_pipeline(topic: str, name: str = "") -> Pipeline:
    """A pipeline over the requests of a topic, by default a new one with topics of its own for what it publishes."""
    return Pipeline.model_validate(
        {
            "name": name or f"bench_{next(_numbers)}",
            "description": "Requests that are there already.",
            "format": CODEC.model_dump(),
            "source": {"kind": "digits"},
            "model": {"kind": "convnet", "channels": [4, 8], "hidden": 32},
            "training": {"labels": LABELS},
            "topics": {"requests": topic},
        }
    )


def _publish(connection: KafkaConnection, predictor: Predictor, expected: int) -> Run:
    pipeline = requests_pipeline(TOPIC.name)
    ensure_topics(connection, pipeline.topic_specs())
    ranges = freeze_ranges(connection, TOPIC.name)
    watch = Stopwatch()
    report = publish_predictions(Attempt(connection, pipeline.name, "predict", "bench"), pipeline, ranges, predictor)
    run = watch.run(expected)
    if report.predictions != expected:
        raise RuntimeError(f"{report.predictions:,} of {expected:,} requests were answered: the figures are invalid.")
    return run


class _Stages:
    """Each stage alone, over what the stage before it has left in memory."""

    def __init__(self, connection: KafkaConnection, predictor: Predictor, expected: int) -> None:
        self.connection = connection
        self.predictor = predictor
        self.expected = expected
        self.pipeline = requests_pipeline(TOPIC.name)
        self.attempt = Attempt(connection, self.pipeline.name, "predict", "bench")
        self.ranges = freeze_ranges(connection, TOPIC.name)
        self.chunks: list[tuple[RequestChunk, Records]] = []
        ensure_topics(connection, self.pipeline.topic_specs())

    def read(self) -> Run:
        layout = self.pipeline.record_layout(TOPIC.name)
        self.chunks.clear()
        watch = Stopwatch()
        with (
            record_reader(self.connection, layout, CODEC.schema_name, keys=None, labelled=False) as reader,
            request_consumer(self.attempt, self.pipeline, reader) as consumer,
        ):
            for item in self.ranges:
                for chunk in read_chunks(self.connection, consumer, item, self.pipeline, reader, UNKNOWN_EPOCH):
                    self.chunks.append((chunk, chunk.requests.read(reader)))
        return watch.run(self.expected)

    def predict(self) -> Run:
        watch = Stopwatch()
        for _, records in self.chunks:
            answer(self.predictor.network, CODEC, self.predictor.target, records)
        return watch.run(self.expected)

    def publish(self) -> Run:
        with self.attempt.writer("stage", topics=(self.pipeline.predictions_topic,)) as writer:
            ready: list[list[OutgoingRecord]] = []
            for chunk, records in self.chunks:
                outcomes = answer(self.predictor.network, CODEC, self.predictor.target, records)
                outgoing, _ = outgoing_records(
                    writer, self.pipeline, self.predictor, chunk.requests, records.ids, outcomes, "bench"
                )
                ready.append(outgoing)
            watch = Stopwatch()
            for records_of_chunk in ready:
                with writer.transaction():
                    for record in records_of_chunk:
                        writer.produce(record)
            return watch.run(self.expected)
