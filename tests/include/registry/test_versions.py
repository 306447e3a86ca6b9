"""Runs and versions in MLflow: registered once, complete or absent, verified when fetched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.artifact.card import WrongModel
from include.artifact.model import load_model
from include.registry import runs
from include.registry.runs import CURVES, open_run
from include.registry.tracking import Registry, RegistryUnavailable, WrongStorage, local_artifacts, open_registry
from include.registry.versions import (
    NoSuchVersion,
    Version,
    champion,
    download,
    register_version,
    set_champion,
    version,
)
from include.storage.removal import OutsideRoot
from tests.support.assertions import assert_readable

if TYPE_CHECKING:
    from include.artifact.result import TrainingResult
    from include.training.job import TrainingJob

Register = Callable[["TrainingResult", str], Version]


def all_runs(registry: Registry, job: TrainingJob) -> list[str]:
    experiment = registry.client.get_experiment_by_name(job.pipeline)
    return [run.info.run_id for run in registry.client.search_runs([experiment.experiment_id])]


def artifact(registry: Registry, run_id: str, name: str, folder: Path) -> Path:
    return Path(registry.client.download_artifacts(run_id, name, str(folder)))


def test_a_retry_registers_once(registry: Registry, register: Register, job: TrainingJob, good: TrainingResult) -> None:
    first, second = register(good, "run"), register(good, "run")
    assert first == second
    assert len(registry.client.search_model_versions(f"name = '{job.pipeline}'")) == 1
    assert len(all_runs(registry, job)) == 1


def test_another_run_of_the_same_job_is_another_version(register: Register, good: TrainingResult) -> None:
    assert [register(good, run).number for run in ("one", "two")] == [1, 2]


def test_a_retry_that_trained_again_leaves_the_registered_files_alone(
    registry: Registry, register: Register, good: TrainingResult, bad: TrainingResult
) -> None:
    register(good, "run")
    again = register(bad, "run")
    assert again.digest == good.digest
    load_model(download(registry, again), good.digest)


def test_every_epoch_is_logged_once_however_often_it_comes(
    registry: Registry, job: TrainingJob, good: TrainingResult
) -> None:
    history = good.outcome.history
    first = open_run(registry, job.run_identity("run"))
    first.log_epochs(history[:2])
    second = open_run(registry, job.run_identity("run"))
    second.log_epochs(history)
    second.log_epochs(history)
    assert first.id == second.id
    for name in CURVES:
        points = registry.client.get_metric_history(second.id, name)
        assert [(point.step, point.value) for point in points] == [(entry["epoch"], entry[name]) for entry in history]


def test_a_version_has_everything_that_belongs_to_it(
    registry: Registry, register: Register, job: TrainingJob, good: TrainingResult, tmp_path: Path
) -> None:
    made = register(good, "run")
    manifest = json.loads(artifact(registry, made.run_id, "manifest.json", tmp_path).read_text())
    assert manifest["id"] == made.manifest_id == job.manifest.id
    assert artifact(registry, made.run_id, "confusion_matrix.png", tmp_path).read_bytes().startswith(b"\x89PNG")
    assert (
        load_model(artifact(registry, made.run_id, "model", tmp_path), made.digest).card.manifest_id == job.manifest.id
    )
    logged = registry.client.get_run(made.run_id).data.params
    assert (logged["epochs"], logged["model.hidden"]) == (str(job.epochs), "32")


def test_where_the_artifacts_are_not_complete_there_is_no_version(
    registry: Registry, register: Register, job: TrainingJob, good: TrainingResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(runs, "draw_confusion", fail)
        with pytest.raises(OSError, match="disk full"):
            register(good, "run")
    assert registry.client.search_model_versions(f"name = '{job.pipeline}'") == []
    assert register(good, "run").number == 1


def test_there_is_no_champion_before_the_first_promotion(
    registry: Registry, register: Register, good: TrainingResult
) -> None:
    name = good.outcome.pipeline
    assert champion(registry, name) is None
    register(good, "run")
    assert champion(registry, name) is None


def test_the_champion_is_the_version_that_was_set_last(
    registry: Registry, register: Register, good: TrainingResult
) -> None:
    one, two = register(good, "one"), register(good, "two")
    for chosen in (one, two, one):
        set_champion(registry, chosen)
        assert champion(registry, chosen.name) == chosen


def test_a_version_is_found_by_its_number(registry: Registry, register: Register, good: TrainingResult) -> None:
    register(good, "one")
    two = register(good, "two")
    assert version(registry, two.name, 2) == two


def test_an_unknown_number_is_refused_with_those_that_exist(
    registry: Registry, register: Register, good: TrainingResult
) -> None:
    name = register(good, "one").name
    with pytest.raises(NoSuchVersion) as refused:
        version(registry, name, 7)
    assert_readable(refused.value, name, 7, "its versions (1)")


def test_an_unknown_model_is_refused(registry: Registry) -> None:
    with pytest.raises(NoSuchVersion) as refused:
        version(registry, "nobody", 1)
    assert_readable(refused.value, "nobody")


def test_a_version_that_somebody_made_by_hand_is_refused(
    registry: Registry, register: Register, good: TrainingResult
) -> None:
    made = register(good, "run")
    registry.client.create_model_version(made.name, source=f"runs:/{made.run_id}/model", run_id=made.run_id)
    with pytest.raises(NoSuchVersion) as refused:
        version(registry, made.name, 2)
    assert_readable(refused.value, "digest")


def test_a_version_is_fetched_once(
    registry: Registry, register: Register, good: TrainingResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = register(good, "run")
    path = download(registry, made)
    monkeypatch.setattr(registry.client, "download_artifacts", None)
    assert download(registry, made) == path


def test_a_damaged_copy_is_fetched_again(
    registry: Registry, register: Register, good: TrainingResult, caplog: pytest.LogCaptureFixture
) -> None:
    made = register(good, "run")
    path = download(registry, made)
    (path / "weights.safetensors").write_bytes(b"no weights")
    load_model(download(registry, made), made.digest)
    assert "damaged" in caplog.text


def test_two_that_fetch_a_version_at_the_same_time_both_have_it(
    registry: Registry, register: Register, good: TrainingResult, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = register(good, "run")
    fetch = registry.client.download_artifacts
    others = []

    def fetch_after_another(*arguments: str) -> str:
        fetched: str = fetch(*arguments)
        with monkeypatch.context() as unpatched:
            unpatched.setattr(registry.client, "download_artifacts", fetch)
            others.append(download(registry, made))
        return fetched

    monkeypatch.setattr(registry.client, "download_artifacts", fetch_after_another)
    path = download(registry, made)
    assert others == [path]
    load_model(path, made.digest)
    assert list((state / "models" / made.name).iterdir()) == [path.parent]


def test_weights_that_were_changed_in_the_registry_are_refused(
    registry: Registry, register: Register, good: TrainingResult, state: Path
) -> None:
    made = register(good, "run")
    kept = next((state / "mlflow" / "artifacts").rglob("weights.safetensors"))
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    with pytest.raises(WrongModel) as refused:
        download(registry, made)
    assert_readable(refused.value, made.digest[:12])
    assert not list((state / "models").rglob("weights.safetensors"))


HOSTILE = "/../../../.."


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("digest", HOSTILE),
        ("digest", "0" * 63),
        ("digest", f"{'0' * 64}\n"),
        ("manifest", "../manifest"),
        ("job", "\x1b[2J"),
        ("accuracy", "nan"),
        ("metric", "a metric"),
    ],
)
def test_a_tag_that_somebody_changed_is_refused(
    registry: Registry, register: Register, good: TrainingResult, tag: str, value: str
) -> None:
    made = register(good, "run")
    set_champion(registry, made)
    registry.client.set_model_version_tag(made.name, str(made.number), tag, value)
    if tag == "metric":
        registry.client.set_model_version_tag(made.name, str(made.number), value, "1.0")
    for ask in (lambda: champion(registry, made.name), lambda: version(registry, made.name, made.number)):
        with pytest.raises(NoSuchVersion) as refused:
            ask()
        assert_readable(refused.value, made.name, "another program has changed it")
        assert str(refused.value).isprintable()


def test_a_hostile_tag_removes_and_writes_nothing(
    registry: Registry, register: Register, good: TrainingResult, state: Path
) -> None:
    """With this digest, the copy of the version would be the folder above the state, removed as damaged."""
    made = register(good, "run")
    neighbour = state.parent / "neighbour"
    neighbour.touch()
    hostile = made.model_copy(update={"digest": HOSTILE})
    for _ in range(2):
        with pytest.raises(OutsideRoot):
            download(registry, hostile)
    assert neighbour.exists()
    assert not (state / "models").exists()


@pytest.mark.parametrize("uri", ["file:///etc", "/etc", "file://{state}/mlflow/artifacts/../..", "http://127.0.0.1/x"])
def test_a_server_leads_tasks_to_no_other_folder_of_this_machine(registry: Registry, state: Path, uri: str) -> None:
    server = Registry("http://user:secret@127.0.0.1:5000", registry.client)
    with pytest.raises(WrongStorage) as refused:
        local_artifacts(server, uri.format(state=state))
    assert_readable(refused.value, "user:***@", "--serve-artifacts")
    assert "secret" not in str(refused.value)
    assert local_artifacts(server, "mlflow-artifacts:/1/2/artifacts") is None
    assert local_artifacts(server, f"{state}/mlflow/artifacts/1") == state / "mlflow" / "artifacts" / "1"


def test_a_server_that_is_away_is_one_readable_sentence(
    job: TrainingJob, good: TrainingResult, no_broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = open_registry(f"http://{no_broker.bootstrap_servers}")
    for ask in (
        lambda: champion(away, "model"),
        lambda: version(away, "model", 1),
        lambda: register_version(open_run(away, job.run_identity("run")), good),
    ):
        with pytest.raises(RegistryUnavailable) as refused:
            ask()
        assert_readable(refused.value, no_broker.bootstrap_servers)
