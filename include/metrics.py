"""Every metric that Millrace reports: its name, type, unit, meaning, and what to do when it moves.

`docs/metrics.md` is this list as a page. A name that is not here cannot be reported, because `Metrics` takes members of
these enumerations and no strings.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Definition:
    """One metric.

    Args:
        name: the name below `millrace.`; each `<placeholder>` is filled where the metric is reported.
        unit: what one stands for, in the plural.
        meaning: what is counted or measured, and when.
        action: what to do when it moves.
    """

    name: str
    unit: str
    meaning: str
    action: str


class Metric(Enum):
    """A metric by its definition."""

    value: Definition

    def name_for(self, **placeholders: str) -> str:
        """The name with its placeholders filled: `digits.predictions`.

        Raises:
            KeyError: a placeholder got no value.
        """
        return re.sub(r"<(\w+)>", lambda found: placeholders[found[1]], self.value.name)


class Counters(Metric):
    """A number that each report adds to."""

    INGESTED = Definition(
        "<pipeline>.ingested",
        unit="records",
        meaning="Samples and requests that an attempt of `produce_batch` committed, also if it failed afterwards.",
        action="No increase over several schedules: the source has nothing new, or the DAG is paused or fails.",
    )
    REFUSED = Definition(
        "<pipeline>.refused",
        unit="samples",
        meaning="Samples that `produce_batch` left out, as too large for the topic or not of the pipeline's format.",
        action="Read the task's log, which names each one and why; correct the source, or raise `max_record_bytes`.",
    )
    PREDICTIONS = Definition(
        "<pipeline>.predictions",
        unit="predictions",
        meaning="Predictions that an attempt of `publish_predictions` committed, also if it failed afterwards.",
        action="No increase while requests arrive: see why the predict DAG skips or fails; it waits for a champion.",
    )
    DEAD_LETTERS = Definition(
        "<pipeline>.dead_letters",
        unit="requests",
        meaning="Requests that an attempt of `publish_predictions` committed to the dead letters.",
        action="`millrace peek <pipeline> --topic dead-letters` shows the reasons. Correct the cause, then run replay.",
    )
    SHADOWED = Definition(
        "<pipeline>.shadow.requests",
        unit="requests",
        meaning="Requests that a challenger answered beside the champion, committed with the champion's answers.",
        action="Zero with `promotion.shadow`: MLflow's alias `challenger` names no version, or the champion.",
    )
    DISAGREEMENTS = Definition(
        "<pipeline>.shadow.disagreements",
        unit="requests",
        meaning="Those of them that the challenger answered in another way, or could not answer.",
        action="More than you expect of a better model: look at them on the page Models before you approve it.",
    )
    SHADOW_FAILURES = Definition(
        "<pipeline>.shadow.failures",
        unit="failures",
        meaning="Attempts of `publish_predictions` in which the challenger failed; the champion went on without it.",
        action="The task's log has the error: do not approve this version.",
    )
    REPLAYED = Definition(
        "<pipeline>.replayed",
        unit="requests",
        meaning="Dead letters that an attempt of the replay DAG sent to the requests, also if it failed afterwards.",
        action="If `<pipeline>.dead_letters` grows by as many soon after, the cause is not corrected: stop replaying.",
    )
    EXPORTED = Definition(
        "<pipeline>.exported",
        unit="rows",
        meaning="Predictions that an attempt of the export DAG wrote to Parquet files, also if it failed afterwards.",
        action="Less than `<pipeline>.predictions` over a day: the export fails or lags; mind the topic's retention.",
    )
    TRAIN_SAMPLES = Definition(
        "<pipeline>.train.samples",
        unit="samples",
        meaning="Samples in the training part of the split, added once for each completed training.",
        action="No increase while samples arrive: fewer than `min_new_samples` are new, or the trainings fail.",
    )


class Gauges(Metric):
    """A value that each report replaces."""

    BACKLOG_OFFSETS = Definition(
        "<pipeline>.<step>.backlog_offsets",
        unit="offsets",
        meaning=(
            "Offsets that `<step>` (`train` or `predict`) has yet to process, when its run began. Transaction markers "
            "and aborted records take offsets too, so the records are at most as many."
        ),
        action="Growing over several runs of predict: more arrives than it completes; raise `prediction.tasks`.",
    )
    HELD_OUT_SCORE = Definition(
        "<pipeline>.train.held_out_<score>",
        unit="score, at most 1",
        meaning=(
            "The trained model's `<score>` on the held-out samples: `accuracy`, `micro_f1` or `r2`, by the task of "
            "the pipeline."
        ),
        action="Lower than before: compare the run's samples and figures in MLflow; a worse model is not promoted.",
    )
    CHAMPION_VERSION = Definition(
        "<pipeline>.champion_version",
        unit="version number",
        meaning="The version that `promote_model` promoted, or found to be the champion already.",
        action="Unchanged after several trainings: the log of `promote_model` says why each was not promoted.",
    )
    INPUT_DRIFT = Definition(
        "<pipeline>.watch.input_drift",
        unit="population stability index",
        meaning=(
            "How far the inputs of the champion are from the held-out samples of its training, beyond chance: the "
            "largest of its statistics. Only with `[watch]`, as the next three."
        ),
        action="Above 0.1 look at the requests, above 0.25 train on newer samples; the ledger has each statistic.",
    )
    PREDICTION_DRIFT = Definition(
        "<pipeline>.watch.prediction_drift",
        unit="population stability index",
        meaning="The same of the labels and scores, or numbers, that the champion answers with.",
        action="Above 0.25 without a cause that you know: compare its newest answers with their labels.",
    )
    LIVE_SCORE = Definition(
        "<pipeline>.watch.live_<score>",
        unit="score, at most 1",
        meaning="The champion's `<score>` over its answers that have the newest labels.",
        action="Lower than the held-out `<score>`: train on newer samples, or roll back.",
    )
    CALIBRATION_ERROR = Definition(
        "<pipeline>.watch.calibration_error",
        unit="difference of probabilities",
        meaning="The expected calibration error over the same answers, in ten bins; not of a regression.",
        action="Growing: a score says less about how sure an answer is; train on newer samples.",
    )


class Metrics:
    """Where metrics are reported. This class drops them; the plugin's hands them to Airflow."""

    def count(self, metric: Counters, value: int, **placeholders: str) -> None:
        """Add to a counter."""

    def gauge(self, metric: Gauges, value: float, **placeholders: str) -> None:
        """Set a gauge."""

    def span(self, name: str, began_ns: int, attributes: Mapping[str, str | int]) -> None:
        """Add work that ends now to the trace of the task.

        Args:
            began_ns: when it began, in nanoseconds since 1970.
        """
