"""A result has the timestamp of its publishing, and the request's timestamp in its JSON."""

from __future__ import annotations

import pytest

from tests.support.consumers import committed_records
from tests.support.producers import NOW_MS
from tests.support.publishing import ask, dead_letters, headers_of, predictions, publish, request

HOUR_MS = 3_600_000
YEAR_9999_MS = 253_402_300_799_000


@pytest.fixture
def pipeline(kafka, new_pipeline):
    """A pipeline whose requests topic, and no other, accepts timestamps far in the future."""
    # A century, or a request of 1970 might be gone before it is read.
    pipeline = new_pipeline(topics={"partitions": 1, "retention_hours": 1_000_000})
    let_the_future_in(kafka, pipeline.requests_topic)
    return pipeline


def let_the_future_in(kafka, topic):
    from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

    entry = ConfigEntry("message.timestamp.after.max.ms", str(2**63 - 1), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    with AdminClient(dict(kafka.settings)) as admin:
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(30)


@pytest.mark.parametrize(
    ("sent_ms", "timestamp_ms"),
    [
        (NOW_MS + HOUR_MS // 2, NOW_MS + HOUR_MS // 2),
        (NOW_MS + 24 * HOUR_MS, NOW_MS + 24 * HOUR_MS),
        (YEAR_9999_MS, YEAR_9999_MS),
        (1, 1),
        (-1, None),
        (-(10**12), None),
    ],
    ids=["soon", "tomorrow", "the year 9999", "1970", "none", "negative"],
)
def test_a_request_with_any_timestamp_is_predicted(kafka, pipeline, predictor, sent_ms, timestamp_ms):
    """By default a topic refuses a record that is an hour ahead, and its whole transaction."""
    ranges = ask(kafka, pipeline, request(0, timestamp_ms=sent_ms), request(1, timestamp_ms=sent_ms, value=b"123"))

    published = publish(kafka, pipeline, ranges, predictor)

    assert (published.samples, published.predictions, published.rejected) == (2, 1, 1)
    (prediction,) = predictions(kafka, pipeline)
    (letter,) = dead_letters(kafka, pipeline)
    assert prediction["timestamp"] == timestamp_ms
    assert headers_of(letter)["dead-letter-timestamp"] == str(sent_ms).encode()
    for record in (*committed_records(kafka, pipeline.predictions_topic), letter):
        assert abs(record.timestamp()[1] - NOW_MS) < HOUR_MS
