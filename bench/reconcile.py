"""How long passes over 10,000 schedules in 1,000 files take, and what fires meanwhile: python bench/reconcile.py

`work` is processor time of the process that reconciles; files and the database (SQLite) are on this machine's disk.
The yardstick of a full check is what libyaml needs to compose the same bytes: `yaml.compose` with CSafeLoader.
Lateness is from the due time to the message in the broker, of 20 schedules that are due every second, two at a time,
told by the table that a daemon of its own has written: while nothing else happens, and from the rewriting of all files
until all of it is applied; in turns, since the machine may have other things to do.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from sqlalchemy import func, select

from taskd.reconcile.reconciler import Reconciler
from taskd.source.tree import Tree
from taskd.source.yamlfile import read_file
from taskd.store import schema
from taskd.store.database import Database
from taskd.store.tables import RunRow, ScheduleRow

FILES, PER_FILE = 1_000, 10
BEATS, PHASES = 20, 10
ROUNDS = 5
RELOADS = 5
SECONDS = 8  # without a reload, after each


def content(file: int, version: int = 0) -> bytes:
    """One file: different crontabs, arguments and names throughout."""
    lines = ["defaults:\n  timezone: Europe/Berlin\n  queue: reports\nschedules:\n"]
    lines += [
        f"  report-{number}:\n"
        "    task: reports.tasks.daily\n"
        f'    crontab: "{number % 60} {number % 24} 1 1 *"\n'
        f"    args: [daily_report, {number}, {version}]\n"
        f"    kwargs: {{customer: {number % 97}, region: eu}}\n"
        f"    description: The daily report of customer {number % 97}\n"
        for number in range(file * PER_FILE, (file + 1) * PER_FILE)
    ]
    return "".join(lines).encode()


def write_all(root: Path, version: int = 0) -> None:
    for file in range(FILES):
        (root / f"{file}.yaml").write_bytes(content(file, version))


def work(act: Callable[[], object]) -> float:
    """Milliseconds of processor time."""
    began = time.process_time()
    act()
    return (time.process_time() - began) * 1000


def check_against_libyaml() -> tuple[float, float]:
    """Milliseconds to compose all files, and to check them; each the best of some rounds, in turns."""
    files = [content(file) for file in range(FILES)]
    composed, checked = [], []
    for _ in range(ROUNDS):
        composed.append(work(lambda: [yaml.compose(data, Loader=yaml.CSafeLoader) for data in files]))
        checked.append(work(lambda: [read_file(data, "reports.yaml", "UTC") for data in files]))
    return min(composed), min(checked)


def passes(folder: Path) -> Iterable[tuple[str, float]]:
    """Milliseconds of work of each kind of pass."""
    root = folder / "schedules"
    root.mkdir()
    write_all(root)
    database = Database(f"sqlite:///{folder}/taskd.db")
    schema.upgrade(database)
    reconciler = Reconciler(
        database, [Tree(root, "UTC")], poll=10, fence=lambda _session: None, changed=lambda: None
    )
    yield "first pass, all created", work(reconciler.one_pass)
    reconciler.one_pass()
    reconciler.one_pass()
    yield "idle pass", median(work(reconciler.one_pass) for _ in range(ROUNDS))
    edits = []
    for version in range(1, ROUNDS + 1):
        (root / "7.yaml").write_bytes(content(7, version))
        edits.append(work(reconciler.one_pass))
        reconciler.one_pass()
        reconciler.one_pass()
    yield "one edited file, to its effect", median(edits)
    write_all(root, 1)
    yield "all files edited", work(reconciler.one_pass)
    database.close()


def beat(number: int) -> str:
    """Due every second, at its own tenth of it."""
    phase = f"2026-01-01T00:00:00.{number % PHASES}Z"
    return f"  beat-{number}: {{task: taskd.tasks.demo.echo, interval: 1s, start_time: {phase}}}\n"


@contextmanager
def daemon(folder: Path) -> Any:
    """`taskd run` over 10,000 schedules that aren't due and some that are due every second."""
    root = folder / "schedules"
    root.mkdir()
    write_all(root)
    (root / "beats.yaml").write_text("schedules:\n" + "".join(map(beat, range(BEATS))))
    environ = {
        "PATH": os.environ["PATH"],
        "TASKD_STATE_DIR": str(folder / "state"),
        "TASKD_SCHEDULES__PATHS": str(root),
        "TASKD_HTTP__BIND": "127.0.0.1:0",
    }
    subprocess.run([sys.executable, "-m", "taskd", "db", "upgrade"], cwd=folder, env=environ, check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "taskd", "run"], cwd=folder, env=environ, stderr=log
        )
    try:
        while b"ready, " not in (folder / "log").read_bytes():
            if process.poll() is not None:
                raise SystemExit((folder / "log").read_text())
            time.sleep(0.1)
        yield root
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def lateness(database: Database, spans: Iterable[tuple[datetime, datetime]]) -> list[float]:
    """Milliseconds of each run that was due in these spans, sorted."""
    query = select(RunRow.scheduled_for, RunRow.published_at).where(RunRow.kind == "schedule")
    found = database.read(lambda session: session.execute(query).all())
    return sorted(
        (published - due).total_seconds() * 1000
        for due, published in found
        if due and published and any(began <= due < ended for began, ended in spans)
    )


