"""Checks of the samples: how many a training must have, and how many records it may refuse."""

import logging
from dataclasses import asdict

from include.artifact.card import SideReport
from include.errors import PermanentError
from include.feed.feed import FeedReport
from include.training.job import TrainingJob

log = logging.getLogger(__name__)


TRAINING, HELD_OUT = "training", "held-out"


class NoSamples(PermanentError):
    """A side of the split has no samples."""


class TooFewSamples(PermanentError):
    """There are fewer training samples than a batch takes, or all are of one class."""


class BatchTooSmall(PermanentError):
    """A batch has one sample, and the network can't be trained on a single one."""


class TooManyRefused(PermanentError):
    """More than the share `max_rejected_share` of the records are no samples."""


def side_report(report: FeedReport) -> SideReport:
    counts = {"samples": dict(sorted(report.samples.items())), "refused": dict(sorted(report.refused.items()))}
    return SideReport.model_validate({**asdict(report), **counts})


def check_side(job: TrainingJob, side: str, report: SideReport) -> None:
    """Refuse a side that is empty or was refused in large part, and training samples from which nothing can be learnt.

    That another label has no samples is a warning.

    Args:
        side: `TRAINING` or `HELD_OUT`.

    Raises:
        NoSamples, TooManyRefused, TooFewSamples: with the counts and what to do.
    """
    samples, refused = report.total, sum(report.refused.values())
    if versions := report.superseded + report.deletions:
        newest = samples + refused + report.unlabelled
        log.info(
            f"Of {newest + versions} {side} records {newest} are the newest states of their rows; {report.superseded} "
            f"are superseded and {report.deletions} deletions."
        )
    reasons = ", ".join(f"{count} {reason}" for reason, count in report.refused.items())
    examples = f"; for example {report.examples[0]}" if report.examples else ""
    if not samples:
        offsets = sum(item.offsets for item in job.manifest.ranges)
        split = job.manifest.split
        rule = (
            "the header split of each record says its side"
            if split.given
            else f"{split.held_out:g} of the groups are held out"
        )
        raise NoSamples(
            f"No {side} sample was found in {offsets} offsets of {job.pipeline} ({refused} records refused"
            f"{': ' + reasons if reasons else ''}, {report.unlabelled} without a label; {rule}"
            f"{examples}): ingest more samples, or correct their headers, and freeze new ranges."
        )
    if refused > job.max_rejected_share * (samples + refused):
        raise TooManyRefused(
            f"Of {samples + refused} {side} records {refused} are no samples of {job.pipeline} ({reasons}{examples}), "
            f"a larger share than {job.max_rejected_share:g}: correct their producer, or raise "
            "training.max_rejected_share."
        )
    if side == TRAINING:
        _check_enough(job, report)
    missing = [label for label in job.manifest.labels if label not in report.samples]
    if missing:
        log.warning("There is no %s sample of %s.", side, ", ".join(missing))


def _check_enough(job: TrainingJob, report: SideReport) -> None:
    file = f"{job.pipeline}.toml"
    if report.total < job.batch_size:
        raise TooFewSamples(
            f"There are {report.total} training samples of {job.pipeline} and a batch of {file} has {job.batch_size}: "
            "ingest more samples, or lower training.batch_size."
        )
    if job.manifest.task == "classification" and len(report.samples) == 1:
        raise TooFewSamples(
            f"All {report.total} training samples of {job.pipeline} are of the class {next(iter(report.samples))!r} "
            f"and training.labels of {file} names {len(job.manifest.labels)}: ingest samples of the others, or correct "
            "their labels."
        )
