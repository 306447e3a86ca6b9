"""Other software that does the same work, each as a script in an environment of its own.

A script is `NAME.py` beside its pinned packages in `NAME.txt`; without these it runs in the project's own environment.
It imports nothing of Millrace and prints a JSON object: `records`, and the `seconds` and `cpu_seconds` that they
took, without imports and connecting.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Contender, Run
from include.storage.state import PROJECT_ROOT

FOLDER = Path(__file__).parent
ENVIRONMENTS = PROJECT_ROOT / ".venv" / "peers"
# A download of some hundred megabytes.
INSTALL_S = 600
RUN_S = 300


class PeerMissing(Exception):
    """A peer's environment cannot be made, so its figure is left out."""


def contender(script: str, name: str, *arguments: str) -> dict[str, Contender]:
    """A peer by its name; none, and a line that says why, where its packages cannot be installed."""
    try:
        python = _installed(script)
    except PeerMissing as reason:
        print(reason, file=sys.stderr)
        return {}
    return {name: lambda: _run(python, script, *arguments)}


def _installed(script: str) -> Path:
    """The interpreter of a script's environment, which is made where it is missing."""
    python = Path(sys.executable)
    packages = FOLDER / f"{script}.txt"
    if not packages.exists():
        return python
    uv, environment = str(python.with_name("uv")), ENVIRONMENTS / script
    own = environment / "bin" / "python"
    for command in (
        [uv, "venv", "--quiet", "--allow-existing", "--python", str(python), str(environment)],
        [uv, "pip", "install", "--quiet", "--python", str(own), "-r", str(packages)],
    ):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_S)
        except (OSError, subprocess.SubprocessError) as error:
            lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise PeerMissing(
                f"The packages of {packages.name} cannot be installed ({lines[-1]}), so it is left out: run the "
                "benchmark where the package index is reached."
            ) from error
    return own


def _run(python: Path, script: str, *arguments: str) -> Run:
    command = [str(python), str(FOLDER / f"{script}.py"), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=RUN_S)
    measured = json.loads(done.stdout.splitlines()[-1])
    records = measured["records"]
    return Run(records / measured["seconds"], 1e9 * measured["cpu_seconds"] / records)
