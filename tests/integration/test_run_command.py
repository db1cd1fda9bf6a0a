"""taskd.tasks.run_command in a real worker: time limits and kills leave no process behind."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.workers import Site, StartWorker, running
from tests.waiting import eventually


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, {"TASKD_TASKS__RUN_COMMAND__ALLOW": "sh"})


@pytest.fixture
def start(site: Site) -> Iterator[StartWorker]:
    with running(site) as start:
        yield start


def pids(folder: Path) -> list[int]:
    """Of the program and of what it started, once both are known."""
    file = folder / "pids"
    eventually(lambda: file.exists() and len(file.read_text().split()) == 2)
    return [int(word) for word in file.read_text().split()]


def is_gone(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_both_time_limits_and_a_killed_worker_end_the_whole_group(
    site: Site, start: StartWorker, tmp_path: Path
) -> None:
    worker = start("prefork", "w1")
    for ends in ("soft_time_limit", "time_limit", "kill"):
        folder = tmp_path / ends
        folder.mkdir()
        # the shell doesn't hear SIGTERM: only SIGKILL ends it
        script = "trap '' TERM; sleep 100 & echo $$ $! > pids; wait; sleep 100"
        limits = {ends: 2} if ends != "kill" else {}
        task_id = site.send("taskd.tasks.run_command", ["sh", "-c", script], str(folder), **limits)
        started = pids(folder)
        if ends == "kill":
            worker.kill()
        else:
            site.becomes(task_id, "FAILURE")
        for pid in started:
            eventually(lambda pid=pid: is_gone(pid), 20)


def test_a_command_that_is_not_allowed_fails_with_what_to_do(site: Site, start: StartWorker) -> None:
    start("prefork", "w1")
    run = site.becomes(site.send("taskd.tasks.run_command", ["ls"]), "FAILURE")
    assert "list it in tasks.run_command.allow" in (run.traceback or "")
    run = site.becomes(site.send("taskd.tasks.run_command", ["sh", "-c", "echo $$; exit 4"]), "FAILURE")
    assert "sh ended with status 4" in (run.traceback or "")
    done = site.becomes(site.send("taskd.tasks.run_command", ["sh", "-c", f"echo {os.getpid()}"]), "SUCCESS")
    assert isinstance(done.result, dict)
    assert done.result["output"] == f"{os.getpid()}\n"
