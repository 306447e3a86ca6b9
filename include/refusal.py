"""Why a record is no sample: one type for it, and the one table of reason codes."""

from dataclasses import dataclass

from include.errors import printable

# Dead letters carry the codes and other programs compare them: no code changes its meaning. docs/reliability.md has the
# same sentences.
REASONS = {
    # The value, by its format.
    "empty": "no value (a tombstone), a value of no bytes, or a JSON field with no text",
    "undecodable": "not of this format, or cut short or damaged",
    "too-many-pixels": "an image that claims more pixels than the decoder accepts; none was decoded",
    "wrong-size": "whole, but not of the format's number of pixels, numbers or bytes, or with half a frame of sound",
    "wrong-channels": "an image with other channels than the format: colour for gray, a palette, alpha, CMYK",
    "wrong-depth": "an image of 16 bits a channel whose values are beyond `bits` or, without that, all small",
    "animated": "an image of several frames or pages",
    "wrong-dtype": "an array whose own header names another dtype than the format",
    "wrong-shape": "an array whose own header names another shape than the format",
    "not-finite": "NaN, infinity or a number beyond float32, in an array, in a sound or in the network's output",
    "no-frames": "a sound file that is whole and has no sound in it",
    "too-many-frames": "a sound that claims more frames than the decoder accepts; none was decoded",
    "too-many-channels": "a sound with more channels than are mixed to one",
    "wrong-rate": "a sound whose sample rate is too low or too high to be resampled",
    "invalid-base64": "not canonical base64: another character, a line break, wrong padding or stray bits",
    "invalid-utf8": "text that is not UTF-8, or in JSON half a surrogate pair",
    "holds-nul": "text with a NUL character, which pads the samples",
    "too-long": "text with more bytes than the format allows",
    "invalid-json": "not JSON by its standard, which has no NaN and no Infinity; also a key twice, or too many levels",
    "missing-field": "a JSON object without a field that the pipeline needs",
    "wrong-type": "JSON that is no object, or a field of another type than text or number",
    # The envelope.
    "no-wire-format": "not the Schema Registry's wire format: a zero byte, a schema's id in four bytes, and content",
    "unknown-schema": "the schema id in the value is not in the registry",
    "wrong-schema-type": "the schema id in the value belongs to a schema of another type than the envelope",
    "unlisted-schema": "the schema id in the value is not in envelope.schema_ids",
    "unsafe-schema": "a schema by which a few bytes can take any time or memory to read",
    "too-complex": "content that takes more memory or more steps to read than a record may, or a decimal above 1 KiB",
    "not-its-schema": "content that its schema does not describe or that is cut short, or an unusable schema",
    "field-too-long": "an id, group, label or category with more than 1 KiB",
    # The headers and the key.
    "no-schema": "the header `schema` is missing",
    "wrong-schema": "the header `schema` names another format than the pipeline's",
    "duplicate-header": "`schema`, `label` or `group` comes twice with different contents",
    "header-too-long": "`schema`, `label` or `group` has more than 1 KiB; any other header may have any size",
    "unreadable-headers": "a header's name is not UTF-8, and the client cannot return it",
    "no-key": "a record without a key, which a labels topic and versions of rows need",
    "unsigned": "signing is on and the record has no signature",
    "wrong-signature": "signing is on and the signature does not match the record",
    "unknown-key": "signing is on and the connection does not have the signature's key",
    "no-split": "training.split is given, and the header `split` is missing or names no side",
    # The label.
    "no-label": "the record has no label",
    "unknown-label": "a label that is not in `training.labels`",
    "not-a-list": "a label that is no JSON list of names",
    "not-a-number": "a label that is no JSON number or list of numbers within float32",
    "wrong-count": "a label with another number of values than `training.labels` has names",
    # Prediction, publishing and replay.
    "network-failed": "the network fails at this sample, which was found by bisection",
    "oversize": "the prediction, the dead letter or the replayed record is larger than its topic accepts",
    "exhausted": "replayed `prediction.max_replays` times already, or its header `replays` is no number",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a record is no sample.

    Args:
        reason: one of `REASONS`, for programs.
        error: one sentence for a person, with the value and what was expected; what would act on a terminal is
            escaped.

    Raises:
        ValueError: `reason` is not in the table.
    """

    reason: str
    error: str

    def __post_init__(self) -> None:
        if self.reason not in REASONS:
            raise ValueError(
                f"The reason code {self.reason!r} is not in REASONS of include/refusal.py: add it there and to "
                "docs/reliability.md."
            )
        if not self.error.isprintable():
            object.__setattr__(self, "error", printable(self.error))

    def __str__(self) -> str:
        return f"{self.reason}: {self.error}"


class InvalidRecord(Exception):
    """Raised while one record is read; the caller that holds the list catches it and keeps `refusal`."""

    def __init__(self, reason: str, error: str) -> None:
        super().__init__(error)
        self.refusal = Refusal(reason, error)
