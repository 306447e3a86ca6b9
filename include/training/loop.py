"""The training loop: feed, network and optimizer, stoppable between batches and resumable bit for bit."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from include.artifact.card import SideReport, software
from include.augmentations.base import augmented
from include.codecs import RowStatistics
from include.codecs.base import Codec
from include.errors import Stopped
from include.feed.cache import FeedCache
from include.feed.cached import held_out_batches
from include.feed.feed import Feed
from include.kafka.connection import KafkaConnection
from include.models.base import loss_function
from include.network.evaluation import Evaluation, evaluate
from include.network.mistakes import Mistake, MistakeFinder
from include.network.reference import Reference, ReferenceFinder
from include.targets.regression import Scale
from include.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    require_checkpoint_room,
    restore_run,
    run_tensors,
    save_checkpoint,
    warn_of_other_software,
)
from include.training.checks import HELD_OUT, TRAINING, BatchTooSmall, check_side, side_report
from include.training.device import prepare_device
from include.training.initial_weights import load_initial_weights
from include.training.job import TrainingJob
from include.training.loss import EpochLoss, LossNotFinite
from include.training.optimizer import expected_batches, learning_rate, make_optimizer, set_learning_rate
from include.training.preparation import count_samples, prepare_network

if TYPE_CHECKING:
    import torch
    from torch import nn


log = logging.getLogger(__name__)

Progress = dict[str, Any]

CHECKPOINTS, CACHE = "checkpoints", "cache"
PROGRESS_S = 10.0
# A checkpoint at the end of an epoch may cost up to this share of the time since the one before it.
CHECKPOINT_SHARE = 0.05


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network and its measurements.

    Attributes:
        history: per epoch: `epoch` from 1, `train_loss`, `held_out_loss`, `held_out_<metric>` for each metric,
            `learning_rate` at its end, `samples`, `seconds` without the evaluation, `samples_per_second`.
        evaluation: after the last epoch, on the held-out samples.
        scale: of a regression whose targets were normalised.
        statistics: of the training samples, where the inputs depend on them.
        mistakes: held-out samples whose label it got wrong after the last epoch, a few for each pair of labels.
        reference: what the held-out samples and the answers to them are like after the last epoch.
        software: the versions and the device.
    """

    network: nn.Module
    history: list[Progress]
    evaluation: Evaluation
    reference: Reference
    mistakes: tuple[Mistake, ...]
    scale: Scale | None
    statistics: RowStatistics | None
    train: SideReport
    held_out: SideReport
    software: dict[str, str]


