"""The tutorial, as a stranger goes through it: each file written, each command given, beside `taskd dev`."""

import re
import signal
import subprocess
from pathlib import Path

from tests.acceptance.processes import TASKD, environment, running, taskd
from tests.services import free_port
from tests.waiting import eventually

TEXT = (Path(__file__).parents[2] / "docs/tutorial.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    for kind, text in BLOCKS:
        if kind == "python" or (kind == "yaml" and "celery:" in text):
            name = match[1] if (match := re.match(r"# (\S+)\n", text)) else "taskd.yaml"
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
    init, *rest = (text for kind, text in BLOCKS if kind == "console")
    for line in init.splitlines():
        _done(tmp_path, line)
    bind = f"127.0.0.1:{free_port()}"
    with running([*TASKD, "dev"], tmp_path, TASKD_HTTP__BIND=bind) as dev:
        eventually(lambda: "hello  SUCCESS" in dev.output or dev.ended(), 60)
        assert not dev.ended(), dev.output
        for kind, text in BLOCKS:
            if kind == "yaml" and (match := re.match(r"# (schedules/(\w+)\.yaml)\n", text)):
                (tmp_path / match[1]).write_text(text)
                eventually(lambda name=match[2]: f"create {name}" in dev.output, 30)
        for block in rest:
            for line in block.splitlines():
                _done(tmp_path, line)
        failed = taskd(tmp_path, "trigger", "broken", "--wait")
        assert (failed.returncode, "RuntimeError: no such table" in failed.stdout) == (1, True)
        (tmp_path / "schedules/shop.yaml").write_text(
            "schedules: {restock: {task: shop.tasks.restock, date: 2035-01-01T00:00, args: [milk]}}\n"
        )
        eventually(lambda: "create restock" in dev.output, 30)
        assert taskd(tmp_path, "trigger", "restock", "--wait").stdout.endswith("milk is full\n")
        assert dev.stop(signal.SIGINT, within=30) == 0


def _done(folder: Path, line: str) -> None:
    done = subprocess.run(
        line.removeprefix("$ "), shell=True, cwd=folder, env=environment(), capture_output=True, text=True,
        timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (line, done.stderr)
    assert done.stdout or done.stderr
