"""How things are shown: tables and sentences for people, JSON for programs. Data on stdout, messages on stderr."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from taskd.schedule.duration import span_shown

_PIPED = 100_000  # columns: what is piped isn't wrapped or cut
_STYLES = {
    **dict.fromkeys(("SUCCESS", "active", "create"), "green"),
    **dict.fromkeys(("FAILURE", "LOST", "quarantined", "delete", "error"), "red"),
    **dict.fromkeys(
        ("RETRY", "MISSED", "SKIPPED", "REVOKED", "paused", "hold", "rename", "update", "warning"), "yellow"
    ),
    **dict.fromkeys(("PENDING", "disabled", "ended", "completed"), "dim"),
    "STARTED": "cyan",
}


def print_json(document: Any) -> None:
    """One document."""
    click.echo(json_text(document), nl=False)


def json_text(document: Any) -> str:
    """One document, as it is printed and kept in files."""
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def print_json_line(document: Any) -> None:
    """One of a stream of documents."""
    click.echo(json.dumps(document, ensure_ascii=False))


def say(sentence: str) -> None:
    """A message that isn't data."""
    click.echo(sentence, err=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Rows under headings."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    print_lines([table])


def print_lines(lines: Iterable[Text | Table]) -> None:
    """Styled on a terminal, plain and uncut where it is piped; NO_COLOR is honoured."""
    console = Console(width=None if sys.stdout.isatty() else _PIPED, highlight=False)
    for line in lines:
        console.print(line, soft_wrap=isinstance(line, Text))


def word(text: str) -> Text:
    """A status, state or kind in its colour; a colon or space behind it may go with it."""
    return Text(text, style=_STYLES.get(text.rstrip(": "), ""))


def clock(instant: datetime | str | None, zone: ZoneInfo) -> str:
    """`2026-01-31 09:00:00+08:00`, or nothing for None."""
    if instant is None:
        return ""
    moment = datetime.fromisoformat(instant) if isinstance(instant, str) else instant
    return moment.astimezone(zone).isoformat(" ", "seconds")


def seconds(runtime: float | None) -> str:
    """`1.25 s`, below a second `120 ms`, or nothing for None."""
    return "" if runtime is None else span_shown(timedelta(seconds=runtime))


def counted(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}{'s' * (count != 1)}"


def near(path: Path) -> str:
    """A path as a person here would write it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def short(value: Any, length: int = 80) -> str:
    """A JSON value on one line, with nothing in it that a terminal could obey."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = printable(text)
    return text if len(text) <= length else f"{text[: length - 1]}…"


def printable(text: str) -> str:
    """A line with nothing in it that a terminal could obey."""
    return "".join(char if char.isprintable() else " " for char in text)