def train(
    job: TrainingJob,
    connection: KafkaConnection,
    directory: Path,
    *,
    weights: Path | None = None,
    cache_bytes: int = 0,
    stopped: Callable[[], bool] = lambda: False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> TrainedNetwork:
    """Train the job to its end, from the last undamaged checkpoint in `directory` if there is one.

    Args:
        directory: the run's directory; the caller holds its lease.
        weights: the file that the job starts from; see `include.training.initial_weights.weights_file`.
        cache_bytes: of the samples on disk that later epochs read, see `include.feed.cache`; 0 for none. No bit depends
            on it.
        stopped: polled between batches.
        on_progress: gets small dicts whose `event` is `started`, `batches`, `epoch` or `checkpoint`.

    Raises:
        Stopped: `stopped` returned True, and the checkpoint is written.
        NoSamples, TooManyRefused: see `check_side`.
        DiskFull: there is no room for one checkpoint and the result, before the first batch; or for what is written.
        BatchTooSmall: a batch has one sample and the network needs more.
        LossNotFinite: in training or on the held-out samples.
        WrongInitialWeights, InitialWeightsChanged, WrongFreeze: see include.training.initial_weights.
        WrongNetwork: the network does not fit format and labels.
        OtherJob: the checkpoint is another job's.
        TopicRecreated, RangeUnavailable, ReaderStalled: see include.kafka.
    """
    cache = FeedCache(directory / CACHE, cache_bytes) if cache_bytes else None
    loop = _Loop(job, connection, directory, cache, on_progress)
    if not loop.restore():
        loop.begin(stopped, weights)
    while loop.feed.epoch < job.epochs:
        epoch, whole = loop.feed.epoch, loop.batch == 0
        try:
            for batch, labels in loop.feed.for_device():
                loop.step(batch, labels)
                if loop.batch % job.checkpoint_batches == 0:
                    loop.save()
                if stopped():
                    loop.save()
                    _stop(f"in epoch {epoch + 1} of {job.epochs}, after {loop.batch} batches")
            loop.end_epoch(epoch, whole=whole)
        except LossNotFinite as error:
            raise LossNotFinite(
                f"Training diverged, {error} of epoch {epoch + 1}: lower the learning rate (now {job.learning_rate:g}) "
                "or look for broken samples."
            ) from error
        if stopped() and loop.feed.epoch < job.epochs:
            loop.save()
            _stop(f"after epoch {epoch + 1} of {job.epochs}")
    return loop.result()


def _stop(where: str) -> NoReturn:
    raise Stopped(f"Training was stopped {where}: its checkpoint is written and the next attempt resumes from it.")


class _Loop:
    """The state of a run; everything that the weights depend on goes into a checkpoint."""

    def __init__(
        self,
        job: TrainingJob,
        connection: KafkaConnection,
        directory: Path,
        cache: FeedCache | None,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.job = job
        self.connection = connection
        self.cache = cache
        self.checkpoints = directory / CHECKPOINTS
        self.on_progress = on_progress
        self.device = prepare_device(job.seed, job.threads)
        self.software = software(_device_name(self.device))
        self.network = prepare_network(job, self.device)
        self.optimizer = make_optimizer(
            self.network.parameters(), weight_decay=job.weight_decay, name=job.optimizer or "adamw"
        )
        self.use_statistics(None)
        self.batch = 0
        self.loss = EpochLoss()
        self.history: list[Progress] = []
        self.use_scale(None)
        self.train_report: SideReport | None = None
        self.evaluation: Evaluation | None = None
        self.reference: Reference | None = None
        self.mistakes: tuple[Mistake, ...] = ()
        offsets = sum(item.offsets for item in job.manifest.ranges)
        self.expected_batches = expected_batches(offsets, job.manifest.split.held_out, job.batch_size)
        self.resumed_samples = 0
        self.save_cost_s = 0.0
        self.epoch_began = self.reported = self.saved = time.monotonic()

    def use_statistics(self, statistics: RowStatistics | None) -> None:
        """Read training and held-out samples with these statistics, from the beginning of the first epoch."""
        self.statistics = statistics
        codec = self.job.format.with_statistics(statistics)
        self.feed = self._training_feed(codec, shuffle=True)
        self.held_out = held_out_batches(
            self.connection,
            self.job.manifest,
            codec,
            window=self.job.window,
            addressed=self.job.manifest.task == "classification",
        )

    def use_scale(self, scale: Scale | None) -> None:
        """Compute loss and evaluation in this scale."""
        self.scale = scale
        self.target = self.job.target(scale)
        self.loss_function = loss_function(self.network, self.target)

    def begin(self, stopped: Callable[[], bool], weights: Path | None) -> None:
        """Load the weights to start from, and find the scale of the targets and the statistics of the inputs.

        Raises:
            DiskFull: there is no room for one checkpoint and the result.
        """
        require_checkpoint_room(self.checkpoints, self.network, self.job.optimizer or "adamw")
        if self.job.start is not None:
            if weights is None:
                raise ValueError("The job starts from weights and no file of weights was given: see weights_file.")
            load_initial_weights(self.network, self.job.start, weights)
        scale, statistics = count_samples(self.job, lambda codec: self._training_feed(codec, shuffle=False), stopped)
        self.use_scale(scale)
        self.use_statistics(statistics)

    def step(self, batch: torch.Tensor, labels: torch.Tensor) -> None:
        """Learn from one batch of `Feed.for_device`, which is empty if all its records were refused."""
        progress = (self.feed.epoch + min(self.batch / self.expected_batches, 1.0)) / self.job.epochs
        self.batch += 1
        if len(labels):
            self.optimizer.zero_grad()
            outputs = self._outputs(self._inputs(batch))
            loss = self.loss_function(outputs, labels.to(self.device, non_blocking=True))
            loss.backward()  # type: ignore[no-untyped-call]
            set_learning_rate(self.optimizer, learning_rate(self.job.learning_rate, progress))
            self.optimizer.step()
            self.loss.add(self.batch, len(labels), loss)
        if time.monotonic() - self.reported > PROGRESS_S:
            self.reported = time.monotonic()
            self._report("batches", epoch=self.feed.epoch + 1, batch=self.batch, **self._speed())

    def _inputs(self, batch: torch.Tensor) -> torch.Tensor:
        """The batch as inputs on the device."""
        codec = self.feed.codec
        if self.job.augment:
            # They take inputs on the CPU.
            return augmented(codec.on_device(batch), self.job.augment).to(self.device, non_blocking=True)
        return codec.on_device(batch.to(self.device, non_blocking=True))

    def _outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        try:
            outputs: torch.Tensor = self.network(inputs)
        except ValueError as error:
            # The last batch of a window may have one sample, which batch normalisation refuses.
            if len(inputs) > 1:
                raise
            raise BatchTooSmall(
                f"Batch {self.batch} of {self.job.pipeline}.toml has one sample, which is too few for the network "
                f"({error}): set another training.batch_size than {self.job.batch_size}, or use a normalisation that "
                "does not need a batch."
            ) from error
        return outputs

    def end_epoch(self, epoch: int, *, whole: bool) -> None:
        """Check the feed's report, evaluate on the held-out samples, and add to the history.

        Args:
            whole: False if an earlier process trained on a part of the epoch, whose report is lost.
        """
        speed = self._speed()
        if self.train_report is None:
            self.train_report = side_report(self.feed.report) if whole else self._counted_again()
            check_side(self.job, TRAINING, self.train_report)
        last = self.feed.epoch == self.job.epochs
        finder, mistakes = ReferenceFinder(self.feed.codec, self.target), MistakeFinder(self.target.labels)

        def observe(inputs: torch.Tensor, outputs: torch.Tensor, targets: torch.Tensor) -> None:
            finder.add(inputs, outputs)
            if self.target.task == "classification":
                mistakes.add(outputs, targets, self.held_out.addresses)

        self.evaluation = evaluate(
            self.network, self.held_out, self.target, codec=self.feed.codec, observe=observe if last else None
        )
        if not self.history:
            check_side(self.job, HELD_OUT, side_report(self.held_out.report))
        if not math.isfinite(self.evaluation.loss):
            raise LossNotFinite(f"the held-out loss is {self.evaluation.loss} at the end")
        if last:
            self.reference, self.mistakes = finder.reference(), mistakes.mistakes()
        entry: Progress = {
            "epoch": epoch + 1,
            "held_out_loss": self.evaluation.loss,
            **{f"held_out_{name}": value for name, value in self.evaluation.metrics.items()},
            "learning_rate": learning_rate(self.job.learning_rate, (epoch + 1) / self.job.epochs),
            "samples": self.loss.samples,
            **speed,
        }
        self.history.append(entry)
        self._report("epoch", **entry)
        self.batch, self.loss, self.resumed_samples = 0, EpochLoss(), 0
        affordable = CHECKPOINT_SHARE * (time.monotonic() - self.saved)
        if self.feed.epoch < self.job.epochs and self.save_cost_s < affordable:
            self.save()
        self.epoch_began = self.reported = time.monotonic()

    def _training_feed(self, codec: Codec, *, shuffle: bool) -> Feed:
        """The samples to learn from, at the beginning of the first epoch."""
        job = self.job
        return Feed(
            self.connection,
            job.manifest,
            codec,
            batch_size=job.batch_size,
            window=job.window,
            shuffle=shuffle,
            cache=self.cache,
        )

    def _counted_again(self) -> SideReport:
        """The report of a whole epoch, by reading it again without training."""
        feed = self._training_feed(self.feed.codec, shuffle=False)
        for _ in feed:
            pass
        return side_report(feed.report)

    def _speed(self) -> Progress:
        self.loss.fetch()
        seconds = time.monotonic() - self.epoch_began
        return {
            "train_loss": self.loss.mean,
            "seconds": seconds,
            "samples_per_second": (self.loss.samples - self.resumed_samples) / max(seconds, 1e-9),
        }

    def _report(self, event: str, **values: Any) -> None:
        self.on_progress({"event": event, "epochs": self.job.epochs, **values})

    def save(self) -> None:
        """Write a checkpoint of this moment; a loss that is not finite is noticed before."""
        self.loss.fetch()
        began = time.monotonic()
        checkpoint = Checkpoint(
            tensors=run_tensors(self.network, self.optimizer, self.device),
            state={
                "feed": self.feed.state_dict(),
                "batch": self.batch,
                "loss_total": self.loss.total,
                "loss_samples": self.loss.samples,
                "history": self.history,
                "train_report": None if self.train_report is None else self.train_report.model_dump(mode="json"),
                "scale": None if self.scale is None else asdict(self.scale),
                "software": self.software,
                **({} if self.statistics is None else {"statistics": self.statistics.model_dump(mode="json")}),
            },
        )
        path = save_checkpoint(self.checkpoints, self.job.digest, checkpoint)
        self.saved = time.monotonic()
        self.save_cost_s = self.saved - began
        self._report("checkpoint", epoch=self.feed.epoch + 1, batch=self.batch, path=str(path))

    def restore(self) -> bool:
        """Go on from the last good checkpoint; False where there is none."""
        checkpoint = load_checkpoint(self.checkpoints, self.job.digest)
        if checkpoint is not None:
            state = checkpoint.state
            restore_run(checkpoint.tensors, self.network, self.optimizer, self.device)
            self.use_statistics(state.get("statistics") and RowStatistics.model_validate(state["statistics"]))
            self.feed.load_state_dict(state["feed"])
            self.batch = state["batch"]
            self.loss = EpochLoss(state["loss_total"], state["loss_samples"])
            self.resumed_samples = self.loss.samples
            self.history = state["history"]
            self.train_report = state["train_report"] and SideReport.model_validate(state["train_report"])
            # Lists in JSON; a checkpoint from before there were scales has none.
            self.use_scale(state.get("scale") and Scale(**{name: tuple(part) for name, part in state["scale"].items()}))
            warn_of_other_software(state["software"], self.software)
        self._report(
            "started",
            device=self.software["device"],
            epoch=self.feed.epoch + 1,
            batch=self.batch,
            resumed=checkpoint is not None,
            history=self.history,
        )
        return checkpoint is not None

    def result(self) -> TrainedNetwork:
        if self.evaluation is None or self.train_report is None or self.reference is None:
            raise RuntimeError("A run ends with the evaluation of its last epoch; this one has none.")
        return TrainedNetwork(
            network=self.network,
            history=self.history,
            evaluation=self.evaluation,
            reference=self.reference,
            mistakes=self.mistakes,
            scale=self.scale,
            statistics=self.statistics,
            train=self.train_report,
            held_out=side_report(self.held_out.report),
            software=self.software,
        )


def _device_name(device: torch.device) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
