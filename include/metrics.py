"""How the library reports figures without knowing who collects them; plugins implement it with Airflow's metrics."""

from __future__ import annotations

from typing import Protocol


class Metrics(Protocol):
    """Counters and gauges by a dotted name."""

    def count(self, name: str, value: int) -> None:
        """Add to a counter."""

    def gauge(self, name: str, value: float) -> None:
        """Set a value that goes up and down."""


class NoMetrics:
    """For callers that collect none."""

    def count(self, name: str, value: int) -> None:
        """Drop it."""

    def gauge(self, name: str, value: float) -> None:
        """Drop it."""
