"""Which requests each version of a model has answered, read from the published predictions."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from pydantic import ValidationError

from include.definition.pipeline import Pipeline
from include.kafka.connection import KafkaConnection
from include.kafka.headers import MODEL, headers_of
from include.kafka.ranges import freeze_ranges
from include.kafka.reader import read_ranges
from include.prediction.read import ROWS


@dataclass
class VersionAnswers:
    """What one version has answered of a pipeline's requests.

    Attributes:
        requests: by partition of the requests topic their offsets, in the order of their answers; 8 bytes each.
        first_ms, last_ms: when the first and the last answer was published, in milliseconds since 1970.
    """

    first_ms: int
    last_ms: int
    requests: dict[int, array[int]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(map(len, self.requests.values()))


def answers_by_version(
    connection: KafkaConnection, pipeline: Pipeline, group: str, only: int | None = None
) -> dict[int, VersionAnswers]:
    """What each version has answered, by its number; records that are no predictions of these requests are left out.

    All predictions that the topic still has are read.

    Args:
        group: of the consumer.
        only: the one version that is asked for.

    Raises:
        TopicMissing, RangeUnavailable, ReaderStalled: see include.kafka.
    """
    wanted = None if only is None else f"{pipeline.name}/{only}".encode()
    kind = ROWS[pipeline.training.task]
    found: dict[int, VersionAnswers] = {}
    ranges = freeze_ranges(connection, pipeline.predictions_topic)
    for _, messages in read_ranges(connection, group, ranges):
        for message, headers in zip(messages, headers_of(messages), strict=True):
            # The header shows the version without parsing the value.
            if wanted is not None and dict(headers).get(MODEL) != wanted:
                continue
            try:
                row = kind.model_validate_json(message.value() or b"")
            except ValidationError:
                continue
            if row.topic != pipeline.requests_topic or (only is not None and row.version != only):
                continue
            published = message.timestamp()[1]
            answered = found.setdefault(row.version, VersionAnswers(published, published))
            answered.first_ms = min(answered.first_ms, published)
            answered.last_ms = max(answered.last_ms, published)
            answered.requests.setdefault(row.partition, array("q")).append(row.offset)
    return dict(sorted(found.items()))
