"""The manifest: everything that decides which samples a training run sees, and in which order."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from include.kafka.ranges import OffsetRange
from include.reading.layout import RecordLayout
from include.targets.base import Task
from include.targets.tasks import SEPARATOR

if TYPE_CHECKING:
    import numpy as np

OWN_READING = RecordLayout()
CLASSIFICATION: Task = "classification"


@dataclass(frozen=True)
class Split:
    """Which samples are held out: a salted hash of `group`, so that a group is on one side for ever.

    Args:
        salt: constant for a pipeline; two models are compared only under the same salt and share.
        held_out: share of groups that are never trained on, between 0 and 1.
    """

    salt: str
    held_out: float

    def is_held_out(self, groups: Sequence[bytes]) -> np.ndarray[Any, Any]:
        """Booleans of shape (n,) for n groups.

        One C call a group (CRC-32), then salt and finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) over the
        whole array: a CRC alone would keep sequential ids on regular distances.
        """
        import numpy as np

        crcs = np.fromiter(map(zlib.crc32, groups), np.uint64, len(groups))
        salt = np.uint64(int.from_bytes(hashlib.sha256(self.salt.encode()).digest()[:8], "little"))
        mixed = crcs ^ salt
        with np.errstate(over="ignore"):
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
        held_out: np.ndarray[Any, Any] = (mixed >> np.uint64(11)) < np.uint64(int(self.held_out * 2**53))
        return held_out


@dataclass(frozen=True)
class Manifest:
    """The frozen ranges of a run, and how they are read, split and shuffled.

    Where it is `signed`, a record that is not signed by a known key is none of its samples. `task` and `separator` say
    what the text of a label means; see include.targets.

    The same manifest gives the same batches in the same order, whoever reads it.

    Attributes:
        reading: how the samples' records are read.
        label_ranges: of the topic of late labels, where they come from one.
    """

    pipeline: str
    ranges: tuple[OffsetRange, ...]
    schema: str
    labels: tuple[str, ...]
    split: Split
    seed: int
    signed: bool = False
    # Left out where they say nothing new, so that manifests from before there were tasks keep their digests.
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
        """The digest's first 16 digits: enough to find the manifest by."""
        return self.digest[:16]

    def to_dict(self) -> dict[str, Any]:
        values = {**asdict(self), "reading": self.reading.model_dump(mode="json")}
        usual = {"task": CLASSIFICATION, "separator": SEPARATOR, "reading": OWN_READING, "label_ranges": ()}
        return {
            name: value for name, value in values.items() if name not in usual or getattr(self, name) != usual[name]
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Manifest:
        return cls(
            pipeline=str(values["pipeline"]),
            ranges=tuple(OffsetRange.from_dict(item) for item in values["ranges"]),
            schema=str(values["schema"]),
            labels=tuple(str(label) for label in values["labels"]),
            split=Split(str(values["split"]["salt"]), float(values["split"]["held_out"])),
            seed=int(values["seed"]),
            signed=bool(values.get("signed", False)),
            task=values.get("task", CLASSIFICATION),
            separator=str(values.get("separator", SEPARATOR)),
            reading=RecordLayout.model_validate(values.get("reading", {})),
            label_ranges=tuple(OffsetRange.from_dict(item) for item in values.get("label_ranges", ())),
        )
