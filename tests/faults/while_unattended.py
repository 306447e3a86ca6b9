"""Events of an unattended week on topics, ranges and groups, each inflicted on a pipeline that has worked before."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.errors import Stopped
from include.exactly_once.ledger import LEDGER_TOPIC, ledger_topic
from include.kafka.errors import LedgerLost, RangeUnavailable, TopicMissing, TopicRecreated
from include.kafka.ranges import OffsetRange, available_offsets
from include.training.job import TrainingJob
from tests.faults.by_operators import PARTITIONS, OperatorPipeline, refused, skipped
from tests.faults.rows import Row, Setting, middle
from tests.faults.training import train_here
from tests.faults.witness import Witness, request_of
from tests.support.administrator import (
    add_partitions,
    change_topic,
    delete_group,
    delete_records,
    delete_topic,
    group_offsets,
    make_topic,
)
from tests.support.consumers import committed_records
from tests.support.digit_trainings import Events
from tests.support.processes import wait_for

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection

# The broker of `tests.faults.week` needs a minute for it, and a loaded machine more.
EXPIRES_S = 300
CLEANED_S = 180
HOUR_MS = 3_600_000
RECORDS = 100


def events(kafka: KafkaConnection, setting: Setting) -> list[Row]:
    """Inflict all events, or those of the short version, on one broker."""

    def new(name: str) -> OperatorPipeline:
        setting.say(name)
        return OperatorPipeline(kafka, setting.folder / "pipelines", name)

    def begun(name: str) -> OperatorPipeline:
        operators = new(name)
        operators.ingest(records=RECORDS)
        operators.predict()
        return operators

    expired = _ExpiredOffsets(new("expired"), setting)
    runs = setting.folder / "runs"
    rows = [
        _requests_recreated(begun("requests")),
        _partitions_added(begun("widened"), runs),
        _cut_between_freeze_and_read(begun("cut")),
    ]
    if not setting.short:
        rows += [
            _samples_recreated(begun("samples"), runs),
            _predictions_recreated(begun("predictions")),
            _cut_by_retention(new("aged")),
            _cut_between_attempts(begun("trained"), runs),
            _requests_compacted(new("compacted")),
            _ledger_compacted(begun("remembered")),
        ]
    return [*rows, *expired.rows(), _ledger_recreated(begun("forgotten"))]


class _ExpiredOffsets:
    """A pipeline that ingested a batch and predicted before its group's offsets expired."""

    def __init__(self, operators: OperatorPipeline, setting: Setting) -> None:
        self._operators = operators
        self._setting = setting
        self._scheduled = operators.scheduled("scheduled")
        operators.ingest(records=RECORDS, run=self._scheduled)
        operators.predict()
        # The broker returns them once the transaction's marker is written, which is after the commit is answered.
        wait_for(lambda: bool(group_offsets(operators.kafka, operators.group)), "the group's offsets to be committed")

    def rows(self) -> list[Row]:
        """Predict, and repeat the old batch, after the offsets have expired."""
        operators, group = self._operators, self._operators.group
        if self._setting.short:
            delete_group(operators.kafka, group)
            what = "group deleted"
        else:
            self._setting.say("waiting for the broker to forget the group's offsets")
            wait_for(lambda: not group_offsets(operators.kafka, group), f"{group} to expire", timeout_s=EXPIRES_S)
            what = "group offsets expired"
        skipped(operators.predict, "has 0 new requests")
        operators.ingest(records=RECORDS)
        recovered = _timed(operators.predict)
        predicted = operators.predicted(operators.requests())
        assert operators.ingest(run=self._scheduled)["sent_now"] == 0
        for name in ("cleared", "backfilled"):
            another = operators.scheduled(name)
            skipped(lambda run=another: operators.ingest(run=run), "sent by another run")
        return [
            Row(f"{what}: predicted again", 1, *predicted, recovered),
            Row(f"{what}: an old batch run again, cleared and backfilled", 3, *operators.sent(2 * RECORDS), None),
        ]


def _requests_recreated(operators: OperatorPipeline) -> Row:
    """Prediction refuses, because its offsets belong to the old topic. Ingest goes on."""
    topic = operators.pipeline.requests_topic
    before = operators.requests()
    operators.ingest(records=RECORDS)
    frozen = operators.freeze("predict")
    delete_topic(operators.kafka, topic)
    refused(lambda: operators.publish(frozen), TopicMissing, topic)
    refused(operators.predict, TopicMissing, topic)
    operators.ensure_topics()
    operators.ingest(records=RECORDS)
    refused(lambda: operators.publish(frozen), TopicRecreated, topic, frozen[0].topic_id)
    refused(operators.predict, TopicRecreated, topic, frozen[0].topic_id)
    return Row("requests topic recreated: prediction refuses", 4, *operators.predicted(before), None)


