"""Pipelines over topics that other applications fill, such as the popular article's, with kafka-python at both ends."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

from include.definition.pipeline import Pipeline
from include.storage.state import PROJECT_ROOT

SERVERS = "127.0.0.1:9092"

_DOCS = (PROJECT_ROOT / "docs" / "pipelines.md").read_text(encoding="utf-8")
_SECTION = _DOCS.split("## Topics that someone else fills\n")[1].split("### How records are read\n")[0]

# The blocks of the documentation, as a reader copies them.
(ARTICLE,) = re.findall(r"^```toml\n(.*?)^```", _SECTION, re.MULTILINE | re.DOTALL)
PRODUCER, LABELLER, CONSUMER = re.findall(r"^```python\n(.*?)^```", _SECTION, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^millrace (topic create .*)$", _SECTION, re.MULTILINE)

# In place of an installation without it.
WITHOUT_LZ4 = "import sys\nsys.modules['lz4'] = None\n"


def run_as_copied(program: str) -> str:
    """The output of a program in its own process, as a reader of the documentation runs it."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def external_pipeline(name: str, **tables: Any) -> Pipeline:
    """A pipeline over external topics of four numbers; the label is the letter of the largest of the first three.

    Args:
        tables: replace or add tables of its file.
    """
    values = {
        "name": name,
        "description": "Which of three numbers is the largest?",
        "topics": {"samples": f"{name}-theirs", "requests": f"{name}-theirs"},
        "format": {"kind": "tensor.raw", "shape": [4], "dtype": "float32"},
        "envelope": {"kind": "bare"},
        "model": {"kind": "convnet"},
        "training": {"labels": ["a", "b", "c"], "schedule": "0 * * * *"},
        "prediction": {"schedule": "0 * * * *"},
    }
    return Pipeline.model_validate({**values, **tables})
