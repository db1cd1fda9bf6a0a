"""`workers`, `revoke`, `terminate`: what the workers do, and what operators do to them."""

from collections.abc import Mapping
from typing import Any

import click
from rich.text import Text

from taskd.cli import output
from taskd.cli.client import Client, connect
from taskd.cli.invocation import Command, Invocation
from taskd.cli.settings import settings_of

_NAMED = click.argument("names", nargs=-1, metavar="[WORKER]...")
_ALL = click.option("--all", "everyone", is_flag=True, help="All workers.")


@click.group()
def workers() -> None:
    """Look at workers, and change them: their names are those of `taskd workers ping`.

    \b
    Examples:
      taskd workers ping
      taskd workers grow w1@host --n 2
    """


def _help(sentence: str, example: str) -> str:
    return f"{sentence}\n\n\b\nExample:\n  taskd workers {example}"


def _inspector(what: str, sentence: str) -> None:
    @workers.command(what, cls=Command, help=_help(sentence, f"{what} w1@host"))
    @_NAMED
    @click.option("--timeout", type=float, help="Seconds in which they answer; by default 1, at most 10.")
    @click.pass_obj
    def inspect(invocation: Invocation, names: tuple[str, ...], timeout: float | None) -> None:
        told = _client(invocation).get(
            "control", "inspect", what, worker=list(names) or None, timeout=timeout
        )
        _tell(invocation, told)


_inspector("ping", "Which workers answer.")
_inspector("active", "What they run.")
_inspector("scheduled", "What they hold back until its time.")
_inspector("reserved", "What they have taken, and not begun.")
_inspector("registered", "The tasks that they know.")
_inspector("stats", "Their pools, queues and counts.")


def _command(example: str, path: str, sentence: str, **values: Any) -> None:
    name = example.split(maxsplit=1)[0]

    @workers.command(name, cls=Command, help=_help(sentence, example))
    @_NAMED
    @_ALL
    @click.pass_obj
    def command(invocation: Invocation, /, names: tuple[str, ...], *, everyone: bool, **body: Any) -> None:
        meant = _meant(names, everyone=everyone)
        _tell(invocation, _client(invocation).post("control", path, workers=meant, **body))

    for option, about in values.items():
        least = 0 if option == "min" else 1
        command.params.append(click.Option([f"--{option}"], type=click.IntRange(least), **about))


_NUMBER = {"n": {"default": 1, "show_default": True, "help": "How many processes or threads."}}
_BOUNDS = {
    "min": {"required": True, "help": "Processes at least."},
    "max": {"required": True, "help": "Processes at most."},
}
_command("restart w1@host", "pool_restart", "Start their pools anew; needs Celery's worker_pool_restarts.")
_command("grow w1@host --n 2", "pool_grow", "Add processes or threads to their pools.", **_NUMBER)
_command("shrink w1@host", "pool_shrink", "Take processes or threads from their pools.", **_NUMBER)
_command(
    "autoscale --all --min 1 --max 8",
    "autoscale",
    "Set the bounds of workers that were started with --autoscale.",
    **_BOUNDS,
)
_command("shutdown w1@host w2@host", "shutdown", "Let them end what they run, and stop.")


@click.command(cls=Command)
@click.argument("run")
@click.pass_obj
def revoke(invocation: Invocation, run: str) -> None:
    """Keep a run (its id or task id) from starting. One that runs goes on, but isn't tried again.

    \b
    Example:
      taskd revoke 4711
    """
    _show_run(invocation, _client(invocation).post("control", run, "revoke"))


@click.command(cls=Command)
@click.argument("run")
@click.option("--signal", help="What its process is sent: TERM, or KILL, INT, QUIT, HUP, ABRT, USR1, USR2.")
@click.pass_obj
def terminate(invocation: Invocation, run: str, signal: str | None) -> None:
    """End a run (its id or task id), also while it runs; where the worker's pool can't, it says so.

    \b
    Examples:
      taskd terminate 4711
      taskd terminate 4711 --signal KILL
    """
    _show_run(invocation, _client(invocation).post("control", run, "terminate", signal=signal))


def _meant(names: tuple[str, ...], *, everyone: bool) -> list[str] | str:
    if bool(names) == everyone:
        raise click.UsageError("Name the workers, or say --all.")
    return "all" if everyone else list(names)


def _client(invocation: Invocation) -> Client:
    return connect(invocation, settings_of(invocation))


def _show_run(invocation: Invocation, run: Mapping[str, Any]) -> None:
    if invocation.json:
        output.print_json(run)
    else:
        output.print_lines([output.word(run["status"]).append(f" run {run['id']}, task {run['task_id']}")])


def _tell(invocation: Invocation, told: Mapping[str, Any]) -> None:
    """What each worker said; 1 where one refused or didn't answer."""
    if invocation.json:
        output.print_json(told)
    else:
        output.print_lines(_lines(told))
    for name in told["silent"]:
        output.say(f"{name} did not answer")
    for name, why in told["refused"].items():
        output.say(f"{name} refused: {why}")
    click.get_current_context().exit(1 if told["silent"] or told["refused"] else 0)


def _lines(told: Mapping[str, Any]) -> list[Text]:
    lines = []
    for name, said in told["workers"].items():
        parts = said if isinstance(said, list) else [said]
        lines += [Text(f"{name}: ").append(output.short(_plain(part), 160)) for part in parts or ["nothing"]]
    return lines


def _plain(part: Any) -> Any:
    match part:
        case {"name": task, "id": task_id}:
            return f"{task} {task_id}"
        case {"request": {"name": task, "id": task_id}, "eta": eta}:
            return f"{task} {task_id}, at {eta}"
        case _:
            return part
