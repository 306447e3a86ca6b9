"""A model's files: what was saved is what is loaded, and what was changed is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from include.artifact.card import CARD, WrongModel
from include.artifact.model import WEIGHTS, load_model, model_digest
from tests.support.assertions import assert_readable

if TYPE_CHECKING:
    from include.artifact.result import TrainingResult
    from include.training.job import TrainingJob


@pytest.fixture
def files(good: TrainingResult, tmp_path: Path) -> Path:
    """A model directory of the test's own."""
    return Path(shutil.copytree(good.model_directory, tmp_path / "model"))


def rewrite_card(files: Path, **replaced: object) -> None:
    card = json.loads((files / CARD).read_text())
    (files / CARD).write_text(json.dumps({**card, **replaced}))


def test_it_comes_back_with_all_that_prediction_needs(job: TrainingJob, good: TrainingResult) -> None:
    model = load_model(good.model_directory, good.digest)
    assert model.card.target.labels == job.manifest.labels
    assert model.card.format == job.format
    assert model.card.manifest_id == job.manifest.id
    assert model.digest == good.digest
    assert not model.network.training
    assert model.network(torch.zeros(2, *job.format.sample_shape)).shape == (2, 10)


def test_the_card_says_where_it_comes_from(job: TrainingJob, good: TrainingResult) -> None:
    card = load_model(good.model_directory, good.digest).card
    assert card.manifest == job.manifest
    assert card.job == job.digest
    assert card.metrics.accuracy == good.score
    assert sum(card.train.samples.values()) + sum(card.held_out.samples.values()) == 300
    assert card.software["torch"]


@pytest.mark.parametrize("name", [WEIGHTS, CARD])
@pytest.mark.parametrize("position", [0, -2])
def test_a_flipped_bit_is_refused(files: Path, good: TrainingResult, name: str, position: int) -> None:
    content = bytearray((files / name).read_bytes())
    content[position] ^= 1
    (files / name).write_bytes(content)
    with pytest.raises(WrongModel) as refused:
        load_model(files, good.digest)
    assert_readable(refused.value, good.digest[:12], model_digest(files)[:12])


@pytest.mark.parametrize("name", [WEIGHTS, CARD])
def test_a_missing_file_is_refused(files: Path, good: TrainingResult, name: str) -> None:
    (files / name).unlink()
    with pytest.raises(WrongModel) as refused:
        load_model(files, good.digest)
    assert_readable(refused.value, name)


@pytest.mark.parametrize(
    "replaced",
    [
        {"model": {"kind": "unheard-of"}},
        {"model": {"kind": "convnet", "channels": [5], "hidden": 32}},
        {"format": {"kind": "tensor.raw", "shape": [64]}},
        {"card": 2},
    ],
)
def test_a_card_that_the_code_does_not_fit_is_refused(files: Path, replaced: dict[str, object]) -> None:
    rewrite_card(files, **replaced)
    with pytest.raises(WrongModel) as refused:
        load_model(files, model_digest(files))
    assert_readable(refused.value, files)
