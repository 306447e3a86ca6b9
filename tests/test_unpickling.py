"""Nothing is unpickled: `make lint` refuses code that would, in every folder including the tests."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from include.storage.state import PROJECT_ROOT

FOLDERS = ["include/feed", "plugins/millrace", "dags", "tests/include", "benchmarks"]
IMPORTS = "import mlflow, numpy as np, pandas as pd, torch\nfrom PIL import ImageFile\n"
REFUSED = [
    "import pickle",
    "from pickle import loads",
    "import _pickle",
    "import dill",
    "import cloudpickle",
    "import joblib",
    "from joblib import load",
    "import jsonpickle",
    "import shelve",
    "import marshal",
    "np.load('array.npy')",
    "np.load('array.npy', allow_pickle=True)",
    "from numpy import load",
    "np.lib.format.read_array(file)",
    "from numpy.lib.format import read_array",
    "pd.read_pickle('table')",
    "torch.load('weights')",
    "torch.load('weights', weights_only=False)",
    "from torch import load",
    "torch.save({}, 'weights')",
    "mlflow.pytorch.load_model('models:/digits/1')",
    "import mlflow.pyfunc",
    "ImageFile.LOAD_TRUNCATED_IMAGES = True",
]


@pytest.mark.parametrize("folder", FOLDERS)
def test_lint_refuses_what_unpickles(folder):
    path = PROJECT_ROOT / folder / "snippet.py"

    checked = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--output-format=json", "--stdin-filename", path, "-"],
        input=IMPORTS + "\n".join(REFUSED),
        cwd=PROJECT_ROOT,
        capture_output=True,
        check=False,
        text=True,
    )

    refused = {found["location"]["row"] for found in json.loads(checked.stdout) if found["code"] == "TID251"}
    rows = enumerate(REFUSED, start=IMPORTS.count("\n") + 1)
    assert [statement for row, statement in rows if row not in refused] == []


def test_no_line_is_exempt():
    """Neither by a comment for the linter, which only `shutil.rmtree` has, nor by NumPy's own argument for it."""
    asked = re.compile(r"noqa\b.*TID251|allow_pickle(?!=False\b)")
    files = [path for folder in FOLDERS for path in (PROJECT_ROOT / folder.split("/")[0]).rglob("*.py")]

    exempt = [
        f"{path}: {line}"
        for path in files
        if path != Path(__file__)
        for line in path.read_text().splitlines()
        if asked.search(line) and "rmtree" not in line
    ]
    assert exempt == []
