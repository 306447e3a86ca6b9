"""A training job: everything that the weights depend on, and nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from include.definition.kinds import AnyAugmentation, AnyCodec, AnyModel
from include.definition.pipeline import Pipeline
from include.feed.manifest import Manifest
from include.feed.split import Split
from include.kafka.ranges import OffsetRange
from include.kinds import Config
from include.registry.runs import RunIdentity
from include.storage.state import state_dir
from include.targets.base import Target
from include.targets.regression import RegressionLoss, Scale
from include.targets.tasks import target_of
from include.training.initial_weights import InitialWeights

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# The lock of this file is the lease on a run's directory: an orphaned trainer and a retry never both write there. An
# orphan notices within a second that its parent is gone.
LEASE = "lease"
LEASE_TIMEOUT_S = 60.0


class TrainingJob(Config):
    """The same job gives the same weights, bit for bit, on the same kind of processor with the same versions.

    The Kafka connection is no part of it: the weights do not depend on it, and it has secrets.
    """

    manifest: Manifest
    format: AnyCodec
    model: AnyModel
    epochs: Annotated[int, Field(ge=1, le=10_000)]
    batch_size: Annotated[int, Field(ge=1, le=65_536)]
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    window: Annotated[int, Field(ge=1)]
    checkpoint_batches: Annotated[int, Field(ge=1)]
    threads: Annotated[int, Field(ge=1, le=256)]
    max_rejected_share: Annotated[float, Field(ge=0, le=1)]
    augment: tuple[AnyAugmentation, ...] | None = None
    start: InitialWeights | None = None
    freeze: tuple[str, ...] | None = None
    loss: RegressionLoss | None = None
    normalise: bool | None = None
    # Left out of the JSON where it is not set, so that jobs from before it existed stay as they are.
    optimizer: Annotated[Literal["sgd"] | None, Field(exclude_if=lambda optimizer: optimizer is None)] = None

    @classmethod
    def of(
        cls,
        pipeline: Pipeline,
        ranges: Sequence[OffsetRange],
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        start: InitialWeights | None = None,
    ) -> TrainingJob:
        """The pipeline's training over frozen ranges; arguments override its file.

        Args:
            ranges: of the samples topic, and of the labels topic if the pipeline has one.
            start: the resolved `training.start_from`, see `include.training.initial_weights.resolve_initial_weights`.

        Raises:
            pydantic.ValidationError: an override is out of its limits.
        """
        training = pipeline.training
        return cls(
            manifest=Manifest(
                pipeline=pipeline.name,
                ranges=tuple(item for item in ranges if item.topic != pipeline.labels_topic),
                label_ranges=tuple(item for item in ranges if item.topic == pipeline.labels_topic),
                reading=pipeline.record_layout(pipeline.samples_topic),
                schema=pipeline.format.schema_name,
                labels=training.labels,
                split=Split(training.split_salt, training.held_out, given=training.split == "given"),
                seed=training.seed,
                signed=pipeline.signed,
                task=training.task,
                separator=training.separator,
            ),
            format=pipeline.format,
            model=pipeline.sized_model,
            epochs=training.epochs if epochs is None else epochs,
            batch_size=training.batch_size if batch_size is None else batch_size,
            learning_rate=training.learning_rate if learning_rate is None else learning_rate,
            weight_decay=training.weight_decay,
            seed=training.seed,
            window=training.window,
            checkpoint_batches=training.checkpoint_batches,
            threads=training.threads,
            max_rejected_share=training.max_rejected_share,
            augment=training.augment or None,
            start=start,
            freeze=training.freeze or None,
            loss=training.loss,
            normalise=training.normalised,
            optimizer=None if training.optimizer == "adamw" else training.optimizer,
        )

    @property
    def pipeline(self) -> str:
        return self.manifest.pipeline

    def run_identity(self, run: str) -> RunIdentity:
        """What the registry knows the training by.

        Args:
            run: the workflow run's id.
        """
        return RunIdentity(run, self.digest, self.manifest, self.model_dump(mode="json", exclude={"manifest"}))

    def target(self, scale: Scale | None = None) -> Target:
        """The task with its labels.

        Args:
            scale: of a regression's targets, once it is known.
        """
        return target_of(
            self.manifest.task,
            self.manifest.labels,
            separator=self.manifest.separator,
            loss=self.loss or "mse",
            scale=scale,
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal; settings that are None are left out, so that adding one does
        not change the digests of older jobs."""
        canonical = json.dumps(self.model_dump(mode="json", exclude_none=True), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def run_directory(job: TrainingJob, run: str) -> Path:
    """The folder of a run's checkpoints and result: `runs/<pipeline>/<run>/<job>` in the state folder.

    A retry of the same run with the same job continues there; another job in the same run has its own folder.

    Args:
        run: the run's id; characters that a file name can't have are replaced, and a hash keeps the names distinct.
    """
    name = run
    if not FILE_NAME.fullmatch(run):
        suffix = hashlib.sha256(run.encode()).hexdigest()[:8]
        name = f"{re.sub(r'[^A-Za-z0-9._-]+', '_', run)[:80].lstrip('._-')}-{suffix}"
    return state_dir() / "runs" / job.pipeline / name / job.digest[:12]
