"""`plan`: what a pass would change, against the database or against another checkout of the files."""

import os
from pathlib import Path
from typing import Any

import click

from taskd import clock
from taskd.cli import annotations, output, planned
from taskd.cli.client import connect
from taskd.cli.invocation import Command
from taskd.cli.reading import read_files
from taskd.cli.settings import settings_of
from taskd.config import Settings
from taskd.errors import ConfigError
from taskd.reconcile.offline import table_of
from taskd.reconcile.plan import compare
from taskd.reconcile.render import as_json


@click.command(cls=Command)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Compare with the files in DIR, another checkout of this folder (or of the one folder of schedules): no database.",
)
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "github"]), default="text", help="How to print it."
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep it as JSON in FILE too.",
)
@click.pass_context
def plan(ctx: click.Context, against: Path | None, form: str, out: Path | None) -> None:
    """What a pass would change: each schedule's fields before and after, and its fire times gained and lost.

    Fire times are those of the next 7 days. Exits 3 if there are changes or held deletions, 1 if there are errors.
    `--format github` prints annotations for a pull request.

    \b
    Examples:
      taskd plan
      taskd plan --json | jq -r '.updates[].name'
      git worktree add ../before origin/main && taskd plan --against ../before
      taskd plan --against ../before --format github --out plan.json
    """
    if against and ctx.obj.url:
        raise click.UsageError("`--against` asks no daemon: leave out --url.", ctx)
    settings = settings_of(ctx.obj)
    found = _offline(settings, against) if against else connect(ctx.obj, settings).get("sync", "plan")
    if out:
        out.write_text(output.json_text(found), encoding="utf-8")
    if ctx.obj.json or form == "json":
        output.print_json(found)
    elif form == "github":
        for line in annotations.of_plan(found):
            click.echo(line)
    else:
        output.print_lines(planned.lines(found))
        output.say(planned.summary(found))
    changes = any(found[kind] for kind in planned.KINDS)
    ctx.exit(1 if planned.errors_of(found) else 3 if changes else 0)


def _offline(settings: Settings, against: Path) -> dict[str, Any]:
    """The plan that leads from the files in `against` to those here."""
    if not against.is_dir():
        raise ConfigError(f"{against} is no folder: give another checkout of this one")
    here = [output.near(path) for path in settings.schedules.paths]
    files = read_files(here, settings.timezone)
    before = {}
    for root, old_root in _counterparts(here, against).items():
        for file in read_files([old_root], settings.timezone) if Path(old_root).exists() else []:
            before[str(Path(root, os.path.relpath(file.path, old_root)))] = file
    for path, file in before.items():
        if file.broken:
            output.say(
                f"{path} has errors in {against}: what it declares there counts as far as it can be read"
            )
    plan = compare(files, table_of(before), guard=settings.schedules.prune_guard)
    # The digest that approves is the database's to say.
    return as_json(plan, settings.redact.keys, clock.now()) | {"holding": None}


def _counterparts(roots: list[str], against: Path) -> dict[str, str]:
    """Where each root is in the other checkout; a checkout of the only root itself will do."""
    there = {root: str(against / Path(root).relative_to(Path(root).anchor)) for root in roots}
    if any(Path(path).exists() for path in there.values()):
        return there
    if len(roots) == 1:
        return {roots[0]: str(against)}
    raise ConfigError(f"{against} has none of {', '.join(roots)}: give another checkout of this folder")
