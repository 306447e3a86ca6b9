"""Replay dead letters exactly once: each goes to the requests in one transaction with the ledger's note of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from include.errors import PermanentError, Stopped
from include.exactly_once import ledger
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.headers import Headers, headers_of, headers_size
from include.kafka.position import leader_epoch_of
from include.kafka.ranges import OffsetRange, freeze_ranges
from include.kafka.reader import read_range
from include.kafka.records import Address, OutgoingRecord, address_of
from include.metrics import Counters, NoMetrics
from include.replay.restore import reason_of, restore

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection
    from include.metrics import Metrics
    from include.refusal import Refusal
    from include.replay.selection import Selection

log = logging.getLogger(__name__)

STEP = "replay"
CHUNK_RECORDS = 1000
# Few records, for dead letters may be large, in headers too, which librdkafka does not count in what it fetches ahead.
READ_AHEAD = {"queued.min.messages": 100}
READ_RECORDS = 50
ADDRESSES_TOLD = 50

# A dead letter's own address, its leader epoch, and the record that it becomes.
_Revived = tuple[Address, int, OutgoingRecord]


class NotOurTopic(PermanentError):
    """Somebody else fills the topic, and Millrace sends nothing to it."""


@dataclass
class ReplayReport:
    """What a run did, in dead letters: `chosen` = `replayed` + `already_replayed` + `stay_dead`.

    Attributes:
        replayed: by this run, its earlier attempts included.
        replayed_now: by this attempt.
        already_replayed: chosen ones that other runs had replayed.
        stay_dead: chosen ones that can't be replayed, by why.
    """

    replayed: int = 0
    replayed_now: int = 0
    already_replayed: int = 0
    stay_dead: Counter[str] = field(default_factory=Counter)

    @property
    def chosen(self) -> int:
        return self.replayed + self.already_replayed + self.stay_dead.total()


def replay_dead_letters(
    connection: KafkaConnection,
    pipeline: Pipeline,
    choice: Selection,
    *,
    run: str,
    stopped: Callable[[], bool] = lambda: False,
    metrics: Metrics | None = None,
) -> ReplayReport:
    """Send the chosen dead letters to the requests topic, as the records that they were.

    The dead letters are read from the first to the last stable offset, or until as many as asked for are replayed. The
    ledger knows each one that was ever replayed: none is replayed twice, whichever run asks for it and however its
    attempts ended. Memory holds one chunk, and the offsets of those replayed before that the topic still has.

    Args:
        run: the run's id; all attempts of a run count towards one `choice.number`.
        stopped: looked at while reading, and before each commit.

    Raises:
        NotOurTopic: others fill the requests topic.
        InvalidSigningKeys: records are signed and there is no key to verify them with.
        TopicMissing, RangeUnavailable, ReaderStalled, Fenced, TransactionFailed: see include.kafka.
    """
    topic, requests = pipeline.dead_letters_topic, pipeline.requests_topic
    if requests in pipeline.external_topics:
        raise NotOurTopic(
            f"The dead letters of {pipeline.name} came from {requests}, which others fill and nothing is sent to: have "
            "those who do send the originals again."
        )
    keys = connection.signing_keys(signed=pipeline.signed)
    step = f"{connection.environment}.{pipeline.name}.{STEP}"
    with (
        TransactionalWriter(connection, f"{step}.{topic}", topics=[requests], stopped=stopped) as writer,
        connection.consumer(step, **READ_AHEAD) as consumer,
    ):
        ranges = freeze_ranges(connection, topic)
        topic_id = ranges[0].topic_id
        key = LedgerKey(connection.environment, pipeline.name, STEP, f"{topic_id}/{topic}")
        # Only now, with every earlier owner fenced, is it decided what has been replayed.
        past = _read_replayed_before(connection, key, ranges, run)
        done = ReplayReport(replayed=len(past.by_this_run))
        messages = _read(connection, consumer, ranges, done, stopped)
        reviving = partial(
            restore,
            topic=requests,
            max_replays=pipeline.prediction.max_replays,
            max_bytes=writer.record_limit(requests),
            keys=keys,
        )
        revived = _revived(messages, choice, past, reviving, done)
        for chunk in _chunks(islice(revived, max(choice.number - done.replayed, 0)), pipeline.prediction.chunk_bytes):
            with writer.transaction():
                for address, epoch, record in chunk:
                    writer.produce(record)
                    entry = {"run": run, "leader_epoch": epoch}
                    ledger.record(writer, replace(key, scope=f"{topic_id}/{address}"), entry)
            done.replayed += len(chunk)
            done.replayed_now += len(chunk)
    log.info(
        "Of %d chosen dead letters of %s %d are replayed (%d by this attempt), %d were before and %d stay dead: %s.",
        done.chosen,
        topic,
        done.replayed,
        done.replayed_now,
        done.already_replayed,
        done.stay_dead.total(),
        dict(done.stay_dead),
    )
    (metrics or NoMetrics()).count(Counters.REPLAYED, done.replayed_now, pipeline=pipeline.name)
    return done


@dataclass
class _ReplayedBefore:
    """The dead letters that were replayed before: partition and offset, and the leader epoch of the record there.

    A log that has lost its tail in an unclean election gives its offsets to other records, of a later epoch. What other
    runs replayed is kept as far as the topic still has it.
    """

    by_this_run: dict[tuple[int, int], int] = field(default_factory=dict)
    by_others: dict[tuple[int, int], int] = field(default_factory=dict)


def _read_replayed_before(
    connection: KafkaConnection, key: LedgerKey, ranges: Sequence[OffsetRange], run: str
) -> _ReplayedBefore:
    starts = {item.partition: item.start for item in ranges}
    past = _ReplayedBefore()
    for rest, entry in ledger.read_below(connection, key):
        partition, offset = (int(number) for number in rest.split("/"))
        letter = (partition, offset)
        past.by_this_run.pop(letter, None)
        past.by_others.pop(letter, None)
        if entry is None:
            continue
        if entry["run"] == run:
            past.by_this_run[letter] = entry["leader_epoch"]
        elif offset >= starts[partition]:
            past.by_others[letter] = entry["leader_epoch"]
    return past


def _read(
    connection: KafkaConnection,
    consumer: Consumer,
    ranges: Sequence[OffsetRange],
    done: ReplayReport,
    stopped: Callable[[], bool],
) -> Iterator[tuple[Message, Headers]]:
    for item in ranges:
        for messages in read_range(connection, consumer, item, batch_size=READ_RECORDS):
            if stopped():
                raise Stopped(f"Stopped after {done.replayed} dead letters; the next attempt replays the others.")
            yield from zip(messages, headers_of(messages), strict=True)


def _revived(
    messages: Iterable[tuple[Message, Headers]],
    choice: Selection,
    past: _ReplayedBefore,
    reviving: Callable[[Message, Headers], OutgoingRecord | Refusal],
    done: ReplayReport,
) -> Iterator[_Revived]:
    """The dead letters to replay; the other chosen ones are counted in `done`."""
    for message, headers in messages:
        if not choice.takes(reason_of(headers), message.timestamp()[1]):
            continue
        address = address_of(message)
        letter = (address.partition, address.offset)
        epoch = leader_epoch_of(message)
        if past.by_this_run.get(letter) == epoch:
            continue
        if past.by_others.get(letter) == epoch:
            done.already_replayed += 1
            continue
        revived = reviving(message, headers)
        if isinstance(revived, OutgoingRecord):
            yield address, epoch, revived
            continue
        if done.stay_dead.total() < ADDRESSES_TOLD:
            log.warning("%s stays dead, %s", address, revived)
        done.stay_dead[revived.reason] += 1


def _chunks(revived: Iterable[_Revived], max_bytes: int) -> Iterator[list[_Revived]]:
    chunk: list[_Revived] = []
    size = 0
    for item in revived:
        chunk.append(item)
        *_, record = item
        size += len(record.value or b"") + len(record.key or b"") + headers_size(tuple(record.headers))
        if len(chunk) >= CHUNK_RECORDS or size >= max_bytes:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
