"""How long nothing fires when the leader of two daemons is killed, and when it is stopped, seen from the broker."""

import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import Popen

import place
from place import RedisQueue

from taskd.schedule.spec import ScheduleSpec

A_SECOND = 20  # fires
ROUNDS = 3
PATIENCE = 60.0


def measure(kind: str) -> dict[str, float]:
    """The longest of some rounds, in seconds, by signal."""
    return {
        number.name: max(_gap(kind, number) for _ in range(ROUNDS))
        for number in (signal.SIGKILL, signal.SIGTERM)
    }


def _gap(kind: str, number: signal.Signals) -> float:
    """From the signal to the standby's first message."""
    queue = RedisQueue()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        url = stack.enter_context(place.own_database(kind, Path(folder)))
        now = datetime.now(UTC).replace(microsecond=0)
        place.add_schedules(url, _evenly(now), now, now)
        leader = _daemon(stack, Path(folder, "leader"), url, queue)
        _until(lambda: queue.count() > 0)
        _daemon(stack, Path(folder, "standby"), url, queue)
        time.sleep(2)  # its first look at the lease is over
        began = time.monotonic()
        leader.send_signal(number)
        if number == signal.SIGKILL:
            leader.wait()
        else:  # it sends what it has decided, and gives the lease back
            _until(
                lambda: "gave the dispatch lease back" in (Path(folder, "leader", "daemon.log")).read_text()
            )
        sent = queue.count()
        _until(lambda: queue.count() > sent)
        took = time.monotonic() - began
    queue.remove()
    return took


def _daemon(stack: ExitStack, home: Path, url: str, queue: RedisQueue) -> Popen[bytes]:
    home.mkdir()
    started = stack.enter_context(place.daemon(home, url, queue))
    _until(lambda: "ready, " in (home / "daemon.log").read_text())
    return started


def _evenly(now: datetime) -> list[ScheduleSpec]:
    """One schedule a second each, spread over it."""
    return [
        ScheduleSpec.read(
            {
                "name": f"s{i}",
                "task": "noop",
                "interval": "1s",
                "start_time": (now + timedelta(seconds=i / A_SECOND)).isoformat(),
            },
            "UTC",
        )
        for i in range(A_SECOND)
    ]


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("the daemons didn't do what was waited for")
        time.sleep(0.005)
