"""`trigger`, `pause`, `resume`, `start`: what operators do to a schedule."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import click
from rich.text import Text

from taskd.cli import output
from taskd.cli.client import Client, connect
from taskd.cli.invocation import Command, Invocation
from taskd.cli.look import outcome
from taskd.cli.selecting import each_of, may_be_one, selecting
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
@selecting
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
@click.option("--wait", is_flag=True, help="Follow each run to its end, and exit 1 unless all are SUCCESS.")
@click.pass_context
def trigger(
    ctx: click.Context, /, names: tuple[str, ...], labels: tuple[str, ...], *, wait: bool, **body: Any
) -> None:
    """Run schedules now, whether or not they are paused. Their own times and counts stay as they are.

    NAME may be a pattern, such as 'report-*'.

    \b
    Examples:
      taskd trigger daily-report
      taskd trigger daily-report --wait
      taskd trigger daily-report --kwargs '{"day": "2026-01-31"}'
      taskd trigger 'report-*' -l team=ops --overlap skip
    """
    client = _client(ctx.obj)
    begun, fine = each_of(
        client, names, labels, lambda name: {"name": name, **_posted(client, name, "trigger", body)}
    )
    if client.direct and begun:
        output.say("no daemon answers on this machine: it begins once one works on this database")
    ended = [_followed(client, run["id"]) for run in begun] if wait else []
    _tell(ctx.obj, names, labels, ended or begun, _ended if wait else _begun)
    ctx.exit(0 if fine and all(run["status"] == "SUCCESS" for run in ended) else 1)


@click.command(cls=Command)
@selecting
@click.option("--reason", help="Why; it is shown wherever the schedule is.")
@click.option("--until", metavar="TIME", help="When it resumes by itself: 2026-12-24T08:00:00+01:00.")
@click.pass_context
def pause(ctx: click.Context, /, names: tuple[str, ...], labels: tuple[str, ...], **body: Any) -> None:
    """Keep schedules from firing, over restarts and edits of their files, until `taskd resume` or a given time.

    NAME may be a pattern, such as 'report-*'.

    \b
    Examples:
      taskd pause daily-report
      taskd pause daily-report --until 2030-01-02T08:00:00+01:00
      taskd pause 'report-*' ledger --reason "ledger is being migrated"
      taskd pause -l team=ops
    """
    _operate(ctx, names, labels, "pause", body)


@click.command(cls=Command)
@selecting
@click.option("--reason", help="Why; it is kept with the event.")
@click.option(
    "--catch-up", is_flag=True, help="Treat the paused span as an outage: its catch-up policy decides."
)
@click.pass_context
def resume(ctx: click.Context, /, names: tuple[str, ...], labels: tuple[str, ...], **body: Any) -> None:
    """Let paused schedules fire again. What they didn't fire while paused isn't made up for, unless you ask.

    NAME may be a pattern, such as 'report-*'.

    \b
    Examples:
      taskd resume daily-report
      taskd resume daily-report --catch-up
      taskd resume 'report-*'
    """
    _operate(ctx, names, labels, "resume", body)


@click.command(cls=Command)
@selecting
@click.option("--reason", help="Why; it is kept with the event.")
@click.pass_context
def start(ctx: click.Context, /, names: tuple[str, ...], labels: tuple[str, ...], **body: Any) -> None:
    """Make schedules effective: resume them, and enable those that the API owns.

    NAME may be a pattern, such as 'report-*'.

    \b
    Examples:
      taskd start daily-report
      taskd start -l team=ops
    """
    _operate(ctx, names, labels, "start", body)


def _operate(
    ctx: click.Context, names: tuple[str, ...], labels: tuple[str, ...], verb: str, body: Mapping[str, Any]
) -> None:
    client = _client(ctx.obj)
    done, fine = each_of(client, names, labels, lambda name: _posted(client, name, verb, body))
    _tell(ctx.obj, names, labels, done, _state)
    ctx.exit(0 if fine else 1)


def _posted(client: Client, name: str, verb: str, body: Mapping[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = client.post("scheduler", "schedulers", name, verb, **body)
    return answer


def _tell(
    invocation: Invocation,
    names: tuple[str, ...],
    labels: tuple[str, ...],
    done: list[dict[str, Any]],
    line: Callable[[dict[str, Any]], Text],
) -> None:
    """A line for each; as JSON one document where one is meant, a list where several may be."""
    if invocation.json:
        output.print_json(done[0] if may_be_one(names, labels) else done)
    else:
        output.print_lines(map(line, done))


def _state(schedule: dict[str, Any]) -> Text:
    return output.word(schedule["state"]).append(f" {schedule['name']}")


def _begun(run: dict[str, Any]) -> Text:
    return output.word(run["status"]).append(f" {run['name']}, run {run['id']}, task {run['task_id']}")


def _ended(run: dict[str, Any]) -> Text:
    return output.word(run["status"]).append(
        f" {run['schedule_name']} {output.seconds(run['runtime'])} {outcome(run)}"
    )


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
