"""`purge`: retention by hand."""

from datetime import timedelta
from typing import Any

import click

from taskd import clock
from taskd.cli import output, progress
from taskd.cli.client import connect
from taskd.cli.invocation import Command, Invocation
from taskd.cli.look import STATUSES
from taskd.cli.settings import settings_of
from taskd.errors import InvalidSchedule
from taskd.schedule.duration import seconds_of

ENDS = tuple(status for status in STATUSES if status not in {"PENDING", "STARTED", "RETRY"})


class _Age(click.ParamType[int]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds, or a usage error."""
        try:
            return seconds_of(value)
        except InvalidSchedule as error:
            self.fail(f"{value!r}: {error}", param, ctx)


@click.command(cls=Command)
@click.option("--older-than", type=_Age(), required=True, help="Since they ended: 30d, 12h.")
@click.option(
    "--status", type=click.Choice(ENDS, case_sensitive=False), multiple=True, help="Only these; else any."
)
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_obj
def purge(invocation: Invocation, older_than: int, status: tuple[str, ...], *, yes: bool) -> None:
    """Delete runs that have ended, in small batches. Active runs stay.

    \b
    Examples:
      taskd purge --older-than 90d
      taskd purge --older-than 7d --status success --yes
    """
    client = connect(invocation, settings_of(invocation))
    before = (clock.now() - timedelta(seconds=older_than)).isoformat()
    if not yes:
        click.confirm(f"Delete the runs that ended before {before}?", abort=True, err=True)
    deleted, more = 0, True
    with progress.bar("deleting runs") as step:
        while more:
            answer = client.delete("result", "results", before=before, status=list(status) or None)
            deleted, more = deleted + answer["deleted"], answer["more"]
            step(deleted, None)
    if invocation.json:
        output.print_json({"deleted": deleted})
    else:
        output.say(f"deleted {output.counted(deleted, 'run')}")
