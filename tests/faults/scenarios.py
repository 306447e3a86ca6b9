"""The scenarios of the suite by name, in the order in which they run."""

from __future__ import annotations

from importlib import import_module

from tests.faults.rows import Row, Setting

# Each is a module of this package with `run(setting: Setting) -> list[Row]`.
SCENARIOS = ("kills", "control", "brokers", "election", "stuck", "scheduler", "disk", "week")
# Those that have a short version, or are short: three minutes in all.
SHORT = ("kills", "control", "brokers", "stuck", "disk", "week")


def run_scenario(name: str, setting: Setting) -> list[Row]:
    """Run one scenario; its module is imported here because some import torch or Airflow."""
    rows: list[Row] = import_module(f"tests.faults.{name}").run(setting)
    assert rows, f"{name} inflicted no fault"
    return rows
