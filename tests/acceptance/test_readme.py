"""Every example of the README does what the README says."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.processes import TASKD, Running, environment, running, taskd
from tests.services import free_port
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ")
    for kind, text in BLOCKS
    if kind == "console"
    for line in text.splitlines()
    if not line.startswith("$ . ")  # the way into the virtual environment, where the tests are already
]
FILES = {match[1]: text for _, text in BLOCKS if (match := re.match(r"# (\S+)\n", text))}


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, port: int) -> Path:
    """What a clone has, and the files that the README tells one to write."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "schedules", folder / "schedules")
    for example in folder.glob("schedules/*"):
        example.write_text(example.read_text().replace("8470", str(port)))
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def dev(place: Path, port: int) -> Iterator[Running]:
    """What `make run` starts."""
    with running([*TASKD, "dev"], place, TASKD_HTTP__BIND=f"127.0.0.1:{port}") as process:
        eventually(lambda: "  SUCCESS  " in process.output or process.ended(), within=60)
        assert not process.ended(), process.output
        yield process


def test_the_two_commands_to_begin_with_are_the_makefile_s() -> None:
    targets = re.findall(r"^make (\w+)", README, re.MULTILINE)
    assert targets == ["run", "test"]
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_the_examples_run(dev: Running) -> None:
    """The schedules of a clone: within a minute of the start, without any other set-up."""
    for name in ("heartbeat", "taskd-answers", "slow-job", "every-minute"):
        eventually(lambda name=name: f"{name}  SUCCESS" in dev.output, within=70)
    assert "error" not in dev.output


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_works(place: Path, dev: Running, port: int, command: str) -> None:
    done = subprocess.run(
        command.replace("8470", str(port)),
        shell=True,
        cwd=place,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout or done.stderr


def test_every_file_and_program_that_is_named_is_there() -> None:
    for name in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / name).exists(), name
    for words in re.findall(r"`taskd ([a-z ]+)`", README):
        assert taskd(ROOT, *words.split(), "--help").returncode == 0, words
