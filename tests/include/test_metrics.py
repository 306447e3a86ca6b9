"""The list of metrics: each name once, each report a member of it, and the page made from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from include.metrics import Counters, Gauges, Metric
from include.storage.state import PROJECT_ROOT
from tests.support.metrics_page import markdown, shown

METRICS: list[Metric] = [*Counters, *Gauges]
CODE = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("include", "plugins")
    for path in Path(PROJECT_ROOT / folder).rglob("*.py")
)


def test_every_name_is_listed_once() -> None:
    names = [metric.value.name for metric in METRICS]

    assert len(set(names)) == len(names)
    # Two members with equal definitions would be one member with two names.
    assert len(Counters.__members__) + len(Gauges.__members__) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=str)
def test_a_metric_is_whole_and_named_as_statsd_and_opentelemetry_take_it(metric: Metric) -> None:
    defined = metric.value
    placeholders = dict.fromkeys(re.findall(r"<(\w+)>", defined.name), "x" * 63)

    assert re.fullmatch(r"[a-z_.0-9x]{1,200}", metric.name_for(**placeholders))
    assert all((defined.unit, defined.meaning, defined.action))


@pytest.mark.parametrize("metric", METRICS, ids=str)
def test_every_listed_metric_is_reported_by_some_code(metric: Metric) -> None:
    assert re.search(rf"\.(count|gauge)\({metric}\b", CODE)


def test_a_name_has_all_of_its_placeholders_filled() -> None:
    assert Gauges.BACKLOG_OFFSETS.name_for(pipeline="digits", step="train") == "digits.train.backlog_offsets"
    with pytest.raises(KeyError, match="step"):
        Gauges.BACKLOG_OFFSETS.name_for(pipeline="digits")


def test_the_page_is_made_from_the_list() -> None:
    assert shown() == markdown(), "run `python -m tests.support.metrics_page`"
