"""Millrace's figures as Airflow metrics, `millrace.<pipeline>.<figure>`."""

from __future__ import annotations

from airflow.sdk.observability.stats import Stats


class AirflowMetrics:
    """Implements `include.metrics.Metrics` with whatever backend Airflow is configured for."""

    def count(self, name: str, value: int) -> None:
        """Add to a counter."""
        if value:
            Stats.incr(f"millrace.{name}", value)

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        Stats.gauge(f"millrace.{name}", value)
