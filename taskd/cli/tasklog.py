"""`log`: what a run's task logged."""

import time
from typing import Any

import click

from taskd.cli import output
from taskd.cli.client import Client, connect
from taskd.cli.invocation import Command, Invocation
from taskd.cli.settings import settings_of

LOOK_EVERY = 1.0  # seconds; workers hand the log on every two
WAITING = ("PENDING", "STARTED", "RETRY")
_OVERLAP = 200  # characters by which a tail is found again in a later one


@click.command(cls=Command)
@click.argument("run")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.pass_obj
def log(invocation: Invocation, run: str, *, follow: bool) -> None:
    """What a run's task logged: the end of it, as much as is kept. RUN is its id or task id.

    With -f, --json prints a line each time, with the status and what is new in `log`.

    \b
    Examples:
      taskd log 42
      taskd log 42 -f
      taskd log 42 -f --json | jq -r .status
    """
    client = connect(invocation, settings_of(invocation))
    if invocation.json and not follow:
        output.print_json(_look(client, run))
        return
    seen: dict[str, Any] = {"log": ""}
    while True:
        before, seen = seen, _look(client, run)
        added = news(before["log"] or "", seen["log"] or "")
        if invocation.json:
            output.print_json_line({**seen, "log": added})
        else:
            click.echo(added, nl=False)
        if not follow or seen["status"] not in WAITING:
            break
        time.sleep(LOOK_EVERY)
    if not seen["log"] and not invocation.json:
        output.say(f"run {seen['id']} ({seen['status']}) has logged nothing")


def news(before: str, now: str) -> str:
    """What the later one of two tails of a growing log has to add."""
    if now.startswith(before):
        return now[len(before) :]
    known = before[-_OVERLAP:]
    at = now.rfind(known)
    return now[at + len(known) :] if at >= 0 else now


def _look(client: Client, run: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get("result", "results", run, "log")
    return found
