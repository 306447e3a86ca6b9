"""A pipeline: one TOML file's tables, and the names and layouts of its topics."""

from __future__ import annotations

import re

from pydantic import field_validator

from include.definition.kinds import AnyCodec, AnyModel, AnySource
from include.definition.tables import (
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
from include.exactly_once.ledger import ledger_topic
from include.kafka.dead_letters import EXTRA_BYTES
from include.kafka.topics import TopicSpec
from include.kinds import Config
from include.models.imported import ImportedModel
from include.reading.layout import AnyEnvelope, AnyLabels, HeaderLabels, RecordLayout, TopicLabels

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


class Pipeline(Config):
    """One pipeline; its name is its file's.

    Each table is valid by itself; whether they fit each other is checked where a file is read, see
    `include.definition.consistency`.
    """

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
            raise ValueError("a pipeline's file name has only small letters, digits and _, and begins with a letter")
        return value

    @property
    def signed(self) -> bool:
        """Whether its records are signed."""
        return self.signing is not None

    @property
    def trusted_models(self) -> tuple[str, ...]:
        """The `module:name` kinds that its file names, which may be imported to load a version of its model."""
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
    def external_topics(self) -> tuple[str, ...]:
        """The external topics, each once."""
        named = (self.topics.samples, self.topics.requests, self.labels_topic)
        return tuple(dict.fromkeys(topic for topic in named if topic is not None))

    @property
    def predictions_topic(self) -> str:
        return f"{self.name}.predictions"

    @property
    def dead_letters_topic(self) -> str:
        return f"{self.name}.dead-letters"

    def record_layout(self, topic: str) -> RecordLayout:
        """How the records of one of its topics are read; its own topics have Millrace's own records."""
        external = topic in self.external_topics
        return RecordLayout(envelope=self.envelope, labels=self.labels) if external else RecordLayout()

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
        layout = (self.topics.partitions, self.topics.replication)
        specs = [
            TopicSpec(self.samples_topic, *layout, config),
            TopicSpec(self.requests_topic, *layout, config),
            TopicSpec(self.predictions_topic, *layout, config),
            TopicSpec(self.dead_letters_topic, *layout, larger),
            ledger_topic(self.topics.replication),
        ]
        return [spec for spec in specs if spec.name not in self.external_topics]
