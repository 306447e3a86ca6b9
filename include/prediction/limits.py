"""Counts of what was published, and the limits at which the predictions stop until a person acknowledges them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from include.errors import PermanentError
from include.reading.row_versions import State
from include.refusal import Refusal

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.prediction.answer import Outcome

# A share says nothing about a handful of samples.
SHARE_COUNTS_FROM = 100


@dataclass
class PublishReport:
    """What one attempt has published, in samples.

    `samples` = `predictions` + `rejected` + `superseded` + `deletions`; the last two are 0 unless the topic holds
    versions of rows, see `include.reading.row_versions`.
    """

    samples: int = 0
    predictions: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    superseded: int = 0
    deletions: int = 0

    @property
    def rejected(self) -> int:
        return self.dead_letters.total()

    @property
    def answered(self) -> int:
        """The samples that needed an answer."""
        return self.predictions + self.rejected

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Count the outcomes of one chunk."""
        rejections = [outcome.reason for outcome in outcomes if isinstance(outcome, Refusal)]
        self.samples += len(outcomes)
        superseded, deletions = outcomes.count(State.SUPERSEDED), outcomes.count(State.DELETION)
        self.predictions += len(outcomes) - len(rejections) - superseded - deletions
        self.superseded += superseded
        self.deletions += deletions
        self.dead_letters.update(rejections)

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.dead_letters.most_common())
        return (
            f"{self.samples} samples in, {self.predictions} predictions, {self.rejected} dead letters"
            f"{f' ({reasons})' if reasons else ''}"
            f"{f', {self.superseded} superseded' if self.superseded else ''}"
            f"{f', {self.deletions} deletions' if self.deletions else ''}"
        )


class TooManyRejected(PermanentError):
    """So many requests can't be used that a person has to decide before they become dead letters.

    Attributes:
        finding: what was counted against which limit, as a part of a sentence.
        reasons: dead letters by reason, those of the refused chunk among them.
    """

    def __init__(self, pipeline: str, finding: str, reasons: Counter[str], last: str) -> None:
        super().__init__(
            f"{finding} (most often {reasons.most_common(1)[0][0]}, last: {' '.join(last[:300].split())}), so nothing "
            f"of this chunk was published and the step is held: correct the producer, then trigger {pipeline}.predict "
            'with "Acknowledge the hold", which publishes them as dead letters.'
        )
        self.finding = finding
        self.reasons = reasons


def check_limits(pipeline: Pipeline, published: PublishReport, in_a_row: int, outcomes: Sequence[Outcome]) -> int:
    """Refuse a chunk that would go beyond a limit of `[prediction]`.

    Args:
        published: by this attempt before the chunk; the share is of its samples.
        in_a_row: rejections at the end of what was published of the partition, by whichever attempt.

    Returns:
        The rejections in a row at the end of the chunk.

    Raises:
        TooManyRejected: naming limit and setting.
    """
    limits, topic = pipeline.prediction, pipeline.requests_topic
    reasons = Counter(published.dead_letters)
    last = ""
    needed = [outcome for outcome in outcomes if not isinstance(outcome, State)]
    for outcome in needed:
        if not isinstance(outcome, Refusal):
            in_a_row = 0
            continue
        in_a_row += 1
        reasons[outcome.reason] += 1
        last = outcome.error
        if in_a_row > limits.max_rejected_in_a_row:
            finding = (
                f"{in_a_row} records in a row of {topic} are no samples and prediction.max_rejected_in_a_row is "
                f"{limits.max_rejected_in_a_row}"
            )
            raise TooManyRejected(pipeline.name, finding, reasons, last)
    samples, rejected = published.answered + len(needed), reasons.total()
    if samples >= SHARE_COUNTS_FROM and rejected > limits.max_rejected_share * samples:
        finding = (
            f"{rejected} of {samples} records of {topic} are no samples and prediction.max_rejected_share is "
            f"{limits.max_rejected_share:g}"
        )
        raise TooManyRejected(pipeline.name, finding, reasons, last)
    return in_a_row
