"""`adopt`, `export`: from schedules that the API owns to schedule files."""

import os
from collections.abc import Sequence

import click
from sqlalchemy.orm import Session

from taskd.cli import output
from taskd.cli.client import connect
from taskd.cli.database import migrated
from taskd.cli.importing.document import schedule
from taskd.cli.invocation import Command, Invocation
from taskd.cli.settings import settings_of
from taskd.errors import NotAllowed
from taskd.schedule.declaration import declaration_of
from taskd.store import schedules
from taskd.store.tables import ScheduleRow

_HEAD = """\
# Schedules of the API, as `taskd export` found them; passwords and tokens stand here as they are.
# Put this below schedules.paths, then `taskd adopt NAME` hands each of them to the file.
schedules:
"""


@click.command(cls=Command)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.pass_obj
def adopt(invocation: Invocation, names: tuple[str, ...]) -> None:
    """Hand schedules of the API to the files that declare their names: from then on, the files say.

    Identity, counts, history and a pause stay. Refused where no file declares the name: `taskd export` writes it so.

    \b
    Example:
      taskd adopt nightly-backup
    """
    client = connect(invocation, settings_of(invocation))
    adopted = [client.post("scheduler", "schedulers", name, "adopt") for name in names]
    if invocation.json:
        output.print_json(adopted)
    else:
        output.print_lines(
            output.word(each["state"]).append(f" {each['name']} in {each['path']}:{each['line']}", "default")
            for each in adopted
        )


@click.command(cls=Command, shared=("config", "json"))
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_obj
def export(invocation: Invocation, names: tuple[str, ...]) -> None:
    """Write schedules that the API owns as a schedule file; by default all of them.

    Reads the database, since answers of the API mask secrets: what is written has them as they are. So there is no
    --url, and with $TASKD_URL it refuses: it runs where the settings name that daemon's database.

    \b
    Examples:
      taskd export
      taskd export nightly-backup > schedules/backup.yaml
      taskd export --json | jq '.schedules | keys'
    """
    if os.environ.get("TASKD_URL"):
        raise click.UsageError("`export` reads the database, and asks no daemon: unset TASKD_URL.")
    with migrated(settings_of(invocation)) as database:
        rows = database.read(lambda session: _owned_by_api(session, names))
    if not rows:
        output.say("the API owns no schedules")
    found = {row.name: declaration_of(schedules.declared(row)) for row in rows}
    if invocation.json:
        output.print_json({"schedules": found})
        return
    blocks = [schedule(name, keys) for name, keys in found.items()]
    click.echo(_HEAD + ("\n".join(blocks) or "  {}\n"), nl=False)


def _owned_by_api(session: Session, names: Sequence[str]) -> list[ScheduleRow]:
    """Those of these names, or all; raises NotFound, and NotAllowed for a file's."""
    if not names:
        return list(session.scalars(schedules.living().where(ScheduleRow.owner == "api")))
    rows = [schedules.find(session, name) for name in names]
    for row in rows:
        if row.owner != "api":
            raise NotAllowed(f"{row.name!r} is declared in {row.path}:{row.line} already", row.path, row.line)
    return rows
