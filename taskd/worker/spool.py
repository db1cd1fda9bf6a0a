"""Files of records that wait for the database: appended, read from the oldest on, deleted once all of one is written.

States     a process opens a file of its own and locks it → appends → the file is taken to be read, and what comes next
           goes to another → all of it is written: it is deleted
           → the process ends, and with it its locks: whoever gets a lock then is the one to write the rest
Invariant  what `append` has returned from outlives its process and, if `synced`, its machine's power; a line that is cut
           short was never said to be there

fault                                   what happens
kill -9                                 the lines stand; the next worker on this machine, or the same one, writes them
kill -9 between the database's commit
  and the deletion                      they are written again, which changes nothing
power is cut                            what wasn't synced may be gone
the disk is full, or too much waits     `append` says so, and leaves nothing behind
"""

import fcntl
import os
import threading
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

MOST_BYTES = 64 * 2**20
BATCH_BYTES = 2**20
ENDING = ".jsonl"


class Spool:
    """This process's files in `folder`; there are none unless something waits. From any thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._stem = f"{os.getpid()}-{uuid4().hex[:8]}"
        self._files: deque[tuple[int, int]] = deque()  # number and descriptor, the oldest first
        self._number = 0  # the last that was given out
        self._appended_to = 0  # the file that takes more, if there is any
        self._read = self._bytes = 0

    def append(self, line: bytes, *, synced: bool = True) -> None:
        """Keep a line; raises OSError where that can't be done."""
        with self._lock:
            if self._bytes + len(line) >= MOST_BYTES:
                raise OSError(f"{self.folder} has reached {MOST_BYTES} bytes")
            if not self._appended_to:
                self._number += 1
                self._files.append((self._number, _open_locked(self._path(self._number))))
                self._appended_to = self._number
            _write_whole(self._files[-1][1], line + b"\n", synced=synced)
            self._bytes += len(line) + 1

    @property
    def last(self) -> int:
        """The number of the file that was opened last."""
        return self._number

    def holds(self, until: int | None = None) -> bool:
        """Whether anything waits, or anything of the files up to that number."""
        with self._lock:
            return bool(self._files) and (until is None or self._files[0][0] <= until)

    def oldest(self) -> tuple[list[bytes], int]:
        """Lines in the order in which they came, a batch of them, and where it ends."""
        with self._lock:
            if not self._files:
                return [], 0
            number, file = self._files[0]
            if number == self._appended_to:
                self._appended_to = 0
            return _lines(file, self._read)

    def settle(self, until: int) -> None:
        """All up to there is written."""
        with self._lock:
            if self._files:
                number, file = self._files[0]
                self._read = until
                if until >= os.fstat(file).st_size:
                    self._path(number).unlink(missing_ok=True)
                    self._bytes -= until
                    self._read = 0
                    os.close(self._files.popleft()[1])

    def close(self) -> None:
        """Leave what waits to others."""
        with self._lock:
            self._let_go()

    def forget(self) -> None:
        """In a forked child: the files are its parent's."""
        self._let_go()

    def _let_go(self) -> None:
        while self._files:
            os.close(self._files.popleft()[1])
        self._appended_to = self._read = self._bytes = 0

    def _path(self, number: int) -> Path:
        return self.folder / f"{self._stem}-{number:012}{ENDING}"  # in their order by name


def waiting(folder: Path) -> set[Path]:
    """The files of all processes: each has something in it, and is gone once that is written."""
    return set(folder.glob(f"*{ENDING}"))


def left_over(folder: Path) -> Generator[list[bytes], None, None]:
    """What processes that have ended left in their files, in batches; each file is deleted once all of it was taken."""
    for path in sorted(folder.glob(f"*{ENDING}")):
        with suppress(OSError), _taken_over(path) as file:
            place = 0
            while True:
                lines, place = _lines(file, place)
                if not lines:
                    break
                yield lines
            path.unlink(missing_ok=True)


@contextmanager
def _taken_over(path: Path) -> Iterator[int]:
    """Raises BlockingIOError while its process lives."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file
    finally:
        os.close(file)


def _open_locked(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    while True:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return file
        os.close(file)  # somebody took it for a left-over one before it was locked


def _write_whole(file: int, line: bytes, *, synced: bool) -> None:
    """Raises OSError where it isn't there to the last byte, and then leaves nothing of it."""
    size = os.fstat(file).st_size
    try:
        written = os.write(file, line)
        if synced:
            os.fsync(file)
    except OSError:
        os.ftruncate(file, size)
        raise
    if written < len(line):
        os.ftruncate(file, size)
        raise OSError("the disk is full")


def _lines(file: int, place: int) -> tuple[list[bytes], int]:
    """Whole lines from `place` on, about BATCH_BYTES of them, and where they end."""
    read = os.pread(file, BATCH_BYTES, place)
    while b"\n" not in read and len(read) and (more := os.pread(file, BATCH_BYTES, place + len(read))):
        read += more
    whole = read[: read.rfind(b"\n") + 1]
    return whole.split(b"\n")[:-1], place + len(whole)
