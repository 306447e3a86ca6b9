"""A pipeline: one TOML file's tables, and the names and layouts of its topics."""

import re
from typing import Annotated

from pydantic import Field, field_validator

from include.codecs.row import FIRST_KNOWN, RowCodec
from include.definition.kinds import AnyCodec, AnyModel, AnySource
from include.definition.tables import (
    Alerts,
    ConnectionName,
    Connections,
    Export,
    Ingest,
    Prediction,
    Promotion,
    Registry,
    Signing,
    TopicLayout,
    Training,
    Watch,
    WorkStep,
)
from include.envelopes.plain import OwnEnvelope
from include.exactly_once.ledger import ledger_topic
from include.kafka.dead_letters import EXTRA_BYTES
from include.kafka.environment import LOCAL, in_environment
from include.kafka.topics import BROKER_DEFAULT, TopicSpec
from include.kinds import Config
from include.models.imported import ImportedModel
from include.models.rows import RowInputs, RowNet
from include.reading.layout import AnyEnvelope, AnyLabels, HeaderLabels, RecordLayout, TopicLabels

# Airflow refuses a longer one, and with it all DAGs of the file that makes them.
Tag = Annotated[str, Field(min_length=1, max_length=100)]
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


class Pipeline(Config):
    """One pipeline; its name is its file's, and its environment that of the process which reads the file.

    Each table is valid by itself; whether they fit each other is checked where a file is read, see
    `include.definition.consistency`.
    """

    name: str
    environment: str = LOCAL
    description: str
    owner: str = "millrace"
    tags: tuple[Tag, ...] = ()
    connection: ConnectionName = "kafka_default"
    connections: Connections = Connections()
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
    watch: Watch | None = None
    alerts: Alerts = Alerts()
    signing: Signing | None = None
    registry: Registry | None = None

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("a pipeline's file name has only small letters, digits and _, and begins with a letter")
        return value

    def connection_of(self, step: WorkStep) -> str:
        return getattr(self.connections, step) or self.connection

    @property
    def signed(self) -> bool:
        return self.signing is not None

    @property
    def trusted_models(self) -> tuple[str, ...]:
        """The `module:name` kinds that its file names, which may be imported to load a version of its model."""
        own = (self.model.kind,) if isinstance(self.model, ImportedModel) else ()
        return (*own, *self.promotion.earlier_models)

    @property
    def sized_model(self) -> AnyModel:
        """The model with the inputs of the pipeline's format, where its settings lack them."""
        codec = self.format
        if not isinstance(self.model, RowNet) or not isinstance(codec, RowCodec):
            return self.model
        categories, codes = len(codec.categories), FIRST_KNOWN + codec.vocabulary
        inputs = RowInputs(numbers=codec.number_inputs, categories=categories, codes=codes)
        return self.model.model_copy(update={"inputs": inputs})

    @property
    def samples_topic(self) -> str:
        return self.topics.samples or self._own_topic("samples")

    @property
    def requests_topic(self) -> str:
        return self.topics.requests or self._own_topic("requests")

    @property
    def labels_topic(self) -> str | None:
        """The topic of late labels, where they come from one."""
        return self.labels.topic if isinstance(self.labels, TopicLabels) else None

    @property
    def late_labels(self) -> TopicLabels | None:
        """Where the labels of answers come from, to watch the model by."""
        if isinstance(self.labels, TopicLabels):
            return self.labels
        labels = None if self.watch is None else self.watch.labels
        return None if labels is None else TopicLabels(topic=labels.topic, field=labels.field)

    @property
    def external_topics(self) -> tuple[str, ...]:
        """The external topics, each once."""
        watched = None if self.late_labels is None else self.late_labels.topic
        named = (self.topics.samples, self.topics.requests, watched)
        return tuple(dict.fromkeys(topic for topic in named if topic is not None))

    @property
    def predictions_topic(self) -> str:
        return self._own_topic("predictions")

    @property
    def dead_letters_topic(self) -> str:
        return self._own_topic("dead-letters")

    @property
    def repredictions_topic(self) -> str:
        """Where answers to requests that are predicted again go."""
        return self._own_topic("repredictions")

    def _own_topic(self, content: str) -> str:
        return in_environment(self.environment, f"{self.name}.{content}")

    def record_layout(self, topic: str) -> RecordLayout:
        """How the records of one of its topics are read; its own topics have Millrace's own records."""
        if topic not in self.external_topics:
            return RecordLayout()
        columns = self.format.columns if isinstance(self.format, RowCodec) else ()
        return RecordLayout(envelope=self.envelope.with_columns(columns), labels=self.labels)

    def topic_specs(self, largest_request: int = 0) -> list[TopicSpec]:
        """The pipeline's own topics and the ledger.

        Args:
            largest_request: bytes of the largest record that an external requests topic takes.
        """
        config = {
            "retention.ms": str(self.topics.retention_hours * 3_600_000),
            "max.message.bytes": str(self.topics.max_record_bytes),
        }
        largest = max(self.topics.max_record_bytes, largest_request)
        larger = {**config, "max.message.bytes": str(largest + EXTRA_BYTES)}
        replication = self.topics.replication or BROKER_DEFAULT
        layout = (self.topics.partitions, replication)
        specs = [
            TopicSpec(self.samples_topic, *layout, config),
            TopicSpec(self.requests_topic, *layout, config),
            TopicSpec(self.predictions_topic, *layout, config),
            TopicSpec(self.repredictions_topic, *layout, config),
            TopicSpec(self.dead_letters_topic, *layout, larger),
            ledger_topic(replication, environment=self.environment),
        ]
        return [spec for spec in specs if spec.name not in self.external_topics]
