"""Becomes the program it is given, which the kernel then kills when the starting thread ends, however it ends.

Run as a script (`python -I -S tied.py PARENT_PID PROGRAM ARGUMENT...`), so that nothing runs between fork and exec of a
process that has threads. Only Linux knows how; elsewhere the program is started just so.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent and replace it by the program."""
    parent, program = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the kernel was told
            sys.exit(f"the process {parent} that started this broker is gone")
    os.execv(program, sys.argv[2:])  # noqa: S606 - a list, no shell


if __name__ == "__main__":
    main()
