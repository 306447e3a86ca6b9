"""What a person does about each reason for which a record is no sample; what stands in a file is in backticks."""

from __future__ import annotations

PRODUCER = "Correct the producer, or the `[format]` table of the pipeline's file if that is what is wrong, then replay."
SMALLER = "Have the producer send less of it; where it is right, another `[format]` takes it. Then replay."
ENVELOPE = "Correct the producer's serializer, or the `[envelope]` table of the pipeline's file, then replay."
SCHEMA = "Correct `[registry]` or `[envelope]` of the pipeline's file, or register the producer's schema; then replay."
HEADERS = "Correct what the producer writes beside the value, as the error says, or name an `[envelope]`; then replay."
KEYS = "Add the key under `[signing]`, or have the producer sign with the right one; what nobody signed stays dead."
LABELS = "Correct the label at its source, or add it to `training.labels`. A dead letter of a request needs no label."

REMEDIES = {
    "empty": "Have the producer send a value. A tombstone is no request: there is nothing to replay.",
    "undecodable": PRODUCER,
    "too-many-pixels": SMALLER,
    "wrong-size": PRODUCER,
    "wrong-channels": PRODUCER,
    "wrong-depth": PRODUCER,
    "animated": "Have the producer send one frame as an image of its own; such a record stays dead.",
    "wrong-dtype": PRODUCER,
    "wrong-shape": PRODUCER,
    "not-finite": "Correct the numbers at their source; where it is the network, train another version.",
    "no-frames": "Have the producer send sounds that are not empty; such a record stays dead.",
    "too-many-frames": SMALLER,
    "too-many-channels": SMALLER,
    "wrong-rate": PRODUCER,
    "invalid-base64": PRODUCER,
    "invalid-utf8": PRODUCER,
    "holds-nul": PRODUCER,
    "too-long": SMALLER,
    "invalid-json": PRODUCER,
    "missing-field": ENVELOPE,
    "wrong-type": ENVELOPE,
    "no-wire-format": ENVELOPE,
    "unknown-schema": SCHEMA,
    "wrong-schema-type": SCHEMA,
    "unlisted-schema": SCHEMA,
    "unsafe-schema": "Register a simpler schema: by this one a few bytes can take any time or memory to read.",
    "too-complex": SMALLER,
    "not-its-schema": ENVELOPE,
    "field-too-long": SMALLER,
    "no-schema": HEADERS,
    "wrong-schema": HEADERS,
    "duplicate-header": HEADERS,
    "header-too-long": HEADERS,
    "unreadable-headers": HEADERS,
    "no-key": HEADERS,
    "unsigned": KEYS,
    "wrong-signature": KEYS,
    "unknown-key": KEYS,
    "no-split": HEADERS,
    "no-label": LABELS,
    "unknown-label": LABELS,
    "not-a-list": LABELS,
    "not-a-number": LABELS,
    "wrong-count": LABELS,
    "network-failed": "Read the log of the run for the network's error, train a version without it, then replay.",
    "oversize": "Raise `topics.max_record_bytes` and the topic's `max.message.bytes`; the address names the original.",
    "exhausted": "`prediction.max_replays` was reached: correct the cause, and send the original again.",
}
UNKNOWN = "This version of Millrace has no such reason: another program wrote the record, or another version."
