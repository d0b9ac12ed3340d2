"""Runs a program that dies with its parent: ``python guard.py PARENT_PID PROGRAM ARGUMENTS…``.

A script of its own, started by path, so that it costs no imports and nothing happens between fork and exec.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the program; the kernel kills it when the parent's thread that started it ends."""
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - the program that our parent names


if __name__ == "__main__":
    main()
