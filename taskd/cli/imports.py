"""`import …`: bring an existing setup in as YAML."""

import sys
from collections.abc import Iterable
from pathlib import Path

import click
from click.decorators import FC

from taskd.cli import output, progress
from taskd.cli.importing.beat import entries_of_app
from taskd.cli.importing.crontab import entries_of_crontab
from taskd.cli.importing.databases import entries_of_django, entries_of_sqlalchemy
from taskd.cli.importing.document import written
from taskd.cli.importing.entry import Entry, checked
from taskd.cli.importing.redbeat import entries_of_redbeat
from taskd.cli.invocation import Command, Invocation
from taskd.cli.settings import settings_of
from taskd.config import masked
from taskd.errors import ConfigError
from taskd.schedule.zones import zone

_SYSTEM = ("/etc/crontab", "/etc/cron.d/")
_LOCAL = ("config", "json")


def _output(command: FC) -> FC:
    """`-o FILE` and `--force`."""
    for option in (
        click.option("--force", is_flag=True, help="Write over FILE if it is there."),
        click.option("-o", "--output", "target", type=click.Path(path_type=Path), metavar="FILE",
                     help="Where to write; by default, to the terminal."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.group("import")
def import_() -> None:
    """Bring an existing setup in as YAML, with the steps of the cut-over. Nothing of the old one is changed.

    The file is for you to read: what can't be carried over stands in it as a comment. It isn't in force until you
    put it where schedules.paths looks.

    \b
    Examples:
      taskd import beat shop.celery:app -o imported.yaml
      crontab -l | taskd import crontab -
    """


@import_.command(cls=Command, shared=_LOCAL)
@click.argument("file", metavar="FILE")
@click.option("--tz", metavar="ZONE", help="The zone in which cron reads it; by default, taskd's.")
@click.option(
    "--system/--user", default=None, help="Whether it has a column for the user, as in /etc/cron.d."
)
@_output
@click.pass_obj
def crontab(
    invocation: Invocation,
    file: str,
    tz: str | None,
    system: bool | None,
    target: Path | None,
    force: bool,
) -> None:
    """A crontab file; - reads standard input. Commands become runs of taskd.tasks.run_command.

    \b
    Examples:
      crontab -l | taskd import crontab - -o imported.yaml
      taskd import crontab /etc/cron.d/backup --tz Europe/Berlin
    """
    read_in = zone(tz or settings_of(invocation).timezone).key
    has_users = file.startswith(_SYSTEM) if system is None else system
    text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8", errors="replace")
    entries = entries_of_crontab(text, read_in, system=has_users)
    title = f"Imported from the crontab {file}, read in {read_in} where it names no zone."
    _write(
        invocation, title, "cron for these lines (crontab -e, or move the file away)", entries, target, force
    )


@import_.command(cls=Command, shared=_LOCAL)
@click.argument("app", metavar="APP")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Beat's own file (celerybeat-schedule): intervals keep their phase.",
)
@_output
@click.pass_obj
def beat(invocation: Invocation, app: str, state: Path | None, target: Path | None, force: bool) -> None:
    """A Celery application's beat_schedule; APP as for `celery -A`.

    \b
    Examples:
      taskd import beat shop.celery:app -o imported.yaml
      taskd import beat shop --state /var/lib/celery/celerybeat-schedule
    """
    title = f"Imported from the beat_schedule of the Celery application {app}."
    _write(invocation, title, "`celery beat`", entries_of_app(app, state), target, force)


@import_.command("django-celery-beat", cls=Command, shared=_LOCAL)
@click.argument("url")
@_output
@click.pass_obj
def django(invocation: Invocation, url: str, target: Path | None, force: bool) -> None:
    """The tables of django-celery-beat at a database's URL, which is read only.

    \b
    Examples:
      taskd import django-celery-beat postgresql://reader@db/shop -o imported.yaml
      taskd import django-celery-beat sqlite:///db.sqlite3
    """
    title = f"Imported from django-celery-beat at {masked(url)}; a time without a zone is read as UTC."
    _write(invocation, title, "`celery beat`", entries_of_django(url), target, force)


@import_.command("sqlalchemy-celery-beat", cls=Command, shared=_LOCAL)
@click.argument("url")
@_output
@click.pass_obj
def sqlalchemy(invocation: Invocation, url: str, target: Path | None, force: bool) -> None:
    """The tables of sqlalchemy-celery-beat at a database's URL, which is read only.

    \b
    Example:
      taskd import sqlalchemy-celery-beat sqlite:///schedule.db -o imported.yaml
    """
    title = f"Imported from sqlalchemy-celery-beat at {masked(url)}; a time without a zone is read as UTC."
    _write(invocation, title, "`celery beat`", entries_of_sqlalchemy(url), target, force)


@import_.command(cls=Command, shared=_LOCAL)
@click.argument("url")
@click.option(
    "--prefix", default="redbeat:", show_default=True, metavar="TEXT", help="Its redbeat_key_prefix."
)
@click.option("--tz", metavar="ZONE", help="The application's zone, for crontabs; by default, taskd's.")
@_output
@click.pass_obj
def redbeat(
    invocation: Invocation, url: str, prefix: str, tz: str | None, target: Path | None, force: bool
) -> None:
    """What celery-redbeat keeps in Redis, which is only read.

    \b
    Examples:
      taskd import redbeat redis://localhost:6379/1 --tz UTC -o imported.yaml
      taskd import redbeat redis://localhost:6379/1 --prefix shop:
    """
    read_in = zone(tz or settings_of(invocation).timezone).key
    title = f"Imported from redbeat at {masked(url)}, its crontabs read in {read_in}."
    _write(invocation, title, "`celery beat`", entries_of_redbeat(url, prefix, read_in), target, force)


def _write(
    invocation: Invocation, title: str, old: str, entries: Iterable[Entry], target: Path | None, force: bool
) -> None:
    timezone = settings_of(invocation).timezone
    found: list[Entry] = []
    with progress.bar("reading entries") as step:
        for entry in entries:
            found.append(checked(entry, timezone))
            step(len(found), None)
    text = written(title, old, found)
    if target is not None:
        _save(target, text, force=force)
    elif not invocation.json:
        click.echo(text, nl=False)
    lost = [entry for entry in found if entry.lost is not None]
    if invocation.json:
        output.print_json(
            {
                "carried_over": [{"name": each.name, "notes": list(each.notes), **each.keys} for each in found if each.lost is None],
                "not_carried_over": [{"name": each.name, "reason": each.lost} for each in lost],
            }
        )  # fmt: skip
    where = f" to {target}" if target else ""
    output.say(f"{output.counted(len(found) - len(lost), 'schedule')} carried over{where}, {len(lost)} not")


def _save(target: Path, text: str, *, force: bool) -> None:
    try:
        with target.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{target} is there already: choose another name, or say --force") from None
