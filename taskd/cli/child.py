"""Run as a script: become a program that is told to end (SIGTERM) when the process PARENT ends, however it ends.

    python child.py PARENT PROGRAM ARGUMENT…

Nobody else can see to that when the parent is killed with SIGKILL. Only Linux has it; elsewhere the program would
stay. It survives exec, so what runs then is the program alone.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)

if __name__ == "__main__":
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it has ended already, before it could be watched
        sys.exit(0)
    os.execv(command[0], command)  # noqa: S606  no shell, and the caller says what to run
