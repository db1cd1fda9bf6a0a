"""Every example of docs/time.md does what it says."""

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from taskd import clock
from taskd.schedule.crontab import parse
from tests.unit.conftest import Workplace

DOCUMENT = (Path(__file__).parents[2] / "docs/time.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
EXAMPLES = [
    (command, output)
    for kind, text in BLOCKS
    if kind == "console"
    for command, output in re.findall(r"^\$ taskd (.*)\n((?:[^$].*\n)*)", text, re.MULTILINE)
]


@pytest.fixture
def march(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """1 March 2026, with the schedule that the document speaks of."""
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 3, 1, tzinfo=UTC))
    place.file("schedules: {report: {task: t, crontab: 30 2 * * *, timezone: Europe/Berlin}}")
    place.taskd("db", "upgrade")
    place.taskd("sync")
    return place


@pytest.mark.parametrize(("command", "output"), EXAMPLES, ids=[command for command, _ in EXAMPLES])
def test_an_example_prints_what_it_says(march: Workplace, command: str, output: str) -> None:
    shown = march.taskd(*shlex.split(command)).stdout
    assert [line.rstrip() for line in shown.splitlines()] == output.splitlines()


def test_there_are_examples_of_each_command() -> None:
    assert {command.split()[0] for command, _ in EXAMPLES} == {"explain", "next", "why"}


def test_the_beat_schedule_is_one() -> None:
    names: dict[str, Any] = {}
    exec(next(text for kind, text in BLOCKS if kind == "python"), names)
    schedule = names["app"].conf.beat_schedule["daily-report"]["schedule"]
    assert schedule.trigger.expression == "0 9 * * mon-fri"
    assert schedule.trigger.timezone == "Asia/Shanghai"


def test_the_table_of_the_grammar_is_the_grammar() -> None:
    table = DOCUMENT.partition("| written |")[2].partition("\n\n")[0]
    rows = [re.findall(r"`([^`]+)`", row.split("|")[1]) for row in table.splitlines()[2:]]
    plain, names, aliases, dates, weekdays, _hashed = rows
    for text in plain:
        parse(f"{text} * * * *")
    for alias in aliases:
        parse(alias)
    for text in dates:
        parse(f"0 9 {text} * *")
    for text in [names[0], *weekdays]:
        parse(f"0 9 * * {text}")