def _samples_recreated(operators: OperatorPipeline, runs: Path) -> Row:
    """A training with frozen ranges refuses; a new one takes the samples of the new topic."""
    topic = operators.pipeline.samples_topic
    frozen = operators.freeze("train")
    delete_topic(operators.kafka, topic)
    operators.ensure_topics()
    sent = operators.ingest(records=2 * RECORDS)["samples"]
    refused(lambda: _train(operators, frozen, runs / "frozen"), TopicRecreated, topic, frozen[0].topic_id)
    began = time.monotonic()
    used = _train(operators, operators.freeze("train"), runs / "anew")
    recovered = middle([time.monotonic() - began])
    fault = "samples topic recreated: training takes all of it as new"
    return Row(fault, 1, max(sent - used, 0), max(used - sent, 0), recovered)


def _predictions_recreated(operators: OperatorPipeline) -> Row:
    """The old predictions are gone with their topic; only new requests are predicted."""
    before = set(operators.requests())
    operators.ingest(records=RECORDS)
    delete_topic(operators.kafka, operators.pipeline.predictions_topic)
    refused(operators.predict, TopicMissing, operators.pipeline.predictions_topic)
    operators.ensure_topics()
    recovered = _timed(operators.predict)
    new = [request for request in operators.requests() if request not in before]
    return Row("predictions topic recreated", 1, *operators.predicted(new), recovered)


def _partitions_added(operators: OperatorPipeline, runs: Path) -> Row:
    """A range frozen before is predicted without them; the next run reads them from their first record."""
    pipeline, kafka = operators.pipeline, operators.kafka
    with Witness(kafka, {pipeline.predictions_topic: request_of}) as witness:
        operators.ingest(records=RECORDS)
        frozen = operators.freeze("predict")
        for topic in (pipeline.requests_topic, pipeline.samples_topic):
            add_partitions(kafka, topic, 2 * PARTITIONS)
        operators.ingest(records=2 * RECORDS)
        operators.publish(frozen)
        recovered = _timed(operators.predict)
        skipped(operators.predict, "has 0 new requests")
        requests = operators.requests()
        assert {address.split("/")[1] for address in requests} == set(map(str, range(2 * PARTITIONS)))
        wait_for(lambda: len(witness.seen(pipeline.predictions_topic)) >= len(requests), "the witness to see all")
        lost, duplicated = operators.predicted(requests)
        duplicated += sum(times > 1 for times in witness.seen(pipeline.predictions_topic).values())
    samples = len(committed_records(kafka, pipeline.samples_topic))
    lost += samples - _train(operators, operators.freeze("train"), runs / "widened")
    return Row("partitions added to requests and samples", 2, lost, duplicated, recovered)