def applied(database: Database, version: int) -> int:
    """How many schedules are as this version of the files says."""
    query = select(func.count()).where(func.json_extract(ScheduleRow.args, "$[2]") == version)
    return database.read(lambda session: session.scalar(query)) or 0


def quiet_and_busy(folder: Path) -> tuple[list[float], list[float], list[float]]:
    """Lateness while nothing changes, and while everything does; how many seconds each reload took."""
    quiet, busy = [], []
    with daemon(folder) as root:
        database = Database(f"sqlite:///{folder}/state/taskd.db", role="worker")
        time.sleep(10)  # what the first pass has left to do
        for version in range(1, RELOADS + 1):
            first = datetime.now(UTC)
            time.sleep(SECONDS)
            second = datetime.now(UTC)
            write_all(root, version)
            while applied(database, version) < FILES * PER_FILE:
                time.sleep(0.2)
            third = datetime.now(UTC)
            quiet.append((first, second))
            busy.append((second, third))
            time.sleep(3)  # until the last of them is published
        late = lateness(database, quiet), lateness(database, busy)
        database.close()
    return *late, [(ended - began).total_seconds() for began, ended in busy]


def row(what: str, figure: float, bound: str = "", ratio: str = "") -> None:
    print(f"{what:<44} {figure:>10.1f} ms {ratio:>8}  {bound}")


def main() -> None:
    composed, checked = check_against_libyaml()
    print(
        f"{FILES * PER_FILE} schedules in {FILES} files, {sum(len(content(n)) for n in range(FILES))} bytes\n"
    )
    row("libyaml composes them", composed)
    row("full check", checked, "at most 2.00", f"{checked / composed:.2f}")
    with TemporaryDirectory() as folder:
        bounds = {"idle pass": "at most 50 ms", "one edited file, to its effect": "at most 300 ms"}
        for what, figure in passes(Path(folder)):
            row(what, figure, bounds.get(what, ""))
    with TemporaryDirectory() as folder:
        quiet, busy, reloads = quiet_and_busy(Path(folder))
    print(
        f"\nlateness, {len(quiet)} fires without and {len(busy)} with {RELOADS} full reloads, of {median(reloads):.1f} s\n"
    )
    for name, share in (("median", 0.5), ("9 of 10", 0.9), ("99 of 100", 0.99), ("worst", 1.0)):
        before, after = (times[min(int(len(times) * share), len(times) - 1)] for times in (quiet, busy))
        row(f"{name}: without", before)
        row(f"{name}: during full reloads", after, "", f"{after / before:.2f}")


if __name__ == "__main__":
    main()
