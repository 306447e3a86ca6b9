"""The forms of the ledger's entries: every value that is read from the ledger is checked by one of these.

Whoever may write to the topic may write anything there, and each step decides by its entries what to publish.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from include.errors import printable

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
# On one line: what a hold was found for, and a run's id, are shown as part of Millrace's own sentences.
Text = Annotated[str, Field(max_length=10_000), AfterValidator(printable)]


class _Entry(BaseModel):
    """Fields that a later version adds are left out; those that are here have exactly these types."""

    # Deferred as in `include.kinds.Config`.
    model_config = ConfigDict(frozen=True, strict=True, defer_build=True)

    def fields(self) -> dict[str, Any]:
        """What the ledger keeps: the fields that were set."""
        return self.model_dump(exclude_unset=True)


class Progress(_Entry):
    """A step's position in a partition, see `include.exactly_once.progress`.

    Attributes:
        rejected_in_a_row: see `include.prediction.limits`.
        planned: see `include.export.export`.
    """

    topic_id: Text
    position: Count
    run: Text
    leader_epoch: Count = 0
    rejected_in_a_row: Count = 0
    planned: Count = 0


class HeldRange(_Entry):
    """The records that a limit was met at."""

    topic: Text
    topic_id: Text
    partition: Count
    start: Count
    end: Count


class Hold(_Entry):
    """A step that waits for a person, see `include.prediction.hold`."""

    finding: Text
    leading: Text
    reasons: dict[Text, Count]
    run: Text
    range: HeldRange
    acknowledged_by: Text = ""


class Batch(_Entry):
    """A batch of a source: its samples `[start, start + count)`, and how many of them are done.

    Attributes:
        sent: how many are done; `samples` + `requests` are in the topics, and `refused` were left out as too large or
            not of the pipeline's format.
        prefix: identifies the source's samples up to the batch's end, see `Source.prefix`.
    """

    start: Count
    count: Count
    fingerprint: Text
    run: Text
    sent: Count = 0
    samples: Count = 0
    requests: Count = 0
    refused: Count = 0
    prefix: dict[str, Any] = {}

    @property
    def complete(self) -> bool:
        return self.sent >= self.count

    @property
    def in_topics(self) -> int:
        return self.samples + self.requests

    @model_validator(mode="after")
    def _adds_up(self) -> Batch:
        if self.sent > self.count or self.in_topics + self.refused != self.sent:
            raise ValueError("its counts do not add up")
        return self


class NextPosition(_Entry):
    """Where the next batch begins."""

    position: Count
    prefix: dict[str, Any] = {}


class ReplayedLetter(_Entry):
    """A dead letter that was replayed, see `include.replay.replay`."""

    run: Text
    leader_epoch: Annotated[int, Field(ge=-1)]


class RecordedModel(_Entry):
    """A model version, see `include.registry.record`."""

    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    manifest: Text
    promoted: bool


class RolledBack(_Entry):
    """A rollback, see `include.registry.rollback`."""

    version: Count
    before: Count | None
    why: Text
    by: Text


class Approval(_Entry):
    """What a person has decided about a model version, see `include.registry.approval`."""

    version: Count
    before: Count | None
    decision: Text
    by: Text | None
    run: Text


class WatchedVersion(_Entry):
    """The last figures of a served version, see `include.watching.watch`.

    Attributes:
        over: the figures beyond their limits.
        before: those of the look before.
    """

    version: Count
    metric: Text
    samples: Count
    labelled: Count
    input_drift: float | None
    prediction_drift: float | None
    score: float | None
    calibration_error: float | None
    inputs: dict[Text, float]
    answers: dict[Text, float]
    over: list[Text]
    before: list[Text]
    run: Text


class Disagreement(_Entry):
    """A request that champion and challenger answered in different ways, and what each said."""

    request: Text
    champion: Text
    challenger: Text


class Agreed(_Entry):
    """What a challenger answered beside a champion, see `include.registry.agreement`."""

    requests: Count
    agreed: Count
    refused: Count
    difference: float
    disagreements: list[Disagreement]
    run: Text


class CompleteModels(_Entry):
    """Every version of the pipeline's model has an entry; so many had none when the first was recorded."""

    versions: Count


# The form of an entry, by step and scope; the scopes that are not named have the form under None.
FORMS: dict[str, dict[str | None, type[_Entry]]] = {
    "ingest": {"next position": NextPosition, None: Batch},
    "train": {None: Progress},
    "model": {"complete": CompleteModels, None: RecordedModel},
    "rollback": {None: RolledBack},
    "approval": {None: Approval},
    "shadow": {None: Agreed},
    "predict": {"hold": Hold, None: Progress},
    "repredict": {None: Progress},
    "replay": {None: ReplayedLetter},
    "export": {None: Progress},
    "watch": {None: WatchedVersion},
}


def read_entry(step: str, scope: str, value: bytes) -> dict[str, Any]:
    """The fields of an entry; of a step without a form here, all that its JSON object has.

    Raises:
        ValueError: it has not the form of such an entry; the text says why in one line.
    """
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"it is a JSON {type(fields).__name__} and not an object")  # noqa: TRY004 - of the value
    forms = FORMS.get(step)
    if forms is None:
        return fields
    try:
        return forms.get(scope, forms[None]).model_validate(fields).fields()
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise ValueError(f"{where!r:.100} is wrong: {fault['msg'].removeprefix('Value error, ')}") from error
