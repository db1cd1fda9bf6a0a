"""Writes what a process has to say about runs, without ever holding a task up for long.

States     the database is there: what is told goes into the spool, and from there into the database at once, but not more
           often than every EVERY s: then together → a write fails, or something that was asked has no answer in time:
           the database is away → records are synced to the disk, a thread tries with growing pauses → the spool is
           written, oldest first: the database is there
Invariant  a process' records are written in their order

fault                                   what happens
the database is away, locked, full      records wait in the spool; it is tried up to every LONGEST_PAUSE seconds
the database hangs                      the same; the thread that hangs there holds up nothing but itself
a commit's answer is lost, or comes
  after nobody waits for it any more    the record is written again, which changes nothing
a record can't be written at all        it goes to `refused` beside the spool, with an error in the log
the process is killed                   the next start of a worker here, or a living one, writes its spool
the machine is lost with its disk       what was told in the last EVERY s is lost: those runs become LOST
the spool can't be written              the record is told to the database while its task waits
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from celery import Celery
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from taskd.clock import monotonic
from taskd.errors import DatabaseUnavailable
from taskd.store import records
from taskd.store.database import Database
from taskd.store.records import Record
from taskd.worker.connection import database_of, held_over_forks, settings_of
from taskd.worker.errands import Errands
from taskd.worker.spool import Spool, left_over, waiting

T = TypeVar("T")
log = logging.getLogger("taskd.worker")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two tries
LOOK = 5.0  # seconds between two looks for what ended processes have left
PATIENCE = 0.3  # seconds for which a busy database is asked again while forks wait
EVERY = 0.05  # seconds between two transactions: what is told meanwhile goes into one
DIRECTLY = 0.8  # seconds for what the spool can't take
_AWAY = (DatabaseUnavailable, SQLAlchemyError)
_HOPELESS = (DataError, IntegrityError, ValueError, TypeError, KeyError)


class Scribe:
    """One for each process and database; from any thread."""

    def __init__(self, database: Database, folder: Path, errands: int = 1) -> None:
        self.database, self.spool = database, Spool(folder)
        self._errands = Errands(errands, "taskd-errand")
        self._told, self._there, self._stopping = (threading.Event() for _ in range(3))
        self._there.set()
        self._pause = FIRST_PAUSE
        self._passing: dict[tuple[str, bool], Record] = {}  # by run, and whether it is progress or a log
        self._lock, self._appending = threading.Lock(), threading.Lock()
        self._written = threading.Condition()  # something of the spool is
        self._thread: threading.Thread | None = None
        self._adopts = False

    def ask(self, work: Callable[[], T], within: float) -> T:
        """`work()`, which reads or writes the database. Raises DatabaseUnavailable or its own error, in time."""
        if not self._there.is_set():
            raise DatabaseUnavailable("the database was away a moment ago")
        answer = self._errands.give(lambda: self._guarded(work))
        try:
            return answer.result(within)
        except TimeoutError as error:
            answer.cancel()
            self._lost(f"no answer within {within:g} s")
            raise DatabaseUnavailable(f"the database gave no answer within {within:g} s") from error
        except _AWAY as error:
            if not isinstance(error, IntegrityError | DataError):
                self._lost(str(error))
            raise

    def wait(self, work: Callable[[], T], patience: float | None, within: float) -> T:
        """As `ask`, again whenever the database is there; raises the last error after `patience` s (None: never)."""
        deadline = None if patience is None else monotonic() + patience
        while True:
            self._there.wait(None if deadline is None else max(deadline - monotonic(), 0))
            try:
                return self.ask(work, within)
            except _AWAY:
                if deadline is not None and monotonic() >= deadline:
                    raise

    def wait_for_spools(self, patience: float) -> None:
        """Until what waits in any process of this machine is written, or for `patience` s."""
        deadline, then = monotonic() + patience, waiting(self.spool.folder)
        while then & waiting(self.spool.folder) and monotonic() < deadline:
            time.sleep(EVERY)

    def tell(self, record: Record) -> None:
        """Have it written. Of what passes only the last counts, and nothing while the database is away."""
        if record.passes:
            if self._there.is_set():
                self._passing[record.task_id, record.log is None] = record
                self._start()
                self._told.set()
            return
        try:
            self.keep(record)
        except BaseException:  # such as a soft time limit, in the midst of it
            self.keep(record)
            raise

    def keep(self, record: Record) -> None:
        """Into the spool: it will be written, after what has passed before it."""
        with self._appending:
            for kind in (True, False):
                if passing := self._passing.pop((record.task_id, kind), None):
                    self._append(passing)
            self._append(record)
        self._start()
        self._told.set()

    def catch_up(self, within: float) -> None:
        """Wait until all that was told is written, or the database is away, or for so many seconds."""
        last = self.spool.last
        with self._written:
            self._written.wait_for(lambda: not (self._there.is_set() and self.spool.holds(last)), within)

    def adopt(self) -> None:
        """From now on also write what ended processes have left in the folder: the main process's duty."""
        self._adopts = True
        self._start()
        self._told.set()

    def close(self, within: float) -> None:
        """Write what waits, if it can be done in that time."""
        self._stopping.set()
        self._told.set()
        if self._thread is not None:
            self._thread.join(within)
        self.spool.close()

    def _append(self, record: Record) -> None:
        try:
            self.spool.append(records.to_line(record), synced=not self._there.is_set())
        except (OSError, ValueError) as error:
            if not (record.passes or self._written_directly(record)):
                log.error("%s of %s is lost: %s", record.says, record.task_id, error)  # noqa: TRY400  one line says it

    def _written_directly(self, record: Record) -> bool:
        def write(session: Session) -> bool:
            return records.write(session, record)

        try:
            self.ask(lambda: self.database.write(write, PATIENCE), DIRECTLY)
        except _AWAY:
            return False
        return True

    def _start(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="taskd-scribe", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        looked_at = float("-inf")
        while not self._stopping.is_set():
            if self._there.is_set() and not self.spool.holds():
                self._told.wait(LOOK)
            self._told.clear()
            try:
                self._write_spool()
                if self._adopts and monotonic() - looked_at >= LOOK:
                    looked_at = monotonic()
                    self._write_left_over()
            except Exception as error:
                if not isinstance(error, _AWAY):
                    log.exception("records wait")
                self._lost(str(error))
                self._stopping.wait(self._pause)
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
            else:
                self._stopping.wait(EVERY)
        with suppress(*_AWAY):
            self._write_spool()
            if self._adopts:
                self._write_left_over()

    def _write_spool(self) -> None:
        """What waits now or, after an outage, until nothing waits any more; without anything, whether that is over."""
        with self._appending:
            while self._passing:
                self._append(self._passing.popitem()[1])
        last = self.spool.last
        if not (self._there.is_set() or self.spool.holds()):
            self._write([])
        while self.spool.holds(last) or (self.spool.holds() and not self._there.is_set()):
            lines, end = self.spool.oldest()
            self._write_lines(lines)
            self.spool.settle(end)
        if not self._there.is_set():
            log.info("the database is there again, and has what waited for it")
        self._there.set()
        self._pause = FIRST_PAUSE
        with self._written:
            self._written.notify_all()

    def _write_left_over(self) -> None:
        with closing(left_over(self.spool.folder)) as batches:
            for lines in batches:
                self._write_lines(lines)
                log.info("%d records that an ended process had left are written", len(lines))

    def _write_lines(self, lines: Sequence[bytes]) -> None:
        found = []
        for line in lines:
            try:
                found.append(records.from_line(line))
            except ValueError as error:
                self._set_aside(line, error)
        self._write(found)

    def _write(self, batch: Sequence[Record], *, again: bool = True) -> None:
        """In one transaction; one by one where one of them can't be written, and twice where another was quicker."""
        write = records.write_all if again else records.write_each
        try:
            self._guarded(lambda: self.database.write(lambda session: write(session, batch), PATIENCE))
        except _HOPELESS as error:
            if again:
                for record in batch:
                    self._write([record], again=False)
            else:
                self._set_aside(records.to_line(batch[0]), error)

    def _set_aside(self, line: bytes, error: Exception) -> None:
        log.error("a record can't be written, and is kept in %s: %s", self.spool.folder / "refused", error)
        self.spool.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.spool.folder / "refused").open("ab") as file:
            file.write(line + b"\n")

    def _guarded(self, work: Callable[[], T]) -> T:
        with held_over_forks(self.database):
            return work()

    def _lost(self, why: str) -> None:
        if self._there.is_set():
            log.warning("the database is away, records wait in %s: %s", self.spool.folder, why)
            self._there.clear()
            self._start()
        self._told.set()
        with self._written:
            self._written.notify_all()


_scribes: dict[str, Scribe] = {}


def scribe_of(app: Celery) -> Scribe:
    """This process's, for the application's database."""
    settings = settings_of(app)
    url = settings.database_url.get_secret_value()
    if url not in _scribes:
        folder = settings.state_dir / "spool"
        _scribes[url] = Scribe(database_of(app), folder, settings.database.pool_size)
    return _scribes[url]


def close_scribes(within: float) -> None:
    """This process ends: what waits is written, if it can be done in that time."""
    for scribe in _scribes.values():
        scribe.close(within)


def _forget() -> None:
    for scribe in _scribes.values():
        scribe.spool.forget()
    _scribes.clear()


os.register_at_fork(after_in_child=_forget)
