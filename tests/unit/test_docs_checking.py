"""What the guide on checking shows works as it stands."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.unit.conftest import Workplace

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/checking.md").read_text()
COMMANDS = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)
(WORKFLOW,) = re.findall(r"^```yaml\n# \.github.*?\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "GITHUB_BASE_REF": "main",
}


@pytest.fixture
def clone(place: Workplace) -> Workplace:
    """A folder with the schedules that ship, and a database."""
    shutil.copytree(ROOT / "schedules", place.folder / "schedules")
    place.taskd("db", "upgrade")
    return place


def test_the_commands_work(clone: Workplace) -> None:
    exits = []
    for command in COMMANDS:
        taskd, *words = command.split()
        if taskd == "taskd" and ">" not in words:
            exits.append((words[0], clone.taskd(*words, exits=3 if words == ["plan"] else 0).exit_code))
        else:
            subprocess.run(command, shell=True, check=True, env=ENVIRONMENT)
    assert Path("schedule.schema.json").read_text() == (ROOT / "schedule.schema.json").read_text()
    assert exits == [("check", 0), ("check", 0), ("plan", 3), ("plan", 0)]


def test_the_steps_of_the_workflow_annotate_a_change_and_let_it_pass(clone: Workplace) -> None:
    steps = [step["run"] for step in yaml.safe_load(WORKFLOW)["jobs"]["check"]["steps"] if "run" in step]
    assert steps.pop(0).startswith("pip install taskd ")
    git = "git -c user.name=x -c user.email=x@example.org"
    prepare = f"git init -b main . && git add schedules && {git} commit -m x && git update-ref refs/remotes/origin/main main"
    subprocess.run(prepare, shell=True, check=True, capture_output=True)
    path = Path("schedules/heartbeat.yaml")
    path.write_text(path.read_text().replace("interval: 10s", "interval: 5s"))
    said = ""
    for step in steps:
        done = subprocess.run(
            ["bash", "-e", "-c", step.replace("../before", "before")],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said += done.stdout
    assert "::notice file=schedules/heartbeat.yaml,line=5,title=heartbeat::heartbeat changes" in said
    assert Path("plan.json").exists()
