"""Replaces itself by a program that the kernel kills when the starting thread ends, for whatever reason.

Run as a script (`python -I -S die_with_parent.py PARENT_PID PROGRAM ARGUMENT...`), so that no code runs between fork
and exec of a process with threads. Linux only; elsewhere the program starts without this tie.
"""

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
        if os.getppid() != parent:  # the parent died before the call above
            sys.exit(f"the process {parent} that started this broker is gone")
    os.execv(program, sys.argv[2:])  # noqa: S606 - a list, no shell


if __name__ == "__main__":
    main()
