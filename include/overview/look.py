"""The newest samples, requests and predictions, for a person who looks at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from include.exactly_once.snapshot import reader_group
from include.kafka.headers import Headers, headers_of
from include.kafka.newest import Limits, newest_records
from include.kafka.ranges import LogHistory, log_histories
from include.kafka.records import Address, address_of
from include.overview.media import Rendering, as_found, shown
from include.overview.records import decode_record, record_at, records_at
from include.prediction.read import ROWS, MultiLabelRow, PredictionRow, RegressionRow
from include.reading.late import LateLabels, read_labels
from include.reading.records import LabelOrRefusal, RecordReader, record_reader
from include.refusal import Refusal

if TYPE_CHECKING:
    from confluent_kafka import Message

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection
    from include.reading.layout import TopicLabels
    from include.targets.base import Target

Content = Literal["samples", "requests", "predictions"]

# How far back the newest records are searched for, and how much of other topics is read beside them.
LIMITS = Limits(offsets=20_000, size=64 * 2**20)
# Labels that come late, of each partition.
LATE_OFFSETS = 5000
# Predictions whose true labels are compared, where only wrong ones are wanted.
COMPARED = 400
SHOWN_VALUES = 6


@dataclass(frozen=True)
class Filters:
    """Which records are wanted.

    Attributes:
        label: the predicted label, or the true one of samples and requests; empty for all.
        least, most: of the score.
        wrong: only predictions whose true label is known and another.
    """

    label: str = ""
    version: int | None = None
    least: float | None = None
    most: float | None = None
    wrong: bool = False


@dataclass(frozen=True)
class Answer:
    """What a prediction says.

    Attributes:
        labels: the predicted ones; empty for a regression.
        text: the same for a person.
        score: the highest one, 0 to 1; None for a regression.
        scores: the highest ones by label.
        request: the address of its request.
        asked_ms: the request's own time, in milliseconds since 1970; None where it has none.
    """

    labels: tuple[str, ...]
    text: str
    score: float | None
    scores: tuple[tuple[str, float], ...]
    version: int
    manifest: str
    request: Address
    asked_ms: int | None


@dataclass(frozen=True)
class Item:
    """A record as a person sees it.

    Attributes:
        address: where it is.
        id: the sample's, as text.
        label: the true label, where it is known.
        answer: of a prediction.
        right: whether it is the true label, by the labels of the pipeline's file; None where that can't be said.
        shown: the sample: a prediction's is that of its request, None where the topic has that no longer.
        faults: why it is no sample.
        headers: names and contents, as text.
    """

    address: Address
    at_ms: int
    id: str
    shown: Rendering | None
    label: str | None = None
    answer: Answer | None = None
    right: bool | None = None
    faults: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    deleted: bool = False


@dataclass(frozen=True)
class NewestItems:
    """The newest records.

    Attributes:
        complete: whether no more of them were left out than those behind the number that was asked for.
        exists: whether the topic was created yet.
        invalid: where the records are that were searched for predictions and are none of the pipeline's.
        unlabelled: whether only wrong predictions were wanted, and of none that was searched the true label is known.
    """

    items: tuple[Item, ...] = ()
    complete: bool = True
    exists: bool = True
    invalid: tuple[Address, ...] = ()
    unlabelled: bool = False


@dataclass
class Looker:
    """Looks at the records of one pipeline.

    Args:
        connection: with the pipeline's registry.
    """

    connection: KafkaConnection
    pipeline: Pipeline
    group: str = field(init=False)
    _target: Target = field(init=False)

    def __post_init__(self) -> None:
        self.group = reader_group(self.connection.environment)
        self._target = self.pipeline.training.target()

    def newest(self, content: Content, number: int, filters: Filters = Filters()) -> NewestItems:
        """The newest records of a topic, at most `number`.

        Raises:
            BrokerUnavailable, AccessDenied, RangeUnavailable, ReaderStalled: see include.kafka.
            RegistryAway, RegistryRefused: see include.kafka.schema_registry.
        """
        topic = self.topic(content)
        logs = log_histories(self.connection, self._topics(content))
        if topic not in logs:
            return NewestItems(exists=False)
        if content == "predictions":
            return self._predictions(logs, number, filters)
        late = self._late_labels(logs, content)
        with self._reader(topic, labelled=content == "samples") as reader:

            def wanted(message: Message) -> bool:
                if not filters.label:
                    return True
                found = reader.read([message])
                label = found.labels[0] if late is None else late.of(found.ids[0])
                return self._has(label, filters.label)

            messages, complete = self._newest(logs[topic], number, wanted)
            return NewestItems(tuple(self._item(message, reader, content, late) for message in messages), complete)

    def one(self, content: Content, partition: int, offset: int) -> Item | None:
        """The record at a place; None where there is none."""
        topic = self.topic(content)
        logs = log_histories(self.connection, self._topics(content))
        log = logs.get(topic)
        message = (
            None if log is None else record_at(self.connection, self.group, log, Address(topic, partition, offset))
        )
        if message is None:
            return None
        if content == "predictions":
            return self._answered(logs, [message])[0]
        with self._reader(topic, labelled=content == "samples") as reader:
            return self._item(message, reader, content, self._late_labels(logs, content))

    def topic(self, content: Content) -> str:
        return {
            "samples": self.pipeline.samples_topic,
            "requests": self.pipeline.requests_topic,
            "predictions": self.pipeline.predictions_topic,
        }[content]

    def _topics(self, content: Content) -> list[str]:
        pipeline, late = self.pipeline, self._late(content)
        labels = None if late is None else late.topic
        topics = (pipeline.samples_topic, pipeline.requests_topic, pipeline.predictions_topic, labels)
        return [topic for topic in dict.fromkeys(topics) if topic is not None]

    def _reader(self, topic: str, *, labelled: bool) -> AbstractContextManager[RecordReader]:
        layout = self.pipeline.record_layout(topic)
        labelled = labelled and self.pipeline.labels_topic is None
        return record_reader(self.connection, layout, self.pipeline.format.schema_name, labelled=labelled)

    def _newest(self, log: LogHistory, number: int, wanted: Callable[[Message], bool]) -> tuple[list[Message], bool]:
        return newest_records(self.connection, self.group, log.ranges, number, limits=LIMITS, wanted=wanted)

    def _item(self, message: Message, reader: RecordReader, content: Content, late: LateLabels | None) -> Item:
        labelled = content == "samples" and self.pipeline.labels_topic is None
        record = decode_record(message, self.pipeline, reader, labelled=labelled)
        return Item(
            address=address_of(message),
            at_ms=message.timestamp()[1],
            id=as_found(record.id),
            shown=shown(record, self.pipeline.format),
            label=self._truth(record.label, record.id, late),
            faults=tuple(map(str, record.refusals)),
            headers=_headers(record.headers),
            deleted=record.deleted,
        )

    def _predictions(self, logs: dict[str, LogHistory], number: int, filters: Filters) -> NewestItems:
        invalid: list[Address] = []

        def wanted(message: Message) -> bool:
            answer = answer_of(message, self.pipeline)
            if answer is None:
                invalid.append(address_of(message))
            return answer is not None and self._matches(answer, filters)

        log = logs[self.pipeline.predictions_topic]
        messages, complete = self._newest(log, COMPARED if filters.wrong else number, wanted)
        items = self._answered(logs, messages)
        if filters.wrong:
            wrong = [item for item in items if item.right is False]
            return NewestItems(
                tuple(wrong[:number]),
                complete and len(items) < COMPARED,
                invalid=tuple(invalid),
                unlabelled=bool(items) and all(item.right is None for item in items),
            )
        return NewestItems(tuple(items), complete, invalid=tuple(invalid))

    def _answered(self, logs: dict[str, LogHistory], messages: Sequence[Message]) -> list[Item]:
        """Predictions with the samples of their requests and their true labels."""
        answers = [answer_of(message, self.pipeline) for message in messages]
        topic = self.pipeline.requests_topic
        places = [
            (answer.request.partition, answer.request.offset)
            for answer in answers
            if answer is not None and answer.request.topic == topic
        ]
        requests = (
            records_at(self.connection, self.group, logs[topic], places, largest=int(LIMITS.size))
            if topic in logs
            else {}
        )
        late = self._late_labels(logs, "predictions")
        items = []
        with self._reader(topic, labelled=False) as reader:
            for message, answer in zip(messages, answers, strict=True):
                item = self._prediction(message, answer)
                found = None if answer is None else requests.get((answer.request.partition, answer.request.offset))
                request = None if found is None else decode_record(found, self.pipeline, reader, labelled=False)
                if request is not None:
                    item = replace(item, shown=shown(request, self.pipeline.format))
                if answer is not None:
                    # By the prediction's own key, as the live score finds it: its request may be gone.
                    label = self._truth(None if request is None else request.label, message.key(), late)
                    item = replace(item, label=label, right=self._right(answer, label))
                items.append(item)
        return items

    def _truth(self, own: str | None, sample_id: bytes | None, late: LateLabels | None) -> str | None:
        """The late label; where `[watch.labels]` has none, the record's own."""
        label = None if late is None else late.of(sample_id or b"")
        return own if label is None and self.pipeline.labels_topic is None else label

    def _right(self, answer: Answer, label: str | None) -> bool | None:
        truth = None if label is None else self._target.read(label)
        return None if truth is None or isinstance(truth, Refusal) else self._target.right(answer.labels, truth)

    def _has(self, label: LabelOrRefusal, wanted: str) -> bool:
        """Whether a sample has a label, which is told apart from others as in a training."""
        if label is None or isinstance(label, Refusal):
            return False
        truth = self._target.read(label)
        named = None if isinstance(truth, Refusal) else self._target.named(truth)
        return label == wanted or (named is not None and self._target.place_of(wanted) in named)

    def _matches(self, answer: Answer, filters: Filters) -> bool:
        score, wanted = answer.score, filters.label
        place = self._target.place_of(wanted)
        places = set() if place is None else {self._target.place_of(name) for name in answer.labels}
        return (
            (not wanted or wanted in answer.labels or place in places)
            and (filters.version is None or answer.version == filters.version)
            and (filters.least is None or (score is not None and score >= filters.least))
            and (filters.most is None or (score is not None and score <= filters.most))
        )

    def _late(self, content: Content) -> TopicLabels | None:
        """Where late labels are: those of `[watch.labels]` are of answers, and no training reads them."""
        return None if content == "samples" and self.pipeline.labels_topic is None else self.pipeline.late_labels

    def _late_labels(self, logs: dict[str, LogHistory], content: Content) -> LateLabels | None:
        labels = self._late(content)
        if labels is None:
            return None
        log = logs.get(labels.topic)
        if log is None:
            return LateLabels()
        newest = [replace(item, start=max(item.start, item.end - LATE_OFFSETS)) for item in log.ranges]
        return read_labels(self.connection, self.group, labels, newest)

    def _prediction(self, message: Message, answer: Answer | None) -> Item:
        fault = () if answer is not None else ("The record is no prediction of this pipeline.",)
        raw = None if answer is not None else Rendering(raw=as_found(message.value()))
        return Item(
            address=address_of(message),
            at_ms=message.timestamp()[1],
            id=as_found(message.key()),
            shown=raw,
            answer=answer,
            faults=fault,
            headers=_headers(headers_of([message])[0]),
        )


