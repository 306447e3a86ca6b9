"""Other software that does the same work, each as a script in an environment of its own.

A script is `NAME.py` beside its pinned packages in `NAME.txt` (`make lock` writes it from `NAME.in`); without these it
runs in the project's own environment.
It imports nothing of Millrace and prints a JSON object: `records`, and the `seconds` and `cpu_seconds` that they
took, without imports and connecting.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.measure import Contender, Run
from include.storage.state import PROJECT_ROOT

FOLDER = Path(__file__).parent
ENVIRONMENTS = PROJECT_ROOT / ".venv" / "peers"
INSTALL = ("pip", "install", "--quiet", "--compile-bytecode", "--require-hashes")
# A download of some hundred megabytes.
INSTALL_S = 600
RUN_S = 300


class PeerMissing(Exception):
    """A peer's environment cannot be made, so its figure is left out."""


class PeerFailed(Exception):
    """A peer ended with an error, or did not end."""


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
        [uv, *INSTALL, "--python", str(own), "-r", str(packages)],
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
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            output, errors = process.communicate(timeout=RUN_S)
        except subprocess.TimeoutExpired:
            raise PeerFailed(f"{script}.py had not ended after {RUN_S} s: run the benchmark alone.") from None
        finally:
            _end(process)
    if process.returncode:
        last = errors.strip().splitlines()[-1:] or ["nothing on stderr"]
        raise PeerFailed(f"{script}.py ended with {process.returncode} ({last[0]}): run it by itself to see why.")
    measured = json.loads(output.splitlines()[-1])
    records = measured["records"]
    return Run(records / measured["seconds"], 1e9 * measured["cpu_seconds"] / records)


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a script that still runs, and whatever it has started."""
    if process.poll() is None:
        script = psutil.Process(process.pid)
        for each in (*script.children(recursive=True), script):
            with suppress(psutil.NoSuchProcess):
                each.kill()
