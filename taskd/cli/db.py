"""`db upgrade`, `current`, `check`: the database's schema."""

from typing import Any

import click

from taskd.cli import output, progress
from taskd.cli.database import existing, opened
from taskd.cli.invocation import Command, Invocation
from taskd.cli.settings import settings_of
from taskd.errors import WrongSchema
from taskd.store import schema

_LOCAL = ("config", "json")


@click.group()
def db() -> None:
    """Migrate the database, or look at its schema.

    \b
    Example:
      taskd db upgrade
    """


@db.command(cls=Command, shared=_LOCAL)
@click.pass_obj
def upgrade(invocation: Invocation) -> None:
    """Make taskd's tables, or bring them up to this version. Repeating it does no harm.

    \b
    Examples:
      taskd db upgrade
      taskd -c /etc/taskd/taskd.yaml db upgrade
    """
    with opened(settings_of(invocation)) as database:
        before = schema.current(database)
        with progress.bar("migrating") as step:
            schema.upgrade(database, step)
    head = schema.head()
    sentence = f"is at revision {head} already" if before == head else f"is now at revision {head}"
    _tell(invocation, f"the database {sentence}", {"before": before, "current": head})


@db.command(cls=Command, shared=_LOCAL)
@click.pass_obj
def current(invocation: Invocation) -> None:
    """The schema's revision, and the one that this version needs.

    \b
    Example:
      taskd db current
    """
    with existing(settings_of(invocation)) as database:
        found = schema.current(database)
    document = {"current": found, "head": schema.head()}
    _tell(invocation, f"{found or 'no tables'}; this version needs {document['head']}", document)


@db.command(cls=Command, shared=_LOCAL)
@click.pass_context
def check(ctx: click.Context) -> None:
    """Whether the daemon would start on this database; exits 1 if not.

    \b
    Example:
      taskd db check
    """
    problem = None
    with existing(settings_of(ctx.obj)) as database:
        try:
            schema.check(database)
        except WrongSchema as error:
            problem = str(error)
    _tell(ctx.obj, problem or "the schema is as it should be", {"ok": problem is None, "problem": problem})
    ctx.exit(0 if problem is None else 1)


def _tell(invocation: Invocation, sentence: str, document: dict[str, Any]) -> None:
    if invocation.json:
        output.print_json(document)
    else:
        click.echo(sentence)
