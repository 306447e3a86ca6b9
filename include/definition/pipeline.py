"""The validated pipeline definition: one TOML file, put together from the config that each kind owns."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from include.codecs.base import Codec
from include.definition.consistency import topic_faults
from include.definition.tables import (
    AUGMENTATIONS,
    Export,
    Ingest,
    Prediction,
    Promotion,
    Registry,
    Signing,
    TopicLayout,
    Training,
)
from include.envelopes.plain import OwnEnvelope
from include.errors import PermanentError
from include.exactly_once.ledger import ledger_topic
from include.kafka.dead_letters import EXTRA_BYTES
from include.kafka.topics import TopicSpec
from include.kinds import IMPORTED, Config, find_kinds, one_of
from include.models.base import ModelDefinition
from include.models.imported import ImportedModel
from include.reading.layout import (
    ENVELOPES,
    LABELS,
    AnyEnvelope,
    AnyLabels,
    HeaderLabels,
    RecordLayout,
    TopicLabels,
)
from include.sources.base import Source
from include.storage.state import PROJECT_ROOT

PIPELINES = PROJECT_ROOT / "include" / "pipelines"
TOPIC_FAULT = "topic_fault"
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")

KINDS: dict[str, dict[str, Any]] = {
    "augment": AUGMENTATIONS,
    "envelope": ENVELOPES,
    "format": find_kinds("include.codecs", Codec),
    "labels": LABELS,
    "source": find_kinds("include.sources", Source),
    "model": {**find_kinds("include.models", ModelDefinition), IMPORTED: ImportedModel},
}

if TYPE_CHECKING:
    AnyCodec = Codec
    AnySource = Source
    AnyModel = ModelDefinition
else:
    AnyCodec, AnySource, AnyModel = (one_of(KINDS[table]) for table in ("format", "source", "model"))


class UnknownPipeline(PermanentError):
    """No valid pipeline has this name."""


class Pipeline(Config):
    """One pipeline; its name is its file's."""

    name: str
    description: str
    owner: str = "millrace"
    tags: tuple[str, ...] = ()
    connection: str = "kafka_default"
    topics: TopicLayout = TopicLayout()
    format: AnyCodec
    envelope: AnyEnvelope = OwnEnvelope()
    labels: AnyLabels = HeaderLabels()
    source: AnySource | None = None
    ingest: Ingest = Ingest()
    model: AnyModel
    training: Training
    promotion: Promotion = Promotion()
    prediction: Prediction = Prediction()
    export: Export | None = None
    signing: Signing | None = None
    registry: Registry | None = None

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("a pipeline's file is named in small letters, digits and _, beginning with a letter")
        return value

    @field_validator("training")
    @classmethod
    def _augments_such_inputs(cls, value: Training, info: ValidationInfo) -> Training:
        if codec := info.data.get("format"):
            for augmentation in value.augment:
                augmentation.check(codec.input_shape)
        return value

    @field_validator("training")
    @classmethod
    def _knows_what_is_new(cls, value: Training, info: ValidationInfo) -> Training:
        if value.incremental and isinstance(info.data.get("labels"), TopicLabels):
            raise ValueError(
                "incremental = true can't see that an older sample got its label late; remove it, or take labels that "
                "come with the samples"
            )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for fault in topic_faults(self):
            raise PydanticCustomError(TOPIC_FAULT, "{fault}", {"fault": fault})
        return self

    @property
    def signed(self) -> bool:
        """Whether its records are signed."""
        return self.signing is not None

    @property
    def trusted_models(self) -> tuple[str, ...]:
        """The `module:name` kinds that may be imported for a version of its model: those that its file names."""
        own = (self.model.kind,) if isinstance(self.model, ImportedModel) else ()
        return (*own, *self.promotion.earlier_models)

    @property
    def samples_topic(self) -> str:
        return self.topics.samples or f"{self.name}.samples"

    @property
    def requests_topic(self) -> str:
        return self.topics.requests or f"{self.name}.requests"

    @property
    def labels_topic(self) -> str | None:
        """The topic of late labels, where they come from one."""
        return self.labels.topic if isinstance(self.labels, TopicLabels) else None

    @property
    def foreign_topics(self) -> tuple[str, ...]:
        """The topics that others fill, each once."""
        named = (self.topics.samples, self.topics.requests, self.labels_topic)
        return tuple(dict.fromkeys(topic for topic in named if topic is not None))

    @property
    def predictions_topic(self) -> str:
        return f"{self.name}.predictions"

    @property
    def dead_letters_topic(self) -> str:
        return f"{self.name}.dead-letters"

    def record_layout(self, topic: str) -> RecordLayout:
        """How the records of its samples or its requests are read: in its own topics they are Millrace's own."""
        foreign = topic in self.foreign_topics
        return RecordLayout(envelope=self.envelope, labels=self.labels) if foreign else RecordLayout()

    def topic_specs(self, largest_request: int = 0) -> list[TopicSpec]:
        """The pipeline's own topics and the ledger.

        Args:
            largest_request: bytes of the largest record that a requests topic of others takes.
        """
        config = {
            "retention.ms": str(self.topics.retention_hours * 3_600_000),
            "max.message.bytes": str(self.topics.max_record_bytes),
        }
        largest = max(self.topics.max_record_bytes, largest_request)
        larger = {**config, "max.message.bytes": str(largest + EXTRA_BYTES)}
        layout = (self.topics.partitions, self.topics.replication)
        specs = [
            TopicSpec(self.samples_topic, *layout, config),
            TopicSpec(self.requests_topic, *layout, config),
            TopicSpec(self.predictions_topic, *layout, config),
            TopicSpec(self.dead_letters_topic, *layout, larger),
            ledger_topic(self.topics.replication),
        ]
        return [spec for spec in specs if spec.name not in self.foreign_topics]


