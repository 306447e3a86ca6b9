"""What happens to topics, ranges and groups while nobody looks, each to a pipeline of its own that has begun."""

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
from tests.faults.administrator import (
    add_partitions,
    delete_group,
    delete_records,
    delete_topic,
    group_offsets,
    make_topic,
)
from tests.faults.by_operators import PARTITIONS, Operated, refused, skipped
from tests.faults.rows import Row, Setting, middle
from tests.faults.training import train_here
from tests.faults.witness import Witness, request_of
from tests.support.consumers import change_topic, committed_records
from tests.support.digit_trainings import Events
from tests.support.processes import wait_for

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection

# What the broker of `tests.faults.week` does within a minute, on a machine that does much else.
EXPIRES_S = 300
CLEANED_S = 180
HOUR_MS = 3_600_000
RECORDS = 100


def events(kafka: KafkaConnection, setting: Setting) -> list[Row]:
    """All of them, or those of the short version, on one broker."""

    def new(name: str) -> Operated:
        setting.say(name)
        return Operated(kafka, setting.folder / "pipelines", name)

    def begun(name: str) -> Operated:
        operated = new(name)
        operated.ingest(records=RECORDS)
        operated.predict()
        return operated

    absence = _Absence(new("absent"), setting)
    runs = setting.folder / "runs"
    rows = [
        _requests_made_again(begun("requests")),
        _partitions_added(begun("widened"), runs),
        _cut_between_freeze_and_read(begun("cut")),
    ]
    if not setting.short:
        rows += [
            _samples_made_again(begun("samples"), runs),
            _predictions_made_again(begun("predictions")),
            _cut_by_retention(new("aged")),
            _cut_between_attempts(begun("trained"), runs),
            _requests_compacted(new("compacted")),
            _ledger_compacted(begun("remembered")),
        ]
    return [*rows, *absence.over(), _ledger_made_again(begun("forgotten"))]


class _Absence:
    """A pipeline that predicted and sent a batch before its group's offsets were forgotten."""

    def __init__(self, operated: Operated, setting: Setting) -> None:
        self._operated = operated
        self._setting = setting
        self._scheduled = operated.scheduled("scheduled")
        operated.ingest(records=RECORDS, run=self._scheduled)
        operated.predict()
        # They show when the transaction's marker is written, which is later than the commit is answered.
        wait_for(lambda: bool(group_offsets(operated.kafka, operated.group)), "the group's offsets to be committed")

    def over(self) -> list[Row]:
        """Predict again, and run the old batch again, when the offsets are gone."""
        operated, group = self._operated, self._operated.group
        if self._setting.short:
            delete_group(operated.kafka, group)
            what = "group deleted"
        else:
            self._setting.say("waiting for the broker to forget the group's offsets")
            wait_for(lambda: not group_offsets(operated.kafka, group), f"{group} to expire", timeout_s=EXPIRES_S)
            what = "group offsets expired"
        skipped(operated.predict, "has 0 new samples")
        operated.ingest(records=RECORDS)
        recovered = _timed(operated.predict)
        predicted = operated.predicted(operated.requests())
        assert operated.ingest(run=self._scheduled)["sent_now"] == 0
        for name in ("cleared", "backfilled"):
            another = operated.scheduled(name)
            skipped(lambda run=another: operated.ingest(run=run), "sent by another run")
        return [
            Row(f"{what}: predicted again", 1, *predicted, recovered),
            Row(f"{what}: an old batch run again, cleared and backfilled", 3, *operated.sent(2 * RECORDS), None),
        ]


def _requests_made_again(operated: Operated) -> Row:
    """Prediction refuses: offsets of the old topic mean other requests now. Ingest goes on."""
    topic = operated.pipeline.requests_topic
    before = operated.requests()
    operated.ingest(records=RECORDS)
    frozen = operated.freeze("predict")
    delete_topic(operated.kafka, topic)
    refused(lambda: operated.publish(frozen), TopicMissing, topic)
    refused(operated.predict, TopicMissing, topic)
    operated.ensure_topics()
    operated.ingest(records=RECORDS)
    refused(lambda: operated.publish(frozen), TopicRecreated, topic, frozen[0].topic_id)
    refused(operated.predict, TopicRecreated, topic, frozen[0].topic_id)
    return Row("requests topic deleted and made again: prediction refuses", 4, *operated.predicted(before), None)


def _samples_made_again(operated: Operated, runs: Path) -> Row:
    """A frozen training refuses, a new one learns from what is there."""
    topic = operated.pipeline.samples_topic
    frozen = operated.freeze("train")
    delete_topic(operated.kafka, topic)
    operated.ensure_topics()
    sent = operated.ingest(records=2 * RECORDS)["samples"]
    refused(lambda: _train(operated, frozen, runs / "frozen"), TopicRecreated, topic, frozen[0].topic_id)
    began = time.monotonic()
    found = _train(operated, operated.freeze("train"), runs / "anew")
    recovered = middle([time.monotonic() - began])
    fault = "samples topic deleted and made again: training takes all of it as new"
    return Row(fault, 1, max(sent - found, 0), max(found - sent, 0), recovered)


