"""Replay dead letters exactly once: each goes to the requests in one transaction with its ledger entry."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from include.definition.pipeline import Pipeline
from include.errors import PermanentError
from include.exactly_once.attempt import Attempt, Step
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.errors import LedgerDamaged
from include.kafka.headers import Headers, headers_of, headers_size
from include.kafka.position import leader_epoch_of
from include.kafka.ranges import OffsetRange, freeze_ranges
from include.kafka.reader import FEW_RECORDS, FEW_RECORDS_AHEAD, read_range
from include.kafka.records import Address, OutgoingRecord, address_of
from include.metrics import Counters
from include.refusal import Refusal
from include.replay.restore import reason_of, restore
from include.replay.selection import Selection

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message


log = logging.getLogger(__name__)

STEP: Step = "replay"
CHUNK_RECORDS = 1000
LETTER = re.compile(r"[0-9]{1,9}/[0-9]{1,19}")
LOGGED_ADDRESSES = 50


class _Replay(NamedTuple):
    """A dead letter's own address and leader epoch, and the request that is restored from it."""

    address: Address
    leader_epoch: int
    record: OutgoingRecord


class NotOurTopic(PermanentError):
    """Another application fills the topic, and Millrace sends nothing to it."""


@dataclass
class ReplayReport:
    """What a run did, in dead letters: `selected` = `replayed` + `already_replayed` + `stay_dead`.

    Attributes:
        replayed: by this run, its earlier attempts included.
        replayed_now: by this attempt.
        already_replayed: selected ones that other runs had replayed.
        stay_dead: selected ones that can't be replayed, by reason code.
    """

    replayed: int = 0
    replayed_now: int = 0
    already_replayed: int = 0
    stay_dead: Counter[str] = field(default_factory=Counter)

    @property
    def selected(self) -> int:
        return self.replayed + self.already_replayed + self.stay_dead.total()


def replay_dead_letters(attempt: Attempt, pipeline: Pipeline, selection: Selection) -> ReplayReport:
    """Send the selected dead letters to the requests topic, as the original records.

    The dead letters are read from the first to the last stable offset, or until `selection.number` are replayed. The
    ledger has an entry for each one that was ever replayed: none is replayed twice, whichever run asks for it and
    however its attempts ended. All attempts of a run count towards one number. Memory holds one chunk, and the offsets
    of those replayed before that the topic still has.

    Raises:
        NotOurTopic: another application fills the requests topic.
        InvalidSigningKeys: records are signed and there is no key to verify them with.
        TopicMissing, RangeUnavailable, ReaderStalled, Fenced, TransactionFailed: see include.kafka.
    """
    attempt.require(pipeline.name, STEP)
    topic, requests = pipeline.dead_letters_topic, pipeline.requests_topic
    if requests in pipeline.external_topics:
        raise NotOurTopic(
            f"The dead letters of {pipeline.name} came from {requests}, which another application fills, so nothing is "
            "sent to it: let that application send the originals again."
        )
    keys = attempt.connection.signing_keys(signed=pipeline.signed)
    with attempt.writer(topic, topics=[requests]) as writer, attempt.consumer(**FEW_RECORDS_AHEAD) as consumer:
        ranges = freeze_ranges(attempt.connection, topic)
        topic_id = ranges[0].topic_id
        before = _read_replayed_before(writer, attempt.key(f"{topic_id}/{topic}"), ranges, attempt.run)
        report = ReplayReport(replayed=len(before.by_this_run))
        messages = _read(attempt, consumer, ranges, report)
        restore_one = partial(
            restore,
            topic=requests,
            max_replays=pipeline.prediction.max_replays,
            max_bytes=writer.record_limit(requests),
            keys=keys,
        )
        restored = _restored(messages, selection, before, restore_one, report)
        left = max(selection.number - report.replayed, 0)
        try:
            for chunk in _chunks(islice(restored, left), pipeline.prediction.chunk_bytes):
                with writer.transaction():
                    for item in chunk:
                        writer.produce(item.record)
                        entry = {"run": attempt.run, "leader_epoch": item.leader_epoch}
                        writer.write_ledger(attempt.key(f"{topic_id}/{item.address}"), entry)
                report.replayed += len(chunk)
                report.replayed_now += len(chunk)
        finally:
            attempt.metrics.count(Counters.REPLAYED, report.replayed_now, pipeline=pipeline.name)
    log.info(
        f"Of {report.selected} selected dead letters of {topic}, {report.replayed} are replayed ({report.replayed_now} "
        f"by this attempt), {report.already_replayed} were replayed by earlier runs and {report.stay_dead.total()} "
        f"stay dead: {dict(report.stay_dead)}."
    )
    return report


