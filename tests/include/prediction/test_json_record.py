"""The values of many records are the JSON that each has alone, whatever is in them."""

from __future__ import annotations

import json

import pytest

from include.prediction.json_record import prediction_values
from tests.support.tiny_pipelines import IDENTITY

ANSWERS = {
    "several kinds": [{"label": "ü", "score": 1e-06}, {"labels": [], "scores": {"a": 1.0}}, {"values": [1.5, 2]}],
    "line breaks": [{"label": "\n[]\n", "score": 0.5}] * 3,
    "brackets": [{"top": [{"label": "]\n[", "score": 0.5}, {"label": "}, {", "score": 0.25}]}] * 2,
    "lists in lists": [{"values": [1, [], 2]}, {"values": [[[]], []]}],
    "none": [],
}


@pytest.mark.parametrize("answers", ANSWERS.values(), ids=ANSWERS)
def test_values_are_the_json_of_each(answers):
    ids = ["plain", "\n[]\n", '"],\u2028'][: len(answers)]
    requests = [(7, 1_700_000_000_000), (8, -1), (9, 0)][: len(answers)]

    values = prediction_values(IDENTITY, "topic", 3, requests, ids, answers)

    assert values == [
        json.dumps(
            {
                "id": sample_id,
                **answer,
                "model": IDENTITY.name,
                "version": IDENTITY.version,
                "digest": IDENTITY.digest,
                "manifest": IDENTITY.manifest,
                "topic": "topic",
                "partition": 3,
                "offset": offset,
                "timestamp": timestamp_ms if timestamp_ms >= 0 else None,
            }
        ).encode()
        for sample_id, answer, (offset, timestamp_ms) in zip(ids, answers, requests, strict=True)
    ]
