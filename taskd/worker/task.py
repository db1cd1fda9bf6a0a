"""BaseTask: claims its run before the body starts, refuses a second copy, retries what will pass.

The claim is made in `__call__`: Celery's STARTED write stands outside its try (an Ignore there is a FAILURE), and
`before_start` is the user's to override. Celery's tracer calls a task with a `__call__` of its own, so this costs
no patching. Direct, eager and nested calls just run.

| the body                               | what becomes of the message and the row                             |
|----------------------------------------|---------------------------------------------------------------------|
| returns, raises, retries               | Celery tells the recorder                                           |
| raises Ignore                          | IGNORED; after `self.replace()` the row waits for the replacement   |
| raises Reject(requeue=True)            | back to the broker, the claim given back                            |
| dies, under `reject_on_worker_lost`    | the same                                                            |
| is terminated (cold stop, lost broker) | the same, unless the main process says how it ends                  |
| raises SystemExit or MemoryError       | FAILURE: they would end the worker, or its child, with other tasks  |
| may not start without the database     | back to the broker, if the broker still has it: see claiming.py     |
"""

import functools
import inspect
import logging
from typing import Any

from billiard.common import terminate_handler_fired  # type: ignore[attr-defined]  # newer than the stubs
from celery import Task
from celery.exceptions import Ignore, Reject, TaskPredicate, WorkerShutdown, WorkerTerminate
from celery.utils.imports import symbol_by_name

from taskd.errors import TaskAborted
from taskd.worker import tasklog
from taskd.worker.calls import REPLACED, is_builtin, is_recorded_start
from taskd.worker.claiming import claim
from taskd.worker.connection import settings_of
from taskd.worker.coroutines import run_to_its_end
from taskd.worker.recorder import recording
from taskd.worker.requests import GivesBack
from taskd.worker.retrying import TRANSIENT, message_of, try_again, waits_long

log = logging.getLogger("taskd.worker")


class Recorded(Task):  # type: ignore[type-arg]  # the stub is generic, the class is not
    """What makes a task's runs recorded in `task_result`, each decided run started at most once: see BaseTask, install."""

    abstract = True
    taskd_recorded = True
    retried_for: tuple[
        type[Exception], ...
    ] = ()  # what is transient, where its schedule says nothing of retries

    @property
    def backend(self) -> Any:
        """The application's result backend (or the task's own), recording."""
        own = super().backend
        return own if is_builtin(self.name) else recording(own)

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value

    @property
    def Request(self) -> Any:  # type: ignore[override]  # noqa: N802  # Celery's name
        """As the task has it; what is sent back to the broker is free again."""
        own = symbol_by_name(super().Request)
        return type(own.__name__, (GivesBack, own), {})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body; as a worker's start of a message, claim it first."""
        request: Any = self.request
        if request.is_eager:
            return self._attempt(args, kwargs)
        if not is_recorded_start(self.name, request):
            return super().__call__(*args, **kwargs)
        self._claim(request)
        self.backend.listen(request)
        try:
            return self._attempt(args, kwargs)
        except Ignore:
            self.backend.ignored(request, replaced=hasattr(request, REPLACED))
            raise
        except Reject as rejected:
            if getattr(rejected, "requeue", False):
                self._give_back(request)
            raise
        except SystemExit:  # billiard's own end of this child; if it is final, its parent says so
            self._give_back(request)
            raise
        finally:
            tasklog.end(request)

    def _attempt(self, args: Any, kwargs: Any) -> Any:
        try:
            return self._body(args, kwargs)
        except TaskPredicate:
            raise
        except Exception as error:
            try_again(self, error)
            raise

    def _body(self, args: Any, kwargs: Any) -> Any:
        """Without the exceptions that would end the worker, or its child, with other tasks."""
        try:
            return super().__call__(*args, **kwargs)
        except (WorkerShutdown, WorkerTerminate):
            raise
        except SystemExit as error:
            if terminate_handler_fired():
                raise
            raise TaskAborted(f"the task called sys.exit({error.code!r})") from error
        except MemoryError as error:
            raise TaskAborted("the task ran out of memory") from error

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """As Celery's; but a retry that waits long waits in the database."""
        if at := waits_long(self.request, options):
            message = message_of(self.app, self, args, kwargs, options)
            if self.backend.postpone(self.request, message, at):
                return self.AsyncResult(options["task_id"])
        return super().apply_async(args, kwargs, *rest, **options)

    def signature_from_request(
        self, request: Any = None, args: Any = None, kwargs: Any = None, queue: Any = None, **options: Any
    ) -> Any:
        """A retry's; `expires` was for the start of the first attempt, and would drop this one unseen."""
        return super().signature_from_request(request, args, kwargs, queue, **{"expires": None, **options})

    def on_replace(self, sig: Any) -> Any:
        """Remember that the run goes on: custom headers don't reach the replacement."""
        setattr(self.request, REPLACED, True)
        return super().on_replace(sig)

    def _give_back(self, request: Any) -> None:
        if self.acks_late:  # else the broker has forgotten the message
            self.backend.give_back(request)

    def _claim(self, request: Any) -> None:
        """Raises Ignore for a copy that must not start, Reject where nobody can say whether it may."""
        verdict = claim(self.app, request, may_wait_on=not self.acks_late)
        if verdict is None:
            raise Reject("not started: the database is away", requeue=True)
        if verdict in {"refused", "purged"}:
            why = "another copy has it" if verdict == "refused" else "its row is gone"
            log.info("%s[%s] is refused: %s", self.name, request.id, why)
            raise Ignore(f"refused: {why}")


class BaseTask(Recorded):
    """A Celery task whose runs are recorded in `task_result`, each decided run at most once.

    `async def` bodies work. What is retried, and how often, stands in retrying.py: what the task says itself, what its
    schedule says, else transient errors (connection, timeout, database) `celery.task_max_retries` times with
    exponential backoff and jitter.
    """

    abstract = True
    retried_for = TRANSIENT
    autoretry_for: tuple[type[Exception], ...] = ()
    retry_backoff = True
    retry_backoff_max = 600  # seconds
    retry_jitter = True

    def __init_subclass__(cls, **how: Any) -> None:
        """Make an `async def` body a plain one, before Celery wraps it: autoretry then sees its errors."""
        super().__init_subclass__(**how)
        body = vars(cls).get("run")
        if inspect.iscoroutinefunction(function := getattr(body, "__func__", body)):
            plain = run_to_its_end(function)
            cls.run = staticmethod(plain) if isinstance(body, staticmethod) else plain  # type: ignore[method-assign]

    @functools.cached_property
    def max_retries(self) -> int:  # type: ignore[override]  # a default that is known once there are settings
        """Retries before giving up, unless the task says otherwise."""
        return settings_of(self.app).celery.task_max_retries
