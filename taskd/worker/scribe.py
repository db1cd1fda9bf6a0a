"""Writes what a process has to say about runs, without ever holding a task up for long.

States     the database is there: each call is made by a thread, and waited for up to its `within`
           → a call has no answer in time, or fails: the database is away, and nobody waits for it → records go to the
           spool, a thread tries with growing pauses → the spool is written, oldest first: the database is there
Invariant  a run's records are written in their order: once one of them is in the spool, the others follow it there

fault                                   what happens
the database is away, locked, full      records wait in the spool; it is tried up to every LONGEST_PAUSE seconds
the database hangs                      the same; the thread that hangs there holds up nothing but itself
a commit's answer is lost, or comes
  after nobody waits for it any more    the record is written again, which changes nothing
a record can't be written at all        it goes to `refused` beside the spool, with an error in the log
the process is killed                   the next start of a worker here, or a living one, writes its spool
"""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from celery import Celery
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from taskd.clock import monotonic
from taskd.errors import DatabaseUnavailable
from taskd.store import records
from taskd.store.database import Database
from taskd.store.records import Record
from taskd.worker.connection import database_of, held_over_forks, settings_of
from taskd.worker.errands import Errands
from taskd.worker.spool import Spool, anything_waits, left_over

T = TypeVar("T")
log = logging.getLogger("taskd.worker")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two tries
LOOK = 5.0  # seconds between two looks for what ended processes have left
PATIENCE = 0.3  # seconds for which a busy database is asked again while forks wait
TOGETHER = 100  # records in one transaction
_AWAY = (DatabaseUnavailable, SQLAlchemyError)
_HOPELESS = (DataError, IntegrityError, ValueError, TypeError, KeyError)


class Scribe:
    """One for each process and database; from any thread."""

    def __init__(self, database: Database, folder: Path, errands: int = 1) -> None:
        self.database, self.spool = database, Spool(folder)
        self._errands = Errands(errands, "taskd-errand")
        self._told: queue.SimpleQueue[tuple[Record, Future[None]] | None] = queue.SimpleQueue()
        self._there = threading.Event()
        self._there.set()
        self._pause = FIRST_PAUSE
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._adopts = self._stopping = False

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
        """Until nothing waits in any process of this machine, or for `patience` s."""
        deadline = monotonic() + patience
        while anything_waits(self.spool.folder) and monotonic() < deadline:
            time.sleep(0.1)

    def tell(self, record: Record, within: float) -> None:
        """Have it written: by the database within that time, else by the spool. What passes is then dropped."""
        if within > 0 and self._there.is_set():
            done: Future[None] = Future()
            self._told.put((record, done))
            self._start()
            try:
                done.result(within)
            except TimeoutError:
                self._lost(f"no answer within {within:g} s")
            except _AWAY as error:
                log.debug("%s of %s waits: %s", record.says, record.task_id, error)
            except BaseException:  # such as a soft time limit, in the midst of it
                self.keep(record)
                raise
            else:
                return
        if not record.passes:
            self.keep(record)

    def keep(self, record: Record) -> None:
        """Into the spool: it will be written."""
        try:
            self.spool.append(records.to_line(record))
        except (OSError, ValueError) as error:
            log.error("%s of %s is lost: %s", record.says, record.task_id, error)  # noqa: TRY400  one line says it
        self._start()
        self._told.put(None)

    def adopt(self) -> None:
        """From now on also write what ended processes have left in the folder: the main process's duty."""
        self._adopts = True
        self._start()
        self._told.put(None)

    def close(self, within: float) -> None:
        """Write what waits, if it can be done in that time."""
        self._stopping = True
        self._told.put(None)
        if self._thread is not None:
            self._thread.join(within)
        self.spool.close()

    def _start(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="taskd-scribe", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        looked_at = float("-inf")
        while not self._stopping:
            batch = self._next_told()
            try:
                if batch:
                    self._write_told(batch)
                if self.spool.holds() or not self._there.is_set():
                    self._write_spool()
                if self._adopts and monotonic() - looked_at >= LOOK:
                    looked_at = monotonic()
                    self._write_left_over()
            except _AWAY as error:
                self._lost(str(error))
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
            except Exception:
                log.exception("records wait")
        with suppress(*_AWAY):
            self._write_spool()

    def _next_told(self) -> list[tuple[Record, "Future[None]"]]:
        """What was told meanwhile, at most TOGETHER; waits for it as long as there is nothing else to do."""
        busy = self.spool.holds() or not self._there.is_set()
        found = []
        with suppress(queue.Empty):
            first = self._told.get(timeout=self._pause if busy else LOOK)
            found.append(first)
            while len(found) < TOGETHER:
                found.append(self._told.get_nowait())
        return [told for told in found if told is not None]

    def _write_told(self, batch: Sequence[tuple[Record, "Future[None]"]]) -> None:
        try:
            self._write([record for record, _ in batch])
        except BaseException as error:
            for _, done in batch:
                done.set_exception(error)
            raise
        for _, done in batch:
            done.set_result(None)

    def _write_spool(self) -> None:
        while True:
            lines, end = self.spool.oldest()
            self._write_lines(lines)  # also with none: it tells whether the database is there
            self.spool.settle(end)
            if not lines:
                break
            log.info("%d records that waited for the database are written", len(lines))
        self._there.set()
        self._pause = FIRST_PAUSE

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

        def write() -> None:
            if len(batch) != 1 or not records.write_alone(self.database, batch[0], PATIENCE):
                self.database.write(lambda session: records.write_all(session, batch), PATIENCE)

        try:
            self._guarded(write)
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
            self._told.put(None)


_scribes: dict[str, Scribe] = {}


def scribe_of(app: Celery) -> Scribe:
    """This process's, for the application's database."""
    settings = settings_of(app)
    url = settings.database_url.get_secret_value()
    if url not in _scribes:
        folder = settings.state_dir / "spool"
        _scribes[url] = Scribe(database_of(app), folder, settings.database.pool_size)
    return _scribes[url]


def _forget() -> None:
    for scribe in _scribes.values():
        scribe.spool.forget()
    _scribes.clear()


os.register_at_fork(after_in_child=_forget)
