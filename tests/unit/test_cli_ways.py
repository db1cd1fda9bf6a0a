"""By URL, through the socket, or on the database: every command that reads state prints the same."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click
import pytest

from taskd import clock
from taskd.cli import direct, main
from taskd.cli.direct import context_of
from taskd.config import load
from taskd.http.server import HttpServer
from taskd.worker import control
from taskd.worker.control import Replies
from tests.unit.conftest import Workplace
from tests.unit.test_cli_look import add_run
from tests.unit.test_cli_shared import GROUPS
from tests.waiting import eventually

READING = [
    "list",
    "list daily-* -l team=ops",
    "list nope*",
    "show daily-report",
    "show heartbeat",
    "show nope/é",
    "next daily-report --from 2026-01-01T00:00 -n 3",
    "next heartbeat",
    "next nope",
    "why daily-report --at 2026-01-31T09:00",
    "why daily-report --at 2026-01-31T10:00",
    "why heartbeat --at 2000-01-01T00:00Z",
    "runs",
    "runs daily-report --status failure -n 1",
    "runs nope",
    "run-show daily-report-FAILURE",
    "run-show 4711",
    "log daily-report-FAILURE",
    "log daily-report-FAILURE -f",
    "log 4711",
    "events heartbeat",
    "events nope",
    "plan",
    "plan --format github",
    "sync",
    "sync --approve 0123456789abcdef",
    "workers ping",
    "workers active w1@host w3@host",
    "workers scheduled",
    "workers reserved",
    "workers registered",
    "workers stats --timeout 0.5",
    "workers stats --timeout 11",
]
ELSEWHERE = {
    *("dev", "run", "worker", "beat", "flower"),  # programs
    *(
        "init",
        "config",
        "doctor",
        "import",
        "check",
        "schema",
        "explain",
        "export",
        "db",
        "completion",
    ),  # local
    *("trigger", "pause", "resume", "start", "revoke", "terminate", "adopt", "purge"),  # they change it
    *(f"workers {each}" for each in ("autoscale", "grow", "restart", "shrink", "shutdown")),  # them too
    "tail",  # a stream: tests/acceptance/test_tail.py
}


@contextmanager
def served() -> Iterator[str]:
    """The daemon's server on the database of this folder, at a port and at the socket; its URL."""
    with click.Context(click.Command("test")).scope(), asyncio.Runner() as runner:
        http = HttpServer(context_of(load(None, {"TASKD_HTTP__BIND": "127.0.0.1:0"})))
        stop, loop = asyncio.Event(), runner.get_loop()
        thread = threading.Thread(target=loop.run_until_complete, args=(http.run(stop),))
        thread.start()
        try:
            eventually(http.listening.is_set)
            yield http.addresses[0]
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()


@pytest.fixture
def lived_in(stocked: Workplace, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """One in which something has happened, where something would change; one worker answers, one refuses."""
    add_run(stocked, "daily-report", "SUCCESS", runtime=0.5, result={"rows": 3, "token": "hunter2"})
    add_run(stocked, "heartbeat", "FAILURE", traceback="Traceback\nOSError: é", log="one\ntwo\n")
    stocked.taskd("pause", "heartbeat", "--reason", "é")
    stocked.taskd("trigger", "daily-report")
    stocked.file("schedules: {new: {task: t, interval: 5m}, bad: {}}", "b.yaml")
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now)  # what comes next, and the span of a plan's fire times
    replies = Replies({"w1@host": [{"id": "1", "name": "t"}]}, {"w2@host": "no"})
    monkeypatch.setattr(control, "ask", lambda *_: replies)
    return stocked


def test_every_command_that_reads_state_is_among_them() -> None:
    named = {f"workers {word}" for word in GROUPS["workers"]} | {*main.commands} - {"workers"}
    asked = {" ".join(line.split()[: 1 + line.startswith("workers")]) for line in READING}
    assert asked == named - ELSEWHERE


@pytest.mark.parametrize("form", ["--json", ""], ids=["json", "people"])
@pytest.mark.parametrize("line", READING)
def test_every_way_prints_the_same(
    lived_in: Workplace, line: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*line.split(), *form.split()]
    here = said(lived_in, words)
    with served() as url:
        monkeypatch.setattr(direct, "in_process", None)  # nobody goes around the server
        assert said(lived_in, words) == here
        assert said(lived_in, [*words, "--url", url]) == here


def said(place: Workplace, words: list[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    done = place.invoke(*words)
    return done.exit_code, done.stdout, done.stderr
