"""Brokers that accept connections and never answer, under every kind of call; see `run`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from include.definition.pipeline import Pipeline
from include.errors import MillraceError, PermanentError
from include.exactly_once.attempt import Attempt
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.progress import count_records
from include.exactly_once.snapshot import snapshot_ledger
from include.exactly_once.transaction import TransactionalWriter
from include.ingest.batch import ingest_batch
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import OffsetRange, available_offsets, check_ranges, freeze_ranges
from include.kafka.reader import read_range
from include.kafka.records import OutgoingRecord
from include.kafka.topics import TopicSpec, describe_topics, ensure_topics, topic_setting
from include.local.broker import Node, running_cluster
from include.prediction.publish import publish_predictions
from include.replay.replay import replay_dead_letters
from include.replay.selection import Selection
from tests.faults.rows import Row, Setting
from tests.faults.silent import silent_server
from tests.support.assertions import assert_readable
from tests.support.producers import Record, produce
from tests.support.tiny_pipelines import tiny_pipeline, tiny_predictor

TIMEOUT_S = 2.0
# An attempt may fail, abort its transaction and close its clients, each within one timeout; a loaded machine may take
# three times as long. A call that ignores its timeout ends by the client's defaults, 30 or 60 s, and exceeds the bound.
BOUND_S = 12.5 * TIMEOUT_S
# A call that times out on a loaded machine before the broker falls silent is repeated.
TRIES = 3
# Several times as much as one fetch returns.
RECORDS = 500
VALUE = bytes(10_000)
# One more than fits librdkafka's queue, so that producing has to wait.
QUEUED = 100_001

Call = Callable[[], object]


def run(setting: Setting) -> list[Row]:
    """Make every call to a silent broker: each raises a one-sentence error within a small multiple of the timeout.

    A call that hangs or succeeds counts as lost. The same calls succeed on a broker that answers.
    """
    with running_cluster(setting.folder / "broker") as cluster:
        [node] = cluster.nodes
        kafka = KafkaConnection({"bootstrap.servers": cluster.bootstrap_servers}, timeout_s=TIMEOUT_S)
        # Its requests are no samples; the limits must not hold the step.
        unlimited = {"max_rejected_share": 1.0, "max_rejected_in_a_row": 10 * RECORDS}
        pipeline = tiny_pipeline("stuck", prediction=unlimited)
        patient = KafkaConnection(kafka.settings)
        ensure_topics(patient, pipeline.topic_specs())
        produce(kafka, pipeline.requests_topic, [Record(VALUE)] * RECORDS)
        [item] = freeze_ranges(patient, pipeline.requests_topic)
        # On a broker that answers: no call fails for another reason, and no import counts towards the bound.
        for call in _all_calls(patient, pipeline, item).values():
            call()
        with silent_server() as address:
            calls = _all_calls(_hasty(address), pipeline, item)
            rows = [_row(setting, "a server that accepts and never answers", calls, at_once=len(calls))]
        if not setting.short:
            host, _, port = node.address.rpartition(":")
            with silent_server(broker=(host, int(port))) as address:
                calls = _all_calls(_hasty(address), pipeline, item)
                row = _row(setting, "a broker that answers `ApiVersions` and then nothing", calls, at_once=len(calls))
                rows.append(row)
        calls = {name: partial(_midway, node, partial(call, kafka, pipeline, item)) for name, call in MIDWAY.items()}
        answers = partial(_wait_for_answers, patient, pipeline)
        rows.append(_row(setting, "a broker that falls silent midway (SIGSTOP)", calls, before=answers))
    return rows


def _row(
    setting: Setting, silence: str, calls: Mapping[str, Call], *, at_once: int = 1, before: Call = lambda: None
) -> Row:
    """Make the calls, `at_once` in parallel.

    Args:
        before: called before each of them, waits until the broker works again.
    """
    setting.say(f"{silence}, under {len(calls)} calls")

    def fault_of(name: str) -> str | None:
        before()
        return _fault(name, calls[name])

    with ThreadPoolExecutor(at_once) as pool:
        faults = [fault for fault in pool.map(fault_of, calls) if fault]
    for fault in faults:
        setting.say(fault)
    return Row(f"{silence}: each call ends in time", len(calls), len(faults), 0, None)


def _fault(name: str, call: Call) -> str | None:
    """What is wrong with the end of a call; None if it raises the expected error."""
    ended: list[BaseException | None] = []

    def make() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - checked below
            ended.append(error)
        else:
            ended.append(None)

    began = time.monotonic()
    # In a thread, because a call that hangs must not block the suite.
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


def _hasty(address: str) -> KafkaConnection:
    return KafkaConnection({"bootstrap.servers": address}, timeout_s=TIMEOUT_S)


def _all_calls(kafka: KafkaConnection, pipeline: Pipeline, item: OffsetRange) -> dict[str, Call]:
    topic = item.topic
    return {
        "describing topics": lambda: describe_topics(kafka, [topic]),
        "creating topics": lambda: ensure_topics(kafka, [TopicSpec("new")]),
        "a topic's setting": lambda: topic_setting(kafka, topic, "cleanup.policy"),
        "listing offsets": lambda: available_offsets(kafka, topic, [0]),
        "freezing ranges": lambda: freeze_ranges(kafka, topic),
        "checking ranges": lambda: check_ranges(kafka, [item]),
        "reading a range": lambda: count_records(kafka, "stuck", [item], enough=RECORDS),
        "reading the ledger": lambda: snapshot_ledger(kafka, [_key(kafka)]),
        "taking over": lambda: TransactionalWriter(kafka, "stuck").__enter__(),
        "ingest": lambda: ingest_batch(Attempt(kafka, pipeline.name, "ingest", "stuck"), pipeline, "a", records=10),
        "prediction": lambda: publish_predictions(
            Attempt(kafka, pipeline.name, "predict", "stuck"), pipeline, [item], tiny_predictor()
        ),
        "replay": lambda: replay_dead_letters(Attempt(kafka, pipeline.name, "replay", "stuck"), pipeline, Selection()),
    }


def _midway(node: Node, call: Callable[[Call], None]) -> None:
    """Make a call that suspends the node midway, and resume the node when the call has ended."""
    for _ in range(TRIES):
        silences: list[Node] = []

        def fall_silent(silences: list[Node] = silences) -> None:
            node.process().suspend()
            silences.append(node)

        try:
            return call(fall_silent)
        except MillraceError:
            if silences:
                raise
        finally:
            if silences:
                node.process().resume()
    raise AssertionError(f"the call failed {TRIES} times before the broker fell silent")


def _reading(kafka: KafkaConnection, _pipeline: Pipeline, item: OffsetRange, fall_silent: Call) -> None:
    with kafka.consumer("midway", **{"queued.max.messages.kbytes": 1}) as consumer:
        reading = read_range(kafka, consumer, item, batch_size=1)
        next(reading)
        fall_silent()
        for _ in reading:
            pass


def _transaction(kafka: KafkaConnection, pipeline: Pipeline, act: Callable[[TransactionalWriter], object]) -> None:
    """Act after the first record of a transaction, and commit."""
    timeout_s = kafka.timeout_s
    writer = TransactionalWriter(kafka, "midway", topics=[pipeline.predictions_topic], transaction_timeout_s=timeout_s)
    with writer, writer.transaction():
        _produce(writer, pipeline)
        act(writer)


def _wait_for_answers(kafka: KafkaConnection, pipeline: Pipeline) -> None:
    """Wait until the broker commits a transaction; the first attempt may still end with what the suspension left."""
    for left in reversed(range(TRIES)):
        try:
            _transaction(kafka, pipeline, lambda _: None)
        except MillraceError:
            if not left:
                raise
        else:
            return


def _committing(kafka: KafkaConnection, pipeline: Pipeline, _item: OffsetRange, fall_silent: Call) -> None:
    _transaction(kafka, pipeline, lambda _: fall_silent())


def _producing(kafka: KafkaConnection, pipeline: Pipeline, _item: OffsetRange, fall_silent: Call) -> None:
    def fill(writer: TransactionalWriter) -> None:
        fall_silent()
        for _ in range(QUEUED):
            _produce(writer, pipeline)

    _transaction(kafka, pipeline, fill)


def _sending_offsets(kafka: KafkaConnection, pipeline: Pipeline, item: OffsetRange, fall_silent: Call) -> None:
    from confluent_kafka import TopicPartition

    with kafka.consumer("midway") as consumer:
        offsets = [TopicPartition(item.topic, item.partition, 1)]

        def send(writer: TransactionalWriter) -> None:
            fall_silent()
            writer.send_offsets(consumer, offsets)

        _transaction(kafka, pipeline, send)


class _StepError(MillraceError):
    """An error of the step itself, which aborts its transaction."""


def _aborting(kafka: KafkaConnection, pipeline: Pipeline, _item: OffsetRange, fall_silent: Call) -> None:
    def fail(_: TransactionalWriter) -> None:
        fall_silent()
        raise _StepError("The step failed for a reason of its own.")

    _transaction(kafka, pipeline, fail)


MIDWAY: dict[str, Callable[[KafkaConnection, Pipeline, OffsetRange, Call], None]] = {
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
