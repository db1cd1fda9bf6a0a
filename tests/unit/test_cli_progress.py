"""Bars on long work."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from taskd.cli import progress
from tests.unit.conftest import Workplace
from tests.waiting import eventually

Steps = list[tuple[str, int, int | None]]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_bar_is_seen_on_a_terminal_and_gone_when_the_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "SOON", 0)
    with progress.bar("deleting runs") as step:
        step(3, 7)
        assert eventually(lambda: "3/7" in terminal.getvalue())
    assert "deleting runs" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K")  # the line is wiped


def test_what_is_piped_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", pipe := io.StringIO())
    monkeypatch.setattr(progress, "SOON", 0)
    with progress.bar("deleting runs") as step:
        step(3, 7)
    assert pipe.getvalue() == ""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """All that bars are told."""
    told: Steps = []

    @contextmanager
    def bar(what: str) -> Iterator[progress.Step]:
        yield lambda done, total: told.append((what, done, total))

    monkeypatch.setattr(progress, "bar", bar)
    return told


def test_long_work_tells_how_far_it_is(place: Workplace, steps: Steps) -> None:
    place.taskd("db", "upgrade")
    assert steps[0][:2] == ("migrating", 0)
    assert steps[-1] == ("migrating", len(steps) - 1, len(steps) - 1)
    steps.clear()
    for number in range(3):
        place.file(f"schedules: {{s{number}: {{task: t, interval: 9s}}}}\n", f"{number}.yaml")
    place.taskd("check")
    assert steps == [("reading files", done, 3) for done in range(3)]
    steps.clear()
    place.taskd("purge", "--older-than", "1d", "--yes")
    assert steps == [("deleting runs", 0, None)]
    steps.clear()
    (place.folder / "old").write_text("*/5 * * * * echo a\n0 9 * * * echo b\n")
    place.taskd("import", "crontab", "old")
    assert steps == [("reading entries", 1, None), ("reading entries", 2, None)]
