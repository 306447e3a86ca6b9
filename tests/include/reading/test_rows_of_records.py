"""Rows in the fields of another application's records: learnt, and answered with the statistics of the training."""

from __future__ import annotations

import json

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from include.kafka.ranges import freeze_ranges
from include.kafka.topics import ensure_topics
from include.prediction.predictor import Predictor
from include.training.job import TrainingJob
from include.training.loop import train
from tests.support.external_topics import external_pipeline
from tests.support.producers import Record, produce
from tests.support.publishing import dead_letters, headers_of, predictions, publish
from tests.support.tiny_pipelines import IDENTITY

COUNT = 400
ROWS = {"kind": "row", "numbers": ["age", "fare"], "categories": ["port"], "missing": "mark"}


def customers():
    """Rows whose class depends on a number and a category, in numbers that no network learns as they are."""
    random = np.random.default_rng(1)
    for number in range(COUNT):
        age, port = float(random.integers(18, 90)), "SCQ"[random.integers(3)]
        bought = age > 50 or port == "C"
        yield {"id": number, "age": age, "fare": 1e6 + number, "port": port, "label": "yes" if bought else "no"}


def message_type(tmp_path):
    """A Protobuf type of these fields, and the file of its descriptors."""
    kinds = {"id": "INT64", "age": "DOUBLE", "fare": "FLOAT", "port": "STRING", "label": "STRING"}
    fields = [
        FieldDescriptorProto(name=name, number=number, type=f"TYPE_{kind}", label=FieldDescriptorProto.LABEL_OPTIONAL)
        for number, (name, kind) in enumerate(kinds.items(), 1)
    ]
    file = FileDescriptorProto(name="c.proto", package="shop", syntax="proto3")
    file.message_type.append(DescriptorProto(name="Customer", field=fields))
    path = tmp_path / "shop.desc"
    path.write_bytes(FileDescriptorSet(file=[file]).SerializeToString())
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("shop.Customer")), str(path)


@pytest.mark.parametrize("kind", ["json", "protobuf"])
def test_fields_are_learnt_and_answered_as_rows(kafka, new_topic, new_name, tmp_path, kind):
    envelope = {"kind": kind, "content_is": "row", "id": "id"}
    if kind == "protobuf":
        message, file = message_type(tmp_path)
        envelope |= {"descriptor_file": file, "message": "shop.Customer"}
        values = [message(**row).SerializeToString() for row in customers()]
    else:
        values = [json.dumps({**row, "more": {"any": None}}).encode() for row in customers()]
    topic = new_topic()
    settings = {
        "labels": ["no", "yes"],
        "learning_rate": 0.02,
        "threads": 1,
        "schedule": "0 * * * *",
        "epochs": 10,
        "batch_size": 16,
    }
    pipeline = external_pipeline(
        new_name(),
        topics={"samples": topic, "requests": topic},
        format=ROWS,
        envelope=envelope,
        labels={"kind": "field", "name": "label"},
        model={"kind": "rows", "hidden": [32]},
        training=settings,
    )
    ensure_topics(kafka, pipeline.topic_specs())
    produce(kafka, topic, [Record(value, None) for value in values])

    trained = train(TrainingJob.of(pipeline, freeze_ranges(kafka, topic)), kafka, tmp_path / "run")
    produce(kafka, topic, [Record(b"\xff{", None)])
    predictor = Predictor(trained.network, pipeline.training.target(), IDENTITY, trained.statistics)
    published = publish(kafka, pipeline, freeze_ranges(kafka, topic), predictor)

    assert trained.statistics.mean[1] == pytest.approx(1e6 + COUNT / 2, rel=1e-4)
    assert set(trained.statistics.vocabularies[0]) == {"S", "C", "Q"}
    assert (published.predictions, published.rejected) == (COUNT, 1)
    (letter,) = dead_letters(kafka, pipeline)
    assert headers_of(letter)["dead-letter-reason"] == (b"invalid-utf8" if kind == "json" else b"not-its-schema")
    labels = {str(row["id"]): row["label"] for row in customers()}
    right = sum(labels[answer["id"]] == answer["label"] for answer in predictions(kafka, pipeline))
    assert right > 0.95 * COUNT
