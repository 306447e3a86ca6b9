"""How the records of a topic are read: their envelope, and where the labels are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from include.envelopes import FieldName
from include.envelopes.base import Envelope, unset
from include.envelopes.plain import OwnEnvelope
from include.kafka.headers import LABEL
from include.kafka.topics import TopicName
from include.kinds import Config, find_kinds, one_of

ENVELOPES = find_kinds("include.envelopes", Envelope)

if TYPE_CHECKING:
    AnyEnvelope = Envelope
else:
    AnyEnvelope = one_of(ENVELOPES)


class HeaderLabels(Config):
    """The label is the content of a header.

    Args:
        quoted: a content in double quotes is a JSON string, as Spring and others write headers.
    """

    kind: Literal["header"] = "header"
    name: Annotated[str, Field(min_length=1, max_length=1000)] = LABEL
    quoted: bool = unset(False)


class KeyLabels(Config):
    """The label is the record's key, which is no id then: a sample has the envelope's id, or its address.

    Args:
        quoted: a key in double quotes is a JSON string.
    """

    kind: Literal["key"] = "key"
    quoted: bool = unset(False)


class FieldLabels(Config):
    """The label is a field of the record's envelope."""

    kind: Literal["field"] = "field"
    name: FieldName


class TopicLabels(Config):
    """Late labels: records of another topic, with the sample's id as key and the label as value.

    The newest label of an id counts; a record without a value withdraws it.

    Args:
        topic: the topic's name.
        field: the label is this field of the value, a JSON object; without it, the label is the whole value.
    """

    kind: Literal["topic"] = "topic"
    topic: TopicName
    field: FieldName | None = None


LABELS = {"field": FieldLabels, "header": HeaderLabels, "key": KeyLabels, "topic": TopicLabels}

if TYPE_CHECKING:
    AnyLabels = HeaderLabels | FieldLabels | KeyLabels | TopicLabels
else:
    AnyLabels = one_of(LABELS)


class RecordLayout(Config):
    """How a record is read; the default is Millrace's own record."""

    envelope: AnyEnvelope = OwnEnvelope()
    labels: AnyLabels = HeaderLabels()
