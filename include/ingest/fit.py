"""How many of a batch's samples may be left out, checked before the batch is planned and again while it is sent."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from include.codecs.base import Codec
from include.definition.pipeline import Pipeline
from include.errors import PermanentError, printable
from include.ingest.chunk import DECODED_AT_ONCE, encode_samples, read_samples
from include.sources.base import Source, SourceSample

# Samples of a new batch that are checked before it is planned, spread over all of it.
CHECKED_FIRST = 256
EXAMPLES = 3


class BatchRefused(PermanentError):
    """More of a batch's samples than `ingest.max_refused_share`, or all of them, don't fit their topic and format."""


@dataclass
class FitCheck:
    """How many of a batch's samples are refused: of every `step`-th one.

    Attributes:
        checked, refused: how many so far.
        examples: the first refused ones, each with its reason.
    """

    codec: Codec
    step: int = 1
    checked: int = 0
    refused: int = 0
    examples: list[str] = field(default_factory=list)
    _waiting: list[SourceSample] = field(default_factory=list)

    def watch(self, samples: Iterable[SourceSample]) -> Iterator[SourceSample]:
        """The same samples; the counts are complete when they end."""
        for number, sample in enumerate(samples):
            if number % self.step == 0:
                self._waiting.append(sample)
                if len(self._waiting) == DECODED_AT_ONCE:
                    self._check()
            yield sample
        self._check()

    def _check(self) -> None:
        _, found = encode_samples(self.codec, self._waiting)
        self.checked += len(self._waiting)
        self.refused += len(found)
        for position in sorted(found)[: EXAMPLES - len(self.examples)]:
            self.examples.append(f"{printable(self._waiting[position].id)}: {found[position]}")
        self._waiting.clear()


def check_planned_share(
    pipeline: Pipeline, source: Source, batch_id: str, start: int, count: int, spread: FitCheck
) -> None:
    """Refuse a batch that would leave out too many samples; all of it is read where some of it suggests that.

    Args:
        spread: the complete check of some samples.

    Raises:
        BatchRefused: with counts and examples.
    """
    check, limit = spread, pipeline.ingest.max_refused_share
    if spread.refused > limit * spread.checked and spread.step > 1:
        check = FitCheck(pipeline.format)
        for samples in read_samples(source, start, count):
            for _ in check.watch(samples):
                pass
    if check.refused > limit * check.checked:
        raise BatchRefused(
            f"{_too_many(pipeline, batch_id, check.refused, check.checked, check.examples)}; nothing of it was sent: "
            f"correct [format] or the samples, or raise ingest.max_refused_share of {pipeline.name}.toml to send the "
            "others."
        )


def check_refused_share(
    pipeline: Pipeline, batch_id: str, *, refused: int, count: int, in_topics: int, examples: Sequence[object]
) -> None:
    """Refuse to commit a chunk with which a batch of `count` samples has left out too many.

    Raises:
        BatchRefused: with counts and examples.
    """
    if refused > pipeline.ingest.max_refused_share * count:
        raise BatchRefused(
            f"{_too_many(pipeline, batch_id, refused, count, examples)}; {in_topics} of it were sent before that was "
            "found: raise max.message.bytes of its topics where samples are too large, or ingest.max_refused_share of "
            f"{pipeline.name}.toml, and the next attempt sends the others."
        )


def _too_many(pipeline: Pipeline, batch_id: str, refused: int, count: int, examples: Sequence[object]) -> str:
    shown = "; ".join(str(example).rstrip(".") for example in examples[:EXAMPLES])
    return (
        f"{refused} of the {count} samples of batch {batch_id} of {pipeline.name} don't fit {pipeline.format.kind} or "
        f"their topic, a larger share than max_refused_share = {pipeline.ingest.max_refused_share:g} ({shown})"
    )
