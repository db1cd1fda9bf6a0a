"""taskd.tasks.run_command: what is allowed, what comes of it. With a worker: tests/integration/test_run_command.py."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskd.celery_app import create_app
from taskd.config import Settings
from taskd.errors import CommandFailed, ConfigError
from taskd.tasks.commands import KEPT
from tests.waiting import eventually

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """The task, called directly, where `sh` and `cat` are allowed."""
    monkeypatch.chdir(tmp_path)
    app = create_app(Settings.model_validate({"tasks": {"run_command": {"allow": ["sh", "/bin/cat"]}}}))
    app.loader.import_default_modules()
    yield app.tasks["taskd.tasks.run_command"].run
    app.close()


def test_its_output_and_status_are_the_result(run: Run) -> None:
    result = run(["sh", "-c", "echo out; echo err >&2"])
    assert (result["status"], result["output"]) == (0, "out\nerr\n")


def test_arguments_are_not_read_by_a_shell(run: Run) -> None:
    assert run(["sh", "-c", 'echo "$1"', "sh", "$HOME; `x` *"])["output"] == "$HOME; `x` *\n"


def test_input_folder_and_environment_are_given(run: Run, tmp_path: Path) -> None:
    result = run(
        ["sh", "-c", "cat; pwd; echo $DAY $HOME"], cwd=str(tmp_path), env={"DAY": "mon"}, stdin="hello\n"
    )
    assert result["output"] == f"hello\n{tmp_path}\nmon {os.environ['HOME']}\n"


def test_another_status_is_a_failure_with_its_last_words(run: Run) -> None:
    with pytest.raises(CommandFailed, match=r"^sh ended with status 3 after .* s, its last words: no disk$"):
        run(["sh", "-c", "echo no disk >&2; exit 3"])
    assert run(["sh", "-c", "exit 3"], expected_status=[0, 3])["status"] == 3


def test_a_program_that_a_signal_ends_has_the_status_that_a_shell_shows(run: Run) -> None:
    with pytest.raises(CommandFailed, match="status 137"):
        run(["sh", "-c", "kill -9 $$"])


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["ls"], "'ls' isn't allowed on this worker: list it in tasks.run_command.allow"),
        (["/bin/ls"], "isn't allowed"),
        (["gone"], "isn't allowed"),
        (["./sh"], "name the program alone, or by its whole path"),
        ([], "argv should be a list of texts"),
        ("sh -c x", "argv should be a list of texts"),
        (["sh", 1], "argv should be a list of texts"),
    ],
)
def test_what_is_not_listed_is_refused(run: Run, argv: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence.replace(".", r"\.")):
        run(argv)


def test_a_program_may_be_named_by_its_path_or_its_name_whichever_is_listed(run: Run) -> None:
    assert run(["cat"], stdin="x")["output"] == "x"


def test_the_schedule_cannot_move_an_allowed_name_to_another_program(run: Run, tmp_path: Path) -> None:
    fake = tmp_path / "sh"
    fake.write_text("#!/bin/cat\nfake\n")
    fake.chmod(0o755)
    assert run(["sh", "-c", "echo real"], env={"PATH": str(tmp_path)})["output"] == "real\n"
    with pytest.raises(ConfigError, match="LD_PRELOAD would let an allowed program"):
        run(["sh", "-c", "true"], env={"LD_PRELOAD": "/tmp/x.so"})


def test_nothing_is_allowed_by_default() -> None:
    assert Settings().tasks.run_command.allow == ()


def test_of_much_output_the_end_is_kept(run: Run) -> None:
    result = run(["sh", "-c", f"head -c {10 * KEPT} /dev/zero | tr '\\0' x; echo end"])
    assert len(result["output"]) == KEPT
    assert result["output"].endswith("xend\n")
    assert result["output_dropped_bytes"] == 9 * KEPT + 4


def test_what_it_leaves_running_does_not_hold_the_run(run: Run, tmp_path: Path) -> None:
    result = run(["sh", "-c", "sleep 100 & echo $! > pid; echo done"], cwd=str(tmp_path))
    assert result["output"] == "done\n"
    os.kill(int((tmp_path / "pid").read_text()), 9)  # it goes on, as under cron


def test_when_the_task_gives_up_all_that_it_started_is_ended(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(_process: object) -> None:
        eventually(lambda: len((tmp_path / "pids").read_text().split()) == 2 if pids.exists() else False)
        raise TimeoutError

    pids = tmp_path / "pids"
    monkeypatch.setattr("taskd.tasks.commands._output_of", give_up)
    with pytest.raises(TimeoutError):
        run(["sh", "-c", "sleep 100 & echo $$ $! > pids; wait"], cwd=str(tmp_path))
    for pid in map(int, pids.read_text().split()):
        eventually(lambda pid=pid: not Path(f"/proc/{pid}").exists() or _is_zombie(pid))


def _is_zombie(pid: int) -> bool:
    return ") Z " in Path(f"/proc/{pid}/stat").read_text()
