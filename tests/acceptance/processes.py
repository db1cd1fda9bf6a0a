"""Programs under test, as processes: started in a folder, watched by what they print, always ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import SLACK

TASKD = [sys.executable, "-m", "taskd"]
HEARING = [
    "env",
    "--default-signal=INT",
]  # as in a terminal: what a shell starts in its background has Ctrl-C ignored


def environment(**more: str) -> dict[str, str]:
    """This process's, without settings of taskd that happen to be in it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TASKD_")}
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}", **more}


class Running:
    """A process with its own group; stdout and stderr go to one file."""

    def __init__(self, command: list[str], folder: Path, **more: str) -> None:
        self._output = folder / f"output-{os.urandom(4).hex()}"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*HEARING, *command],
                cwd=folder,
                env=environment(**more),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """All that it has printed."""
        return self._output.read_text()

    def ended(self) -> bool:
        """Whether it has."""
        return self.process.poll() is not None

    def stop(self, number: signal.Signals = signal.SIGINT, within: float = 20) -> int:
        """Signal it and wait; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(within * SLACK)


@contextmanager
def running(command: list[str], folder: Path, **more: str) -> Iterator[Running]:
    """A process for the length of a block."""
    process = Running(command, folder, **more)
    try:
        yield process
    finally:
        process.process.kill()
        process.process.wait()


def taskd(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Call the command line to its end."""
    return subprocess.run(
        [*TASKD, *words],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def children(pid: int) -> set[int]:
    """Its child processes."""
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return set()
    return set(map(int, listed.split()))


def alive(pid: int) -> bool:
    """Whether it still does something: neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
