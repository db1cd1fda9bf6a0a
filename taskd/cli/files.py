"""`check`, `plan`, `sync`: schedule files, by themselves and against the database."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from rich.text import Text

from taskd.cli import output
from taskd.cli.client import connect
from taskd.cli.invocation import Command, Invocation
from taskd.cli.settings import settings_of
from taskd.errors import ConfigError, Unavailable
from taskd.reconcile import render
from taskd.reconcile.plan import compare
from taskd.source.tree import Tree
from taskd.source.yamlfile import FileReading


@click.command(cls=Command, shared=("config", "json"))
@click.argument("paths", nargs=-1, type=click.Path(exists=True), metavar="[PATH]...")
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it."
)
@click.pass_context
def check(ctx: click.Context, paths: tuple[str, ...], form: str) -> None:
    """Validate schedule files without a database or a broker; all errors of all files at once.

    PATH is a file or a folder; by default, what `schedules.paths` names. Exits 1 if anything is wrong.

    \b
    Examples:
      taskd check
      taskd check schedules/reports.yaml
      taskd check --format json | jq -r '.errors[].message'
    """
    settings = settings_of(ctx.obj)
    files = _read(paths or [output.near(path) for path in settings.schedules.paths], settings.timezone)
    found = render.as_json(compare(files, ()), ())
    errors, warnings = [*found["conflicts"], *found["errors"]], found["warnings"]
    counts = {"files": len(files), "schedules": sum(len(file.schedules) for file in files)}
    if ctx.obj.json or form == "json":
        output.print_json({"valid": not errors, **counts, "errors": errors, "warnings": warnings})
    else:
        output.print_lines([*_problems("error", errors), *_problems("warning", warnings)])
        where = " in ".join(
            output.counted(counts[each], each.removesuffix("s")) for each in ("schedules", "files")
        )
        output.say(f"{where}: {output.counted(len(errors), 'error') if errors else 'valid'}")
    ctx.exit(1 if errors else 0)


@click.command(cls=Command)
@click.pass_context
def plan(ctx: click.Context) -> None:
    """What a pass would change in the database: creates, updates, deletes, conflicts and errors.

    Exits 3 if there are changes, 1 if there are errors.

    \b
    Examples:
      taskd plan
      taskd plan --json | jq -r '.updates[].name'
    """
    found = connect(ctx.obj, settings_of(ctx.obj)).get("sync", "plan")
    _print(ctx.obj, found)
    ctx.exit(1 if _errors(found) else 3 if _changes(found) else 0)


@click.command(cls=Command)
@click.pass_context
def sync(ctx: click.Context) -> None:
    """Make one pass now, and show what it changed. Exits 1 if there are errors; the rest is applied.

    \b
    Examples:
      taskd sync
      taskd sync --json
    """
    done = connect(ctx.obj, settings_of(ctx.obj)).post("sync")
    if "digest" not in done:  # it takes long: the daemon goes on with it
        raise Unavailable(done["detail"])
    _print(ctx.obj, done)
    ctx.exit(1 if _errors(done) else 0)


def _read(roots: Sequence[str], timezone: str) -> list[FileReading]:
    readings = [Tree(root, timezone).read() for root in roots]
    if blind := [reading.error for reading in readings if reading.error]:
        raise ConfigError("; ".join(blind))
    files = (file for reading in readings for file in reading.files.values())
    return list({os.path.realpath(file.path): file for file in files}.values())  # roots may overlap


def _errors(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*found["conflicts"], *found["errors"]]


def _changes(found: Mapping[str, Any]) -> int:
    return sum(len(found[kind]) for kind in ("creates", "updates", "renames", "deletes"))


def _print(invocation: Invocation, found: dict[str, Any]) -> None:
    if invocation.json:
        output.print_json(found)
        return
    output.print_lines(_lines(found))
    counts = [
        f"{len(found[kind])} {kind}" for kind in ("creates", "updates", "deletes", "held") if found[kind]
    ]
    output.say(f"{', '.join(counts) or 'no changes'}; {found['unchanged']} unchanged")


def _lines(found: Mapping[str, Any]) -> Iterator[Text]:
    for kind, detail in (("create", "in"), ("delete", "was in"), ("hold", "kept for now, was in")):
        for each in found["held" if kind == "hold" else f"{kind}s"]:
            yield _change(kind, each["name"], f"{detail} {each['path']}:{each['line']}")
    for each in found["updates"]:
        yield _change("update", each["name"], "; ".join(_fields(each["before"], each["after"])))
    yield from _problems("error", _errors(found))
    yield from _problems("warning", found["warnings"])


def _change(kind: str, name: str, detail: str) -> Text:
    return output.word(f"{kind:7}").append(name, style="bold").append(f"  {detail}")


def _fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for key, value in after.items():
        yield f"{key}: {output.short(before[key]) or 'none'} → {output.short(value) or 'none'}"


def _problems(severity: str, problems: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    for each in problems:
        name = f"{each['name']}: " if each["name"] is not None else ""
        place = f"{each['path']}:{each['line']}:{each['column']}: "
        yield Text(place).append(output.word(f"{severity}: ")).append(f"{name}{each['message']}")
