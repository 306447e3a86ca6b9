"""The network for rows: a vector for each category beside the numbers."""

from __future__ import annotations

import pytest
import torch

from include.definition.pipeline import Pipeline
from include.models.rows import UNKNOWN, RowInputs, RowNet
from include.network.build import build_network
from include.network.check import check_trainable
from include.targets.classification import Classification
from tests.support.assertions import assert_readable

NET = RowNet(dimensions=3, hidden=(4,), dropout=0.0, inputs=RowInputs(numbers=2, categories=2, codes=5))
TARGET = Classification(("a", "b"))


def test_it_can_be_trained_saved_and_loaded():
    check_trainable(NET, (4,), TARGET, file="x.toml")


def test_each_category_has_vectors_of_its_own():
    network = build_network(NET, (4,), TARGET, file="x.toml")
    rows = torch.tensor([[0.0, 0, 2, 3], [0, 0, 3, 2]])
    embedded = network[0](rows)
    assert embedded.shape == (2, 2 + 2 * 3)
    assert not torch.equal(embedded[0, 2:5], embedded[1, 5:8])


def test_an_unknown_text_has_a_zero_vector_before_it_is_learnt():
    network = build_network(NET, (4,), TARGET, file="x.toml")
    assert network[0](torch.tensor([[1.5, -1, UNKNOWN, UNKNOWN]])).tolist() == [[1.5, -1, *[0.0] * 6]]


def test_the_pipeline_gives_it_the_inputs_of_its_format():
    tables = {
        "name": "people",
        "description": "?",
        "source": {"kind": "digits"},
        "format": {"kind": "row", "numbers": ["a"], "categories": ["b", "c"], "missing": "mark", "vocabulary": 7},
        "model": {"kind": "rows"},
        "training": {"labels": ["x", "y"]},
    }
    pipeline = Pipeline.model_validate(tables)
    assert pipeline.sized_model.inputs == RowInputs(numbers=2, categories=2, codes=9)
    assert build_network(pipeline.sized_model, pipeline.format.input_shape, TARGET, file="x.toml")


@pytest.mark.parametrize("net", [RowNet(), NET])
def test_it_takes_rows_only(net):
    with pytest.raises(ValueError, match="kind 'row'") as refused:
        net.build((1, 8, 8), 10)
    assert_readable(refused.value, (1, 8, 8))
