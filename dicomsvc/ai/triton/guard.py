"""Runs a program that dies with its parent: ``python guard.py PARENT_PID PROGRAM ARGUMENTS…``.

A script of its own, started by path, so that it costs no imports and nothing happens between fork and exec.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_FIRST_TO_BE_KILLED = "600"


def main() -> None:
    """Become the program; the kernel kills it when the parent's thread that started it ends."""
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _offer_to_be_killed()
    if os.getppid() != int(parent):
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - the program that our parent names


def _offer_to_be_killed() -> None:
    """Have the kernel, when memory is short, take this and what it starts before a database or the worker."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123 - no imports
            file.write(_FIRST_TO_BE_KILLED)
    except OSError:
        pass


if __name__ == "__main__":
    main()
