"""How many of a batch's samples may be left out, checked before the batch is planned and again while it is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from include.errors import PermanentError
from include.ingest.chunk import DECODED_AT_ONCE, read_samples, unfit_samples

if TYPE_CHECKING:
    from include.codecs.base import Codec
    from include.definition.pipeline import Pipeline
    from include.sources.base import Source, SourceSample

# Samples of a new batch that are checked before it is planned, spread over all of it.
CHECKED_FIRST = 256
EXAMPLES = 3


class BatchRefused(PermanentError):
    """More of a batch's samples than `ingest.max_refused_share`, or all of them, don't fit their topic and format."""


@dataclass
class FitCheck:
    """How many of a batch's samples are unfit: of every `step`-th one.

    Attributes:
        checked, unfit: how many so far.
        examples: the first unfit ones, each with its reason.
    """

    codec: Codec
    step: int = 1
    checked: int = 0
    unfit: int = 0
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
        found = unfit_samples(self.codec, self._waiting)
        self.checked += len(self._waiting)
        self.unfit += len(found)
        for position in sorted(found)[: EXAMPLES - len(self.examples)]:
            self.examples.append(f"{self._waiting[position].id}: {found[position]}")
        self._waiting.clear()


def spread_check(pipeline: Pipeline, count: int) -> FitCheck:
    """A check of about `CHECKED_FIRST` of `count` samples."""
    return FitCheck(pipeline.format, step=-(-count // CHECKED_FIRST))


def refuse_unfit(pipeline: Pipeline, source: Source, batch_id: str, start: int, count: int, spread: FitCheck) -> None:
    """Refuse a batch that would leave out too many samples; all of it is read where some of it suggests that.

    Args:
        spread: the complete check of some samples.

    Raises:
        BatchRefused: with counts and examples.
    """
    check, limit = spread, pipeline.ingest.max_refused_share
    if spread.unfit > limit * spread.checked and spread.step > 1:
        check = FitCheck(pipeline.format)
        for samples in read_samples(source, start, count):
            for _ in check.watch(samples):
                pass
    if check.unfit > limit * check.checked:
        raise BatchRefused(
            f"{_too_many(pipeline, batch_id, check.unfit, check.checked, check.examples)}; nothing of it was sent: "
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
