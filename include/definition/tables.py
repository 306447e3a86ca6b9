"""The tables of a pipeline's file that have no kinds."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from croniter import croniter
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from include.definition.kinds import AnyAugmentation
from include.definition.model_reference import CHAMPION, StartName
from include.envelopes import FieldName
from include.kafka.headers import MODEL
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
        replication: copies of each partition of a new topic; by default the broker's `default.replication.factor`.
    """

    samples: TopicName | None = None
    requests: TopicName | None = None
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 3
    replication: Annotated[int, Field(ge=1, le=32)] | None = None
    retention_hours: Annotated[int, Field(ge=1)] = 24 * 7
    max_record_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024


def _five_fields(value: str) -> str:
    if len(value.split()) != 5 or not croniter.is_valid(value):
        raise ValueError("a schedule is a cron expression of five fields, such as '0 * * * *' for every hour")
    return value


Schedule = Annotated[str, AfterValidator(_five_fields)]

MAX_BATCH_RECORDS = 1_000_000
# A form accepts as much as the file, and the other way round.
MAX_NEW_SAMPLES = 1_000_000_000
MONTH_S = 30 * 86_400
MAX_DELAY_S = 10 * 365 * 86_400


class Ingest(Config):
    """How a batch is taken from the source.

    Args:
        requests_by: what decides whether a sample is a request: its `id`, or its `group`, so that all labelled
            samples of a group are requests or none is, as on the two sides of a held-out split. A sample without a
            group counts by its id. One without a label is always a request, unless `requests_share` is 0.
        max_refused_share: the share of a batch's samples that may be left out; a batch with more is refused.
        partitioned: whether an event of a topic's asset names the partition of its batch, the beginning of the data
            interval. By such events Airflow starts DAGs with a `PartitionedAssetTimetable`, and no others.
    """

    schedule: Schedule = "0 * * * *"
    records: Annotated[int, Field(ge=1, le=MAX_BATCH_RECORDS)] = 1000
    requests_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    requests_by: Literal["id", "group"] = "id"
    max_refused_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    partitioned: bool = False


class Training(Config):
    """How a model is trained. Models are comparable only while `split`, `split_salt` and `held_out` stay the same.

    Args:
        task: what the text of a label means, see include.targets.
        labels: the classes, the labels that a sample may have, or the numbers.
        separator: between the names of several labels.
        start_from: a version or a file of weights, see include.training.initial_weights.
        freeze: patterns of the parameters that are not trained, `0.*` for instance.
        incremental: learn only from samples that arrived since the champion's training and from older ones, about
            `replay_share` of all, see include.training.incremental.
        split: `hash` holds out a share of `held_out` by a hash of the groups; `given` holds out what the header `split`
            of the records names `val` or `test`, see `split` of a folder.
        loss: of a regression; `mse` by default.
        normalise: whether a regression's targets are scaled to mean 0 and standard deviation 1; True by default.
        optimizer: `sgd` has Nesterov's momentum of 0.9, see include.training.optimizer.
        cache_bytes: of the samples that a training keeps on disk for its later epochs; 0 for none.
        min_new_samples: a training needs this many new samples.
        max_wait_s: seconds after which it begins with fewer; None for no such limit.
        refire_after_s: without a `schedule`, seconds after which a training that was asked for and has not ended is
            asked for again.
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
    optimizer: Literal["adamw", "sgd"] = "adamw"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.2
    split: Literal["hash", "given"] = "hash"
    split_salt: str = "millrace"
    min_new_samples: Annotated[int, Field(ge=1, le=MAX_NEW_SAMPLES)] = 1000
    max_wait_s: Annotated[float, Field(gt=0)] | None = None
    refire_after_s: Annotated[float, Field(ge=1)] = 3600
    window: Annotated[int, Field(ge=1)] = 65_536
    checkpoint_batches: Annotated[int, Field(ge=1)] = 200
    cache_bytes: Annotated[int, Field(ge=0)] = 4 * 2**30
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
        margin: by how much the score has to be better on the same held-out samples.
        confidence: of a bootstrap interval of the lead over the champion, 0.95 for instance, whose lower end has to be
            more than `margin`; None compares the scores themselves.
        class_floor: of a classification, the least share of a class's held-out samples that are recognised as it.
        class_floors: the same for single classes, by label.
        approval: who decides about a challenger that meets all of this: nobody, or a person.
        approvers: the ids of the Airflow users who may decide; none for all who may edit the DAG.
        approval_s: seconds after which a challenger that nobody has decided about is not promoted.
        earlier_models: `module:name` kinds that `[model]` had before, and whose versions may still be loaded.
        shadow: the share of the requests that a challenger answers beside the champion, without publishing.
        allow_missing: whether a model may become champion while a label of `[training] labels` has no held-out sample
            that its score counts.
    """

    floor: Annotated[float, Field(ge=0, le=1)] = 0.8
    margin: Annotated[float, Field(ge=0, le=1)] = 0.0
    confidence: Annotated[float, Field(ge=0.5, lt=1)] | None = None
    class_floor: Annotated[float, Field(ge=0, le=1)] | None = None
    class_floors: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default={})
    approval: Literal["automatic", "person"] = "automatic"
    approvers: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    approval_s: Annotated[float, Field(ge=1, le=MONTH_S)] = 86_400
    shadow: Annotated[float, Field(ge=0, le=1)] = 0.0
    allow_missing: bool = False
    earlier_models: tuple[ImportedName, ...] = ()


