"""`async def` bodies on every pool: each call has an event loop of its own, and is cancelled when its time is over.

| pool           | runs in                     | time limits                       | terminate                        |
|----------------|-----------------------------|-----------------------------------|----------------------------------|
| prefork        | the child's main thread     | billiard's: soft and hard cancel  | billiard's signal cancels        |
| threads, solo  | the thread of the task      | ours, soft and hard: both cancel  | the pool can't                   |
| gevent         | a thread of the hub's pool  | ours                              | the greenlet's end cancels       |

Under gevent all greenlets share a thread, and a thread has room for one loop.
"""

import asyncio
import functools
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import billiard
from celery._state import _task_stack, get_current_task  # type: ignore[attr-defined]  # where current_task looks
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded


def run_to_its_end(function: Callable[..., Any]) -> Callable[..., Any]:
    """An `async def` as a plain function; called from async code it is what it was."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if _greenlets():
            return _in_a_thread(function(*args, **kwargs))
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(_limited(function(*args, **kwargs), *_limits()))
        return function(*args, **kwargs)  # the caller awaits it

    return run


def _limits() -> tuple[float | None, float | None]:
    """(soft, hard) in seconds for a call by a worker whose pool knows none; else none."""
    task: Any = get_current_task()
    if task is None or task.request.called_directly or task.request.is_eager:
        return None, None
    if billiard.current_process().name != "MainProcess":
        return None, None
    hard, soft = task.request.timelimit or (None, None)
    conf = task.app.conf
    return (
        soft or task.soft_time_limit or conf.task_soft_time_limit,
        hard or task.time_limit or conf.task_time_limit,
    )


async def _limited(body: Coroutine[Any, Any, Any], soft: float | None, hard: float | None) -> Any:
    limit = min((seconds for seconds in (soft, hard) if seconds), default=None)
    try:
        async with asyncio.timeout(limit) as timer:
            return await body
    except TimeoutError:
        if not timer.expired():
            raise
        kind = SoftTimeLimitExceeded if limit == soft else TimeLimitExceeded
        raise kind(limit) from None


def _greenlets() -> bool:
    """Whether gevent has taken the place of threads."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _in_a_thread(body: Coroutine[Any, Any, Any]) -> Any:
    """In a real one, while other greenlets go on."""
    hub = sys.modules["gevent"].get_hub()
    task: Any = get_current_task()
    limits = _limits()
    request = task.request_stack.top if task is not None else None
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    async def cancellable() -> Any:
        own = asyncio.current_task()
        assert own is not None
        running.append((asyncio.get_running_loop(), own))
        return await _limited(body, *limits)

    def run() -> Any:
        # Celery keeps both by greenlet: here they would be missing.
        if task is not None:
            _task_stack.push(task)
            task.request_stack.push(request)
        try:
            return asyncio.run(cancellable())
        finally:
            if task is not None:
                task.request_stack.pop()
                _task_stack.pop()

    try:
        return hub.threadpool.apply(run)
    except BaseException:
        for loop, own in running:
            if not loop.is_closed():
                loop.call_soon_threadsafe(own.cancel)
        raise
