"""The prediction record: the JSON that other applications read."""

import json
from dataclasses import dataclass
from typing import Any

from include.kafka.headers import MODEL
from include.kafka.records import Address
from include.targets.base import Answer

# `json.dumps` with an argument makes an encoder for each call.
_encode = json.JSONEncoder(allow_nan=False).encode


@dataclass(frozen=True)
class ModelIdentity:
    """Which model has predicted: enough to find it, its weights and the samples it learnt from."""

    name: str
    version: int
    digest: str
    manifest: str

    @property
    def header(self) -> tuple[str, bytes]:
        """`model: <name>/<version>`, for consumers that filter without parsing."""
        return MODEL, f"{self.name}/{self.version}".encode()


def prediction_value(
    sample_id: str, answer: Answer, model: ModelIdentity, address: Address, timestamp_ms: int
) -> bytes:
    """The record's value: one JSON object in UTF-8, flat except for `top`, `labels`, `scores` and `values`.

    A classification answers with `label` and `score`, its softmax probability, 0 to 1, and with `top_k` with a
    list of such pairs as `top`, the best first; see include.targets for the
    others. topic, partition, offset and timestamp are the request's own. The timestamp is in milliseconds since
    the epoch, and null where it is negative: Kafka stores any negative number that a producer sends, and -1 where there
    is none.
    """
    fields: dict[str, Any] = {
        "id": sample_id,
        **answer,
        "model": model.name,
        "version": model.version,
        "digest": model.digest,
        "manifest": model.manifest,
        **address.to_dict(),
        "timestamp": timestamp_ms if timestamp_ms >= 0 else None,
    }
    return _encode(fields).encode()
