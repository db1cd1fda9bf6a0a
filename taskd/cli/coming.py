"""`next`: coming occurrences, of a schedule or of an expression."""

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import click

from taskd import clock
from taskd.cli import output
from taskd.cli.client import Client, connect
from taskd.cli.expressions import instant, trigger_of
from taskd.cli.invocation import Command, Invocation
from taskd.cli.selecting import completed_name
from taskd.cli.settings import settings_of
from taskd.schedule.notes import noted
from taskd.schedule.timing import occurrences
from taskd.schedule.zones import zone


class Occurrence(NamedTuple):
    """An instant, and what the clocks do to it."""

    at: datetime
    note: str | None


@click.command("next", cls=Command)
@click.argument("subject", metavar="NAME|EXPR", shell_complete=completed_name)
@click.option("--tz", metavar="ZONE", help="The zone in which EXPR is read, and times are shown.")
@click.option("--from", "since", metavar="TIME", help="Occurrences after this time; by default, now.")
@click.option("-n", "count", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many.")
@click.pass_obj
def next_(invocation: Invocation, subject: str, tz: str | None, since: str | None, count: int) -> None:
    """Coming occurrences of a schedule, a crontab or an interval.

    Marks those that a change of the clocks moves, repeats or leaves out.

    \b
    Examples:
      taskd next daily-report
      taskd next "0 9 * * mon-fri" --tz Europe/Berlin -n 5
      taskd next "30 2 * * *" --tz America/New_York --from 2026-03-07T00:00
      taskd next 90m
    """
    settings = settings_of(invocation)
    shown = zone(tz or settings.timezone)
    trigger = trigger_of(subject, shown)
    if trigger is None:
        client = connect(invocation, settings)
        schedule = client.get("scheduler", "schedulers", subject)
        shown = zone(tz or schedule["timezone"])
        found = _of_schedule(client, schedule, instant(since, shown), count)
    else:
        start = instant(since, shown) or clock.now()
        due = islice(occurrences(trigger, start), count)
        found = [Occurrence(at, note) for at, note in noted(trigger, start, due)]
    _print(invocation, found, shown)


def _of_schedule(
    client: Client, schedule: dict[str, Any], since: datetime | None, count: int
) -> list[Occurrence]:
    asked = {"n": count, "from": since and since.isoformat()}
    coming = client.get("scheduler", "schedulers", schedule["name"], "next", **asked)
    if coming["message"]:
        output.say(coming["message"])
    if coming["crontab"] != schedule["crontab"]:
        output.say(f"{schedule['crontab']!r} became {coming['crontab']!r}")
    found = ((datetime.fromisoformat(each["scheduled_for"]), each["note"]) for each in coming["items"])
    return [Occurrence(at, note) for at, note in found]


def _print(invocation: Invocation, found: Iterable[Occurrence], tz: ZoneInfo) -> None:
    if invocation.json:
        output.print_json([_document(each, tz) for each in found])
    else:
        rows = (
            (f"{each.at.astimezone(tz):%a} {output.clock(each.at, tz)}", each.note or "") for each in found
        )
        output.print_table(["SCHEDULED FOR", ""], rows)


def _document(each: Occurrence, tz: ZoneInfo) -> dict[str, str | None]:
    utc = each.at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return {"scheduled_for": utc, "local": each.at.astimezone(tz).isoformat(), "note": each.note}
