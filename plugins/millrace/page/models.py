"""The pages of a pipeline's model: its versions side by side, and each with its curves, its confusion and its card."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from include.overview.ledger import DatedEntry
from include.overview.models import ChampionView, Models, VersionDetail
from include.registry.agreement import Agreement
from millrace.page.charts import Chart, lines

if TYPE_CHECKING:
    from include.artifact.figures import Confusion
    from include.definition.pipeline import Pipeline
    from include.network.mistakes import Mistake

# Rows and columns of a confusion matrix; a larger one has its largest mistakes as a list.
SHOWN_LABELS = 24
SHOWN_MISTAKES = 40
SHOWN_PAIRS = 10
SHADES = 5


@dataclass(frozen=True)
class Event:
    """A promotion, a decision about one or a rollback, as the ledger has it.

    Attributes:
        crowned: whether the version became champion by it.
        trained: whether that was done by the training.
    """

    at_ms: int
    version: int
    text: str
    crowned: bool = True
    trained: bool = False


@dataclass(frozen=True)
class Judged:
    """How it was decided about a version.

    Attributes:
        champion: whether it predicts.
        before: whether the ledger has that it was champion.
        run: of the training that has judged it; empty where another program registered it.
        task: of that run, which judges it again where it is cleared.
    """

    champion: bool
    before: bool
    run: str
    task: str


@dataclass(frozen=True)
class Cell:
    """A field of a confusion matrix.

    Attributes:
        shade: 0 to `SHADES`, by its share of the row; 0 only for none.
        kept: whether some of its samples are known.
    """

    count: int
    true: str
    predicted: str
    shade: int
    kept: bool = False


@dataclass
class PairSeen:
    """How a challenger has answered beside a champion.

    Attributes:
        at_ms: when it last did.
    """

    champion: int
    challenger: int
    agreement: Agreement = field(default_factory=Agreement)
    at_ms: int = 0


def pairs(entries: Iterable[DatedEntry]) -> list[PairSeen]:
    """The pairs of versions that have answered requests together, the newest first."""
    found: dict[tuple[int, int], PairSeen] = {}
    for entry in entries:
        numbers = tuple(entry.key.scope.partition("/")[0].split("-"))
        if entry.fields is None or len(numbers) != 2 or not all(map(str.isdecimal, numbers)):
            continue
        champion, challenger = map(int, numbers)
        seen = found.setdefault((champion, challenger), PairSeen(champion, challenger))
        seen.agreement += Agreement.read(entry.fields)
        seen.at_ms = max(seen.at_ms, entry.at_ms)
    return sorted(found.values(), key=lambda pair: -pair.at_ms)[:SHOWN_PAIRS]


def events(history: Iterable[DatedEntry]) -> list[Event]:
    """What the ledger has of a pipeline's champions, the newest first."""
    found = []
    entries = [(entry, entry.fields or {}) for entry in history]
    approved = {
        fields["version"]
        for entry, fields in entries
        if entry.key.step == "approval" and fields and fields["decision"] == "approved"
    }
    for entry, fields in entries:
        if entry.key.step == "rollback":
            found.append(Event(entry.at_ms, fields["version"], f"rolled back to by {fields['by']}: {fields['why']}"))
        elif entry.key.step == "approval" and fields:
            text = f"{fields['decision']} by {fields['by'] or 'nobody in time'}"
            found.append(Event(entry.at_ms, fields["version"], text, crowned=False))
        elif fields.get("promoted") and entry.key.scope.isdecimal():
            number = int(entry.key.scope)
            text = "promoted" if number in approved else "promoted automatically"
            found.append(Event(entry.at_ms, number, text, trained=True))
    return sorted(found, key=lambda event: -event.at_ms)


def training_runs(pipeline: Pipeline, found: Models) -> dict[int, str]:
    """The runs of the pipeline's own trainings, by the versions that they have made."""
    prefix = f"{pipeline.name}.train/"
    return {
        seen.version.number: seen.workflow_run.removeprefix(prefix)
        for seen in found.versions
        if seen.workflow_run.startswith(prefix)
    }


def judged(pipeline: Pipeline, detail: VersionDetail, champion: ChampionView, history: Iterable[DatedEntry]) -> Judged:
    """How it was decided about a version, by what the ledger has of the pipeline's champions."""
    dag_id, _, run = detail.seen.workflow_run.partition("/")
    number = detail.seen.version.number
    return Judged(
        champion.version is not None and champion.version.number == number,
        any(event.crowned and event.version == number for event in events(history)),
        run if dag_id == f"{pipeline.name}.train" else "",
        "compare_models" if pipeline.promotion.approval == "person" else "promote_model",
    )


def curves(detail: VersionDetail) -> Chart:
    """The losses of each epoch."""
    epochs = max((len(values) for values in detail.curves.values()), default=0)
    series = [(name.replace("_", " "), values) for name, values in detail.curves.items()]
    return lines("Loss by epoch", series, [str(epoch) for epoch in range(1, epochs + 1)], over="Epoch")


def figures_chart(found: Models) -> Chart | None:
    """The figure that decides promotions, by version; None where there is nothing to compare."""
    versions = [seen.version for seen in reversed(found.versions)]
    if len(versions) < 2:
        return None
    series = [
        (metric, [version.score if version.metric == metric else None for version in versions])
        for metric in dict.fromkeys(version.metric for version in versions)
    ]
    title = f"Held-out {' and '.join(name for name, _ in series)} by version"
    return lines(title, series, [str(version.number) for version in versions], over="Version", from_zero=False)


def matrix(confusion: Confusion) -> list[list[Cell]]:
    """The matrix by rows of true labels; empty where it has too many labels to be read."""
    if len(confusion.labels) > SHOWN_LABELS:
        return []
    rows = []
    known = _known(confusion)
    for true, counts in zip(confusion.labels, confusion.counts, strict=False):
        whole = max(sum(counts), 1)
        rows.append(
            [
                Cell(count, true, predicted, -(-SHADES * count // whole), (true, predicted) in known)
                for predicted, count in zip(confusion.labels, counts, strict=False)
            ]
        )
    return rows


def mistakes(confusion: Confusion) -> list[Cell]:
    """The most frequent mistakes."""
    known = _known(confusion)
    found = [
        Cell(count, true, predicted, 0, (true, predicted) in known)
        for true, counts in zip(confusion.labels, confusion.counts, strict=False)
        for predicted, count in zip(confusion.labels, counts, strict=False)
        if count and true != predicted
    ]
    return sorted(found, key=lambda cell: -cell.count)[:SHOWN_MISTAKES]


def samples_behind(confusion: Confusion, true: str, predicted: str) -> list[Mistake]:
    """Some of the samples that are counted in a field of the matrix."""
    return [item for item in confusion.mistakes if (item.true, item.predicted) == (true, predicted)]


def _known(confusion: Confusion) -> set[tuple[str, str]]:
    """The pairs of a true and a predicted label of which samples are known."""
    return {(mistake.true, mistake.predicted) for mistake in confusion.mistakes}
