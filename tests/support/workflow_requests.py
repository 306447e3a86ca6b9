"""Requests of another application for a pipeline of the one stack, and how often each was answered."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from uuid import uuid4

from include.kafka.connection import KafkaConnection
from include.local.stack import Stack
from tests.support.consumers import committed_records
from tests.support.producers import Record, produce
from tests.support.workflows import TIMEOUT_S


def ask(kafka: KafkaConnection, pipeline: str, number: int) -> list[str]:
    """Write a number of requests, with contents that the pipeline has; return their ids."""
    contents = [(record.value(), record.headers() or []) for record in committed_records(kafka, f"{pipeline}.requests")]
    ids = [f"burst-{uuid4().hex}" for _ in range(number)]
    records = []
    for position, name in enumerate(ids):
        value, headers = contents[position % len(contents)]
        records.append(Record(value=value, key=name.encode(), headers=headers, timestamp_ms=int(time.time() * 1e3)))
    produce(kafka, f"{pipeline}.requests", records)
    return ids


def answers(kafka: KafkaConnection, pipeline: str, ids: Sequence[str]) -> Counter[str]:
    """How often each of the requests was answered."""
    wanted = set(ids)
    found = (json.loads(record.value() or b"")["id"] for record in committed_records(kafka, f"{pipeline}.predictions"))
    return Counter(name for name in found if name in wanted)


def wait_for_answers(stack: Stack, kafka: KafkaConnection, pipeline: str, ids: Sequence[str]) -> None:
    stack.api.wait_until(
        lambda: len(answers(kafka, pipeline, ids)) == len(ids),
        timeout_s=TIMEOUT_S,
        what=f"{len(ids)} requests are answered",
    )
