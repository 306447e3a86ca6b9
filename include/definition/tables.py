"""The tables of a pipeline's file that have no kinds."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from croniter import croniter
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from include.definition.kinds import AnyAugmentation
from include.definition.model_reference import CHAMPION, StartName
from include.kafka.topics import TopicName
from include.kinds import Config
from include.models.imported import ImportedName
from include.targets.base import Target, Task, plain_label
from include.targets.regression import RegressionLoss
from include.targets.tasks import SEPARATOR, target_of


class TopicLayout(Config):
    """How a pipeline's topics are laid out, and which ones are external.

    Args:
        samples, requests: external topics, which other programs fill; Millrace never creates, changes or writes them.
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
    """How a batch is taken from the source.

    Args:
        max_refused_share: the share of a batch's samples that may be left out as unfit; a batch with more is refused.
    """

    schedule: Schedule = "0 * * * *"
    records: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    requests_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    max_refused_share: Annotated[float, Field(ge=0, le=1)] = 0.01


class Training(Config):
    """How a model is trained. Models are comparable only while `split`, `split_salt` and `held_out` stay the same.

    Args:
        task: what the text of a label means, see include.targets.
        labels: the classes, the labels that a sample may have, or the numbers.
        separator: between the names of several labels.
        start_from: a version or a file of weights, see include.training.start.
        freeze: patterns of the parameters that are not trained, `0.*` for instance.
        incremental: learn only from samples that arrived since the champion's training and from older ones, about
            `replay_share` of all, see include.training.incremental.
        split: `hash` holds out a share of `held_out` by a hash of the groups; `given` holds out what the header `split`
            of the records names `val` or `test`, see `split` of a folder.
        loss: of a regression; `mse` by default.
        normalise: whether a regression's targets are scaled to mean 0 and standard deviation 1; True by default.
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
    split: Literal["hash", "given"] = "hash"
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
        twice = sorted(label for label, times in Counter(map(plain_label, value)).items() if times > 1)
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
            raise ValueError(f'an incremental training continues the champion\'s; set start_from = "{CHAMPION}"')
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
        """The task with its labels."""
        return target_of(self.task, self.labels, separator=self.separator)

    @property
    def normalised(self) -> bool | None:
        """Whether numbers are normalised; None where there are no numbers."""
        if self.task != "regression":
            return None
        return self.normalise is not False


class Promotion(Config):
    """When a challenger becomes champion: its score is at least `floor` and better than the present champion's.

    The score is accuracy, micro-F1 or R², by the task. R² may be negative; a model that is worse than always answering
    the mean never becomes champion.

    Args:
        earlier_models: `module:name` kinds that `[model]` had before, and whose versions may still be loaded.
        allow_missing: whether a model may become champion while a label of `[training] labels` has no held-out sample,
            which nothing shows that it can tell.
    """

    floor: Annotated[float, Field(ge=0, le=1)] = 0.8
    allow_missing: bool = False
    earlier_models: tuple[ImportedName, ...] = ()


class Prediction(Config):
    """How predictions are published.

    Args:
        tasks: how many tasks publish at once; those beyond the number of partitions have nothing to do.
    """

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
        path: a folder, by a local path (relative to the project, or absolute) or the URL of an object storage.
        connection: the Airflow connection of the storage; a local path needs none.
        rows: most predictions of a file, all of which are in memory at once.
    """

    path: Annotated[str, Field(min_length=1)]
    connection: Annotated[str, Field(min_length=1)] | None = None
    schedule: Schedule = "30 * * * *"
    rows: Annotated[int, Field(ge=1, le=1_000_000)] = 50_000


class Signing(Config):
    """With this table records are signed, and a record without a valid signature is refused; see include.kafka.signing.

    The Airflow connection has the key's id as login and the secret as password. Its extra may have `retired_secrets`:
    by id, the secrets of keys that still verify.
    """

    connection: Annotated[str, Field(min_length=1)]


class Registry(Config):
    """The Schema Registry that external topics are read with; see `include.kafka.schema_registry.registry_at`.

    The Airflow connection has its URL as host, and login and password if the registry needs them.
    """

    connection: Annotated[str, Field(min_length=1)]
