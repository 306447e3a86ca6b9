"""`make bench` runs, briefly and without its figures being compared."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
import typer

from benchmarks import division, idle, images, ingest, latency, run, training


@pytest.mark.long
@pytest.mark.timeout(2400)  # Ray starts four times, in minutes beside other work
def test_every_scenario_measures_something(tmp_path, monkeypatch):
    """With little data; most ratios are below their targets then, which is no failure here."""
    for module, name, value in (
        (idle, "REQUESTS", 1),
        (images, "RECORDS", 256),
        (images, "PHOTOGRAPHS", 16),
        (ingest, "FILES", 256),
        (latency, "REQUESTS", 20),
        # Processor time is counted in steps of 10 ms.
        (run, "PRODUCED", 4_000),
        (training, "WARM_UP", 1_000),
    ):
        monkeypatch.setattr(module, name, value)
    path = tmp_path / "benchmarks.json"

    with suppress(typer.Exit):
        run.main(seed=1, records=4_000, repeats=1, only="", figures=path)

    content = json.loads(path.read_text())
    figures = {figure["name"]: figure for figure in content["figures"]}
    assert {name.partition(",")[0] for name in figures} == {
        "a run that finds nothing",
        "photographs",
        "feed",
        "produce",
        "ingest of a folder of photographs",
        "consume",
        "memory of a training",
        "memory of a prediction",
        "training",
        *(["prediction by 2 tasks"] if division.has_processors() else []),
    }
    measured = ("ours", "limit", "cpu_ns")
    assert [name for name, figure in figures.items() if min(figure[part] for part in measured) <= 0] == []
    assert 0 < content["latency_with_linger_s"] < 60
    assert 0 < content["latency_from_idle_s"] < 600
