"""Brokers that accept and never answer, under every call that Millrace makes of them; see `run`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial

from include.definition.pipeline import Pipeline
from include.errors import MillraceError, PermanentError
from include.exactly_once import ledger
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.progress import count_records
from include.exactly_once.transaction import TransactionalWriter
from include.ingest.batch import ingest_batch
from include.kafka.connection import KafkaConnection
from include.kafka.headers import OutgoingRecord
from include.kafka.ranges import OffsetRange, available_offsets, check_ranges, freeze_ranges
from include.kafka.reader import read_range
from include.kafka.topics import TopicSpec, describe_topics, ensure_topics, topic_setting
from include.local.broker import BrokerError, Node, running_cluster
from include.prediction.publish import publish_predictions
from include.replay.replay import replay_dead_letters
from include.replay.selection import Selection
from tests.faults.rows import Row, Setting
from tests.faults.silent import silent_server
from tests.support.assertions import assert_readable
from tests.support.producers import Plain, produce
from tests.support.tiny_pipelines import tiny_pipeline, tiny_predictor

TIMEOUT_S = 2.0
# An attempt may fail, try to abort, and let go of its clients: each within a request's time.
BOUND_S = 5 * TIMEOUT_S
# Several times what one fetch brings.
RECORDS = 500
VALUE = bytes(10_000)
# One more than librdkafka queues, so that producing itself has to wait.
QUEUED = 100_001

Call = Callable[[], object]


def run(setting: Setting) -> list[Row]:
    """Make every call of a silent broker: each refuses in one sentence within a small multiple of the timeout.

    A call that hangs, or succeeds, counts as lost.
    """
    with running_cluster(setting.folder / "broker") as cluster:
        [node] = cluster.nodes
        kafka = KafkaConnection({"bootstrap.servers": cluster.bootstrap_servers}, timeout_s=TIMEOUT_S)
        pipeline = tiny_pipeline("stuck")
        patient = KafkaConnection(kafka.settings)
        ensure_topics(patient, pipeline.topic_specs())
        produce(kafka, pipeline.requests_topic, [Plain(VALUE)] * RECORDS)
        [item] = freeze_ranges(patient, pipeline.requests_topic)
        with silent_server() as address:
            calls = _all_calls(address, pipeline, item)
            rows = [_row(setting, "a server that accepts and never answers", calls, at_once=len(calls))]
        if not setting.short:
            host, _, port = node.address.rpartition(":")
            with silent_server(broker=(host, int(port))) as address:
                calls = _all_calls(address, pipeline, item)
                row = _row(setting, "a broker that tells its versions and then nothing", calls, at_once=len(calls))
                rows.append(row)
        calls = {name: partial(call, kafka, pipeline, item, node) for name, call in MIDWAY.items()}
        rows.append(_row(setting, "a broker that falls silent midway (SIGSTOP)", calls))
    return rows


def _row(setting: Setting, silence: str, calls: Mapping[str, Call], *, at_once: int = 1) -> Row:
    setting.say(f"{silence}, under {len(calls)} calls")
    with ThreadPoolExecutor(at_once) as pool:
        faults = [fault for fault in pool.map(_fault, calls, calls.values()) if fault]
    for fault in faults:
        setting.say(fault)
    return Row(f"{silence}: each call ends in time", len(calls), len(faults), 0, None)


def _fault(name: str, call: Call) -> str | None:
    """What is wrong with how a call ends; None where it refuses as it should."""
    ended: list[BaseException | None] = []

    def make() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - looked at below
            ended.append(error)
        else:
            ended.append(None)

    began = time.monotonic()
    # A thread, for one that hangs must not take the suite with it.
    thread = threading.Thread(target=make, name=name, daemon=True)
    thread.start()
    thread.join(BOUND_S)
    if not ended:
        return f"{name} has not ended within {BOUND_S:g} s"
    [error] = ended
    if not isinstance(error, MillraceError) or isinstance(error, PermanentError):
        return f"{name} ended after {time.monotonic() - began:.1f} s with {error!r}"
    try:
        assert_readable(error)
    except AssertionError as unreadable:
        return f"{name}: {unreadable}"
    return None


def _all_calls(address: str, pipeline: Pipeline, item: OffsetRange) -> dict[str, Call]:
    kafka = KafkaConnection({"bootstrap.servers": address}, timeout_s=TIMEOUT_S)
    topic = item.topic
    return {
        "describing topics": lambda: describe_topics(kafka, [topic]),
        "creating topics": lambda: ensure_topics(kafka, [TopicSpec("new")]),
        "a topic's setting": lambda: topic_setting(kafka, topic, "cleanup.policy"),
        "listing offsets": lambda: available_offsets(kafka, topic, [0]),
        "freezing ranges": lambda: freeze_ranges(kafka, topic),
        "checking ranges": lambda: check_ranges(kafka, [item]),
        "reading a range": lambda: count_records(kafka, "stuck", [item], enough=RECORDS),
        "reading the ledger": lambda: ledger.read(kafka, [_key(kafka)]),
        "taking over": lambda: TransactionalWriter(kafka, "stuck").__enter__(),
        "ingest": lambda: ingest_batch(kafka, pipeline, "a", records=10, run="stuck"),
        "prediction": lambda: publish_predictions(kafka, pipeline, [item], tiny_predictor(), run="stuck"),
        "replay": lambda: replay_dead_letters(kafka, pipeline, Selection(), run="stuck"),
    }


@contextmanager
def _silence(node: Node) -> Iterator[Call]:
    """Yields what lets the node fall silent; it answers again when the block has ended."""
    try:
        yield node.pause
    finally:
        with suppress(BrokerError):
            node.resume()


def _reading(kafka: KafkaConnection, _pipeline: Pipeline, item: OffsetRange, node: Node) -> None:
    with kafka.consumer("midway", **{"queued.max.messages.kbytes": 1}) as consumer:
        reading = read_range(kafka, consumer, item, batch_size=1)
        next(reading)
        with _silence(node) as begin:
            begin()
            for _ in reading:
                pass


def _transaction(
    kafka: KafkaConnection, pipeline: Pipeline, node: Node, act: Callable[[TransactionalWriter], None]
) -> None:
    """Let the broker fall silent after the first record of a transaction."""
    writer = TransactionalWriter(kafka, "midway", topics=[pipeline.predictions_topic], transaction_timeout_s=TIMEOUT_S)
    with _silence(node) as begin, writer, writer.transaction():
        _produce(writer, pipeline)
        begin()
        act(writer)


def _committing(kafka: KafkaConnection, pipeline: Pipeline, _item: OffsetRange, node: Node) -> None:
    _transaction(kafka, pipeline, node, lambda _: None)


def _producing(kafka: KafkaConnection, pipeline: Pipeline, _item: OffsetRange, node: Node) -> None:
    def fill(writer: TransactionalWriter) -> None:
        for _ in range(QUEUED):
            _produce(writer, pipeline)

    _transaction(kafka, pipeline, node, fill)


def _sending_offsets(kafka: KafkaConnection, pipeline: Pipeline, item: OffsetRange, node: Node) -> None:
    from confluent_kafka import TopicPartition

    with kafka.consumer("midway") as consumer:
        offsets = [TopicPartition(item.topic, item.partition, 1)]
        _transaction(kafka, pipeline, node, lambda writer: writer.send_offsets(consumer, offsets))


class _Given(MillraceError):
    """Raised where the step fails for a reason of its own, so that its transaction is aborted."""


def _aborting(kafka: KafkaConnection, pipeline: Pipeline, _item: OffsetRange, node: Node) -> None:
    def fail(_: TransactionalWriter) -> None:
        raise _Given("The step failed for a reason of its own.")

    _transaction(kafka, pipeline, node, fail)


MIDWAY: dict[str, Callable[[KafkaConnection, Pipeline, OffsetRange, Node], None]] = {
    "reading on": _reading,
    "committing": _committing,
    "producing beyond the queue": _producing,
    "sending offsets": _sending_offsets,
    "aborting": _aborting,
}


def _produce(writer: TransactionalWriter, pipeline: Pipeline) -> None:
    writer.produce(OutgoingRecord(pipeline.predictions_topic, b"key", b"value"))


def _key(kafka: KafkaConnection) -> LedgerKey:
    return LedgerKey(kafka.environment, "stuck", "predict", "scope")
