"""Where requests are signed, one whose signature does not hold is a dead letter with its reason."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from include.exactly_once.attempt import Attempt
from include.kafka.ranges import freeze_ranges
from include.kafka.signing import InvalidSigningKeys, SigningKeys
from include.prediction.publish import publish_predictions
from tests.support.consumers import committed_records
from tests.support.producers import Record, produce
from tests.support.signed_records import KEYS, RETIRED, SECRET, TAMPERED, signed, with_header
from tests.support.tiny_pipelines import SCHEMA, numbers, sample_id, tiny_predictor


def request(number):
    return Record(numbers(number).tobytes(), sample_id(number).encode(), [("schema", SCHEMA)])


@pytest.fixture
def signing(new_pipeline):
    return new_pipeline(signing={"connection": "keys"})


def publish(kafka, pipeline, *requests, keys=KEYS):
    produce(kafka, pipeline.requests_topic, requests)
    ranges = freeze_ranges(kafka, pipeline.requests_topic)
    return publish_predictions(
        Attempt(replace(kafka, signing=keys), pipeline.name, "predict", "run-1"), pipeline, ranges, tiny_predictor()
    )


def predicted_ids(kafka, pipeline):
    records = committed_records(kafka, pipeline.predictions_topic)
    return sorted(json.loads(record.value())["id"] for record in records)


def test_a_tampered_request_becomes_a_dead_letter_with_its_reason(kafka, signing):
    good = [signed(request(number)) for number in range(3)]
    bad = [change(signed(request(99))) for change, _ in TAMPERED.values()]

    published = publish(kafka, signing, *good, *bad)

    assert published.predictions == 3
    assert predicted_ids(kafka, signing) == [sample_id(number) for number in range(3)]
    reasons = {}
    for letter in committed_records(kafka, signing.dead_letters_topic):
        headers = dict(letter.headers())
        reasons[int(headers["dead-letter-address"].split(b"/")[2])] = headers["dead-letter-reason"].decode()
    assert reasons == {len(good) + number: reason for number, (_, reason) in enumerate(TAMPERED.values())}


def test_the_schema_of_a_signed_request_is_checked_too(kafka, signing):
    other = signed(with_header(request(0), "schema", b"other/1"))

    assert publish(kafka, signing, other).dead_letters == {"wrong-schema": 1}


def test_a_retired_key_verifies_until_it_is_removed(kafka, signing):
    old = signed(request(0), "2025", RETIRED)

    assert publish(kafka, signing, old).predictions == 1
    assert publish(kafka, signing, old, keys=SigningKeys("2026", {"2026": SECRET})).dead_letters == {"unknown-key": 1}


def test_without_signing_a_signature_is_ignored(kafka, new_pipeline):
    pipeline = new_pipeline()
    forged = with_header(request(1), "signature", b"forged")

    assert publish(kafka, pipeline, request(0), forged, signed(request(2))).predictions == 3


def test_without_keys_nothing_is_published(kafka, signing):
    with pytest.raises(InvalidSigningKeys):
        publish(kafka, signing, signed(request(0)), keys=None)
    assert predicted_ids(kafka, signing) == []
