"""Keeps what was reported, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from include.metrics import Counters, Gauges


@dataclass
class RecordedMetrics:
    """Implements `include.metrics.Metrics`."""

    counted: dict[str, int] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)
    spans: list[tuple[str, int, dict[str, str | int]]] = field(default_factory=list)

    def count(self, metric: Counters, value: int, **placeholders: str) -> None:
        name = metric.name_for(**placeholders)
        self.counted[name] = self.counted.get(name, 0) + value

    def gauge(self, metric: Gauges, value: float, **placeholders: str) -> None:
        self.gauges[metric.name_for(**placeholders)] = value

    def span(self, name: str, began_ns: int, attributes: Mapping[str, str | int]) -> None:
        self.spans.append((name, began_ns, dict(attributes)))
