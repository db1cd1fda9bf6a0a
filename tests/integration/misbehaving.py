"""The application of the worker tests: tasks that end in every way there is.

`effect` counts outside the database: one O_APPEND write a started body.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from celery.exceptions import Ignore, Reject
from celery.utils.log import get_task_logger

from taskd import BaseTask
from taskd.celery_app import app

__all__ = ["app"]


class Odd:
    """Nothing that any serializer knows."""

    def __repr__(self) -> str:
        return "<odd>"


def effect(name: str) -> None:
    """Leave a line that a body has started."""
    file = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{name}\n".encode())
    os.close(file)


def effects() -> list[str]:
    """The bodies that have started."""
    return Path(os.environ["EFFECTS"]).read_text().split()


@app.task(bind=True, name="t.effect")
def with_effect(self: BaseTask, seconds: float = 0) -> str:
    effect(self.request.id)
    time.sleep(seconds)
    return "done"


@app.task(name="t.secret")
def with_secret(seconds: float, password: str) -> int:
    time.sleep(seconds)
    return len(password)


@app.task(bind=True, name="t.once_long")
def once_long(self: BaseTask) -> str:
    effect(self.request.id)
    if effects().count(self.request.id) == 1:
        time.sleep(60)
    return "done"


@app.task(bind=True, name="t.until_told")
def until_told(self: BaseTask, seconds: float) -> str:
    """Until there is a file `go`, or for so long."""
    effect(self.request.id)
    ends, told = time.monotonic() + seconds, Path(os.environ["EFFECTS"]).parent / "go"
    while not told.exists() and time.monotonic() < ends:
        time.sleep(0.1)
    return "done"


@app.task(name="t.result")
def result(kind: str) -> Any:
    return {
        "odd": Odd(),
        "nan": [float("nan"), float("inf"), 1.5],
        "text": "nul \0 and \ud800",
        "large": "x" * 100_000,
        "deep": _deep(60),
        "time": {datetime(2026, 1, 2): 10**6000},
    }[kind]


def _deep(levels: int) -> Any:
    return [_deep(levels - 1)] if levels else []


@app.task(bind=True, name="t.retry", default_retry_delay=0)
def retry_then(self: BaseTask, ends: str, times: int = 1) -> str:
    if self.request.retries < times:
        raise self.retry(exc=RuntimeError("not yet"), countdown=0)
    if ends == "FAILURE":
        raise RuntimeError("never")
    return ends


@app.task(bind=True, name="t.transient", retry_backoff=False, default_retry_delay=0)
def transient(self: BaseTask) -> int:
    if self.request.retries < 2:
        raise ConnectionError("away")
    return int(self.request.retries)


@app.task(bind=True, name="t.async_transient", retry_backoff=False, default_retry_delay=0)
async def async_transient(self: BaseTask) -> int:
    if self.request.retries < 1:
        raise TimeoutError("away")
    return int(self.request.retries)


@app.task(bind=True, name="t.flaky")
def flaky(self: BaseTask, failures: int, error: str = "ValueError") -> int:
    if self.request.retries < failures:
        raise {"ValueError": ValueError, "ConnectionError": ConnectionError, "exit": SystemExit}[error](
            "flaky"
        )
    return int(self.request.retries)


@app.task(bind=True, name="t.async_flaky")
async def async_flaky(self: BaseTask, failures: int) -> int:
    if self.request.retries < failures:
        raise ValueError("flaky")
    return int(self.request.retries)


@app.task(bind=True, name="t.async_sleeps", time_limit=3, soft_time_limit=1)
async def async_sleeps(self: BaseTask) -> None:
    try:
        await asyncio.sleep(30)
    finally:
        effect(f"cancelled:{self.request.id}")


@app.task(bind=True, name="t.async_name")
async def async_name(self: BaseTask) -> str:
    await asyncio.sleep(0.5)
    return str(self.request.id)


@app.task(name="t.ignored_result", ignore_result=True)
def ignored_result() -> int:
    return 7


@app.task(name="t.hard_limit", time_limit=1)
def hard_limit() -> None:
    time.sleep(30)


@app.task(bind=True, name="t.later")
def later(self: BaseTask, seconds: float, word: str = "first") -> str:
    if not self.request.retries:
        raise self.retry(args=[seconds, "second"], countdown=seconds)
    return word


@app.task(bind=True, name="t.replace")
def replace(self: BaseTask) -> Any:
    raise self.replace(with_effect.si())


@app.task(name="t.ignore")
def ignore() -> None:
    raise Ignore("no result")


@app.task(bind=True, name="t.reject")
def reject(self: BaseTask, requeue: bool) -> str:
    effect(self.request.id)
    if requeue and effects().count(self.request.id) > 1:
        return "second time"
    raise Reject("not mine", requeue=requeue)


@app.task(name="t.exits")
def exits(how: str) -> None:
    if how == "sys.exit":
        sys.exit(3)
    if how == "memory":
        raise MemoryError
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True, name="t.nested")
def nested(self: BaseTask) -> list[Any]:
    return [with_effect(), result("nan")[2], self.request.id]


@app.task(name="t.sleeps", time_limit=2, soft_time_limit=1)
def sleeps_too_long(catch: bool) -> None:
    try:
        time.sleep(30)
    except Exception:
        if not catch:
            raise
        time.sleep(30)


@app.task(bind=True, name="t.logs")
def logs(self: BaseTask, seconds: float, fails: bool = False) -> None:
    logging.getLogger("reports").warning("password=hunter2 in %s", self.request.id)
    time.sleep(seconds)
    get_task_logger("reports.late").error("nul \0 and \ud800 at the end")
    if fails:
        raise RuntimeError("after it logged")
