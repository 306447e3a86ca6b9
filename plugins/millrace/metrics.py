"""Hands Millrace's metrics to Airflow's, which sends them to StatsD, Datadog or OpenTelemetry; see docs/metrics.md."""

from __future__ import annotations

from airflow.sdk.observability.stats import Stats

from include.metrics import Counters, Gauges, Metrics

PREFIX = "millrace"


class AirflowMetrics(Metrics):
    """Reports to the backend that Airflow is configured for, or to none."""

    def count(self, metric: Counters, value: int, **placeholders: str) -> None:
        if value:  # zero is not sent
            Stats.incr(f"{PREFIX}.{metric.name_for(**placeholders)}", value)

    def gauge(self, metric: Gauges, value: float, **placeholders: str) -> None:
        Stats.gauge(f"{PREFIX}.{metric.name_for(**placeholders)}", value)
