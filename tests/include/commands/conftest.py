"""Torch's global settings put back after a training in the test's own process."""

from tests.include.training.conftest import torch_settings

__all__ = ["torch_settings"]
