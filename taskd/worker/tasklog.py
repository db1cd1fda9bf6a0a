"""What a task logs through Python's logging while it runs: its last part goes into the row, every FLUSH s and at the end.

A handler of the root logger, and of Celery's task logger, which doesn't pass its records on. What Celery and taskd say
about the task isn't the task's. A thread that the task starts by itself is nobody's.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from celery._state import get_current_task

from taskd.clock import monotonic
from taskd.worker.calls import LOG
from taskd.worker.values import clean

FLUSH = 2.0  # seconds
_TASKS_OWN = ("celery.task", "celery.redirected")  # get_task_logger's, and what it prints
_MACHINERY = ("celery", "kombu", "billiard", "amqp", "taskd.worker", "taskd.store")


class Tail:
    """The last `most` bytes of an attempt's log, in whole lines. `flush` is called with it while it grows."""

    def __init__(self, most: int, flush: Callable[[str], None]) -> None:
        self._most, self._flush = most, flush
        self._entries: deque[bytes] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self._changed = False

    def add(self, entry: str) -> None:
        """One record, formatted."""
        raw = clean(entry).encode()[-self._most + 1 :]
        with self._lock:
            self._entries.append(raw)
            self._bytes += len(raw) + 1
            while self._bytes > self._most and len(self._entries) > 1:
                self._bytes -= len(self._entries.popleft()) + 1
            self._changed = True
        _flusher.watch(self)

    def text(self) -> str | None:
        """All that is kept."""
        with self._lock:
            return b"".join(entry + b"\n" for entry in self._entries).decode(errors="ignore") or None

    def flush(self) -> None:
        """Hand it on if it has grown."""
        with self._lock:
            changed, self._changed = self._changed, False
        if changed and (text := self.text()):
            self._flush(text)


class _Flusher:
    """One thread a process, while anything is logged by a task that goes on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[Tail, float] = {}
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()

    def watch(self, tail: Tail) -> None:
        with self._lock:
            self._watched.setdefault(tail, monotonic() + FLUSH)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="taskd-log", daemon=True)
                self._thread.start()

    def forget(self, tail: Tail) -> None:
        with self._lock:
            self._watched.pop(tail, None)

    def _run(self) -> None:
        while not self._wake.wait(FLUSH / 4):
            seconds = monotonic()
            with self._lock:
                due = [tail for tail, at in self._watched.items() if at <= seconds]
                for tail in due:
                    del self._watched[tail]
            for tail in due:
                tail.flush()


_flusher = _Flusher()


def _is_under(name: str, loggers: tuple[str, ...]) -> bool:
    return name.startswith(tuple(f"{logger}." for logger in loggers)) or name in loggers


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if _is_under(record.name, _MACHINERY) and not _is_under(record.name, _TASKS_OWN):
            return
        task: Any = get_current_task()
        tail = None if task is None else getattr(task.request, LOG, None)
        if tail is not None:
            try:
                tail.add(self.format(record))
            except Exception:  # noqa: BLE001  a task doesn't fail because of how it logs
                self.handleError(record)


_handler = _Handler()
_handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))


def begin(request: Any, most: int, flush: Callable[[str], None]) -> None:
    """From now on, what is logged during this request is kept."""
    if most:
        _listen()
        setattr(request, LOG, Tail(most, flush))


def end(request: Any) -> None:
    """The body has ended: the rest comes with its outcome."""
    tail = getattr(request, LOG, None)
    if tail is not None:
        _flusher.forget(tail)


def text_of(request: Any) -> str | None:
    """What has been logged so far."""
    tail = getattr(request, LOG, None)
    return None if tail is None else tail.text()


def _listen() -> None:
    """Whoever set up logging, and whenever: a pool's child does it anew."""
    for logger in (logging.getLogger(), *map(logging.getLogger, _TASKS_OWN)):
        passes_on = logger.propagate and logger.name != "root"
        if not passes_on and _handler not in logger.handlers:
            logger.addHandler(_handler)


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _flusher  # noqa: PLW0603  one a process
    _flusher = _Flusher()


os.register_at_fork(after_in_child=_forget)