def _predictions_made_again(operated: Operated) -> Row:
    """What was published is gone with its topic; the requests that come now are predicted, and no other."""
    before = set(operated.requests())
    operated.ingest(records=RECORDS)
    delete_topic(operated.kafka, operated.pipeline.predictions_topic)
    refused(operated.predict, TopicMissing, operated.pipeline.predictions_topic)
    operated.ensure_topics()
    recovered = _timed(operated.predict)
    new = [request for request in operated.requests() if request not in before]
    return Row("predictions topic deleted and made again", 1, *operated.predicted(new), recovered)


def _partitions_added(operated: Operated, runs: Path) -> Row:
    """A range that was frozen before goes on without them; the next run reads them from their first record."""
    pipeline, kafka = operated.pipeline, operated.kafka
    with Witness(kafka, {pipeline.predictions_topic: request_of}) as witness:
        operated.ingest(records=RECORDS)
        frozen = operated.freeze("predict")
        for topic in (pipeline.requests_topic, pipeline.samples_topic):
            add_partitions(kafka, topic, 2 * PARTITIONS)
        operated.ingest(records=2 * RECORDS)
        operated.publish(frozen)
        recovered = _timed(operated.predict)
        skipped(operated.predict, "has 0 new samples")
        requests = operated.requests()
        assert {address.split("/")[1] for address in requests} == set(map(str, range(2 * PARTITIONS)))
        wait_for(lambda: len(witness.seen(pipeline.predictions_topic)) >= len(requests), "the witness to see all")
        lost, duplicated = operated.predicted(requests)
        duplicated += sum(times > 1 for times in witness.seen(pipeline.predictions_topic).values())
    samples = len(committed_records(kafka, pipeline.samples_topic))
    lost += samples - _train(operated, operated.freeze("train"), runs / "widened")
    return Row("partitions added to requests and samples", 2, lost, duplicated, recovered)


