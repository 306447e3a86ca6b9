"""The global settings of torch, which a training loop in the test's own process changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def restored_torch_settings() -> Iterator[None]:
    """Restore threads and deterministic mode at the end of the block."""
    import torch

    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(mode)
