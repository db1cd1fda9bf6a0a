"""`next`: coming occurrences, of a schedule or of an expression."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

import click
from pydantic import ValidationError

from taskd import clock
from taskd.cli import output
from taskd.cli.client import Client, connect
from taskd.cli.invocation import Command, Invocation
from taskd.cli.settings import settings_of
from taskd.errors import InvalidSchedule
from taskd.schedule.faults import faults_of
from taskd.schedule.notes import note_of
from taskd.schedule.spec import ScheduleSpec
from taskd.schedule.timing import occurrences
from taskd.schedule.zones import instant_of, zone

_CRONTAB = re.compile(r"@\w+|[-\d*?HhL,/()]+(\s+\S+){4,5}")
_INTERVAL = re.compile(r"(\d+[dhms])+|P[\dTDHMS]+", re.IGNORECASE)


class Occurrence(NamedTuple):
    """An instant, and what the clocks do to it."""

    at: datetime
    note: str | None


@click.command("next", cls=Command)
@click.argument("subject", metavar="NAME|EXPR")
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
    key = _kind_of(subject)
    if key is None:
        client = connect(invocation, settings)
        schedule = client.get("scheduler", "schedulers", subject)
        if schedule["state"] != "active":
            output.say(f"{subject} is {schedule['state']}: it would be due, but doesn't fire")
        shown = zone(tz or schedule["timezone"])
        found = _of_schedule(client, subject, _instant(since, shown), count)
    else:
        shown = zone(tz or settings.timezone)
        found = list(islice(_of_expression(key, subject, shown, _instant(since, shown)), count))
    _print(invocation, found, shown)


def _kind_of(subject: str) -> str | None:
    """The key of an expression's trigger; None for a name."""
    shapes = {"crontab": _CRONTAB, "interval": _INTERVAL}
    return next((key for key, shape in shapes.items() if shape.fullmatch(subject.strip())), None)


def _of_schedule(client: Client, name: str, since: datetime | None, count: int) -> list[Occurrence]:
    asked = {"n": count, "from": since and since.isoformat()}
    coming = client.get("scheduler", "schedulers", name, "next", **asked)["items"]
    return [Occurrence(datetime.fromisoformat(each["scheduled_for"]), each["note"]) for each in coming]


def _of_expression(key: str, text: str, tz: ZoneInfo, since: datetime | None) -> Iterator[Occurrence]:
    try:
        trigger = ScheduleSpec.read({"name": "expression", "task": "none", key: text.strip()}, tz.key).trigger
    except ValidationError as error:
        raise InvalidSchedule("; ".join(str(fault) for fault in faults_of(error))) from error
    if key == "crontab" and "H" in text:
        output.say("H depends on the schedule's name: what follows is one of many")
    return (Occurrence(at, note_of(trigger, at)) for at in occurrences(trigger, since or clock.now()))


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


def _instant(text: str | None, tz: ZoneInfo) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} isn't a time: write it like 2026-03-29T00:00", param_hint="--from"
        ) from None
    return moment.astimezone(UTC) if moment.tzinfo else instant_of(moment, tz)
