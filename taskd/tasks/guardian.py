"""Run as a script: start a program in a session of its own, and end all of it when whoever asked for it is gone.

    python guardian.py LIFELINE PROGRAM ARGUMENT…

LIFELINE is the reading end of a pipe, by number. Its other end is the task's: it closes when the task gives up, and
also when its process is killed, as at a hard time limit. Then the program's whole process group is told to end, and
after GRACE seconds killed. Ends with the program's status, or 128 + the signal that ended it, as a shell does.
"""

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress

GRACE = 5.0  # seconds between SIGTERM and SIGKILL
IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # the lifeline alone decides when it ends


def main(lifeline: int, command: list[str]) -> int:
    """Until the program ends, or the lifeline does."""
    program = subprocess.Popen(command, start_new_session=True)  # noqa: S603  no shell; run_command has checked it
    ended = os.pidfd_open(program.pid)
    ready, _, _ = select.select([ended, lifeline], [], [])
    if ended not in ready:
        _signal(program.pid, signal.SIGTERM)
        select.select([ended], [], [], GRACE)
        _signal(program.pid, signal.SIGKILL)  # what it started may still be there when it has ended
    status = program.wait()
    return status if status >= 0 else 128 - status


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


if __name__ == "__main__":
    for each in IGNORED:
        signal.signal(each, lambda *_: None)  # a handler, unlike SIG_IGN, isn't handed on to the program
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
