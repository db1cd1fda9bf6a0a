"""A file of records that wait for the database: appended, synced to the disk, and read from its beginning.

States     a process opens a file of its own and locks it → appends → has all of it written and empties it → …
           → the process ends, and with it the lock: whoever gets the lock then is the one to write the rest
Invariant  what `append` has returned from is on the disk; a line that is cut short was never said to be there

fault                                   what happens
kill -9                                 the lines stand; the next worker on this machine, or the same one, writes them
kill -9 between the database's commit
  and the emptying                      they are written again, which changes nothing
the disk is full, or the file too long  the record is logged and lost; the task goes on
"""

import fcntl
import logging
import os
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

MOST_BYTES = 64 * 2**20
BATCH_BYTES = 2**20
ENDING = ".jsonl"
log = logging.getLogger("taskd.worker")


class Spool:
    """This process's file in `folder`; there is none until something has to wait. From any thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._file: int | None = None
        self._path = folder / f"{os.getpid()}-{uuid4().hex[:8]}{ENDING}"
        self._read, self._size = 0, 0

    def append(self, line: bytes) -> None:
        """Keep a line; raises OSError where that can't be done."""
        with self._lock:
            if self._size + len(line) >= MOST_BYTES:
                raise OSError(f"{self._path} has reached {MOST_BYTES} bytes")
            if self._file is None:
                self._file = _open_locked(self._path)
            try:
                _write_whole(self._file, line + b"\n")
            except OSError:
                os.ftruncate(self._file, self._size)
                raise
            self._size += len(line) + 1

    def holds(self) -> bool:
        """Whether anything waits."""
        return self._size > self._read

    def oldest(self) -> tuple[list[bytes], int]:
        """Lines in the order in which they came, a batch of them, and where it ends."""
        with self._lock:
            if self._file is None:
                return [], 0
            return _lines(self._file, self._read)

    def settle(self, until: int) -> None:
        """All up to there is written."""
        with self._lock:
            self._read = until
            if self._file is not None and self._read >= self._size:
                os.ftruncate(self._file, 0)
                self._read = self._size = 0

    def close(self) -> None:
        """Leave what waits to others; a file with nothing in it goes."""
        with self._lock:
            if self._file is not None:
                if self._read >= self._size:
                    self._path.unlink(missing_ok=True)
                os.close(self._file)
                self._file = None

    def forget(self) -> None:
        """In a forked child: the file is its parent's."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def anything_waits(folder: Path) -> bool:
    """Whether any process has something in its file."""
    with suppress(FileNotFoundError):
        return any(path.stat().st_size for path in folder.glob(f"*{ENDING}"))
    return True


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


def _write_whole(file: int, line: bytes) -> None:
    """To the disk; raises OSError where it isn't there to the last byte."""
    if os.write(file, line) < len(line):
        raise OSError("the disk is full")
    os.fsync(file)


def _lines(file: int, place: int) -> tuple[list[bytes], int]:
    """Whole lines from `place` on, about BATCH_BYTES of them, and where they end."""
    read = os.pread(file, BATCH_BYTES, place)
    while b"\n" not in read and len(read) and (more := os.pread(file, BATCH_BYTES, place + len(read))):
        read += more
    whole = read[: read.rfind(b"\n") + 1]
    return whole.split(b"\n")[:-1], place + len(whole)
