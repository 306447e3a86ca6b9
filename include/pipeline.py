"""The validated pipeline definition: one TOML file, put together from the config that each kind owns."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from croniter import croniter
from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from include.augmentations.base import Augmentation
from include.codecs.base import Codec
from include.envelopes.plain import OwnEnvelope
from include.errors import PermanentError
from include.kafka.dead_letters import EXTRA_BYTES
from include.kafka.ledger import ledger_topic
from include.kafka.topics import TopicName, TopicSpec
from include.kinds import IMPORTED, Config, find_kinds, one_of
from include.models.base import ModelDefinition
from include.models.imported import ImportedModel, ImportedName
from include.reading.reading import (
    ENVELOPES,
    LABELS,
    AnyEnvelope,
    AnyLabels,
    HeaderLabels,
    Reading,
    TopicLabels,
)
from include.registry.names import CHAMPION, StartName
from include.sources.base import Source
from include.targets.base import Target, Task
from include.targets.regression import RegressionLoss
from include.targets.tasks import SEPARATOR, target_of
from include.topic_faults import topic_faults

PIPELINES = Path(__file__).parent / "pipelines"
TOPIC_FAULT = "topic_fault"
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")

KINDS: dict[str, dict[str, Any]] = {
    "augment": find_kinds("include.augmentations", Augmentation),
    "envelope": ENVELOPES,
    "format": find_kinds("include.codecs", Codec),
    "labels": LABELS,
    "source": find_kinds("include.sources", Source),
    "model": {**find_kinds("include.models", ModelDefinition), IMPORTED: ImportedModel},
}

if TYPE_CHECKING:
    AnyAugmentation = Augmentation
    AnyCodec = Codec
    AnySource = Source
    AnyModel = ModelDefinition
else:
    AnyAugmentation = one_of(KINDS["augment"])
    AnyCodec, AnySource, AnyModel = (one_of(KINDS[table]) for table in ("format", "source", "model"))


class UnknownPipeline(PermanentError):
    """No valid pipeline has this name."""


class TopicLayout(Config):
    """How a pipeline's topics are laid out, and which ones are somebody else's.

    Args:
        samples, requests: existing topics that others fill; they are never created, changed or written to.
    """

    samples: TopicName | None = None
    requests: TopicName | None = None
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 3
    replication: Annotated[int, Field(ge=1, le=32)] = 1
    retention_hours: Annotated[int, Field(ge=1)] = 24 * 7
    max_record_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024


def _five_fields(value: str) -> str:
    if len(value.split()) != 5 or not croniter.is_valid(value):
        raise ValueError("a schedule is a cron expression of five fields, such as '0 * * * *' for every hour")
    return value


Schedule = Annotated[str, AfterValidator(_five_fields)]


class Ingest(Config):
    """How a batch is taken from the source."""

    schedule: Schedule = "0 * * * *"
    records: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    requests_share: Annotated[float, Field(ge=0, le=1)] = 0.1


class Training(Config):
    """How a model is trained; the split's salt must stay what it is for models to be comparable.

    Args:
        task: what the text of a label means, see include.targets.
        labels: the classes, the labels that a sample may have, or the numbers.
        separator: between the names of several labels.
        start_from: a version or a file of weights, see include.training.start.
        freeze: patterns of the parameters that stay as they are, `0.*` for instance.
        incremental: learn only from what has come since the champion's training, and about `replay_share` of older
            samples beside it, see include.training.incremental.
        loss: of a regression, `mse` unless another is named.
        normalise: whether a regression's network learns its numbers with mean 0 and deviation 1; it does unless told.
    """

    task: Task = "classification"
    labels: Annotated[tuple[str, ...], Field(min_length=1)]
    separator: Annotated[str, Field(min_length=1)] = SEPARATOR
    start_from: StartName | None = None
    freeze: tuple[str, ...] = ()
    incremental: bool = False
    replay_share: Annotated[float, Field(ge=0, lt=1)] = 0.5
    loss: RegressionLoss | None = None
    normalise: bool | None = None
    schedule: Schedule | None = None
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 64
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.001
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.2
    split_salt: str = "millrace"
    min_new_samples: Annotated[int, Field(ge=1)] = 1000
    window: Annotated[int, Field(ge=1)] = 65_536
    checkpoint_batches: Annotated[int, Field(ge=1)] = 200
    max_rejected_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    threads: Annotated[int, Field(ge=1, le=256)] = 2
    augment: tuple[AnyAugmentation, ...] = ()

    @field_validator("labels")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({label for label in value if value.count(label) > 1})
        if twice:
            raise ValueError(f"label {twice[0]!r} is named twice")
        return value

    @field_validator("labels")
    @classmethod
    def _several(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if len(value) < 2 and info.data.get("task") == "classification":
            raise ValueError("a classification chooses among at least 2 items; name another class, or set task")
        return value

    @field_validator("incremental")
    @classmethod
    def _from_the_champion(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("start_from") != CHAMPION:
            raise ValueError(f'what is new is what the champion has not learnt; set start_from = "{CHAMPION}"')
        return value

    @field_validator("replay_share")
    @classmethod
    def _of_incremental(cls, value: float, info: ValidationInfo) -> float:
        if not info.data.get("incremental"):
            raise ValueError("only incremental = true has this key; remove it, or set that")
        return value

    @field_validator("loss", "normalise")
    @classmethod
    def _of_regression(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("task") != "regression":
            raise ValueError('only task = "regression" has this key; remove it')
        return value

    def target(self) -> Target:
        """What the task makes of the labels."""
        return target_of(self.task, self.labels, separator=self.separator)

    @property
    def normalised(self) -> bool | None:
        """Whether numbers are normalised; None where there are no numbers."""
        if self.task != "regression":
            return None
        return self.normalise is not False


class Promotion(Config):
    """When a challenger becomes champion: at least `floor`, and better than the champion of the day.

    The floor is of accuracy, micro-F1 or R², by the task. R² may be negative, and a model that is worse than always
    answering the mean is no champion.

    Args:
        earlier_models: the `module:name` kinds that `[model]` had before, whose versions may still be loaded.
    """

    floor: Annotated[float, Field(ge=0, le=1)] = 0.8
    earlier_models: tuple[ImportedName, ...] = ()


class Prediction(Config):
    """How predictions are published, by so many tasks at once; more than partitions would find nothing to do."""

    schedule: Schedule | None = None
    tasks: Annotated[int, Field(ge=1, le=64)] = 1
    chunk_samples: Annotated[int, Field(ge=1, le=100_000)] = 2000
    chunk_bytes: Annotated[int, Field(ge=1024)] = 32 * 1024 * 1024
    max_rejected_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    max_rejected_in_a_row: Annotated[int, Field(ge=1)] = 1000
    max_replays: Annotated[int, Field(ge=1, le=1000)] = 3


class Export(Config):
    """Where predictions are written as Parquet files; without this table they are not.

    Args:
        path: a folder: local, relative to the project where it is not absolute, or the URL of an object storage.
        connection: the Airflow connection of the storage; a local path needs none.
        rows: how many predictions a file has at most; so many are in memory at once.
    """

    path: Annotated[str, Field(min_length=1)]
    connection: Annotated[str, Field(min_length=1)] | None = None
    schedule: Schedule = "30 * * * *"
    rows: Annotated[int, Field(ge=1, le=1_000_000)] = 50_000


class Signing(Config):
    """With this table records are signed, and what is not signed by a known key is refused; see include.kafka.signing.

    The Airflow connection has the key's id as login, the secret as password, and in its extra under `retired_secrets`
    by id those that still verify.
    """

    connection: Annotated[str, Field(min_length=1)]


class Registry(Config):
    """The Schema Registry that records of others are read with; see `include.kafka.schema_registry.registry_at`.

    The Airflow connection has its URL as host, and login and password where it wants them.
    """

    connection: Annotated[str, Field(min_length=1)]


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

    def reading(self, topic: str) -> Reading:
        """How the records of its samples or its requests are read: in its own topics they are Millrace's own."""
        foreign = topic in self.foreign_topics
        return Reading(envelope=self.envelope, labels=self.labels) if foreign else Reading()

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