@dataclass
class _EarlierReplays:
    """The dead letters that were replayed before: leader epoch by partition and offset.

    After an unclean election, other records of a later epoch may have the offsets of a log's lost tail. The dead
    letters that other runs replayed are kept as far as the topic still has them.
    """

    by_this_run: dict[tuple[int, int], int] = field(default_factory=dict)
    by_other_runs: dict[tuple[int, int], int] = field(default_factory=dict)


def _read_replayed_before(
    writer: TransactionalWriter, key: LedgerKey, ranges: Sequence[OffsetRange], run: str
) -> _EarlierReplays:
    starts = {item.partition: item.start for item in ranges}
    before = _EarlierReplays()
    others: set[str] = set()
    for rest, entry in writer.read_ledger_below(key):
        if not LETTER.fullmatch(rest):
            (others.discard if entry is None else others.add)(rest)
            continue
        partition, offset = (int(number) for number in rest.split("/"))
        letter = (partition, offset)
        before.by_this_run.pop(letter, None)
        before.by_other_runs.pop(letter, None)
        if entry is None:
            continue
        if entry["run"] == run:
            before.by_this_run[letter] = entry["leader_epoch"]
        elif offset >= starts.get(partition, 0):
            before.by_other_runs[letter] = entry["leader_epoch"]
    if others:
        raise LedgerDamaged(
            f"The ledger has an entry for {min(others)!r:.100} below {key.encode().decode()}, where a dead letter's "
            "partition and offset are expected: nothing was replayed; find out who writes to the topic, then delete it "
            "with `millrace ledger repair`."
        )
    return before


def _read(
    attempt: Attempt, consumer: Consumer, ranges: Sequence[OffsetRange], report: ReplayReport
) -> Iterator[tuple[Message, Headers]]:
    for item in ranges:
        for messages in read_range(attempt.connection, consumer, item, batch_size=FEW_RECORDS):
            attempt.check_stop(f"{report.replayed} dead letters of {item.topic}")
            yield from zip(messages, headers_of(messages), strict=True)


def _restored(
    messages: Iterable[tuple[Message, Headers]],
    selection: Selection,
    before: _EarlierReplays,
    restore_one: Callable[[Message, Headers], OutgoingRecord | Refusal],
    report: ReplayReport,
) -> Iterator[_Replay]:
    """The dead letters to replay; the other selected ones are counted in `report`."""
    for message, headers in messages:
        if not selection.includes(reason_of(headers), message.timestamp()[1]):
            continue
        address = address_of(message)
        letter = (address.partition, address.offset)
        epoch = leader_epoch_of(message)
        if before.by_this_run.get(letter) == epoch:
            continue
        if before.by_other_runs.get(letter) == epoch:
            report.already_replayed += 1
            continue
        restored = restore_one(message, headers)
        if isinstance(restored, OutgoingRecord):
            yield _Replay(address, epoch, restored)
            continue
        if report.stay_dead.total() < LOGGED_ADDRESSES:
            log.warning("%s stays dead, %s", address, restored)
        report.stay_dead[restored.reason] += 1


def _chunks(restored: Iterable[_Replay], max_bytes: int) -> Iterator[list[_Replay]]:
    chunk: list[_Replay] = []
    size = 0
    for item in restored:
        chunk.append(item)
        record = item.record
        size += len(record.value or b"") + len(record.key or b"") + headers_size(tuple(record.headers))
        if len(chunk) >= CHUNK_RECORDS or size >= max_bytes:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
