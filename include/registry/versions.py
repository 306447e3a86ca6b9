"""Model versions: registered complete or not at all, found by number or alias, verified whenever they are fetched."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, ValidationError

from include.artifact.card import WrongModel
from include.artifact.model import model_digest
from include.artifact.result import TrainingResult
from include.definition.model_reference import CHALLENGER, CHAMPION
from include.errors import PermanentError
from include.kinds import Config
from include.registry.runs import MODEL, RATE, TrackedRun
from include.registry.tracking import NO_ALIAS, Registry, explained, local_artifacts
from include.storage.atomic import require_room, whole_directory
from include.storage.removal import below, remove_folder
from include.storage.state import state_dir

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


log = logging.getLogger(__name__)


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,100}$")]


class NoSuchVersion(PermanentError):
    """The model has no version of that number, or another program registered or changed it."""


class Version(Config):
    """A registered model version.

    Whoever may write to MLflow may set any of these values, and paths and requests are made from them: so each has a
    form that is checked.

    Attributes:
        name: of the registered model, which is the pipeline's.
        run_id: of the MLflow run that has its files.
        digest: SHA-256 of the model's files.
        metric: name of the metric that decides a promotion.
        score: that metric on the held-out samples of its own training.
    """

    name: Name
    number: Annotated[int, Field(ge=1)]
    run_id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    digest: Sha256
    manifest_id: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    job: Sha256
    metric: Name
    score: Annotated[float, Field(allow_inf_nan=False)]


def register_version(run: TrackedRun, result: TrainingResult) -> Version:
    """Store a run's result and then create its version, or return the version that an earlier attempt created.

    A version's files are never changed: its digest binds them.

    Raises:
        RegistryUnavailable, DiskFull: see `include.registry.tracking`.
    """
    from mlflow.exceptions import MlflowException

    client = run.registry.client
    outcome = result.outcome
    name = outcome.pipeline
    with explained(run.registry, "looking for the run's model version"):
        for item in client.search_model_versions(f"run_id = '{run.id}'"):
            if item.name == name:
                return _version(item, name)
    run.log_result(result)
    with explained(run.registry, "registering the model version"):
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        made = client.create_model_version(
            name,
            source=f"runs:/{run.id}/{MODEL}",
            run_id=run.id,
            description=f"{outcome.metric} {result.score:.4f} on {outcome.metrics.samples} held-out samples.",
            tags={
                "digest": outcome.digest,
                "manifest": outcome.manifest_id,
                "job": outcome.job,
                "metric": outcome.metric,
                outcome.metric: repr(result.score),
            },
        )
        return _version(made, name)


def champion(registry: Registry, name: str) -> Version | None:
    """The version that predicts; None if none was promoted yet."""
    return _aliased(registry, name, CHAMPION)


def challenger(registry: Registry, name: str) -> Version | None:
    """The version that predicts beside the champion; None if none does."""
    return _aliased(registry, name, CHALLENGER)


def _aliased(registry: Registry, name: str, alias: str) -> Version | None:
    from mlflow.exceptions import MlflowException

    with explained(registry, f"looking for the {alias} of {name}"):
        try:
            return _version(registry.client.get_model_version_by_alias(name, alias), name)
        except MlflowException as error:
            if error.error_code in NO_ALIAS:
                return None
            raise


def version(registry: Registry, name: str, number: int) -> Version:
    """One version of a model.

    Raises:
        NoSuchVersion: there is none of this number, or another program registered it.
    """
    from mlflow.exceptions import MlflowException

    with explained(registry, f"looking for version {number} of {name}"):
        try:
            return _version(registry.client.get_model_version(name, str(number)), name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    numbers = [found.number for found in versions(registry, name)]
    known = (
        f"choose one of its versions ({', '.join(map(str, numbers))})"
        if numbers
        else "run its train DAG, which creates the first"
    )
    raise NoSuchVersion(f"Model {name} has no version {number}: {known}.")


def versions(registry: Registry, name: str) -> list[Version]:
    """The versions that this project has registered, in the order of their numbers."""
    with explained(registry, f"looking for the versions of {name}"):
        items = registry.client.search_model_versions(f"name = '{name}'")
    found = []
    for item in items:
        with suppress(NoSuchVersion):
            found.append(_version(item, name))
    return sorted(found, key=lambda version: version.number)


def newest_rate(registry: Registry, name: str) -> tuple[int, float] | None:
    """The newest version's number and the samples a second of its training's last epoch; None if none is recorded."""
    found = versions(registry, name)
    if not found:
        return None
    newest = found[-1]
    with explained(registry, f"looking for the run of version {newest.number} of {name}"):
        rate = registry.client.get_run(newest.run_id).data.metrics.get(RATE)
    return None if not rate else (newest.number, rate)


def set_champion(registry: Registry, chosen: Version) -> None:
    """Move the alias, which is atomic for its readers."""
    with explained(registry, f"promoting version {chosen.number} of {chosen.name}"):
        registry.client.set_registered_model_alias(chosen.name, CHAMPION, str(chosen.number))


def set_challenger(registry: Registry, chosen: Version) -> None:
    """Let a version predict beside the champion, in place of another one."""
    with explained(registry, f"making version {chosen.number} of {chosen.name} the challenger"):
        registry.client.set_registered_model_alias(chosen.name, CHALLENGER, str(chosen.number))


def drop_challenger(registry: Registry, name: str, number: int) -> None:
    """Let a version no longer predict beside the champion; another one that does goes on."""
    with explained(registry, f"ending the challenge of version {number} of {name}"):
        found = challenger(registry, name)
        if found is not None and found.number == number:
            registry.client.delete_registered_model_alias(name, CHALLENGER)


def download(registry: Registry, wanted: Version) -> Path:
    """The model directory of a version, fetched once to `models/<name>/` in the state folder and verified at each call.

    Raises:
        WrongModel: the registry's files are not those that were registered.
        DiskFull: they do not fit.
    """
    models = state_dir() / "models"
    target = below(models, models / wanted.name / f"{wanted.number}-{wanted.digest[:12]}")
    kept = target / MODEL
    if target.is_dir():
        with suppress(WrongModel):
            if model_digest(kept) == wanted.digest:
                return kept
        log.warning("The copy of version %d in %s is damaged and is fetched again.", wanted.number, target)
        remove_folder(models, target)
    # Another task may have fetched it in between.
    with suppress(FileExistsError), whole_directory(target) as aside:
        with explained(registry, f"fetching version {wanted.number} of {wanted.name}"):
            local_artifacts(registry, registry.client.get_run(wanted.run_id).info.artifact_uri)
            files = registry.client.list_artifacts(wanted.run_id, MODEL)
            require_room(target, (file.file_size or 0 for file in files))
            # MLflow refuses a listing that leads out of the folder.
            registry.client.download_artifacts(wanted.run_id, MODEL, str(aside))
        found = model_digest(aside / MODEL)
        if found != wanted.digest:
            raise WrongModel(
                f"The files of version {wanted.number} of {wanted.name} have SHA-256 {found[:12]}… and "
                f"were registered with {wanted.digest[:12]}…: MLflow's storage was changed, so train a new one."
            )
    return kept


def _version(item: ModelVersion, name: str) -> Version:
    tags = item.tags
    # Versions without the tag are from before there were tasks other than classification.
    metric = tags.get("metric", "accuracy")
    missing = [tag for tag in ("digest", "manifest", "job", metric) if tag not in tags]
    if missing or not item.run_id:
        raise NoSuchVersion(
            f"Version {item.version} of {name} was not registered by this project (it has no tag {missing!s:.200}): "
            "choose another version, or train one."
        )
    values = {
        "name": name,
        "number": item.version,
        "run_id": item.run_id,
        "digest": tags["digest"],
        "manifest_id": tags["manifest"],
        "job": tags["job"],
        "metric": metric,
        "score": tags[metric],
    }
    try:
        return Version.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        raise NoSuchVersion(
            f"MLflow has {fault['loc'][0]} = {fault['input']!r:.100} for version {item.version!r:.20} of {name}, which "
            "this project never sets, so another program has changed it: choose another version, or train one."
        ) from error
