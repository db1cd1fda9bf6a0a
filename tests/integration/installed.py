"""An application as a user has it, with one line of taskd: its own task classes, settings and result backend."""

import asyncio
import os
import signal
from typing import Any

from celery import Celery, Task, shared_task

import taskd
import taskd.broker  # teaches kombu files://
from taskd.config import load
from tests.integration.misbehaving import effect, effects

app = Celery("own", broker=load(None, os.environ).broker_url.get_secret_value())
app.conf.update(
    result_backend=os.environ.get("OWN_BACKEND"),
    accept_content=["json", "msgpack"],
    worker_prefetch_multiplier=1,
)
taskd.install(app)


class Counting(Task):  # type: ignore[type-arg]  # the stub is generic, the class is not
    """A class of the application's own, with a `__call__`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        effect(f"called:{self.request.id}")
        return super().__call__(*args, **kwargs)


@app.task(base=Counting, bind=True, name="own.counted")
def counted(self: Any, word: str = "done") -> str:
    effect(self.request.id)
    return word


@app.task(bind=True, name="own.autoretried", autoretry_for=(ValueError,), default_retry_delay=0)
async def autoretried(self: Any) -> int:
    await asyncio.sleep(0)
    if self.request.retries < 2:
        raise ValueError("not yet")
    return int(self.request.retries)


@shared_task(name="own.not_transient")
def not_transient() -> None:
    raise ConnectionError("as it says")


@app.task(bind=True, name="own.flaky")
def flaky(self: Any) -> int:
    if not self.request.retries:
        raise ValueError("not yet")
    return int(self.request.retries)


@app.task(bind=True, name="own.killed_once", acks_late=True, reject_on_worker_lost=True)
def killed_once(self: Any) -> str:
    effect(self.request.id)
    if effects().count(self.request.id) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "second time"


@app.task(name="own.add")
def add(a: int, b: int) -> int:
    return a + b


@app.task(name="own.total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(bind=True, name="own.begins_more")
def begins_more(self: Any) -> str:
    """A chain of a group's chord and one more task."""
    from celery import chord, group

    parts = group(add.s(n, n) for n in range(3))
    return str((chord(parts, total.s()) | add.s(100)).apply_async().id)
