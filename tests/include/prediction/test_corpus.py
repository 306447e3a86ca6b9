"""Bad requests among good ones: each becomes a dead letter for its reason, and all others are predicted."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from include.codecs import RowStatistics
from include.kafka.ranges import freeze_ranges
from tests.support.corpus import (
    BAD_VALUES,
    BASE64,
    FLAC,
    JPEG,
    JSON,
    MP3,
    NPY,
    NUMBERS,
    OGG,
    PCM,
    PNG,
    RAW,
    ROW,
    UTF8,
    WAV,
    WHOLE_BASE64,
    WHOLE_JPEG,
    WHOLE_NPY,
    WHOLE_PNG,
    WHOLE_ROW,
)
from tests.support.producers import NOW_MS, Record, produce
from tests.support.publishing import dead_letters, headers_of, predictions, publish, request
from tests.support.sounds import WAVE, WHOLE_FLAC, WHOLE_MP3, WHOLE_OGG, WHOLE_WAV
from tests.support.tiny_pipelines import SCHEMA

FORMATS = {
    WHOLE_PNG: PNG,
    WHOLE_JPEG: JPEG,
    NUMBERS.tobytes(): RAW,
    WHOLE_NPY: NPY,
    WHOLE_BASE64: BASE64,
    b"left": UTF8,
    b'{"text": "left"}': JSON,
    WHOLE_ROW: ROW,
    WHOLE_WAV: WAV,
    WHOLE_FLAC: FLAC,
    WHOLE_OGG: OGG,
    WHOLE_MP3: MP3,
    WAVE.tobytes(): PCM,
}
PEOPLE = RowStatistics(mean=(30, 100), deviation=(10, 50), vocabularies=(("female", "male"),))
NO_LIMITS = {"max_rejected_share": 1.0}
POISON = -1234.0


class First(torch.nn.Module):
    """Takes inputs of any shape for logits, and fails where one begins with `POISON`."""

    def forward(self, inputs):
        if (inputs.flatten(1)[:, 0] == POISON).any():
            raise ValueError("poison")
        return inputs.flatten(1)[:, :3]


@pytest.fixture
def first(predictor):
    return replace(predictor, network=First())


@pytest.mark.parametrize(("good", "settings"), FORMATS.items(), ids=[table["kind"] for table in FORMATS.values()])
def test_every_bad_value_becomes_a_dead_letter_for_its_reason(kafka, new_pipeline, first, good, settings):
    bad_values = [bad for bad in BAD_VALUES if bad.format == settings]
    assert bad_values
    pipeline = new_pipeline(format=settings, prediction=NO_LIMITS)
    whole = Record(good, key=b"good", headers=[("schema", pipeline.format.schema_name.encode())])
    requests = [each for bad in bad_values for each in (whole, replace(whole, key=bad.name.encode(), value=bad.value))]
    produce(kafka, pipeline.requests_topic, requests)

    statistics = PEOPLE if settings == ROW else None
    predictor = replace(first, statistics=statistics)
    published = publish(kafka, pipeline, freeze_ranges(kafka, pipeline.requests_topic), predictor)

    assert published.samples == len(requests)
    assert [prediction["offset"] for prediction in predictions(kafka, pipeline)] == list(range(0, len(requests), 2))
    found = [(letter.key(), letter.value(), reason_of(letter)) for letter in dead_letters(kafka, pipeline)]
    assert found == [(bad.name.encode(), bad.value, bad.reason) for bad in bad_values]


MEGABYTE = bytes(1_000_000)
HOUR_MS = 3_600_000
STRANGE = {
    "no schema": ({"headers": []}, "no-schema"),
    "unknown version": ({"headers": [("schema", b"tensor.raw/9")]}, "wrong-schema"),
    "schema twice": ({"headers": [("schema", SCHEMA), ("schema", b"x")]}, "duplicate-header"),
    "a megabyte of label": ({"headers": [("schema", SCHEMA), ("label", MEGABYTE)]}, "header-too-long"),
    "a megabyte of trace": ({"headers": [("schema", SCHEMA), ("trace", MEGABYTE)]}, None),
    "soon": ({"timestamp_ms": NOW_MS + HOUR_MS // 2}, None),
    "long ago": ({"timestamp_ms": 1}, None),
    "before 1970": ({"timestamp_ms": -(10**12)}, None),
    "no text": ({"key": b"\xff\xfe"}, None),
    "no key": ({"key": None}, None),
    "one id": ({"key": b"one id"}, None),
    "one id, another payload": ({"key": b"one id"}, None),
    "too large for a prediction": ({"key": MEGABYTE}, "oversize"),
    "too large for a dead letter": ({"value": MEGABYTE * 2}, "oversize"),
    "poison": ({"value": torch.tensor([POISON, 0, 0, 0]).numpy().tobytes()}, "network-failed"),
}


def test_every_strange_record_has_its_result(kafka, new_pipeline, first):
    pipeline = new_pipeline(prediction=NO_LIMITS)
    requests = [request(number, **changed) for number, (changed, _) in enumerate(STRANGE.values())]
    produce(kafka, pipeline.requests_topic, requests, compression="lz4")

    published = publish(kafka, pipeline, freeze_ranges(kafka, pipeline.requests_topic), first)

    assert published.samples == len(STRANGE)
    results = {prediction["offset"]: None for prediction in predictions(kafka, pipeline)}
    for letter in dead_letters(kafka, pipeline):
        results[int(headers_of(letter)["dead-letter-address"].split(b"/")[2])] = reason_of(letter)
    assert dict(zip(STRANGE, map(results.get, range(len(STRANGE))), strict=True)) == {
        name: reason for name, (_, reason) in STRANGE.items()
    }
    assert len(results) == published.samples == published.predictions + published.rejected


def reason_of(letter):
    return headers_of(letter)["dead-letter-reason"].decode()
