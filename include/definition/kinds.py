"""The kinds that a pipeline's tables choose among."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.augmentations.base import Augmentation
from include.codecs.base import Codec
from include.kinds import IMPORTED, find_kinds, one_of
from include.models.base import ModelDefinition
from include.models.imported import ImportedModel
from include.reading.layout import ENVELOPES, LABELS
from include.sources.base import Source

# The kinds by the key of their table; `augment` is a key of [training].
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
    AnyAugmentation, AnyCodec, AnySource, AnyModel = (
        one_of(KINDS[table]) for table in ("augment", "format", "source", "model")
    )