class Prediction(Config):
    """How predictions are published.

    Args:
        schedule: when a run begins; without it, the backlog decides by the next three.
        min_records: a run begins when this many requests wait.
        max_wait_s: seconds after which it begins with fewer; None for no such limit.
        refire_after_s: seconds after which a run that was asked for and has published nothing is asked for again, then
            after twice as many, and so on.
        linger_s: seconds that a run stays for after its last chunk, to go on with what arrives.
        tasks: how many tasks publish at once at most; there are no more than partitions with requests.
        min_requests_per_task: a run has only as many tasks as each gets this many requests.
        pool: the Airflow pool of these tasks; it must exist.
        carry: headers of a request that its prediction has too, `traceparent` for instance; dead letters keep all.
        cloud_events: whether a prediction has the attributes of a CloudEvent as headers.
        top_k: how many labels of a classification a prediction has with their scores, the best first; 0 for its own
            label alone.
    """

    schedule: Schedule | None = None
    min_records: Annotated[int, Field(ge=1)] = 1
    max_wait_s: Annotated[float, Field(gt=0)] | None = None
    refire_after_s: Annotated[float, Field(ge=1)] = 60
    linger_s: Annotated[float, Field(ge=0, le=3600)] = 0
    tasks: Annotated[int, Field(ge=1, le=64)] = 1
    min_requests_per_task: Annotated[int, Field(ge=1)] = 1000
    pool: Annotated[str, Field(min_length=1)] = "default_pool"
    carry: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    cloud_events: bool = False
    top_k: Annotated[int, Field(ge=0, le=10)] = 0
    chunk_samples: Annotated[int, Field(ge=1, le=100_000)] = 2000
    chunk_bytes: Annotated[int, Field(ge=1024)] = 32 * 1024 * 1024
    max_rejected_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    max_rejected_in_a_row: Annotated[int, Field(ge=1)] = 1000
    max_replays: Annotated[int, Field(ge=1, le=1000)] = 3

    @field_validator("carry")
    @classmethod
    def _not_our_own(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if MODEL in value:
            raise ValueError(f"the header {MODEL!r} of a prediction names the model; leave it out")
        return value


class Notify(Config):
    """One receiver of alerts.

    Args:
        notifier: the import path of an Airflow notifier, of any provider or your own.
        arguments: of the notifier; its templates have the alert as `{{ alert.title }}`, `{{ alert.text }}` and
            `{{ alert.event }}`.
    """

    notifier: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")]
    arguments: dict[str, Any] = Field(default={})


class Alerts(Config):
    """What people are notified of, and how. A failed run and a held step always notify.

    Args:
        notify: who gets the alerts; without one they are logged.
        waiting_s: seconds that a request may wait for its prediction.
        train_s, predict_s: seconds after which a run that has not ended takes too long.
    """

    notify: tuple[Notify, ...] = ()
    waiting_s: Annotated[float, Field(ge=1)] | None = None
    train_s: Annotated[float, Field(ge=1, le=MONTH_S)] | None = None
    predict_s: Annotated[float, Field(ge=1, le=MONTH_S)] | None = None


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


class AnswerLabels(Config):
    """Late labels of the answers, as `[labels]` of kind `topic` has them.

    Args:
        topic: the topic's name.
        field: the label is this field of the value, a JSON object; without it, the label is the whole value.
    """

    topic: TopicName
    field: FieldName | None = None


class Watch(Config):
    """With this table the champion is watched while it serves; see include.watching.

    Args:
        schedule: when its figures are computed.
        window: how many of its newest answers are compared with the held-out samples, and how many of the newest labels
            with its answers.
        min_samples: figures of fewer answers or labels are not judged.
        max_drift: the largest population stability index of a statistic of its inputs, of its answers' labels or of
            their scores.
        min_score: the least accuracy, micro-F1 or R², by the task, over the answers that have labels.
        max_calibration_error: the largest expected calibration error over them; not of a regression.
        labels: where they come from, by `topic` and `field`; those of `[labels]` by default.
        label_delay_s: seconds after an answer in which its label is expected; earlier answers are not looked for.
        retrain: whether a figure beyond its limit starts a training, also with fewer new samples than
            `min_new_samples`.
    """

    schedule: Schedule = "*/15 * * * *"
    window: Annotated[int, Field(ge=10, le=100_000)] = 2000
    min_samples: Annotated[int, Field(ge=1, validate_default=True)] = 200
    max_drift: Annotated[float, Field(gt=0)] = 0.25
    min_score: Annotated[float, Field(le=1)] | None = None
    max_calibration_error: Annotated[float, Field(gt=0, le=1)] | None = None
    labels: AnswerLabels | None = None
    label_delay_s: Annotated[float, Field(ge=1, le=MAX_DELAY_S)] = 86_400
    retrain: bool = False

    @field_validator("min_samples")
    @classmethod
    def _within_the_window(cls, value: int, info: ValidationInfo) -> int:
        window = info.data.get("window", value)
        if value > window:
            raise ValueError(f"a window of {window} never has as many; lower it, or raise window")
        return value


# The parts of a pipeline that may each have a connection, and so a principal, of their own.
WorkStep = Literal["topics", "ingest", "train", "predict", "repredict", "replay", "export", "watch"]
# What Airflow takes, but for #, which would begin the fragment of an asset's URI.
ConnectionName = Annotated[str, Field(pattern=r"^[\w!().:/\\-]+$", max_length=250)]


class Connections(Config):
    """The Kafka connection of a step, for a principal with the rights of that step only; see `millrace acls`.

    Args:
        topics, ingest, train, predict, repredict, replay, export, watch: an Airflow connection; the pipeline's
            `connection` by default.
    """

    topics: ConnectionName | None = None
    ingest: ConnectionName | None = None
    train: ConnectionName | None = None
    predict: ConnectionName | None = None
    repredict: ConnectionName | None = None
    replay: ConnectionName | None = None
    export: ConnectionName | None = None
    watch: ConnectionName | None = None


class Signing(Config):
    """With this table records are signed, and a record without a valid signature is refused; see include.kafka.signing.

    The Airflow connection has the key's id as login and the secret as password. Its extra may have `retired_secrets`:
    by id, the secrets of keys that still verify.

    Args:
        audience: part of every signature, so that records that were signed with the same key for another audience, or
            for none, are refused.
    """

    connection: Annotated[str, Field(min_length=1)]
    audience: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class Registry(Config):
    """The Schema Registry that external topics are read with; see `include.kafka.schema_registry.registry_at`.

    The Airflow connection has its URL as host, and login and password if the registry needs them.
    """

    connection: Annotated[str, Field(min_length=1)]
