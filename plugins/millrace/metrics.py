"""Hands Millrace's metrics to Airflow's, which sends them to StatsD, Datadog or OpenTelemetry; see docs/metrics.md."""

from __future__ import annotations

from airflow.sdk.observability.stats import Stats

from include.metrics import Counters, Gauges

PREFIX = "millrace"


class AirflowMetrics:
    """Implements `include.metrics.Metrics` with the backend that Airflow is configured for, or none."""

    def count(self, metric: Counters, value: int, **placeholders: str) -> None:
        """Add to a counter; zero is not sent."""
        if value:
            Stats.incr(f"{PREFIX}.{metric.name_for(**placeholders)}", value)

    def gauge(self, metric: Gauges, value: float, **placeholders: str) -> None:
        """Set a gauge."""
        Stats.gauge(f"{PREFIX}.{metric.name_for(**placeholders)}", value)
