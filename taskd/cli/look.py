"""`list`, `show`, `runs`, `run-show`: what there is, and what came of it."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import click
from rich.text import Text

from taskd.cli import output
from taskd.cli.client import connect
from taskd.cli.invocation import Command, Invocation
from taskd.cli.selecting import completed_name, matching, selecting
from taskd.cli.settings import settings_of
from taskd.schedule import duration
from taskd.schedule.zones import zone

STATUSES = (
    *("PENDING", "STARTED", "RETRY", "SUCCESS", "FAILURE", "REVOKED"),
    *("MISSED", "SKIPPED", "LOST", "IGNORED", "SENT"),
)
_NOT_FIELDS = frozenset({"uid", "fingerprint", "next", "runs", "conditions"})  # for programs, or shown below


@click.command("list", cls=Command)
@selecting
@click.pass_obj
def list_(invocation: Invocation, names: tuple[str, ...], labels: tuple[str, ...]) -> None:
    """All schedules, or those that are named: when each is due, and whether it will fire.

    NAME may be a pattern, such as 'report-*': what is shown is what `taskd pause` and its like would mean by it.

    \b
    Examples:
      taskd list
      taskd list 'report-*' -l team=ops
      taskd list --json | jq -r '.[] | select(.paused) | .name'
    """
    client = connect(invocation, settings_of(invocation))
    wanted = bool(names or labels)
    schedules = matching(client, names, labels) if wanted else client.get("scheduler", "schedulers", "all")
    if invocation.json:
        output.print_json(schedules)
    elif schedules:
        output.print_table(["NAME", "WHEN", "TASK", "STATE", "NEXT"], map(_schedule_row, schedules))
    else:
        output.say("there are no schedules yet: `taskd dev` shows how to write the first")


@click.command(cls=Command)
@click.argument("name", shell_complete=completed_name)
@click.pass_obj
def show(invocation: Invocation, name: str) -> None:
    """One schedule in depth: declared, override, observed, what comes and what came.

    \b
    Examples:
      taskd show daily-report
      taskd show daily-report --json | jq .next_run_at
    """
    settings = settings_of(invocation)
    schedule = connect(invocation, settings).get("scheduler", "schedulers", name)
    if invocation.json:
        output.print_json(schedule)
        return
    tz = zone(schedule["timezone"])
    output.print_lines(_portrait(schedule, tz))
    if schedule["runs"]:
        output.print_lines([Text()])
        _print_runs(schedule["runs"], tz)


@click.command(cls=Command)
@click.argument("name", required=False, shell_complete=completed_name)
@click.option(
    "--status", type=click.Choice(STATUSES, case_sensitive=False), multiple=True, help="Only these."
)
@click.option("-n", "count", type=click.IntRange(1, 200), default=20, show_default=True, help="How many.")
@click.pass_obj
def runs(invocation: Invocation, name: str | None, status: tuple[str, ...], count: int) -> None:
    """What ran, the newest first; of one schedule, where it is named.

    \b
    Examples:
      taskd runs
      taskd runs daily-report -n 5
      taskd runs --status failure --status lost --json
    """
    settings = settings_of(invocation)
    client = connect(invocation, settings)
    page = client.get("result", "results", schedule=name, status=status or None, size=count)
    if name is not None and not page["items"]:
        client.get("scheduler", "schedulers", name)  # a name that doesn't exist is an error
    if invocation.json:
        output.print_json(page["items"])
    elif page["items"]:
        _print_runs(page["items"], zone(settings.timezone))
    else:
        output.say("there are no such runs")


@click.command("run-show", cls=Command)
@click.argument("run")
@click.pass_obj
def run_show(invocation: Invocation, run: str) -> None:
    """One run in depth, with its traceback. RUN is its id or task id.

    \b
    Examples:
      taskd run-show 42
      taskd run-show 42 --json | jq -r .traceback
    """
    settings = settings_of(invocation)
    found = connect(invocation, settings).get("result", "results", run)
    if invocation.json:
        output.print_json(found)
        return
    output.print_lines(_fields(found, {"traceback", "log"}, zone(settings.timezone)))
    if found["traceback"]:
        output.print_lines([Text(), *map(Text, map(output.printable, found["traceback"].splitlines()))])
    if found["log"]:
        output.say(f"what it logged: taskd log {found['id']}")


def when(schedule: Mapping[str, Any]) -> str:
    """A schedule's trigger in short."""
    match schedule["schedule_type"]:
        case "crontab":
            return str(schedule["crontab"])
        case "interval":
            return f"every {duration.shown(schedule['interval_seconds'])}"
    return f"at {output.clock(schedule['start_time'], zone(schedule['timezone']))}"


def outcome(run: Mapping[str, Any]) -> str:
    """What came of a run, on one line: its result, its error, or the reason why it didn't run."""
    if run["traceback"]:
        return output.short(run["traceback"].strip().rpartition("\n")[2])
    if run["result"] is not None:
        return output.short(run["result"])
    return output.short((run["detail"] or {}).get("reason") or run["progress"])


def _schedule_row(schedule: dict[str, Any]) -> tuple[str | Text, ...]:
    due = output.clock(schedule["next_run_at"], zone(schedule["timezone"]))
    return schedule["name"], when(schedule), schedule["task"], output.word(schedule["state"]), due


def _print_runs(runs: list[dict[str, Any]], tz: ZoneInfo) -> None:
    columns = ["ID", "SCHEDULE", "SCHEDULED FOR", "STATUS", "RUNTIME", "OUTCOME"]
    output.print_table(columns, (_run_row(run, tz) for run in runs))


def _run_row(run: dict[str, Any], tz: ZoneInfo) -> tuple[str | Text, ...]:
    return (
        str(run["id"]),
        run["schedule_name"] or run["task_name"],
        output.clock(run["scheduled_for"], tz) or run["kind"],
        output.word(run["status"]),
        output.seconds(run["runtime"]),
        outcome(run),
    )


def _portrait(schedule: dict[str, Any], tz: ZoneInfo) -> Iterator[Text]:
    yield from _fields(schedule, _NOT_FIELDS, tz)
    for condition in schedule["conditions"]:
        yield output.word("warning").append(f" {condition['type']}: {condition['message']}")
    for number, due in enumerate(schedule["next"]):
        yield Text(f"{'' if number else 'next':18}", style="dim").append(
            output.clock(due["scheduled_for"], tz), "default"
        )


def _fields(shape: Mapping[str, Any], hidden: Collection[str], tz: ZoneInfo) -> Iterator[Text]:
    """A line for each column that says something."""
    for key, value in shape.items():
        if key not in hidden and value not in (None, [], {}, ""):
            is_time = key.endswith(("_at", "_time", "scheduled_for"))
            shown = output.clock(value, tz) if is_time else output.short(value, 400)
            yield Text(f"{key:18}", style="dim").append(shown, style="default")
