"""A model to predict with."""

from __future__ import annotations

import pytest

from include.prediction.predictor import Predictor
from tests.support.tiny_pipelines import tiny_predictor


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return tiny_predictor()
