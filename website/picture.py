"""Makes docs/taskd-dev.svg: what `taskd dev` shows on a terminal, from a real run in an empty folder.

.venv/bin/python website/picture.py
"""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.text import Text

OUT = Path(__file__).parents[1] / "docs" / "taskd-dev.svg"
SECONDS = 34.0
SCHEDULES = """\
schedules:
  heartbeat: {task: taskd.tasks.demo.echo, interval: 10s, args: [still here]}
  every-minute: {task: taskd.tasks.demo.echo, crontab: "* * * * *", kwargs: {report: daily}}
  slow: {task: taskd.tasks.demo.sleep, interval: 15s, args: [2]}
  broken: {task: taskd.tasks.demo.fail, interval: 20s, args: [no such table]}
"""
MISTAKE = 'schedules: {nightly: {task: reports.nightly, cronttab: "0 2 * * *"}}\n'


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        shown = shot(Path(folder))
    lines = shown.replace("\r", "").replace(folder, "/home/me/shop").splitlines()
    width = max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in lines) + 1
    console = Console(record=True, width=width, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115, PTH123
    console.print(Text.from_ansi("\n".join(["$ taskd dev", *lines])))
    svg = console.export_svg(title="taskd dev")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # nothing is fetched from elsewhere
    OUT.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")


def shot(folder: Path) -> str:
    """What the run printed on a terminal of 110 columns."""
    (folder / "schedules").mkdir()
    (folder / "schedules" / "shop.yaml").write_text(SCHEDULES)
    leader, follower = pty.openpty()
    environ = {**os.environ, "COLUMNS": "110", "TERM": "xterm-256color", "TASKD_TIMEZONE": "Europe/Berlin"}
    dev = subprocess.Popen(
        [sys.executable, "-m", "taskd", "dev"],
        cwd=folder,
        env=environ,
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    seen, began = b"", time.monotonic()
    while time.monotonic() - began < SECONDS:
        if time.monotonic() - began > SECONDS - 8 and not (folder / "schedules" / "nightly.yaml").exists():
            (folder / "schedules" / "nightly.yaml").write_text(MISTAKE)
        if select.select([leader], [], [], 0.2)[0]:
            seen += os.read(leader, 65536)
    dev.send_signal(signal.SIGINT)
    with suppress(OSError):  # the terminal's end, once nobody has its other side open
        while os.read(leader, 65536):
            pass
    dev.wait()
    return seen.decode()


if __name__ == "__main__":
    main()
