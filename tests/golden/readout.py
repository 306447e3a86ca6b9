"""Stored bytes as text: records, broker state, checkpoints, models, Parquet files. It shares no code with writers."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, ConfigSource

from tests.golden.placeholders import Placeholders, json_line
from tests.support.consumers import committed_records

if TYPE_CHECKING:
    from confluent_kafka import Message

    from include.kafka.connection import KafkaConnection

LEDGER = "millrace.ledger"
TRANSACTIONS = "__transaction_state"
SENTENCE_HEADER = "dead-letter-error"
TIMEOUT_S = 30


def own_topics(kafka: KafkaConnection, placeholders: Placeholders) -> str:
    """Names, partitions and settings of the pipelines' topics and the ledger; their ids become placeholders."""
    with AdminClient(dict(kafka.settings)) as admin:
        names = sorted(
            name for name in admin.list_topics(timeout=TIMEOUT_S).topics if name.startswith("golden") or name == LEDGER
        )
        described = admin.describe_topics(TopicCollection(names))
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        settings = {resource.name: future.result(TIMEOUT_S) for resource, future in _configs(admin, resources)}
        lines = []
        for name in names:
            topic = described[name].result(TIMEOUT_S)
            topic_id = str(topic.topic_id)
            placeholders.add(f"id of {name}", topic_id)
            # The form of file names.
            placeholders.add(f"id of {name}", topic_id.replace("/", "_").replace("+", "-"))
            lines.append(f"{name}: {len(topic.partitions)} partitions")
            lines += [
                f"  {key} = {entry.value}"
                for key, entry in sorted(settings[name].items())
                if entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value
            ]
    return "\n".join(lines)


def _configs(admin: AdminClient, resources: list[ConfigResource]) -> Iterable[tuple[ConfigResource, Any]]:
    return admin.describe_configs(resources).items()


def transactional_ids(kafka: KafkaConnection) -> list[str]:
    """Those that the broker keeps, from the keys of its own topic."""
    ids = set()
    for record in committed_records(kafka, TRANSACTIONS):
        version, length = struct.unpack_from(">hh", record.key())
        if version == 0:
            ids.add(record.key()[4 : 4 + length].decode())
    return sorted(item for item in ids if item.startswith("local.golden"))


def groups_with_offsets(kafka: KafkaConnection) -> list[str]:
    with AdminClient(dict(kafka.settings)) as admin:
        groups = admin.list_consumer_groups(request_timeout=TIMEOUT_S).result(TIMEOUT_S)
        return sorted(group.group_id for group in groups.valid if group.group_id.startswith("local.golden"))


def ledger_entries(kafka: KafkaConnection) -> str:
    """Every entry that was ever written, the older ones of a key first."""
    records = [record for record in committed_records(kafka, LEDGER) if record.key().startswith(b"local/golden")]
    records.sort(key=lambda record: (record.key(), record.offset()))
    return "\n".join(f"{record.key().decode()}\n  {json_line(record.value())}" for record in records)


def ledger_partitions(kafka: KafkaConnection, keys: Iterable[str]) -> str:
    """Where keys that are the same in every run lie: a reader computes it."""
    wanted = set(keys)
    found = {record.key().decode(): record.partition() for record in committed_records(kafka, LEDGER)}
    return "\n".join(f"{key}: {found[key]}" for key in sorted(wanted))


def topic_records(kafka: KafkaConnection, topic: str, *, value: str = "hex") -> str:
    """The committed records of a topic.

    Args:
        value: `text`; `json` for an object of whose values some are volatile; `hex`.
    """
    return "\n".join(line for record in committed_records(kafka, topic) for line in _record(record, value))


def _record(record: Message, value: str) -> Iterator[str]:
    yield f"{record.topic()}/{record.partition()}/{record.offset()}"
    yield f"  key: {_text(record.key())}"
    for name, content in record.headers() or []:
        yield f"  {name}: {'<sentence>' if name == SENTENCE_HEADER else _text(content)}"
    content = record.value()
    if content is None:
        yield "  no value"
    else:
        yield f"  value: {READ[value](content)}"


READ: dict[str, Callable[[bytes], str]] = {"hex": bytes.hex, "json": json_line, "text": bytes.decode}


def _text(content: bytes | None) -> str:
    return "none" if content is None else content.decode("utf-8", "backslashreplace")


def tensors(path: Path) -> str:
    """Names, dtypes and shapes of a safetensors file; random states have lengths of their libraries."""
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    header = json.loads(path.read_bytes()[8 : 8 + length])
    return "\n".join(
        f"{name}: {item['dtype']} {'<length>' if name.startswith('random.') else item['shape']}"
        for name, item in sorted(header.items())
        if name != "random.cuda"  # on a GPU only
    )


def files_digest(directory: Path, *names: str) -> str:
    """SHA-256 over the SHA-256 of each file's name and of its content."""
    parts = (part for name in names for part in (name.encode(), (directory / name).read_bytes()))
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def files_below(folder: Path) -> str:
    return "\n".join(sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()))


def parquet_columns(path: Path) -> str:
    from pyarrow import parquet

    return "\n".join(f"{field.name}: {field.type}" for field in parquet.read_schema(path))
