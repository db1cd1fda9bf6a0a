"""Tasks to try schedules with."""

import asyncio
import time
from typing import Any

from celery import shared_task

from taskd.worker.task import BaseTask

STEPS = 10  # of progress that `sleep` shows


@shared_task(base=BaseTask, name="taskd.tasks.demo.echo")
def echo(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return what it was called with."""
    return {"args": list(args), "kwargs": kwargs}


@shared_task(base=BaseTask, bind=True, name="taskd.tasks.demo.sleep")
def sleep(self: BaseTask, seconds: float = 1.0) -> float:
    """Take that many seconds, and show how far it has come."""
    for step in range(STEPS):
        self.update_state(state="PROGRESS", meta={"current": step, "total": STEPS})
        time.sleep(seconds / STEPS)
    return seconds


@shared_task(base=BaseTask, name="taskd.tasks.demo.fail")
def fail(message: str = "failed on purpose") -> None:
    """Fail with that message."""
    raise RuntimeError(message)


@shared_task(base=BaseTask, name="taskd.tasks.demo.async_echo")
async def async_echo(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """As `echo`, but an `async def`."""
    await asyncio.sleep(0)
    return {"args": list(args), "kwargs": kwargs}
