"""The manifest: which samples a training run sees, and in which order."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from include.feed.split import Split
from include.kafka.ranges import OffsetRange
from include.reading.layout import RecordLayout
from include.targets.base import Task
from include.targets.tasks import SEPARATOR

OWN_READING = RecordLayout()
CLASSIFICATION: Task = "classification"


@dataclass(frozen=True)
class Manifest:
    """The frozen ranges of a run, and how they are read, split and shuffled.

    The same manifest always gives the same batches in the same order.

    Attributes:
        signed: whether a record without a signature of a known key is left out.
        task, separator: what the text of a label means; see include.targets.
        reading: how the samples' records are read.
        label_ranges: of the labels topic, where labels come late.
    """

    pipeline: str
    ranges: tuple[OffsetRange, ...]
    schema: str
    labels: tuple[str, ...]
    split: Split
    seed: int
    signed: bool = False
    # Left out of the JSON at their defaults, so that manifests from before these fields existed keep their digests.
    task: Annotated[Task, Field(exclude_if=lambda task: task == CLASSIFICATION)] = CLASSIFICATION
    separator: Annotated[str, Field(exclude_if=lambda separator: separator == SEPARATOR)] = SEPARATOR
    reading: Annotated[RecordLayout, Field(exclude_if=lambda reading: reading == OWN_READING)] = OWN_READING
    label_ranges: Annotated[tuple[OffsetRange, ...], Field(exclude_if=lambda ranges: not ranges)] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    @property
    def id(self) -> str:
        """The digest's first 16 digits, which identify the manifest in logs and records."""
        return self.digest[:16]

    def to_dict(self) -> dict[str, Any]:
        """The values as a training job's JSON has them."""
        values: dict[str, Any] = TypeAdapter(Manifest).dump_python(self, mode="json")
        return values
