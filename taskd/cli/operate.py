"""`trigger`, `pause`, `resume`, `start`: what operators do to a schedule."""

import json
import time
from typing import Any

import click

from taskd.cli import output
from taskd.cli.client import Client, connect
from taskd.cli.invocation import Command, Invocation
from taskd.cli.look import outcome
from taskd.cli.settings import settings_of

_LOOK_EVERY = 0.3  # seconds, while a run is followed
_UNDER_WAY = frozenset({"PENDING", "STARTED", "RETRY"})


class _Json(click.ParamType[Any]):
    """A JSON value of one kind."""

    def __init__(self, kind: type, what: str) -> None:
        self.name = what
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value, or a usage error."""
        try:
            given = json.loads(value)
        except ValueError as error:
            self.fail(f"{value!r} isn't JSON: {error}", param, ctx)
        if not isinstance(given, self._kind):
            self.fail(f"{value!r} isn't {self.name}", param, ctx)
        return given


@click.command(cls=Command)
@click.argument("name")
@click.option(
    "--args", type=_Json(list, "a JSON list"), metavar="JSON", help="In place of its own, this once."
)
@click.option(
    "--kwargs", type=_Json(dict, "a JSON object"), metavar="JSON", help="In place of its own, this once."
)
@click.option(
    "--overlap",
    type=click.Choice(("allow", "skip", "buffer", "cancel", "terminate")),
    help="What to do if another run is active, this once.",
)
@click.option("--wait", is_flag=True, help="Follow the run to its end, and exit 1 unless it is SUCCESS.")
@click.pass_context
def trigger(
    ctx: click.Context,
    name: str,
    args: list[Any] | None,
    kwargs: dict[str, Any] | None,
    overlap: str | None,
    *,
    wait: bool,
) -> None:
    """Run a schedule now, whether or not it is paused. Its own times and counts stay as they are.

    \b
    Examples:
      taskd trigger daily-report
      taskd trigger daily-report --wait
      taskd trigger daily-report --kwargs '{"day": "2026-01-31"}'
      taskd trigger daily-report --overlap skip
    """
    client = _client(ctx.obj)
    run = client.post("scheduler", "schedulers", name, "trigger", args=args, kwargs=kwargs, overlap=overlap)
    if client.direct:
        output.say("no daemon answers on this machine: the run begins once one works on this database")
    if wait:
        run = _followed(client, run["id"])
    if ctx.obj.json:
        output.print_json(run)
    elif wait:
        output.print_lines(
            [output.word(run["status"]).append(f" {output.seconds(run['runtime'])} {outcome(run)}")]
        )
    else:
        output.print_lines([output.word(run["status"]).append(f" run {run['id']}, task {run['task_id']}")])
    ctx.exit(0 if not wait or run["status"] == "SUCCESS" else 1)


@click.command(cls=Command)
@click.argument("name")
@click.option("--reason", help="Why; it is shown wherever the schedule is.")
@click.option("--until", metavar="TIME", help="When it resumes by itself: 2026-12-24T08:00:00+01:00.")
@click.pass_obj
def pause(invocation: Invocation, name: str, reason: str | None, until: str | None) -> None:
    """Keep a schedule from firing, over restarts and edits of its file, until `taskd resume` or a given time.

    \b
    Examples:
      taskd pause daily-report
      taskd pause daily-report --until 2030-01-02T08:00:00+01:00
      taskd pause daily-report --reason "ledger is being migrated"
    """
    _operate(invocation, name, "pause", reason=reason, until=until)


@click.command(cls=Command)
@click.argument("name")
@click.option("--reason", help="Why; it is kept with the event.")
@click.option(
    "--catch-up", is_flag=True, help="Treat the paused span as an outage: its catch-up policy decides."
)
@click.pass_obj
def resume(invocation: Invocation, name: str, reason: str | None, *, catch_up: bool) -> None:
    """Let a paused schedule fire again. What it didn't fire while it was paused isn't made up for, unless you ask.

    \b
    Examples:
      taskd resume daily-report
      taskd resume daily-report --catch-up
    """
    _operate(invocation, name, "resume", reason=reason, catch_up=catch_up or None)


@click.command(cls=Command)
@click.argument("name")
@click.option("--reason", help="Why; it is kept with the event.")
@click.pass_obj
def start(invocation: Invocation, name: str, reason: str | None) -> None:
    """Make a schedule effective: resume it, and enable it where the API owns it.

    \b
    Example:
      taskd start daily-report
    """
    _operate(invocation, name, "start", reason=reason)


def _operate(invocation: Invocation, name: str, verb: str, **body: object) -> None:
    schedule = _client(invocation).post("scheduler", "schedulers", name, verb, **body)
    if invocation.json:
        output.print_json(schedule)
    else:
        output.print_lines([output.word(schedule["state"]).append(f" {schedule['name']}")])


def _client(invocation: Invocation) -> Client:
    return connect(invocation, settings_of(invocation))


def _followed(client: Client, run_id: int) -> dict[str, Any]:
    """The run once it has ended; its changes of status are told on the way."""
    told = None
    while True:
        run: dict[str, Any] = client.get("result", "results", str(run_id))
        if run["status"] not in _UNDER_WAY:
            return run
        if run["status"] != told:
            told = run["status"]
            output.say(f"run {run_id}: {told}")
        time.sleep(_LOOK_EVERY)
