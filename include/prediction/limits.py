"""Counts of what was published, and the limits at which the predictions stop until a person acknowledges them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from include.definition.pipeline import Pipeline
from include.errors import PermanentError, amount
from include.kafka.ranges import OffsetRange
from include.prediction.answer import RequestOutcome
from include.reading.row_versions import RowState
from include.refusal import Refusal
from include.registry.agreement import Agreement

# A share says nothing about a handful of samples.
SHARE_COUNTS_FROM = 100


@dataclass
class PublishReport:
    """What one attempt has published, in samples.

    `samples` = `predictions` + `rejected` + `superseded` + `deletions`; the last two are 0 unless the topic holds
    versions of rows, see `include.reading.row_versions`.

    Attributes:
        versions: predictions by the number of the model version that made them.
        shadowed: of what a challenger answered beside the champion.
        ranges: by partition what is predicted now, by this attempt or an earlier one.
        same_run: whether an earlier attempt of the same run has published, too.
    """

    samples: int = 0
    predictions: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    superseded: int = 0
    deletions: int = 0
    versions: Counter[int] = field(default_factory=Counter)
    shadowed: Agreement = field(default_factory=Agreement)
    ranges: dict[int, OffsetRange] = field(default_factory=dict)
    same_run: bool = False

    @property
    def rejected(self) -> int:
        return self.dead_letters.total()

    @property
    def answered(self) -> int:
        return self.predictions + self.rejected

    def cover(self, item: OffsetRange) -> None:
        """Note that a range is worked on, which may continue one that was covered before."""
        self.ranges[item.partition] = replace(self.ranges.get(item.partition, item), end=item.end)

    def add(self, outcomes: Sequence[RequestOutcome], version: int) -> None:
        """Count the outcomes of one chunk, which a version of the model has predicted."""
        rejections = [outcome.reason for outcome in outcomes if isinstance(outcome, Refusal)]
        self.samples += len(outcomes)
        superseded, deletions = outcomes.count(RowState.SUPERSEDED), outcomes.count(RowState.DELETION)
        predictions = len(outcomes) - len(rejections) - superseded - deletions
        self.predictions += predictions
        if predictions:
            self.versions[version] += predictions
        self.superseded += superseded
        self.deletions += deletions
        self.dead_letters.update(rejections)

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.dead_letters.most_common())
        return (
            f"{amount(self.samples, 'sample')} in, {amount(self.predictions, 'prediction')}, "
            f"{amount(self.rejected, 'dead letter')}"
            f"{f' ({reasons})' if reasons else ''}"
            f"{f', {self.superseded} superseded' if self.superseded else ''}"
            f"{f', {self.deletions} deletions' if self.deletions else ''}"
            f"{f'; the challenger {self.shadowed}' if self.shadowed.requests else ''}"
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


def check_limits(
    pipeline: Pipeline, published: PublishReport, in_a_row: int, outcomes: Sequence[RequestOutcome]
) -> int:
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
    needed = [outcome for outcome in outcomes if not isinstance(outcome, RowState)]
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
