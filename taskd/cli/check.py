"""`check`: schedule files by themselves."""

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

import click

from taskd.celery_app import task_names
from taskd.cli import annotations, output, planned
from taskd.cli.invocation import Command
from taskd.cli.reading import read_files
from taskd.cli.settings import settings_of
from taskd.config import Settings
from taskd.errors import ConfigError
from taskd.reconcile.plan import compare
from taskd.reconcile.render import told
from taskd.schedule.faults import shorten
from taskd.source.yamlfile import Declared, Problem


@click.command(cls=Command, shared=("config", "json"))
@click.argument("paths", nargs=-1, type=click.Path(exists=True), metavar="[PATH]...")
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "github"]), default="text", help="How to print it."
)
@click.option("--strict", is_flag=True, help="Warnings are errors.")
@click.pass_context
def check(ctx: click.Context, paths: tuple[str, ...], form: str, *, strict: bool) -> None:
    """Validate schedule files without a database or a broker; all errors of all files at once.

    PATH is a file or a folder; by default, what `schedules.paths` names. Exits 1 if anything is wrong.
    Where the application can be imported, tasks that it doesn't have are warned about. `--format github` prints
    annotations for a pull request.

    \b
    Examples:
      taskd check
      taskd check schedules/reports.yaml
      taskd check --strict --format github
      taskd check --format json | jq -r '.errors[].message'
    """
    settings = settings_of(ctx.obj)
    files = read_files(paths or [output.near(path) for path in settings.schedules.paths], settings.timezone)
    schedules = [new for file in files for new in file.schedules]
    plan = compare(files, ())
    errors = [told(problem) for problem in plan.errors]
    warnings = [told(problem) for problem in plan.problems if problem.severity == "warning"]
    warnings += _about_tasks(schedules, settings)
    if strict:
        errors, warnings = errors + warnings, []
    if ctx.obj.json or form == "json":
        counts = {"files": len(files), "schedules": len(schedules)}
        output.print_json({"valid": not errors, **counts, "errors": errors, "warnings": warnings})
    else:
        _SHOW[form](errors, warnings)
        where = f"{output.counted(len(schedules), 'schedule')} in {output.counted(len(files), 'file')}"
        output.say(f"{where}: {output.counted(len(errors), 'error') if errors else 'valid'}")
    ctx.exit(1 if errors else 0)


def _as_text(errors: Sequence[dict[str, Any]], warnings: Sequence[dict[str, Any]]) -> None:
    output.print_lines([*planned.problems("error", errors), *planned.problems("warning", warnings)])


def _as_annotations(errors: Sequence[dict[str, Any]], warnings: Sequence[dict[str, Any]]) -> None:
    for severity, found in (("error", errors), ("warning", warnings)):
        for line in annotations.of_problems(severity, found):
            click.echo(line)


_SHOW = {"text": _as_text, "github": _as_annotations}


def _about_tasks(schedules: Sequence[Declared], settings: Settings) -> list[dict[str, Any]]:
    """A warning for each task that no worker would know; where that can't be told, one that says so."""
    if not schedules:
        return []
    try:
        known = task_names(settings)
    except ConfigError as error:
        nowhere = dict.fromkeys(("path", "line", "column", "name"))
        return [{**nowhere, "message": f"{error}: whether all tasks exist can't be told"}]
    unknown = [new for new in schedules if new.spec.task not in known]
    sentences = {task: _unknown(task, known) for task in {new.spec.task for new in unknown}}
    return [
        told(Problem(new.path, new.line, new.column, new.spec.name, sentences[new.spec.task], "warning"))
        for new in unknown
    ]


def _unknown(task: str, known: Collection[str]) -> str:
    # Names of tasks share most of their parts: only what differs by a slip is meant.
    near = get_close_matches(task, known, n=1, cutoff=0.9)
    hint = f", did you mean {near[0]!r}?" if near else ""
    return f"task: no task {shorten(repr(task))} is registered{hint}"
