"""`taskd dev` as a person meets it: in an empty folder, with an editor and Ctrl-C."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.processes import TASKD, Running, alive, children, running, taskd
from tests.services import free_port
from tests.waiting import eventually

HELLO = "schedules:\n  hello:\n    task: taskd.tasks.demo.echo\n    interval: 1s\n    args: [hello]\n"


@pytest.fixture
def bind() -> dict[str, str]:
    return {"TASKD_HTTP__BIND": f"127.0.0.1:{free_port()}"}


@pytest.fixture
def dev(tmp_path: Path, bind: dict[str, str]) -> Iterator[Running]:
    """Started in an empty folder, and ready."""
    with running([*TASKD, "dev"], tmp_path, **bind) as process:
        eventually(lambda: "time zone" in process.output or process.ended(), within=30)
        assert not process.ended(), process.output
        yield process


def write(folder: Path, text: str) -> None:
    (folder / "schedules/hello.yaml").write_text(text)


def test_the_first_schedule_is_explained_written_and_seen_to_run(tmp_path: Path, dev: Running) -> None:
    eventually(lambda: "There are no schedules yet. Write this to schedules/hello.yaml" in dev.output)
    example = "schedules:" + dev.output.partition("\nschedules:")[2]
    write(tmp_path, example)
    eventually(lambda: "create hello" in dev.output, within=5)
    eventually(lambda: "hello  SUCCESS  " in dev.output, within=30)
    assert "hello  fired\n" in dev.output
    assert '{"args": ["hello", "world"], "kwargs": {}}' in dev.output


def test_a_broken_file_is_told_with_its_place_and_what_ran_goes_on(tmp_path: Path, dev: Running) -> None:
    write(tmp_path, HELLO)
    eventually(lambda: "hello  SUCCESS" in dev.output, within=30)
    write(tmp_path, HELLO + "    cronttab: x\n")
    eventually(lambda: "hello.yaml:6:5: hello: cronttab: unknown key" in dev.output, within=5)
    before = dev.output.count("hello  SUCCESS")
    eventually(lambda: dev.output.count("hello  SUCCESS") > before + 1)


def test_a_failure_is_told_in_one_line(tmp_path: Path, dev: Running) -> None:
    write(tmp_path, HELLO.replace("echo", "fail"))
    eventually(lambda: "RuntimeError: hello  (taskd run-show " in dev.output, within=30)
    assert "Traceback" not in dev.output


def test_a_queue_that_a_schedule_names_is_worked_on(tmp_path: Path, dev: Running) -> None:
    write(tmp_path, HELLO + "    queue: reports\n")
    eventually(lambda: "the worker takes from queue reports now" in dev.output, within=30)
    eventually(lambda: "hello  SUCCESS" in dev.output, within=30)
    assert dev.stop(within=15) == 0
    assert "Traceback" not in dev.output


def test_the_command_line_beside_it_asks_through_its_socket(tmp_path: Path, dev: Running) -> None:
    write(tmp_path, HELLO)
    eventually(lambda: "create hello" in dev.output)
    done = taskd(tmp_path, "trigger", "hello", "--wait", "--json")
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert (run["status"], run["kind"], run["result"]) == (
        "SUCCESS",
        "manual",
        {"args": ["hello"], "kwargs": {}},
    )
    assert taskd(tmp_path, "plan").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_stops_everything_within_seconds(dev: Running, number: signal.Signals) -> None:
    workers = eventually(lambda: children(dev.process.pid), within=30)
    assert dev.stop(number, within=10) == 0
    assert not any(map(alive, workers))
    assert "Traceback" not in dev.output


def test_a_worker_that_dies_is_started_again(tmp_path: Path, dev: Running) -> None:
    write(tmp_path, HELLO)
    eventually(lambda: "hello  SUCCESS" in dev.output, within=30)
    [worker] = children(dev.process.pid)

    os.kill(worker, signal.SIGKILL)
    eventually(lambda: "the worker ended with status -9" in dev.output)
    before = dev.output.count("hello  SUCCESS")
    eventually(lambda: dev.output.count("hello  SUCCESS") > before, within=30)


def test_the_worker_ends_with_a_killed_parent(dev: Running) -> None:
    [worker] = eventually(lambda: children(dev.process.pid), within=30)
    pool = eventually(lambda: children(worker), within=30)
    dev.stop(signal.SIGKILL)
    eventually(lambda: not any(map(alive, {worker, *pool})), within=20)


def test_a_second_one_is_told_that_the_port_is_taken(
    tmp_path: Path, dev: Running, bind: dict[str, str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    second = taskd(other, "dev", **bind)
    assert second.returncode == 2
    assert second.stderr.startswith(f"taskd: {bind['TASKD_HTTP__BIND']} is taken by another program")
    assert second.stderr.count("\n") == 1


def test_its_log_can_be_read_by_programs(tmp_path: Path, bind: dict[str, str]) -> None:
    (tmp_path / "schedules").mkdir()
    write(tmp_path, HELLO)
    with running(["sh", "-c", f"exec {' '.join(TASKD)} dev --json 2>/dev/null"], tmp_path, **bind) as dev:
        eventually(lambda: '"ended"' in dev.output, within=30)
        assert dev.stop() == 0
        lines = [json.loads(line) for line in dev.output.splitlines()]
    assert {"log", "fired", "ended"} == {line["event"] for line in lines}
    assert next(line for line in lines if line["event"] == "ended")["run"]["status"] == "SUCCESS"
