"""What a model has served lately: its newest answers, the requests that they answer, and those that got a label."""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from include.kafka.headers import MODEL, headers_of
from include.kafka.newest import Limits, newest_records
from include.kafka.position import offset_of
from include.kafka.ranges import freeze_ranges, starting_at
from include.kafka.reader import read_ranges
from include.prediction.chunks import request_reader
from include.prediction.read import ROWS, PublishedRow
from include.reading.late import read_labels
from include.refusal import Refusal

if TYPE_CHECKING:
    import numpy as np
    from confluent_kafka import Message

    from include.codecs.base import Codec
    from include.definition.pipeline import Pipeline
    from include.exactly_once.attempt import Attempt
    from include.prediction.json_record import ModelIdentity
    from include.reading.layout import TopicLabels
    from include.targets.base import Target
    from include.watching.figures import Labelled

log = logging.getLogger(__name__)

# How far back the newest records are looked for, in offsets of each partition for each of them: markers take some, and
# before a promotion lie the answers of other versions.
OFFSETS_EACH = 4
# Requests that are decoded at one time.
DECODED = 100


def newest_answers(attempt: Attempt, pipeline: Pipeline, model: ModelIdentity, number: int) -> list[PublishedRow]:
    """The newest answers of a version, at most `number`, from the last offsets of each partition.

    Raises:
        TopicMissing, RangeUnavailable, ReaderStalled: see include.kafka.
    """
    connection = attempt.connection
    ranges = freeze_ranges(connection, pipeline.predictions_topic)
    limits = Limits(offsets=OFFSETS_EACH * number)
    messages, _ = newest_records(
        connection, attempt.group(), ranges, number, limits=limits, wanted=lambda message: _is_of(model, message)
    )
    rows = (_row(pipeline, model, message) for message in messages)
    return [row for row in rows if row is not None]


def input_statistics(
    attempt: Attempt, pipeline: Pipeline, codec: Codec, answers: Sequence[PublishedRow]
) -> np.ndarray[Any, Any]:
    """The statistics of the requests that were answered, float32 (n, statistics), see `Codec.describe`.

    They are decoded once more. Those that retention has removed by now are left out.
    """
    import numpy as np

    connection = attempt.connection
    wanted: defaultdict[int, set[int]] = defaultdict(set)
    for row in answers:
        wanted[row.partition].add(row.offset)
    ranges = [
        replace(item, start=start, end=max(start, min(item.end, max(offsets) + 1)))
        for item in freeze_ranges(connection, pipeline.requests_topic)
        if (offsets := wanted.get(item.partition))
        for start in [min(item.end, max(item.start, min(offsets)))]
    ]
    found = [np.empty((0, len(codec.described)), np.float32)]
    with request_reader(connection, pipeline) as reader:
        for index, messages in read_ranges(connection, attempt.group(), ranges, batch_size=DECODED):
            offsets = wanted[ranges[index].partition]
            records = reader.read([message for message in messages if offset_of(message) in offsets])
            contents = [
                content
                for content, label in zip(records.contents, records.labels, strict=True)
                if not isinstance(label, Refusal)
            ]
            found.append(codec.describe(codec.to_inputs(codec.decode(contents).samples)))
    return np.concatenate(found)


def labelled_answers(
    attempt: Attempt,
    pipeline: Pipeline,
    model: ModelIdentity,
    target: Target,
    labels: TopicLabels,
    number: int,
    delay_s: float,
) -> list[Labelled]:
    """The version's answers to the requests that got the newest labels, each once with the label that counts now.

    It is computed anew from the two topics each time, so that no label is counted twice, and one that is corrected or
    withdrawn counts as it is then.

    Args:
        target: the model's, by which labels are read: the file may have others by now.
        number: of the newest labels.
        delay_s: seconds; earlier answers are not looked for.
    """
    connection, group = attempt.connection, attempt.group()
    ends = [
        replace(item, start=max(item.start, item.end - OFFSETS_EACH * number))
        for item in freeze_ranges(connection, labels.topic)
    ]
    late = read_labels(connection, group, labels, ends)
    given = sorted(late.labels.items(), key=lambda item: (-item[1].timestamp_ms, item[0]))
    texts = {sample_id: label.text for sample_id, label in given[:number] if label.text is not None}
    refused = 0
    # One id may have been asked for many times.
    found: deque[Labelled] = deque(maxlen=number)
    if not texts:
        return []
    since = round((time.time() - delay_s) * 1000)
    ranges = starting_at(connection, group, freeze_ranges(connection, pipeline.predictions_topic), since)
    for _, messages in read_ranges(connection, group, ranges):
        for message in messages:
            text = texts.get(message.key() or b"")
            if text is None or message.timestamp()[1] < since or not _is_of(model, message):
                continue
            row, truth = _row(pipeline, model, message), target.read(text)
            if isinstance(truth, Refusal):
                refused += 1
            elif row is not None:
                found.append((answer_of(row), truth))
    if refused:
        log.warning("%d labels of %s are none that the model has learnt and do not count.", refused, labels.topic)
    return list(found)


def answer_of(row: PublishedRow) -> dict[str, Any]:
    """The fields that a task answers with."""
    return row.model_dump(exclude=set(PublishedRow.model_fields))


def _is_of(model: ModelIdentity, message: Message) -> bool:
    return dict(headers_of([message])[0]).get(MODEL) == model.header[1]


def _row(pipeline: Pipeline, model: ModelIdentity, message: Message) -> PublishedRow | None:
    """The prediction; None where the record is none of this model, to a request of this pipeline."""
    try:
        row = ROWS[pipeline.training.task].model_validate_json(message.value() or b"")
    except ValidationError:
        return None
    return row if (row.digest, row.topic) == (model.digest, pipeline.requests_topic) else None
