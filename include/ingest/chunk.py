"""Prepare a source's samples for their topics: check, encode, and divide them into samples and requests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.kafka.headers import LONGEST_HEADER_BYTES
from include.refusal import Refusal
from include.sources.base import SourceRefused

if TYPE_CHECKING:
    from include.codecs.base import Codec
    from include.definition.pipeline import Pipeline
    from include.sources.base import Source, SourceSample

# Samples of a transaction.
CHUNK_SAMPLES = 5000
# Samples that come encoded are decoded to be checked, in parts of this many, which keeps the memory for it small.
DECODED_AT_ONCE = 64


@dataclass(frozen=True)
class SourceChunk:
    """The content of one transaction: samples, their encoded values, and which of them are requests.

    Attributes:
        unfit: id and reason of each sample that is left out as not of the format.
    """

    samples: list[SourceSample]
    values: list[bytes]
    requests: list[bool]
    unfit: list[str]


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
    """Encode the samples, and leave out those that are not of the pipeline's format."""
    share, encode = pipeline.ingest.requests_share, pipeline.format.encode
    unfit = unfit_samples(pipeline.format, samples)
    chunk = SourceChunk([], [], [], [])
    for position, sample in enumerate(samples):
        try:
            value = sample.content if isinstance(sample.content, bytes) else encode(sample.content)
        except ValueError as error:
            unfit[position] = str(error)
        if position in unfit:
            chunk.unfit.append(f"{sample.id}: {unfit[position]}")
            continue
        chunk.samples.append(sample)
        chunk.values.append(value)
        chunk.requests.append(is_request(sample.id, share))
    return chunk


def unfit_samples(codec: Codec, samples: Sequence[SourceSample]) -> dict[int, str]:
    """Why samples can't be sent or every reader would refuse them, by position."""
    faults = [sample.fault or _header_too_long(sample) for sample in samples]
    unfit = {position: fault for position, fault in enumerate(faults) if fault is not None}
    encoded = [
        (position, s.content)
        for position, s in enumerate(samples)
        if position not in unfit and isinstance(s.content, bytes)
    ]
    for first in range(0, len(encoded), DECODED_AT_ONCE):
        positions, values = zip(*encoded[first : first + DECODED_AT_ONCE], strict=True)
        for position, refusal in codec.decode(values).refusals.items():
            unfit[positions[position]] = str(refusal)
    return unfit


def _header_too_long(sample: SourceSample) -> str | None:
    for name, text in (("label", sample.label), ("group", sample.group)):
        size = len((text or "").encode())
        if size > LONGEST_HEADER_BYTES:
            return (
                f"The {name} has {size} bytes and readers take at most {LONGEST_HEADER_BYTES} of a header: shorten it."
            )
    return None


def is_request(sample_id: str, share: float) -> bool:
    """Whether a sample becomes a request, without its label: decided by a hash of its id, so it never changes."""
    digest = hashlib.blake2b(sample_id.encode(), digest_size=8, person=b"requests").digest()
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