def _cut_between_freeze_and_read(operated: Operated) -> Row:
    """Prediction refuses until a person accepts the loss, and predicts each request that is left once."""
    topic = operated.pipeline.requests_topic
    before = operated.requests()
    operated.ingest(records=RECORDS)
    frozen = operated.freeze("predict")
    cuts = {item.partition: item.start + item.offsets // 2 for item in frozen}
    for partition, offset in cuts.items():
        delete_records(operated.kafka, topic, partition, offset)
    first = frozen[0]
    wanted, available = f"[{first.start}, {first.end})", f"[{cuts[first.partition]}, {first.end})"
    refused(lambda: operated.publish(frozen), RangeUnavailable, topic, first.partition, wanted, available)
    refused(operated.predict, RangeUnavailable, topic, first.partition, first.start, cuts[first.partition])
    recovered = _timed(lambda: operated.predict(accept_lost=True))
    return _still_predicted("range cut between freeze and read, then accept_lost", operated, before, recovered)


def _cut_by_retention(operated: Operated) -> Row:
    """The same by retention itself: the older segment of the requests goes, the newer one stays."""
    topic, kafka = operated.pipeline.requests_topic, operated.kafka
    change_topic(kafka, topic, "segment.ms", str(HOUR_MS))
    operated.ask(20, age_ms=24 * HOUR_MS)
    operated.predict()
    before = operated.requests()
    operated.ask(20, age_ms=24 * HOUR_MS)
    operated.ask(20)
    change_topic(kafka, topic, "retention.ms", str(12 * HOUR_MS))
    wait_for(lambda: _first(kafka, topic) > 0, f"retention to cut {topic}", timeout_s=CLEANED_S)
    refused(operated.predict, RangeUnavailable, topic, 0, _first(kafka, topic))
    recovered = _timed(lambda: operated.predict(accept_lost=True))
    return _still_predicted("requests cut by retention, then accept_lost", operated, before, recovered)


def _cut_between_attempts(operated: Operated, runs: Path) -> Row:
    """A training that can't go on from its checkpoint refuses, a new one learns from what is left."""
    topic, kafka = operated.pipeline.samples_topic, operated.kafka
    frozen = operated.freeze("train")
    job = TrainingJob.of(operated.pipeline, frozen, epochs=3, batch_size=8)
    stop: list[bool] = []
    begun = Events(epoch=lambda: stop.append(True))
    with pytest.raises(Stopped):
        train_here(job, kafka, runs / "cut", run="week", stopped=lambda: bool(stop), on_progress=begun)
    first = frozen[0]
    cut = first.start + first.offsets // 2
    delete_records(kafka, topic, first.partition, cut)
    wanted, available = f"[{first.start}, {first.end})", f"[{cut}, {first.end})"
    named = (topic, first.partition, wanted, available)
    refused(lambda: train_here(job, kafka, runs / "cut", run="week"), RangeUnavailable, *named)
    began = time.monotonic()
    found = _train(operated, operated.freeze("train"), runs / "left")
    recovered = middle([time.monotonic() - began])
    left = len(committed_records(kafka, topic))
    fault = "samples cut by retention between two attempts: a new training takes what is left"
    return Row(fault, 1, max(left - found, 0), max(found - left, 0), recovered)


def _requests_compacted(operated: Operated) -> Row:
    """Of the requests under one key the last one is left, and predicted once."""
    topic, kafka = operated.pipeline.requests_topic, operated.kafka
    change_topic(kafka, topic, "segment.ms", str(HOUR_MS))
    operated.ask(20, age_ms=24 * HOUR_MS)
    operated.predict()
    before = operated.requests()
    for _ in range(2):
        operated.ask(20, age_ms=24 * HOUR_MS)
    operated.ask(10)
    frozen = operated.freeze("predict")
    there = len(operated.requests())
    change_topic(kafka, topic, "min.cleanable.dirty.ratio", "0.01")
    change_topic(kafka, topic, "cleanup.policy", "compact")
    wait_for(lambda: len(operated.requests()) < there, f"{topic} to be compacted", timeout_s=CLEANED_S)
    operated.publish(frozen)
    operated.ask(10)
    recovered = _timed(operated.predict)
    return _still_predicted("requests topic compacted between freeze and read", operated, before, recovered)


def _ledger_compacted(operated: Operated) -> Row:
    """What the last entry of every key says is all that is needed."""
    kafka = operated.kafka
    scheduled = operated.scheduled("scheduled")
    operated.ingest(records=RECORDS, run=scheduled)
    overtaken = {record.offset() for record in committed_records(kafka, LEDGER_TOPIC)}
    for setting, value in (("min.cleanable.dirty.ratio", "0.01"), ("segment.ms", "1"), ("delete.retention.ms", "0")):
        change_topic(kafka, LEDGER_TOPIC, setting, value)
    for _ in range(3):
        operated.ingest(records=RECORDS)
        operated.predict()

    def is_compacted() -> bool:
        return not overtaken <= {record.offset() for record in committed_records(kafka, LEDGER_TOPIC)}

    wait_for(is_compacted, "the ledger to be compacted", timeout_s=CLEANED_S)
    skipped(operated.predict, "has 0 new samples")
    assert operated.ingest(run=scheduled)["sent_now"] == 0
    operated.ingest(records=RECORDS)
    recovered = _timed(operated.predict)
    predicted, sent = operated.predicted(operated.requests()), operated.sent(6 * RECORDS)
    return Row("ledger compacted", 1, predicted[0] + sent[0], predicted[1] + sent[1], recovered)


def _ledger_made_again(operated: Operated) -> Row:
    """Nobody knows what was published any more, so nothing is, and nobody makes an empty ledger unasked."""
    operated.ingest(records=RECORDS)
    frozen = operated.freeze("predict")
    published = operated.predicted([])[1]
    delete_topic(operated.kafka, LEDGER_TOPIC)
    refused(lambda: operated.publish(frozen), TopicMissing, LEDGER_TOPIC)
    refused(operated.predict, TopicMissing, LEDGER_TOPIC)
    refused(operated.ingest, TopicMissing, LEDGER_TOPIC)
    refused(operated.ensure_topics, LedgerLost, LEDGER_TOPIC, operated.pipeline.predictions_topic)
    make_topic(operated.kafka, ledger_topic())
    refused(operated.predict, LedgerLost, LEDGER_TOPIC, operated.pipeline.predictions_topic)
    more = operated.predicted([])[1] - published
    return Row("ledger deleted, and made again by hand: prediction refuses", 5, 0, more, None)


def _still_predicted(fault: str, operated: Operated, before: list[str], recovered: float | None) -> Row:
    """What was predicted before and what is left of the requests should be predicted once each, and no other."""
    skipped(operated.predict, "has 0 new samples")
    return Row(fault, 1, *operated.predicted([*{*before, *operated.requests()}]), recovered)


def _train(operated: Operated, ranges: list[OffsetRange], directory: Path) -> int:
    """Train for one epoch; how many samples it saw on both sides of the split."""
    job = TrainingJob.of(operated.pipeline, ranges, epochs=1, batch_size=8)
    outcome = train_here(job, operated.kafka, directory, run="week").outcome
    return sum(outcome.train.samples.values()) + sum(outcome.held_out.samples.values())


def _first(kafka: KafkaConnection, topic: str) -> int:
    """The first offset that partition 0 still has."""
    return available_offsets(kafka, topic, [0])[0][0]


def _timed(action: Callable[[], object]) -> float | None:
    began = time.monotonic()
    action()
    return middle([time.monotonic() - began])
