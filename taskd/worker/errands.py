"""Threads for calls that may hang: their caller waits as long as it likes, and then goes on without an answer."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Errands:
    """At most `most` threads, started when they are needed. They don't keep the process from ending."""

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._given: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = self._open = 0

    def give(self, work: Callable[[], T]) -> "Future[T]":
        """The answer to come; cancel it where nobody waits for it any more."""
        answer: Future[T] = Future()
        with self._lock:
            self._open += 1
            if self._open > self._threads and self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
        self._given.put((answer, work))
        return answer

    def _run(self) -> None:
        while True:
            answer, work = self._given.get()
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(work())
                except BaseException as error:  # noqa: BLE001  it is the caller's to see
                    answer.set_exception(error)
            with self._lock:
                self._open -= 1
