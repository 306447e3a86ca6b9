"""The C code of this folder, each file compiled as a shared library when it is first needed.

The libraries are no part of an installation: what has to be compiled on the user's machine has to be dispensable. Each
caller has another way without them, which takes longer and has the same results.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from include.errors import MillraceError, one_line
from include.storage.atomic import whole_file
from include.storage.state import make_folder, state_dir

# Set to anything but 0 or false, no C code is used.
NO_NATIVE = "MILLRACE_NO_NATIVE"
FOLDER = Path(__file__).parent
COMPILE_S = 120


class NoLibrary(MillraceError):
    """There is no compiled code here; the text says why."""


def native_library(name: str, *, releases_lock: bool = True) -> ctypes.CDLL:
    """The library of `<name>.c`.

    Args:
        releases_lock: whether other threads may run Python meanwhile. A call of a microsecond keeps Python's lock,
            since it would wait longer to get it back.

    Raises:
        NoLibrary: it is not wanted, there is no compiler or it failed, or others could replace the library.
    """
    if os.environ.get(NO_NATIVE, "").lower() not in ("", "0", "false"):
        raise NoLibrary(f"{NO_NATIVE} is set")
    try:
        path = str(_compiled(FOLDER / f"{name}.c"))
        return ctypes.CDLL(path) if releases_lock else ctypes.PyDLL(path)
    except NoLibrary:
        raise
    except (OSError, MillraceError, subprocess.SubprocessError) as error:
        raise NoLibrary(one_line(error)) from error


def _compiled(source: Path) -> Path:
    """The source as a shared library in the state folder."""
    folder = state_dir() / "native"
    make_folder(folder, private=True)
    found = folder.stat()
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NoLibrary(f"others can write to {folder}")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    target = folder / f"{source.stem}-{digest}-{platform.system()}-{platform.machine()}.so"
    if not target.exists():
        command = _compiler()
        with whole_file(target) as aside:
            subprocess.run(
                [*command, "-O2", "-shared", "-fPIC", "-o", str(aside), str(source)],
                check=True,
                capture_output=True,
                timeout=COMPILE_S,
            )
    return target


def _compiler() -> list[str]:
    """The system's C compiler, or the one of the package ziglang.

    Raises:
        NoLibrary: there is neither.
    """
    if (found := shutil.which("cc")) is not None:
        return [found]
    if find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    raise NoLibrary("no C compiler is installed: neither cc nor the Python package ziglang")
