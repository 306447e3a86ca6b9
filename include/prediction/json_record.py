"""The prediction record: the JSON that other applications read."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

from include.kafka.headers import MODEL
from include.targets.base import Answer

# `json.dumps` with an argument makes an encoder for each call.
_encode = json.JSONEncoder(allow_nan=False).encode
MARK = "\n[]\n"
_encode_lines = json.JSONEncoder(allow_nan=False, separators=("\n", ": ")).encode


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


def prediction_values(
    model: ModelIdentity,
    topic: str,
    partition: int,
    requests: Iterable[tuple[int, int]],
    ids: Sequence[str],
    answers: Sequence[Answer],
) -> list[bytes]:
    """The records' values: one JSON object in UTF-8, flat except for `top`, `labels`, `scores` and `values`.

    A classification answers with `label` and `score`, its softmax probability, 0 to 1, and with `top_k` with a
    list of such pairs as `top`, the best first; see include.targets for the
    others. topic, partition, offset and timestamp are the request's own. The timestamp is in milliseconds since
    the epoch, and null where it is negative: Kafka stores any negative number that a producer sends, and -1 where there
    is none.

    Args:
        requests: offset and timestamp of each.
        ids: the samples'.
    """
    fields = {
        "model": model.name,
        "version": model.version,
        "digest": model.digest,
        "manifest": model.manifest,
        "topic": topic,
        "partition": partition,
    }
    same = _encode(fields)[1:-1]
    return [
        f'{{"id": {sample_id}, {answer[1:-1]}, {same}, "offset": {offset}, "timestamp": '
        f"{timestamp_ms if timestamp_ms >= 0 else 'null'}}}".encode()
        for sample_id, answer, (offset, timestamp_ms) in zip(_each(ids), _each(answers), requests, strict=True)
    ]


def _each(values: Sequence[Any]) -> list[str]:
    """The JSON of each value. One call of the encoder takes a fifth of the time that a call for each would."""
    if not values:
        return []
    # Between them is one list many times, as the garbage collector would walk through a list for each. JSON has no line
    # break within a string, so that only a list with an empty list in it has the same text.
    marked = [*chain.from_iterable(zip(values, repeat([])))]
    texts = _encode_lines(marked)[1:].removesuffix(f"{MARK[:-1]}]").split(MARK)
    if len(texts) != len(values):
        return list(map(_encode, values))
    return [text.replace("\n", ", ") for text in texts]
