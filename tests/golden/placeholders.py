"""Placeholders for what differs from run to run: topic ids, times, what was learnt, versions of libraries."""

from __future__ import annotations

import json
import re
from typing import Any

# JSON fields whose numbers depend on the clock, the processor or the versions of libraries.
VOLATILE = {
    *("timestamp", "seconds", "samples_per_second", "score", "confusion", "loss", "loss_total", "train_loss"),
    *("accuracy", "micro_f1", "subset_accuracy", "r2", "mae", "held_out_loss"),
    *("held_out_accuracy", "held_out_micro_f1", "held_out_subset_accuracy", "held_out_r2", "held_out_mae"),
    # Histograms of what a model answers, in its reference; samples that it takes for others.
    *("answers", "mistakes"),
}
# The same of text; `loss` is also the name of one.
VOLATILE_TEXTS = {"created", "label"}
# JSON objects whose values are volatile and whose keys are not.
VOLATILE_VALUES = {"software"}
# JSON fields that hold sentences for people, which may be reworded.
SENTENCES = {"finding", "examples"}


class Placeholders:
    """Named values that are replaced wherever they stand in a text."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def add(self, name: str, value: str) -> None:
        self._names[value] = f"<{name}>"

    def add_digest(self, name: str, digest: str) -> None:
        """A digest and the shorter forms in which it names files and manifests."""
        for length in (len(digest), 16, 12):
            self.add(name if length == len(digest) else f"{name}, {length} digits", digest[:length])

    def replaced(self, text: str) -> str:
        for value in sorted(self._names, key=len, reverse=True):
            text = text.replace(value, self._names[value])
        return text


def json_line(value: bytes) -> str:
    """A JSON object as it is written, byte for byte, but for its volatile values and sentences."""
    found = json.loads(value)
    assert json.dumps(found).encode() == value, f"not what json.dumps writes by default: {value!r}"
    return json.dumps(_stable(found))


def json_file(content: str) -> str:
    """A JSON file with a line for each of its values."""
    return json.dumps(_stable(json.loads(content)), indent=2, ensure_ascii=False)


def _stable(value: Any, name: str = "") -> Any:
    if name in (VOLATILE_TEXTS if isinstance(value, str) else VOLATILE):
        return f"<{name}>"
    if name in SENTENCES:
        return [_without_sentence(item) for item in value] if isinstance(value, list) else "<sentence>"
    if isinstance(value, dict):
        inner = "version" if name in VOLATILE_VALUES else ""
        return {key: f"<{inner}>" if inner else _stable(item, key) for key, item in value.items()}
    return [_stable(item) for item in value] if isinstance(value, list) else value


def _without_sentence(example: str) -> str:
    """`<address>: <reason>: <sentence>`."""
    return re.sub(r"^([^:]+: [a-z-]+): .*", r"\1: <sentence>", example, flags=re.DOTALL)
