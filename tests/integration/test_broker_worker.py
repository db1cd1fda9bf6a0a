"""A real Celery worker at each broker, its pool forked or not."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from celery import Celery
from kombu import Exchange, Queue, pools

from tests.integration.brokers import ROOT, Broker
from tests.integration.worker_app import make_app
from tests.waiting import eventually

BOOT, WORK, STOP = 30, 30, 20  # seconds at most

StartWorker = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def app(broker: Broker) -> Iterator[Celery]:
    """The application, as a producer has it."""
    made = make_app(broker.prefix, broker.url, broker.options)
    broker.queues.append(Queue(broker.prefix, Exchange(broker.prefix)))
    yield made
    pools.reset()


@pytest.fixture(params=["prefork", "solo"])
def start_worker(request: pytest.FixtureRequest, broker: Broker, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts a worker; a failing test shows what it logged."""
    log = tmp_path / "worker.log"
    command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "tests.integration.worker_app", "worker"]
    command += [
        "--pool",
        request.param,
        "--concurrency",
        "1",
        "--loglevel",
        "INFO",
        "--hostname",
        node(broker),
    ]

    with ExitStack() as stack, log.open("wb") as output:

        def start() -> "subprocess.Popen[bytes]":
            env = {**os.environ, "WORKER": json.dumps([broker.prefix, broker.url, broker.options])}
            worker = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output)
            stack.callback(worker.wait)
            stack.callback(worker.kill)
            return worker

        yield start
    print(log.read_text())  # noqa: T201 for the report of a failure


def node(broker: Broker) -> str:
    return f"worker@{broker.prefix}"


def answers(app: Celery, name: str) -> bool:
    return app.control.inspect([name], timeout=1).ping() == {name: {"ok": "pong"}}


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def test_a_worker_answers_and_when_told_to_stop_ends_its_task_and_loses_none(
    broker: Broker, app: Celery, start_worker: StartWorker, tmp_path: Path
) -> None:
    gate, file = tmp_path / "gate", tmp_path / "effects"
    worker = start_worker()
    eventually(lambda: answers(app, node(broker)), BOOT)
    app.send_task("wait_at", (str(gate), str(file)))
    eventually(lambda: lines(file) == ["began"], WORK)
    for number in range(6):  # some of them fetched by the worker, which will not begin them
        app.send_task("note", (str(file), f"note {number}"))
    worker.terminate()
    gate.touch()
    assert worker.wait(STOP) == 0
    assert lines(file)[:2] == ["began", "ended"]
    successor = start_worker()
    eventually(lambda: len(lines(file)) >= 8, BOOT + WORK)
    successor.terminate()
    assert successor.wait(STOP) == 0
    assert sorted(lines(file)[2:]) == [f"note {number}" for number in range(6)]


def test_what_a_killed_worker_had_not_acknowledged_runs_again(
    broker: Broker, app: Celery, start_worker: StartWorker, tmp_path: Path
) -> None:
    if broker.kind == "redis":
        broker.options["visibility_timeout"] = 0.1  # seconds; Redis knows no dead workers, only old messages
    gate, file = tmp_path / "gate", tmp_path / "effects"
    worker = start_worker()
    app.send_task("wait_at", (str(gate), str(file)))
    eventually(lambda: lines(file), BOOT + WORK)
    worker.kill()
    worker.wait(STOP)
    begun = len(lines(file))
    start_worker()
    eventually(lambda: len(lines(file)) > begun, BOOT + WORK)
    gate.touch()
    eventually(lambda: "ended" in lines(file), WORK)
