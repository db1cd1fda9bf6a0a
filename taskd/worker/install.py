"""`taskd.install(app)`: records the runs of tasks of any class, as BaseTask does.

A worker's tasks get a class of their own: that of the application with `Recorded` before it. So its `__call__` stands
outside of the task's own and outside of autoretry's wrapper, and all else stays as the application has it: `acks_late`,
`reject_on_worker_lost`, hooks, retries. It happens once all modules are imported, before Celery caches how a task is run.
"""

import inspect
from typing import Any

from celery import Celery, signals

from taskd.worker.calls import is_builtin
from taskd.worker.coroutines import run_to_its_end
from taskd.worker.task import Recorded


def install(app: Celery) -> None:
    """Have the workers of `app` record its tasks, in the database that their `taskd.yaml` or environment names.

    Runs that taskd has decided start at most once; calls that no schedule made are recorded and never refused.
    """

    def record(sender: Any, **_: Any) -> None:
        if sender.app is app:
            record_tasks(app)

    signals.worker_init.connect(record, weak=False)


def record_tasks(app: Celery) -> None:
    """Those that are there now, but Celery's own and those that are recorded already."""
    for name, task in app.tasks.items():
        if not is_builtin(name) and not isinstance(task, Recorded):
            _record(task)


def _record(task: Any) -> None:
    known: type = type(task)
    task.__class__ = type(known.__name__, (Recorded, known), {"__module__": known.__module__})
    body = "_orig_run" if "_orig_run" in vars(task) else "run"  # autoretry's wrapper calls that one
    if inspect.iscoroutinefunction(function := getattr(task, body)):
        setattr(task, body, run_to_its_end(function))