def answer_of(message: Message, pipeline: Pipeline) -> Answer | None:
    """What a prediction says; None where the record is none of the pipeline's task."""
    try:
        row = ROWS[pipeline.training.task].model_validate_json(message.value() or b"")
    except ValidationError:
        return None
    labels: tuple[str, ...] = ()
    text, scores = "", dict[str, float]()
    if isinstance(row, PredictionRow):
        labels, text, scores = (row.label,), row.label, {row.label: row.score}
        scores |= {best.label: best.score for best in row.top or ()}
    elif isinstance(row, MultiLabelRow):
        labels, text, scores = tuple(row.labels), ", ".join(row.labels) or "none", row.scores
    elif isinstance(row, RegressionRow):
        values = list(row.values.items())[:SHOWN_VALUES]
        text = ", ".join(f"{name} {value:g}" for name, value in values)
    highest = sorted(scores.items(), key=lambda item: -item[1])[:SHOWN_VALUES]
    return Answer(
        labels=labels,
        text=text,
        score=row.score if isinstance(row, PredictionRow) else highest[0][1] if highest else None,
        scores=tuple(highest),
        version=row.version,
        manifest=row.manifest,
        asked_ms=row.timestamp,
        request=Address(row.topic, row.partition, row.offset),
    )


def _headers(headers: Headers) -> tuple[tuple[str, str], ...]:
    return tuple((as_found(name.encode("utf-8", "replace")), as_found(content)) for name, content in headers[:40])
