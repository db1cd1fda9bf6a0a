"""Workers from the command line: who is meant, what each said, and the exit code."""

from typing import Any

import pytest

from taskd.worker import control
from taskd.worker.control import Replies
from tests.unit.conftest import Workplace


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What workers were asked; one answers, one refuses."""
    told: list[Any] = []

    def ask(_app: Any, command: str, arguments: Any, named: Any, _patience: float) -> Replies:
        told.append((command, arguments, named))
        run = {"id": "4711", "name": "shop.restock", "args": []}
        return Replies(
            {"w1@host": [run] if command == "active" else "pong"}, {} if named else {"w2@host": "no"}
        )

    monkeypatch.setattr(control, "ask", ask)
    return told


def test_what_each_says_is_a_line_and_a_refusal_is_exit_1(stocked: Workplace, asked: list[Any]) -> None:
    done = stocked.taskd("workers", "active", exits=1)
    assert (done.stdout, done.stderr) == ("w1@host: shop.restock 4711\n", "w2@host refused: no\n")
    assert stocked.taskd("workers", "ping", "w1@host").stdout == "w1@host: pong\n"
    assert asked[-1] == ("ping", {}, ["w1@host"])
    assert stocked.json("workers", "ping", "w1@host") == {
        "workers": {"w1@host": "pong"}, "refused": {}, "silent": [],
    }  # fmt: skip


def test_who_is_meant_must_be_said(stocked: Workplace, asked: list[Any]) -> None:
    assert "Name the workers, or say --all" in stocked.complaint("workers", "shutdown")
    assert "Name the workers, or say --all" in stocked.complaint("workers", "grow", "w1@host", "--all")
    assert asked == []


@pytest.mark.parametrize(
    ("words", "command", "arguments"),
    [
        (["grow", "w1@host", "--n", "3"], "pool_grow", {"n": 3}),
        (["shrink", "w1@host"], "pool_shrink", {"n": 1}),
        (["restart", "w1@host"], "pool_restart", {}),
        (["autoscale", "w1@host", "--min", "0", "--max", "4"], "autoscale", {"min": 0, "max": 4}),
    ],
)
def test_commands_reach_those_that_are_named(
    stocked: Workplace, asked: list[Any], words: list[str], command: str, arguments: Any
) -> None:
    stocked.taskd("workers", *words)
    assert asked == [(command, arguments, ["w1@host"])]


def test_a_run_is_revoked_and_only_once(stocked: Workplace) -> None:
    run = stocked.json("trigger", "heartbeat")
    told = stocked.taskd("revoke", str(run["id"])).stdout
    assert told == f"REVOKED run {run['id']}, task {run['task_id']}\n"
    assert "has ended: REVOKED" in stocked.complaint("terminate", run["task_id"])
