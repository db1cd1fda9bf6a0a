"""Where the live log goes: lines for people, or JSON lines for programs."""

import logging
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from rich.text import Text

from taskd import clock
from taskd.cli import output
from taskd.cli.look import outcome
from taskd.config import masked


class Screen(Protocol):
    """Where lines go: for people, or for programs."""

    def run(self, event: str, run: dict[str, Any]) -> None:
        """A run was `fired`, is `retried`, or has `ended`."""

    def log(self, record: logging.LogRecord) -> None:
        """Something else that should be known."""


class People:
    """One readable line each; times of day in `zone`."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone

    def run(self, event: str, run: dict[str, Any]) -> None:
        """`09:00:00  heartbeat  SUCCESS  0.01 s  {"args": …}`."""
        if event == "fired":
            self.note(
                run["decided_at"],
                Text(f"{run['schedule_name'] or run['task_name']}  ").append("fired", "dim"),
            )
            return
        line = Text(f"{run['schedule_name'] or run['task_name']}  ").append(output.word(run["status"]))
        line.append(f"  {output.seconds(run['runtime'])}  {outcome(run)}")
        if event == "ended" and run["traceback"]:
            line.append(f"  (taskd run-show {run['id']})", "dim")
        self.note(run["completed_at"], line)

    def log(self, record: logging.LogRecord) -> None:
        """The sentence, with its level where that matters."""
        level = record.levelname.lower()
        self.note(
            None, Text("" if level == "info" else f"{level}: ", "red").append(record.getMessage(), "default")
        )

    def note(self, at: str | None, line: Text) -> None:
        """A line with its time of day; without one, that of now."""
        moment = output.clock(at or clock.now(), self._zone)
        output.print_lines([Text(f"{moment[11:19]}  ", "dim").append(line)])


class Programs:
    """JSON lines."""

    def run(self, event: str, run: dict[str, Any]) -> None:
        """`{"event": …, "run": {…}}`."""
        output.print_json_line({"event": event, "run": run})

    def log(self, record: logging.LogRecord) -> None:
        """`{"event": "log", "level": …, "message": …}`."""
        output.print_json_line({"event": "log", "level": record.levelname, "message": _sentence(record)})


class LogLines(logging.Handler):
    """Sends log records to a screen."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """As every handler."""
        self._screen.log(record)


def _sentence(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    return masked(record.getMessage() if error is None else f"{record.getMessage()}: {error!r}")
