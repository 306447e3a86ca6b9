"""Predict requests of the past again, with a version of choice, to a topic of their own."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from include.definition.period import Period
from include.definition.pipeline import Pipeline
from include.errors import NothingToDo
from include.exactly_once.attempt import WRITERS_AT_ONCE, Attempt, Step, windows
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.progress import progress_entry, remaining
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.errors import RangeUnavailable
from include.kafka.ranges import OffsetRange, freeze_ranges, written_between
from include.kafka.reader import FEW_RECORDS_AHEAD
from include.prediction.answer import answer_requests
from include.prediction.chunks import newest_rows, read_chunks, request_reader
from include.prediction.outgoing import prediction_records
from include.prediction.predictor import Predictor
from include.prediction.requests import joined
from include.prediction.version_answers import answers_by_version
from include.reading.records import RecordReader
from include.refusal import Refusal

if TYPE_CHECKING:
    from confluent_kafka import Consumer

log = logging.getLogger(__name__)

STEP: Step = "repredict"
Number = Annotated[int, Field(ge=1)]


class RequestSelection(Period):
    """Which requests are predicted again: those of a period, those that a version has answered, or of both.

    Args:
        since, until: when a request was written, by its record's timestamp, `until` exclusive; see `written_between`.
        answered_by: the number of the version whose answers are to be given again.
    """

    answered_by: Number | None = None

    def __str__(self) -> str:
        """The end of a sentence about these requests."""
        parts = (("since", self.since), ("until", self.until), ("answered by version", self.answered_by))
        return ", ".join(f"{name} {value}" for name, value in parts if value is not None) or "at all"

    @property
    def period_ms(self) -> tuple[int | None, int | None]:
        """`since` and `until` in milliseconds since 1970."""
        since, until = (None if time is None else round(time.timestamp() * 1000) for time in (self.since, self.until))
        return since, until

    def scope(self, item: OffsetRange, version: int) -> str:
        """The scope of the ledger's entry: the same requests are predicted once by each version."""
        since, until = ("" if time is None else time for time in self.period_ms)
        by = "" if self.answered_by is None else f"/of {self.answered_by}"
        return f"{item.topic}/{item.partition}/{version}/{since}-{until}{by}"


@dataclass
class RepredictReport:
    """What one attempt did.

    Attributes:
        ranges: of the requests.
        predictions: how many it published.
        refused: by reason the requests that are no samples; they became dead letters when they were first predicted.
        same_run: whether an earlier attempt of the same run has published, too.
    """

    ranges: tuple[OffsetRange, ...]
    predictions: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    same_run: bool = False

    def __str__(self) -> str:
        return f"{self.predictions} requests again, and {self.refused.total()} are no samples"


def repredict(
    attempt: Attempt, pipeline: Pipeline, selection: RequestSelection, predictor: Predictor
) -> RepredictReport:
    """Predict requests again and publish the answers to the pipeline's re-predictions, exactly once.

    Each chunk is one transaction with the position in the ledger. The keys there have period and version: neither a
    retry nor another run predicts the same again, and a period that has not ended goes on where it was. The chunks of a
    period are always the same, so its answers have the same bytes, whatever is killed in between. The topic of the
    predictions, the dead letters and the positions of the ordinary predictions are not touched.

    Raises:
        NothingToDo: the period or the version has no requests.
        RangeUnavailable: retention has removed requests, or may have, unless the attempt accepts that.
        InvalidSigningKeys, NoRegistry, RegistryAway, RegistryRefused, NetworkFailed: see `publish_predictions`.
        TopicRecreated, LogTruncated, ReaderStalled, Fenced, TransactionFailed: see include.kafka.
    """
    attempt.require(pipeline.name, STEP)
    requests = request_reader(attempt.connection, pipeline)
    ranges, chosen = _select(attempt, pipeline, selection)
    report = RepredictReport(tuple(ranges))
    try:
        with requests as reader, attempt.consumer(**FEW_RECORDS_AHEAD) as consumer:
            # Opening the writers of the first window fences the others.
            attempt.fence([(item.topic, item.partition) for item in ranges[WRITERS_AT_ONCE:]])
            for window in windows(ranges):
                scopes = [(item.topic, item.partition) for item in window]
                ledger_keys = [attempt.key(selection.scope(item, predictor.identity.version)) for item in window]
                with attempt.writers(scopes, topics=[pipeline.repredictions_topic]) as writers:
                    entries = writers[0].read_ledger(ledger_keys)
                    report.same_run |= any(entry.get("run") == attempt.run for entry in entries.values())
                    for item, key, writer in zip(window, ledger_keys, writers, strict=True):
                        work = _Work(attempt, pipeline, predictor, reader, consumer, writer, key, report)
                        work.predict(item, entries.get(key, {}), chosen.get(item.partition))
    finally:
        log.info("This attempt predicted %s.", report)
    return report