@dataclass(frozen=True)
class InvalidPipeline:
    """A TOML file that makes no DAGs, and why: one line per fault."""

    path: Path
    faults: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([f"{self.path.name}:", *(f"  - {fault}" for fault in self.faults)])


def pipelines_folder() -> Path:
    """Where the TOML files are: `MILLRACE_PIPELINES` or include/pipelines."""
    return Path(os.environ.get("MILLRACE_PIPELINES") or PIPELINES)


def load_pipeline(name: str) -> Pipeline:
    """The pipeline of that name.

    Raises:
        UnknownPipeline: there is no such file, or it is not valid.
    """
    path = pipelines_folder() / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(item.stem for item in pipelines_folder().glob("*.toml"))) or "none"
        raise UnknownPipeline(f"Pipeline {name!r} is unknown: the files in {pipelines_folder()} define {known}.")
    loaded = read_pipeline(path)
    if isinstance(loaded, InvalidPipeline):
        raise UnknownPipeline(f"Pipeline {name!r} is not valid: {'; '.join(loaded.faults)}.")
    return loaded


def load_pipelines() -> tuple[list[Pipeline], list[InvalidPipeline]]:
    """Every TOML file of the folder, the valid and the invalid ones, in order of name."""
    loaded = [read_pipeline(path) for path in sorted(pipelines_folder().glob("*.toml"))]
    return (
        [item for item in loaded if isinstance(item, Pipeline)],
        [item for item in loaded if isinstance(item, InvalidPipeline)],
    )


def read_pipeline(path: Path) -> Pipeline | InvalidPipeline:
    """One file; faults are returned and not raised, so that one bad file does not take the others with it."""
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return InvalidPipeline(path, (f"not a TOML file: {error}",))
    except OSError as error:
        return InvalidPipeline(path, (f"cannot be read: {error.strerror}",))
    if "name" in values:
        return InvalidPipeline(path, (f"name = {values['name']!r}: remove the key, the file's name is the name",))
    try:
        return Pipeline.model_validate({"name": path.stem, **values})
    except ValidationError as error:
        return InvalidPipeline(path, tuple(_fault(item) for item in error.errors()))


def _fault(item: Any) -> str:
    """`training.epochs = 0: Input should be greater than or equal to 1`."""
    if item["type"] == TOPIC_FAULT:
        return str(item["msg"])
    key, kinds = _key(item["loc"])
    if item["type"].startswith("union_tag"):
        kind = item.get("ctx", {}).get("tag")
        shown = ": Field required" if kind is None else f" = {kind!r}: no such kind"
        return f"{key}.kind{shown}; the kinds are {', '.join(sorted(kinds))}"
    whole_table = isinstance(item["input"], dict)
    shown = "" if whole_table or item["type"] == "missing" else f" = {item['input']!r}"
    if item["type"] == "extra_forbidden":
        return f"{key}{shown}: no such key; remove it or correct its spelling"
    return f"{key}{shown}: {item['msg'].removeprefix('Value error, ')}"


def _key(location: Sequence[str | int]) -> tuple[str, Mapping[str, Any]]:
    """A key as the file has it, and the kinds of its table: the one that pydantic has chosen is in no file."""
    key: list[str] = []
    kinds: Mapping[str, Any] = {}
    for part in map(str, location):
        if part in kinds:
            kinds = {}
        else:
            kinds = KINDS.get(part, kinds)
            key.append(part)
    return ".".join(key), kinds
