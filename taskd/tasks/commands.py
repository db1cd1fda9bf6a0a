"""Run a program: what crontabs do. Off unless `tasks.run_command.allow` lists the program.

fault                                    what becomes of the program
the soft time limit, revoke, any error   its process group gets SIGTERM, and 5 s later SIGKILL (guardian.py)
the hard time limit, a killed worker     the same: the guardian sees that its lifeline is cut
it leaves something behind that runs     that goes on, as under cron; the run ends with the program itself
"""

import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from celery import shared_task

from taskd.errors import CommandFailed, ConfigError
from taskd.tasks import guardian
from taskd.worker.connection import settings_of
from taskd.worker.task import BaseTask

KEPT = 16 * 1024  # bytes of output, the last ones
TOLD = 2_000  # characters of it in an error
_PIPE = 1024 * 1024  # bytes: no pipe holds more, so one more look after the end sees all of it


@shared_task(base=BaseTask, bind=True, name="taskd.tasks.run_command")
def run_command(
    self: BaseTask,
    argv: Sequence[str],
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    expected_status: int | Sequence[int] = 0,
) -> dict[str, Any]:
    """Run the program `argv[0]` with its arguments, without a shell, in `cwd`, with `env` on top of the worker's.

    Returns its status, the seconds it took and the end of what it wrote (stdout and stderr together). Raises
    ConfigError where `tasks.run_command.allow` doesn't list it, CommandFailed for a status that isn't expected.
    It isn't retried: who wrote it knows whether that does harm.
    """
    program = _allowed(argv, settings_of(self.app).tasks.run_command.allow)
    began = time.monotonic()
    with _started([program, *argv[1:]], cwd, _environment(env or {}), stdin) as process:
        written, dropped = _output_of(process)
        status = process.wait()
    seconds = round(time.monotonic() - began, 3)
    output = written.decode("utf-8", "replace")
    if status not in ([expected_status] if isinstance(expected_status, int) else expected_status):
        told = f", its last words: {output.strip()[-TOLD:]}" if output.strip() else " without a word"
        raise CommandFailed(f"{argv[0]} ended with status {status} after {seconds} s{told}")
    cut = {"output_dropped_bytes": dropped} if dropped else {}
    return {"status": status, "seconds": seconds, "output": output, **cut}


def _allowed(argv: Sequence[str], allow: Sequence[str]) -> str:
    """The program's path, looked for as the worker does and not as `env` may say."""
    if isinstance(argv, str) or not argv or not all(isinstance(word, str) for word in argv):
        raise ConfigError("argv should be a list of texts: the program, then its arguments")
    name = argv[0]
    if "/" in name and not Path(name).is_absolute():
        raise ConfigError(f"{name!r}: name the program alone, or by its whole path")
    listed = {_place(each) for each in allow}
    program = _place(name)
    if program is None and name in allow:
        raise ConfigError(f"{name!r} isn't on this worker's machine, or can't be executed")
    if program is None or program not in listed:
        raise ConfigError(
            f"{name!r} isn't allowed on this worker: list it in tasks.run_command.allow of its taskd.yaml"
        )
    return program


def _place(name: str) -> str | None:
    """Where the worker finds it. /bin may be /usr/bin, but a link stays itself: all of BusyBox is one program."""
    found = shutil.which(name)
    return found and str(Path(found).parent.resolve() / Path(found).name)


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    if loader := sorted(name for name in given if name.startswith("LD_")):
        raise ConfigError(f"env: {', '.join(loader)} would let an allowed program run another one's code")
    return {**os.environ, **given}


@contextmanager
def _started(
    command: list[str], cwd: str | None, env: Mapping[str, str], stdin: str | None
) -> Iterator[subprocess.Popen[bytes]]:
    """The guardian with the program; whatever ends the block ends both."""
    reading, lifeline = os.pipe()
    with tempfile.TemporaryFile() as words:
        words.write((stdin or "").encode())
        words.seek(0)
        try:
            process = subprocess.Popen(  # noqa: S603  no shell, and the program is one that is allowed
                [sys.executable, "-I", guardian.__file__, str(reading), *command],
                stdin=words,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=env,
                pass_fds=[reading],
                start_new_session=True,  # what kills the worker's group leaves it to end the program
            )
        except BaseException:
            os.close(lifeline)
            raise
        finally:
            os.close(reading)
    try:
        yield process
    finally:
        os.close(lifeline)
        if process.stdout:
            process.stdout.close()
        process.wait()


def _output_of(process: subprocess.Popen[bytes]) -> tuple[bytes, int]:
    """The last KEPT bytes that it wrote until it ended, and how many came before them.

    What it left running may hold the pipe open for ever: the end of the program counts, not that of the pipe.
    """
    assert process.stdout is not None
    pipe, ended = process.stdout.fileno(), os.pidfd_open(process.pid)
    os.set_blocking(pipe, False)
    kept, dropped, over = bytearray(), 0, False
    try:
        while not over:
            over = ended in select.select([pipe, ended], [], [])[0]
            chunk = _read(pipe)
            over = over or chunk == b""
            kept += chunk or b""
            dropped += max(0, len(kept) - KEPT)
            del kept[:-KEPT]
    finally:
        os.close(ended)
    return bytes(kept), dropped


def _read(pipe: int) -> bytes | None:
    """What is there, at most what a pipe holds; b"" at its end, None if nothing is there."""
    try:
        return os.read(pipe, _PIPE)
    except BlockingIOError:
        return None
