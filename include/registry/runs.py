"""MLflow runs: one per training job and workflow run, shared by all attempts."""

import json
import logging
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from include.artifact.figures import Confusion, draw_confusion
from include.artifact.result import TrainingResult
from include.feed.manifest import Manifest
from include.registry.tracking import Registry, explained, local_artifacts
from include.storage.atomic import explained_if_full

log = logging.getLogger(__name__)

JOB_TAG = "millrace.job"
RUN_TAG = "millrace.run"
MODEL = "model"
CONFUSION = "confusion_matrix.json"
RATE = "samples_per_second"
CURVES = ("train_loss", "held_out_loss", "learning_rate", RATE)
HELD_OUT = "held_out_"

Status = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class RunIdentity:
    """Which training an MLflow run records.

    Attributes:
        run: the workflow run's id.
        job: digest of the training job.
        manifest: the samples that it learns from.
        settings: all else that the job sets, as JSON values by name.
    """

    run: str
    job: str
    manifest: Manifest
    settings: Mapping[str, Any]


@dataclass
class TrackedRun:
    """One MLflow run; epochs that an earlier attempt logged are not logged again.

    Attributes:
        artifacts: the folder of its files; None if it is not on this machine.
    """

    registry: Registry
    identity: RunIdentity
    id: str
    artifacts: Path | None = None
    _logged: set[int] = field(default_factory=set)

    def log_epochs(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Add the epochs that were not logged yet to the run's curves, with the epoch as step."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        with explained(self.registry, "logging an epoch"):
            for entry in history:
                epoch = int(entry["epoch"])
                if epoch in self._logged:
                    continue
                names = [name for name in entry if name in CURVES or name.startswith(HELD_OUT)]
                metrics = [Metric(name, float(entry[name]), now, epoch) for name in names]
                self.registry.client.log_batch(self.id, metrics=metrics)
                self._logged.add(epoch)

    def log_result(self, result: TrainingResult) -> None:
        """Add manifest and confusion matrix, and the model's files last."""
        outcome, trained_on = result.outcome, self.identity.manifest
        self.log_epochs(outcome.history)
        with tempfile.TemporaryDirectory() as folder:
            manifest, picture = Path(folder, "manifest.json"), Path(folder, "confusion_matrix.png")
            counts = Path(folder, CONFUSION)
            with explained_if_full(Path(folder)):
                manifest.write_text(json.dumps({"id": trained_on.id, **trained_on.to_dict()}, indent=2))
                if outcome.confusion is not None:
                    title = f"{outcome.metrics.samples} held-out samples, {outcome.metric} {result.score:.4f}"
                    draw_confusion(picture, outcome.confusion, outcome.labels, title)
                    matrix = Confusion(labels=outcome.labels, counts=outcome.confusion, mistakes=outcome.mistakes)
                    counts.write_text(matrix.model_dump_json())
            for path in (manifest, picture, counts):
                if path.exists():
                    self._store(path)
        # One by one: MLflow stores a file whole or not at all, but on a full disk only a part of a directory.
        for path in sorted(result.model_directory.iterdir()):
            self._store(path, MODEL)

    def _store(self, path: Path, folder: str = "") -> None:
        with explained(self.registry, f"storing {path.name}"), ExitStack() as stack:
            if self.artifacts is not None:
                place = self.artifacts / folder / path.name
                stack.enter_context(explained_if_full(place, size=path.stat().st_size))
            self.registry.client.log_artifact(self.id, str(path), folder or None)

    def end(self, status: Status) -> None:
        """Close the run; a later attempt opens it again."""
        with explained(self.registry, "closing the run"):
            self.registry.client.set_terminated(self.id, status)


def open_run(registry: Registry, identity: RunIdentity) -> TrackedRun:
    """The MLflow run of this job in this workflow run, created with its parameters where there is none yet.

    Raises:
        RegistryUnavailable: see `include.registry.tracking`.
    """
    from mlflow.entities import Param

    client = registry.client
    with explained(registry, "opening the run"):
        experiment = _experiment(registry, identity.manifest.pipeline)
        found = client.search_runs([experiment], f"tags.`{JOB_TAG}` = '{identity.job}'")
        for item in found:
            if item.data.tags.get(RUN_TAG) == identity.run:
                client.update_run(item.info.run_id, status="RUNNING")
                # Every curve has a point in every epoch that was logged.
                points = client.get_metric_history(item.info.run_id, CURVES[-1])
                artifacts = local_artifacts(registry, item.info.artifact_uri)
                return TrackedRun(registry, identity, item.info.run_id, artifacts, {point.step for point in points})
        made = client.create_run(experiment, run_name=identity.run, tags={JOB_TAG: identity.job, RUN_TAG: identity.run})
        params = [Param(name, value) for name, value in _parameters(identity).items()]
        client.log_batch(made.info.run_id, params=params)
        return TrackedRun(registry, identity, made.info.run_id, local_artifacts(registry, made.info.artifact_uri))


def _experiment(registry: Registry, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = registry.client.get_experiment_by_name(name)
    if found is None:
        try:
            return registry.client.create_experiment(name, artifact_location=registry.artifact_location)
        except MlflowException as error:
            # Another task may have created it in between.
            found = registry.client.get_experiment_by_name(name)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
                raise
    if found.lifecycle_stage == "deleted":
        registry.client.restore_experiment(found.experiment_id)
        log.warning("MLflow's experiment %s had been deleted and is restored.", name)
    return str(found.experiment_id)


def _parameters(identity: RunIdentity) -> dict[str, str]:
    manifest = identity.manifest
    values = {
        **identity.settings,
        "manifest": manifest.id,
        "labels": len(manifest.labels),
        "split": manifest.to_dict()["split"],
    }
    flat: dict[str, str] = {}
    for name, value in values.items():
        inner = value if isinstance(value, dict) else {"": value}
        flat |= {f"{name}.{key}".rstrip("."): str(item) for key, item in inner.items()}
    return flat
