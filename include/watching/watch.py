"""Compare what a model serves with what it was trained on, and with the labels that came later."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from include.errors import NothingToDo, PermanentError
from include.exactly_once.attempt import Step
from include.metrics import Gauges
from include.network.histogram import Histogram, drift
from include.network.reference import answer_numbers
from include.watching.figures import calibration_error, live_score
from include.watching.served import answer_of, input_statistics, labelled_answers, newest_answers

if TYPE_CHECKING:
    import numpy as np

    from include.definition.pipeline import Pipeline
    from include.definition.tables import Watch
    from include.exactly_once.attempt import Attempt
    from include.watching.model import WatchedModel

log = logging.getLogger(__name__)

STEP: Step = "watch"
# A histogram of fewer held-out samples is too rough to compare with.
MIN_REFERENCE = 100
# The statistics that are kept with a result, those that have drifted most.
KEPT = 10


@dataclass(frozen=True)
class Figures:
    """What was found about a version; a figure is None where there was too little to judge by.

    Attributes:
        samples: how many of its newest answers were compared with the reference.
        labelled: how many of its answers have one of the newest labels.
        input_drift, prediction_drift: the largest of `inputs` and of `answers`.
        score: the task's metric over the labelled answers.
        inputs, answers: the drift of each statistic, of the inputs those that have drifted most.
    """

    samples: int
    labelled: int
    input_drift: float | None = None
    prediction_drift: float | None = None
    score: float | None = None
    calibration_error: float | None = None
    inputs: dict[str, float] = field(default_factory=dict)
    answers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class WatchResult:
    """The result of one look at a served model.

    Attributes:
        over: for each figure beyond its limit the sentence that says so.
        new: the figures among them that were within their limits, or not known, at the look before.
    """

    version: int
    metric: str
    figures: Figures
    over: dict[str, str]
    new: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"version": self.version, "metric": self.metric, **vars(self.figures), "over": [*self.over]}


def watch(attempt: Attempt, pipeline: Pipeline, model: WatchedModel) -> WatchResult:
    """Compute the figures of a version, report them, and write them to the ledger.

    Raises:
        NothingToDo: the version has answered nothing yet.
        PermanentError: the pipeline has no `[watch]`.
        TopicMissing, RangeUnavailable, ReaderStalled, TransactionFailed: see include.kafka.
    """
    attempt.require(pipeline.name, STEP)
    settings = pipeline.watch
    if settings is None:
        raise PermanentError(f"Pipeline {pipeline.name} has no [watch]: add the table to its file.")
    figures = find_figures(attempt, pipeline, settings, model)
    _report(attempt, model, figures)
    over = beyond_limits(settings, model, figures)
    return _record(attempt, model, figures, over)


def find_figures(attempt: Attempt, pipeline: Pipeline, settings: Watch, model: WatchedModel) -> Figures:
    """The figures over the newest answers and the newest labels."""
    identity, target, reference = model.identity, model.target, model.reference
    answers = newest_answers(attempt, pipeline, identity, settings.window)
    if not answers:
        raise NothingToDo(
            f"Version {identity.version} of {identity.name} is champion and has answered nothing lately: there is "
            "nothing to watch."
        )
    inputs: dict[str, float] = {}
    outputs: dict[str, float] = {}
    if (why := _why_unknown(model, settings, len(answers))) is not None:
        log.warning("The drift of version %d of %s is not known: %s.", identity.version, identity.name, why)
    if reference is not None and len(answers) >= settings.min_samples:
        statistics = input_statistics(attempt, pipeline, model.codec, answers)
        numbers = answer_numbers(target, [answer_of(row) for row in answers])
        found = {name: statistics[:, place] for place, name in enumerate(model.codec.described)}
        inputs = _drifts(reference.inputs, found, settings.min_samples)
        outputs = _drifts(reference.answers, numbers, settings.min_samples)
    attempt.check_stop(f"reading {len(answers)} answers")
    labels = pipeline.late_labels
    labelled = []
    if labels is not None:
        labelled = labelled_answers(
            attempt, pipeline, identity, target, labels, settings.window, settings.label_delay_s
        )
    enough = len(labelled) >= settings.min_samples
    return Figures(
        samples=len(answers),
        labelled=len(labelled),
        input_drift=max(inputs.values(), default=None),
        prediction_drift=max(outputs.values(), default=None),
        score=live_score(target, labelled) if enough else None,
        calibration_error=calibration_error(target, labelled) if enough and target.task != "regression" else None,
        inputs=dict(sorted(inputs.items(), key=lambda item: -item[1])[:KEPT]),
        answers=outputs,
    )


def _why_unknown(model: WatchedModel, settings: Watch, answers: int) -> str | None:
    """Why there is no drift of the model, with what to do; None where there is one."""
    if model.reference is None:
        return "it is from before models kept what their samples are like, which the next training does"
    if answers < settings.min_samples:
        return f"it has answered {answers} requests lately and watch.min_samples is {settings.min_samples}"
    held_out = max((item.total for item in (*model.reference.inputs, *model.reference.answers)), default=0)
    if held_out < MIN_REFERENCE:
        return (
            f"it was trained with {held_out} held-out samples and a comparison takes {MIN_REFERENCE}: train on more "
            "samples, or raise training.held_out"
        )
    return None


def _drifts(
    reference: Sequence[Histogram], found: dict[str, np.ndarray[Any, Any]], min_samples: int
) -> dict[str, float]:
    """The drift of each number by its name, for those that there are enough of on both sides."""
    return {
        histogram.name: round(drift(histogram.counts, histogram.count(numbers)), 6)
        for histogram in reference
        if histogram.total >= MIN_REFERENCE and len(numbers := found[histogram.name]) >= min_samples
    }


def beyond_limits(settings: Watch, model: WatchedModel, figures: Figures) -> dict[str, str]:
    """For each figure beyond its limit a sentence."""
    name = f"version {model.identity.version} of {model.identity.name}"
    over: dict[str, str] = {}
    for figure, what, drifts in (
        ("input_drift", f"The inputs of {name} drift", figures.inputs),
        ("prediction_drift", f"The answers of {name} drift", figures.answers),
    ):
        value = getattr(figures, figure)
        if value is not None and value > settings.max_drift:
            furthest = max(drifts, key=lambda name: drifts[name])
            over[figure] = (
                f"{what}: over the newest {figures.samples} the stability index of {furthest!r:.100} is {value:.3f} "
                f"and watch.max_drift is {settings.max_drift:g}. Look at what their senders have changed, or train on "
                "newer samples."
            )
    if figures.score is not None and settings.min_score is not None and figures.score < settings.min_score:
        over["score"] = (
            f"The answers of {name} are worse than they may be: {model.target.metric} {figures.score:.4f} over the "
            f"{figures.labelled} with the newest labels, and watch.min_score is {settings.min_score:g}. Train on newer "
            "samples, or roll back."
        )
    error, limit = figures.calibration_error, settings.max_calibration_error
    if error is not None and limit is not None and error > limit:
        over["calibration_error"] = (
            f"The scores of {name} are no probabilities any more: their expected calibration error is {error:.3f} over "
            f"the {figures.labelled} with the newest labels, and watch.max_calibration_error is {limit:g}. Train on "
            "newer samples."
        )
    return over


def _report(attempt: Attempt, model: WatchedModel, figures: Figures) -> None:
    metrics, name = attempt.metrics, model.identity.name
    if figures.input_drift is not None:
        metrics.gauge(Gauges.INPUT_DRIFT, figures.input_drift, pipeline=name)
    if figures.prediction_drift is not None:
        metrics.gauge(Gauges.PREDICTION_DRIFT, figures.prediction_drift, pipeline=name)
    if figures.score is not None:
        metrics.gauge(Gauges.LIVE_SCORE, figures.score, pipeline=name, score=model.target.metric)
    if figures.calibration_error is not None:
        metrics.gauge(Gauges.CALIBRATION_ERROR, figures.calibration_error, pipeline=name)


def _record(attempt: Attempt, model: WatchedModel, figures: Figures, over: dict[str, str]) -> WatchResult:
    """Write the result under its version, and compare it with the one before.

    A retry of a run finds the same new figures as the attempt before it, whose alerts may not have been sent.
    """
    key = attempt.key(str(model.identity.version))
    with attempt.writer() as writer:
        last = writer.read_ledger([key]).get(key)
        before: list[str] = []
        if last is not None:
            before = last["before"] if last["run"] == attempt.run else last["over"]
        result = WatchResult(
            model.identity.version,
            model.target.metric,
            figures,
            over,
            tuple(figure for figure in over if figure not in before),
        )
        with writer.transaction():
            writer.write_ledger(key, {**result.to_dict(), "before": before, "run": attempt.run})
    return result
