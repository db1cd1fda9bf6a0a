"""BaseTask: claims its run before the body starts, refuses a second copy, retries what will pass.

The claim is made in `__call__`: Celery's STARTED write stands outside its try (an Ignore there is a FAILURE), and
`before_start` is the user's to override. Celery's tracer calls a task with a `__call__` of its own, so this costs
no patching. Direct, eager and nested calls just run.

| the body                               | what becomes of the message and the row                             |
|----------------------------------------|---------------------------------------------------------------------|
| returns, raises, retries               | Celery tells the recorder                                           |
| raises Ignore                          | IGNORED; after `self.replace()` the row waits for the replacement   |
| raises Reject(requeue=True)            | back to the broker, the claim given back                            |
| is terminated (cold stop, lost broker) | the same, unless the main process says how it ends                  |
| raises SystemExit or MemoryError       | FAILURE: they would end the worker, or its child, with other tasks  |
| database away before it starts, 30 s   | back to the broker, if the broker still has it; else it just starts |
"""

import asyncio
import functools
import inspect
import logging
import socket
from collections.abc import Callable
from typing import Any

import kombu.exceptions
import sqlalchemy.exc
from billiard.common import terminate_handler_fired  # type: ignore[attr-defined]  # newer than the stubs
from celery import Task
from celery.exceptions import Ignore, Reject, WorkerShutdown, WorkerTerminate

from taskd.errors import DatabaseUnavailable, TaskAborted, Unavailable
from taskd.worker.calls import REPLACED, call_of, is_builtin, is_recorded_start
from taskd.worker.connection import settings_of
from taskd.worker.recorder import recording

log = logging.getLogger("taskd.worker")

TRANSIENT: tuple[type[Exception], ...] = (
    ConnectionError,
    TimeoutError,
    socket.gaierror,
    kombu.exceptions.OperationalError,
    sqlalchemy.exc.OperationalError,
    Unavailable,
)


class BaseTask(Task):  # type: ignore[type-arg]  # the stub is generic, the class is not
    """A Celery task whose runs are recorded in `task_result`, each decided run at most once.

    `async def` bodies work. Transient errors (connection, timeout, database) are retried `celery.task_max_retries`
    times with exponential backoff and jitter; a task's own `autoretry_for` or `max_retries` take their place.
    """

    abstract = True
    taskd_recorded = True
    autoretry_for = TRANSIENT
    retry_backoff = True
    retry_backoff_max = 600  # seconds
    retry_jitter = True

    def __init_subclass__(cls, **how: Any) -> None:
        """Make an `async def` body a plain one, before Celery wraps it: autoretry then sees its errors."""
        super().__init_subclass__(**how)
        body = vars(cls).get("run")
        if inspect.iscoroutinefunction(function := getattr(body, "__func__", body)):
            plain = _run_to_its_end(function)
            cls.run = staticmethod(plain) if isinstance(body, staticmethod) else plain  # type: ignore[method-assign]

    @functools.cached_property
    def max_retries(self) -> int:  # type: ignore[override]  # a default that is known once there are settings
        """Retries before giving up, unless the task says otherwise."""
        return settings_of(self.app).celery.task_max_retries

    @property
    def backend(self) -> Any:
        """The application's result backend (or the task's own), recording."""
        own = super().backend
        return own if is_builtin(self.name) else recording(own)

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body; as a worker's start of a message, claim it first."""
        request: Any = self.request
        if not is_recorded_start(self.name, request):
            return super().__call__(*args, **kwargs)
        self._claim(request)
        try:
            return super().__call__(*args, **kwargs)
        except Ignore:
            self.backend.ignored(request, replaced=hasattr(request, REPLACED))
            raise
        except Reject as rejected:
            if getattr(rejected, "requeue", False):
                self._give_back(request)
            raise
        except (WorkerShutdown, WorkerTerminate):
            raise
        except SystemExit as error:
            if (
                terminate_handler_fired()
            ):  # billiard's own end of this child; if it is final, its parent says so
                self._give_back(request)
                raise
            raise TaskAborted(f"the task called sys.exit({error.code!r})") from error
        except MemoryError as error:
            raise TaskAborted("the task ran out of memory") from error

    def on_replace(self, sig: Any) -> Any:
        """Remember that the run goes on: custom headers don't reach the replacement."""
        setattr(self.request, REPLACED, True)
        return super().on_replace(sig)

    def _give_back(self, request: Any) -> None:
        if self.acks_late:  # else the broker has forgotten the message
            self.backend.give_back(request)

    def _claim(self, request: Any) -> None:
        """Raises Ignore for a copy that must not start, Reject where nobody can say whether it may."""
        try:
            verdict = self.backend.claim(request)
        except (DatabaseUnavailable, sqlalchemy.exc.SQLAlchemyError) as error:
            if call_of(request, 0).decided and self.acks_late:
                raise Reject(f"not started: {error}", requeue=True) from error
            log.error("%s[%s] starts unclaimed: %s", self.name, request.id, error)  # noqa: TRY400  one line says it
            return
        if verdict in {"refused", "purged"}:
            why = "another copy has it" if verdict == "refused" else "its row is gone"
            log.info("%s[%s] is refused: %s", self.name, request.id, why)
            raise Ignore(f"refused: {why}")


def _run_to_its_end(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(function(*args, **kwargs))
        return function(*args, **kwargs)  # called from async code: the caller awaits it

    return run
