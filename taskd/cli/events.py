"""`events`: what was done to a schedule."""

from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import click

from taskd.cli import output
from taskd.cli.client import connect
from taskd.cli.invocation import Command, Invocation
from taskd.cli.selecting import completed_name
from taskd.cli.settings import settings_of
from taskd.schedule.zones import zone

_COLUMNS = ["AT", "WHAT", "BY", "REVISION", "CHANGED"]


@click.command(cls=Command)
@click.argument("name", shell_complete=completed_name)
@click.option("-n", "count", type=click.IntRange(1, 200), default=20, show_default=True, help="How many.")
@click.pass_obj
def events(invocation: Invocation, name: str, count: int) -> None:
    """What was done to a schedule, by whom, and what it was before; the newest first, also when it is deleted.

    \b
    Examples:
      taskd events daily-report
      taskd events daily-report -n 100 --json | jq -r '.[] | select(.kind == "paused") | .actor'
    """
    settings = settings_of(invocation)
    page = connect(invocation, settings).get("scheduler", "schedulers", name, "events", size=count)
    if invocation.json:
        output.print_json(page["items"])
    else:
        tz = zone(settings.timezone)
        output.print_table(_COLUMNS, (_line(each, tz) for each in page["items"]))


def _line(event: Mapping[str, Any], tz: ZoneInfo) -> tuple[str, ...]:
    revision = (event["revision"] or "")[:12]
    return output.clock(event["at"], tz), event["kind"], event["actor"], revision, "; ".join(_changed(event))


def _changed(event: Mapping[str, Any]) -> Iterator[str]:
    """What it changed; of a birth or an end, which have all fields, nothing."""
    before, after = event["before"], event["after"]
    if before and after:
        for key in {**before, **after}:
            old, new = (output.short(side.get(key)) or "none" for side in (before, after))
            yield f"{key}: {old} → {new}"
    for key, value in (event["detail"] or {}).items():
        yield f"{key}: {output.short(value)}"
