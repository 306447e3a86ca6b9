"""Random arrays in the topics: the format of the tutorials, and shapes that don't fit."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from include.exactly_once.attempt import Attempt
from include.ingest.batch import ingest_batch
from include.sources.base import SourceRefused
from tests.support.assertions import assert_readable
from tests.support.attempts import ingest_job, kill_at
from tests.support.consumers import committed_records


@pytest.fixture
def new_random_pipeline(new_pipeline):
    def make(shape, **source):
        return new_pipeline(
            format={"kind": "tensor.base64", "shape": [4, 5, 3], "dtype": "float64"},
            source={"kind": "random", "shape": shape, "labels": ["a", "b"], "total": 30, **source},
            ingest={"requests_share": 0.0},
        )

    return make


def test_a_killed_batch_is_sent_again_with_the_same_samples(kafka, new_random_pipeline):
    pipeline = new_random_pipeline([4, 5, 3])
    kill_at("before commit", 3, ingest_job(kafka, pipeline, "first", records=25, chunk=10))

    ingest_batch(Attempt(kafka, pipeline.name, "ingest", "run-1"), pipeline, "first", records=25)

    records = committed_records(kafka, pipeline.samples_topic)
    found = {record.key().decode(): np.frombuffer(base64.b64decode(record.value())) for record in records}
    assert len(records) == len(found) == 25
    for sample in pipeline.source.read(0, 25):
        np.testing.assert_array_equal(found[sample.id], sample.content.ravel())


def test_another_shape_than_the_format_s_is_refused_before_anything_is_sent(kafka, new_random_pipeline):
    pipeline = new_random_pipeline([5, 4, 3])

    with pytest.raises(SourceRefused) as refusal:
        ingest_batch(Attempt(kafka, pipeline.name, "ingest", "run-1"), pipeline, "first", records=25)
    assert_readable(refusal.value, "(5, 4, 3)", "(4, 5, 3)", f"{pipeline.name}.toml")

    mended = pipeline.model_copy(update={"source": pipeline.source.model_copy(update={"shape": (4, 5, 3)})})
    assert ingest_batch(Attempt(kafka, mended.name, "ingest", "run-1"), mended, "first", records=25).start == 0