def _select(
    attempt: Attempt, pipeline: Pipeline, selection: RequestSelection
) -> tuple[list[OffsetRange], Mapping[int, Collection[int]]]:
    """The ranges of the requests, none of them empty, and by partition the offsets of a version's, if it is asked for.

    Raises:
        NothingToDo, RangeUnavailable: see `repredict`.
    """
    connection, topic = attempt.connection, pipeline.requests_topic
    whole = freeze_ranges(connection, topic)
    ranges = written_between(connection, attempt.group(), whole, *selection.period_ms)
    chosen: dict[int, Collection[int]] = {}
    by_version = selection.answered_by
    if by_version is not None:
        answered = answers_by_version(connection, pipeline, attempt.group(), by_version).get(by_version)
        chosen = {} if answered is None else {number: {*found} for number, found in answered.requests.items()}
    selected: list[OffsetRange] = []
    for available, period in zip(whole, ranges, strict=True):
        item = period
        offsets = chosen.get(item.partition, ())
        # Whether removed requests belong to a period is not known, since nothing has their times any more.
        lost = min(offsets, default=available.start) < available.start or (
            by_version is None and item.start == available.start > 0
        )
        if lost and not attempt.accept_lost:
            raise RangeUnavailable(
                f"Topic {topic} partition {item.partition} has lost its records before offset {available.start}, and "
                f"requests {selection} may have been among them: run it with accept_lost to predict those that are "
                "left."
            )
        if by_version is not None:
            offsets = [offset for offset in offsets if item.start <= offset < item.end]
            item = replace(item, start=min(offsets, default=item.start), end=max(offsets, default=item.start - 1) + 1)
        if item.offsets:
            selected.append(item)
    if not selected:
        raise NothingToDo(f"Topic {topic} has no requests {selection}: nothing is predicted again.")
    return selected, chosen


@dataclass
class _Work:
    """One partition of one attempt."""

    attempt: Attempt
    pipeline: Pipeline
    predictor: Predictor
    reader: RecordReader
    consumer: Consumer
    writer: TransactionalWriter
    key: LedgerKey
    report: RepredictReport

    def predict(self, item: OffsetRange, progress: Mapping[str, Any], chosen: Collection[int] | None) -> None:
        """Predict what the ledger does not have as done, one transaction a chunk.

        Args:
            progress: the partition's entry for this period and version; empty where there is none.
            chosen: the offsets to predict; None for all.
        """
        attempt, pipeline, predictor = self.attempt, self.pipeline, self.predictor
        connection, topic = attempt.connection, pipeline.repredictions_topic
        rest, epoch = remaining(connection, item, progress, accept_lost=attempt.accept_lost)
        if not rest.offsets:
            return
        versions = newest_rows(attempt, self.reader, rest) if chosen is None else None
        for chunk in read_chunks(connection, self.consumer, rest, pipeline, self.reader, epoch):
            attempt.check_stop(f"{self.report}, before offset {chunk.start} of partition {item.partition}")
            requests = chunk.requests
            if chosen is not None:
                places = [place for place, offset in enumerate(requests.offsets) if offset in chosen]
                requests = joined(item.topic, item.partition, [requests.part(place, place + 1) for place in places])
            answered = answer_requests(pipeline, predictor, self.reader, requests, versions)
            self.report.refused.update(outcome.reason for outcome in answered.outcomes if isinstance(outcome, Refusal))
            records = prediction_records(topic, predictor, requests, answered.ids, answered.outcomes, pipeline)
            published = 0
            with self.writer.transaction():
                for record in records.values():
                    if record.size_bound > self.writer.record_limit(topic):
                        self.report.refused["oversize"] += 1
                        continue
                    self.writer.produce(record)
                    published += 1
                entry = progress_entry(item, chunk.end, attempt.run, leader_epoch=chunk.leader_epoch)
                self.writer.write_ledger(self.key, entry)
            self.report.predictions += published
