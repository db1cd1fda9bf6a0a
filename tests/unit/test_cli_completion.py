"""`completion`: the shell's script, and what it gets when it asks."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.unit.conftest import Workplace


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell_asks_taskd(place: Workplace, shell: str) -> None:
    script = place.taskd("completion", shell).stdout
    assert f"_TASKD_COMPLETE={shell}_complete" in script


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_can_read(place: Workplace, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = place.taskd("completion", shell).stdout
    subprocess.run([shell, "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("taskd com", ["completion"]),
        ("taskd import re", ["redbeat"]),
        ("taskd trigger x --wa", ["--wait"]),
    ],
)
def test_commands_and_options_are_completed(words: str, expected: list[str]) -> None:
    assert completed(words) == expected


def test_names_of_schedules_are_completed_and_silence_is_where_there_are_none(stocked: Workplace) -> None:
    assert completed("taskd pause da") == ["daily-report"]
    assert completed("taskd show -c gone.yaml da") == []


def completed(words: str) -> list[str]:
    """What the shell is offered for the last of the words."""
    asked = {"_TASKD_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    program = "from taskd.cli import main; main(prog_name='taskd')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.split("\n") if line]
