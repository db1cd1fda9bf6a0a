"""`explain` and `why`: what an expression says, and what was decided about an occurrence."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import click
from rich.text import Text

from taskd import clock
from taskd.cli import output
from taskd.cli.client import connect
from taskd.cli.expressions import trigger_of
from taskd.cli.invocation import Command, Invocation
from taskd.cli.selecting import completed_name
from taskd.cli.settings import settings_of
from taskd.schedule import words
from taskd.schedule.notes import clock_changes
from taskd.schedule.trigger import Crontab
from taskd.schedule.zones import zone

_HORIZON = timedelta(days=2 * 366)


@click.command(cls=Command, shared=("config", "json"))
@click.argument("expression", metavar="EXPR")
@click.option("--tz", metavar="ZONE", help="The zone in which it is read; by default, the daemon's.")
@click.pass_obj
def explain(invocation: Invocation, expression: str, tz: str | None) -> None:
    """A crontab or an interval in words, and the clock changes of two years that touch it.

    \b
    Examples:
      taskd explain "30 2 * * mon-fri" --tz Europe/Berlin
      taskd explain "0 9 LW * *"
      taskd explain 90m --json
    """
    shown = zone(tz or settings_of(invocation).timezone)
    trigger = trigger_of(expression, shown)
    if trigger is None:
        raise click.UsageError(f"{expression!r} is neither a crontab nor an interval.")
    told, now = words.explain(trigger), clock.now()
    changes = [
        {"at": change.at.isoformat(), "local": change.at.astimezone(shown).isoformat(), "note": change.note}
        for change in clock_changes(trigger, now, now + _HORIZON)
    ]
    document = {
        "expression": expression,
        "crontab": trigger.expression if isinstance(trigger, Crontab) else None,
        "timezone": shown.key,
        "words": told.words,
        "fields": told.fields,
        "class": told.kind,
        "means": told.means,
        "clock_changes": changes,
    }
    if invocation.json:
        output.print_json(document)
    else:
        output.print_lines(_explained(document, shown))


@click.command(cls=Command)
@click.argument("name", shell_complete=completed_name)
@click.option(
    "--at", "time", metavar="TIME", required=True, help="On the schedule's wall clock, or with an offset."
)
@click.pass_obj
def why(invocation: Invocation, name: str, time: str) -> None:
    """Why a schedule ran at a time, or didn't: from its runs, its events, its timing and its state.

    \b
    Examples:
      taskd why daily-report --at 2026-06-01T09:00
      taskd why daily-report --at 2026-06-01T07:00Z --json
    """
    client = connect(invocation, settings_of(invocation))
    told = client.get("scheduler", "schedulers", name, "why", at=time)
    if invocation.json:
        output.print_json(told)
    else:
        output.print_lines(_told(told))


def _explained(document: dict[str, Any], tz: ZoneInfo) -> Iterator[Text]:
    yield Text(f"{document['words']}{f' in {tz.key}' if document['crontab'] else ''}")
    for name, values in document["fields"].items():
        if values != "every":
            yield _line(name, values)
    if document["class"]:
        yield _line("class", f"{document['class']}: {document['means']}")
    for change in document["clock_changes"]:
        yield _line(output.clock(change["at"], tz), change["note"])


def _told(told: dict[str, Any]) -> Iterator[Text]:
    yield output.word(told["decision"]).append(f": {told['words']}", "default")
    due = told["occurrence"]
    if due:
        yield _line("due", f"{due['local'].replace('T', ' ')}  {due['note'] or ''}".rstrip())
    if told["among"] > 1:
        yield _line("", f"the first of {told['among']} in the time that was asked about")


def _line(name: str, value: str) -> Text:
    return Text(f"{name:12}  ", style="dim").append(value, style="default")
