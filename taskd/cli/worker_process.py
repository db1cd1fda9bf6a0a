"""The worker that `taskd dev` keeps: a process group of its own, restarted when it dies, ended with its parent.

end of dev                  end of the worker
stop is set                 SIGTERM: it takes nothing new, and finishes what it has begun for at most PATIENCE
dev is killed (SIGKILL)     the kernel sends it SIGTERM (child.py)
Ctrl-C on the terminal      reaches dev only: the worker is in another group
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from taskd import clock
from taskd.cli import child
from taskd.clock import waited

PATIENCE = 10.0  # seconds between asking it to end and killing it
HEEDED = 2.5  # seconds until Celery has certainly heeded SIGTERM: its loop looks up every 2 s
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds before a restart
SETTLED = 60.0  # seconds: one that lived so long begins anew with the first pause
log = logging.getLogger("taskd.dev")


class WorkerProcess:
    """Keeps a worker running; what it prints goes to the file `output`, emptied at first.

    `command` is asked at each start; `busy` tells whether tasks are under way.
    """

    name = "worker"
    needs_lease = None

    def __init__(self, command: Callable[[], list[str]], output: Path, busy: Callable[[], bool]) -> None:
        self._command, self._output, self._busy = command, output, busy

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then the worker has ended."""
        self._output.write_bytes(b"")
        pause = FIRST_PAUSE
        while not stop.is_set():
            began = clock.monotonic()
            status = await self._live(stop)
            if stop.is_set():
                return
            pause = FIRST_PAUSE if clock.monotonic() - began > SETTLED else pause
            log.error("the worker ended with status %s, see %s; again in %g s", status, self._output, pause)
            await waited(stop, pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _live(self, stop: asyncio.Event) -> int:
        """One life: until it ends by itself, or is ended because of `stop`."""
        command = await asyncio.to_thread(self._command)
        with self._output.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", child.__file__, str(os.getpid()), *command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        stopped, ended = asyncio.create_task(stop.wait()), asyncio.create_task(process.wait())
        try:
            await asyncio.wait({stopped, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                with suppress(ProcessLookupError):  # it has ended, and nobody has heard of it yet
                    process.terminate()
                await self._wait_for_end(ended)
        finally:
            stopped.cancel()
            _kill_group(process.pid)
        return await ended

    async def _wait_for_end(self, ended: asyncio.Task[int]) -> None:
        """Not longer than needed: an idle Celery takes seconds to wind up threads that have nothing to do."""
        give_up = clock.monotonic() + PATIENCE
        await asyncio.wait({ended}, timeout=HEEDED)
        while not ended.done() and await asyncio.to_thread(self._busy):
            if clock.monotonic() > give_up:
                log.warning("the worker is still busy after %g s: killing it", PATIENCE)
                return
            await asyncio.wait({ended}, timeout=0.2)


def _kill_group(leader: int) -> None:
    """The pool's processes too: a worker that was killed can't end them."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