def _cut_between_freeze_and_read(operators: OperatorPipeline) -> Row:
    """Prediction refuses until a person accepts the loss, then predicts each remaining request once."""
    topic = operators.pipeline.requests_topic
    before = operators.requests()
    operators.ingest(records=RECORDS)
    frozen = operators.freeze("predict")
    cuts = {item.partition: item.start + item.offsets // 2 for item in frozen}
    for partition, offset in cuts.items():
        delete_records(operators.kafka, topic, offset, partition=partition)
    first = frozen[0]
    wanted, available = f"[{first.start}, {first.end})", f"[{cuts[first.partition]}, {first.end})"
    refused(lambda: operators.publish(frozen), RangeUnavailable, topic, first.partition, wanted, available)
    refused(operators.predict, RangeUnavailable, topic, first.partition, first.start, cuts[first.partition])
    recovered = _timed(lambda: operators.predict(accept_lost=True))
    return _still_predicted("range cut between freeze and read, then accept_lost", operators, before, recovered)


def _cut_by_retention(operators: OperatorPipeline) -> Row:
    """The same by retention itself, which removes the older segment of the requests and keeps the newer one."""
    topic, kafka = operators.pipeline.requests_topic, operators.kafka
    change_topic(kafka, topic, "segment.ms", str(HOUR_MS))
    operators.ask(20, age_ms=24 * HOUR_MS)
    operators.predict()
    before = operators.requests()
    operators.ask(20, age_ms=24 * HOUR_MS)
    operators.ask(20)
    change_topic(kafka, topic, "retention.ms", str(12 * HOUR_MS))
    wait_for(lambda: _first(kafka, topic) > 0, f"retention to cut {topic}", timeout_s=CLEANED_S)
    refused(operators.predict, RangeUnavailable, topic, 0, _first(kafka, topic))
    recovered = _timed(lambda: operators.predict(accept_lost=True))
    return _still_predicted("requests cut by retention, then accept_lost", operators, before, recovered)


def _cut_between_attempts(operators: OperatorPipeline, runs: Path) -> Row:
    """A training that lost samples since its checkpoint refuses; a new one takes those that are left."""
    topic, kafka = operators.pipeline.samples_topic, operators.kafka
    frozen = operators.freeze("train")
    job = TrainingJob.of(operators.pipeline, frozen, epochs=3, batch_size=8)
    stop: list[bool] = []
    begun = Events(epoch=lambda: stop.append(True))
    with pytest.raises(Stopped):
        train_here(job, kafka, runs / "cut", run="week", stopped=lambda: bool(stop), on_progress=begun)
    first = frozen[0]
    cut = first.start + first.offsets // 2
    delete_records(kafka, topic, cut, partition=first.partition)
    wanted, available = f"[{first.start}, {first.end})", f"[{cut}, {first.end})"
    named = (topic, first.partition, wanted, available)
    refused(lambda: train_here(job, kafka, runs / "cut", run="week"), RangeUnavailable, *named)
    began = time.monotonic()
    used = _train(operators, operators.freeze("train"), runs / "left")
    recovered = middle([time.monotonic() - began])
    left = len(committed_records(kafka, topic))
    fault = "samples cut by retention between two attempts: a new training takes what is left"
    return Row(fault, 1, max(left - used, 0), max(used - left, 0), recovered)


def _requests_compacted(operators: OperatorPipeline) -> Row:
    """Compaction leaves the last request of each key, which is predicted once."""
    topic, kafka = operators.pipeline.requests_topic, operators.kafka
    change_topic(kafka, topic, "segment.ms", str(HOUR_MS))
    operators.ask(20, age_ms=24 * HOUR_MS)
    operators.predict()
    before = operators.requests()
    for _ in range(2):
        operators.ask(20, age_ms=24 * HOUR_MS)
    operators.ask(10)
    frozen = operators.freeze("predict")
    there = len(operators.requests())
    change_topic(kafka, topic, "min.cleanable.dirty.ratio", "0.01")
    change_topic(kafka, topic, "cleanup.policy", "compact")
    wait_for(lambda: len(operators.requests()) < there, f"{topic} to be compacted", timeout_s=CLEANED_S)
    operators.publish(frozen)
    operators.ask(10)
    recovered = _timed(operators.predict)
    return _still_predicted("requests topic compacted between freeze and read", operators, before, recovered)


def _ledger_compacted(operators: OperatorPipeline) -> Row:
    """The last entry of each key is enough for every step."""
    kafka = operators.kafka
    scheduled = operators.scheduled("scheduled")
    operators.ingest(records=RECORDS, run=scheduled)
    overtaken = {record.offset() for record in committed_records(kafka, LEDGER_TOPIC)}
    for setting, value in (("min.cleanable.dirty.ratio", "0.01"), ("segment.ms", "1"), ("delete.retention.ms", "0")):
        change_topic(kafka, LEDGER_TOPIC, setting, value)
    for _ in range(3):
        operators.ingest(records=RECORDS)
        operators.predict()

    def is_compacted() -> bool:
        return not overtaken <= {record.offset() for record in committed_records(kafka, LEDGER_TOPIC)}

    wait_for(is_compacted, "the ledger to be compacted", timeout_s=CLEANED_S)
    skipped(operators.predict, "has 0 new requests")
    assert operators.ingest(run=scheduled)["sent_now"] == 0
    operators.ingest(records=RECORDS)
    recovered = _timed(operators.predict)
    predicted, sent = operators.predicted(operators.requests()), operators.sent(6 * RECORDS)
    return Row("ledger compacted", 1, predicted[0] + sent[0], predicted[1] + sent[1], recovered)


def _ledger_recreated(operators: OperatorPipeline) -> Row:
    """Nothing is published, because no step can tell what was published before, and no step creates an empty ledger."""
    operators.ingest(records=RECORDS)
    frozen = operators.freeze("predict")
    published = operators.predicted([])[1]
    delete_topic(operators.kafka, LEDGER_TOPIC)
    refused(lambda: operators.publish(frozen), TopicMissing, LEDGER_TOPIC)
    refused(operators.predict, TopicMissing, LEDGER_TOPIC)
    refused(operators.ingest, TopicMissing, LEDGER_TOPIC)
    refused(operators.ensure_topics, LedgerLost, LEDGER_TOPIC, operators.pipeline.predictions_topic)
    make_topic(operators.kafka, ledger_topic())
    refused(operators.predict, LedgerLost, LEDGER_TOPIC, operators.pipeline.predictions_topic)
    more = operators.predicted([])[1] - published
    return Row("ledger deleted, then recreated by hand: prediction refuses", 5, 0, more, None)


def _still_predicted(fault: str, operators: OperatorPipeline, before: list[str], recovered: float | None) -> Row:
    """A row that counts one prediction for each request that was predicted `before` or is there now, and no other."""
    skipped(operators.predict, "has 0 new requests")
    return Row(fault, 1, *operators.predicted([*{*before, *operators.requests()}]), recovered)


def _train(operators: OperatorPipeline, ranges: list[OffsetRange], directory: Path) -> int:
    """Train for one epoch; returns the number of samples it used, held-out ones included."""
    job = TrainingJob.of(operators.pipeline, ranges, epochs=1, batch_size=8)
    outcome = train_here(job, operators.kafka, directory, run="week").outcome
    return sum(outcome.train.samples.values()) + sum(outcome.held_out.samples.values())


def _first(kafka: KafkaConnection, topic: str) -> int:
    """The first offset of partition 0."""
    return available_offsets(kafka, topic, [0])[0][0]


def _timed(action: Callable[[], object]) -> float | None:
    began = time.monotonic()
    action()
    return middle([time.monotonic() - began])
