"""Prepare a source's samples for their topics: check, encode, and divide them into samples and requests."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from include.codecs import record_values
from include.codecs.base import Codec
from include.definition.pipeline import Pipeline
from include.errors import printable
from include.kafka.headers import MAX_HEADER_BYTES
from include.refusal import Refusal
from include.sources.base import Source, SourceRefused, SourceSample

# Samples of a transaction.
CHUNK_SAMPLES = 5000
# Samples that come encoded are decoded to be checked, in parts of this many, which keeps the memory for it small.
DECODED_AT_ONCE = 64


@dataclass(frozen=True)
class SourceChunk:
    """The content of one transaction: samples, their encoded values, and which of them are requests.

    Attributes:
        refused: id and reason of each sample that is not of the format, and left out.
    """

    samples: list[SourceSample]
    values: list[bytes]
    requests: list[bool]
    refused: list[str]


def read_samples(source: Source, start: int, count: int) -> Iterator[list[SourceSample]]:
    """The source's samples in lists of at most `CHUNK_SAMPLES`; fewer than `count` only where the source ends."""
    end = start + count
    while start < end:
        samples = source.read(start, min(CHUNK_SAMPLES, end - start))
        if not samples:
            return
        yield samples
        start += len(samples)


def encode_chunk(pipeline: Pipeline, samples: list[SourceSample]) -> SourceChunk:
    """Encode the samples, and leave out those that are not of the pipeline's format.

    Where some are requests, those without a label all are: a training refuses samples that will never have one.
    """
    share, by_group = pipeline.ingest.requests_share, pipeline.ingest.requests_by == "group"
    values, refused = encode_samples(pipeline.format, samples)
    left_out = [f"{printable(samples[position].id)}: {refused[position]}" for position in sorted(refused)]
    chunk = SourceChunk([], [], [], left_out)
    for position in sorted(values):
        sample = samples[position]
        chunk.samples.append(sample)
        chunk.values.append(values[position])
        drawn_by = sample.group if by_group and sample.group is not None else sample.id
        never_labelled = sample.label is None and share > 0 and pipeline.labels_topic is None
        chunk.requests.append(never_labelled or is_request(drawn_by, share))
    return chunk


def encode_samples(codec: Codec, samples: Sequence[SourceSample]) -> tuple[dict[int, bytes], dict[int, str]]:
    """The values of samples, and why the others can't be sent or every reader would refuse them, both by position."""
    faults = [sample.fault or _header_too_long(sample) for sample in samples]
    refused = {position: fault for position, fault in enumerate(faults) if fault is not None}
    values: dict[int, bytes] = {}
    contents: list[tuple[int, bytes]] = []
    for position, sample in enumerate(samples):
        if position in refused:
            continue
        if isinstance(sample.content, bytes):
            contents.append((position, sample.content))
            continue
        try:
            values[position] = codec.encode(sample.content)
        except ValueError as error:
            refused[position] = str(error)
    for first in range(0, len(contents), DECODED_AT_ONCE):
        positions, part = zip(*contents[first : first + DECODED_AT_ONCE], strict=True)
        for position, value in zip(positions, record_values(codec, part), strict=True):
            if isinstance(value, Refusal):
                refused[position] = str(value)
            else:
                values[position] = value
    return values, refused


def _header_too_long(sample: SourceSample) -> str | None:
    for name, text in (("label", sample.label), ("group", sample.group)):
        size = len((text or "").encode())
        if size > MAX_HEADER_BYTES:
            return f"The {name} has {size} bytes and readers take at most {MAX_HEADER_BYTES} of a header: shorten it."
    return None


def is_request(name: str, share: float) -> bool:
    """Whether a sample becomes a request, without its label: by a hash of its id or group, so it never changes."""
    digest = hashlib.blake2b(name.encode(), digest_size=8, person=b"requests").digest()
    return int.from_bytes(digest, "big") < share * 2**64


def check_samples(pipeline: Pipeline, samples: Iterable[SourceSample]) -> Iterator[SourceSample]:
    """Pass the samples on, each checked.

    Raises:
        SourceRefused: a sample has a label that the pipeline doesn't know, or another shape or dtype than its format.
    """
    target = pipeline.training.target()
    known: set[str] = set()
    encodable: set[tuple[Any, Any]] = set()
    for sample in samples:
        if sample.label is not None and sample.label not in known:
            if isinstance(target.read(sample.label), Refusal):
                raise SourceRefused(
                    f"Sample {sample.id!r} has the label {sample.label!r}, which is not one of a {target.task} "
                    f"whose training.labels in {pipeline.name}.toml are {', '.join(pipeline.training.labels)}: add the "
                    "label there, or correct it in the source."
                )
            known.add(sample.label)
        content = sample.content
        if not isinstance(content, bytes) and (content.shape, content.dtype) not in encodable:
            try:
                pipeline.format.encode(content)
            except ValueError as error:
                raise SourceRefused(f"Sample {sample.id!r} can't be sent by {pipeline.name}.toml: {error}") from error
            encodable.add((content.shape, content.dtype))
        yield sample
