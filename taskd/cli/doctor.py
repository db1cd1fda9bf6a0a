"""`doctor`: looks at all that taskd needs, and says what to do about what isn't right."""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import click
from rich.text import Text

from taskd import clock
from taskd.celery_app import create_app
from taskd.cli import output
from taskd.cli.checkup.finding import Finding, broken, fine
from taskd.cli.checkup.machine import file_findings, zone_findings
from taskd.cli.checkup.running import broker_findings, source_findings, worker_findings
from taskd.cli.checkup.storage import clock_findings, lease_findings, schema_findings
from taskd.cli.database import existing
from taskd.cli.invocation import Command
from taskd.cli.settings import settings_of
from taskd.cli.ways import answers
from taskd.config import Setting, Settings, effective
from taskd.config.loading import find
from taskd.errors import ConfigError, DatabaseUnavailable

_MARKS = {"ok": "SUCCESS", "warning": "warning", "problem": "error"}  # the colours of other words


@click.command(cls=Command, shared=("config", "json"))
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Look at the database, the broker, the workers, the clock, the time zones, the files and who leads.

    Each finding that isn't fine comes with a remedy. Exits 1 if something is a problem; a warning is none.

    \b
    Examples:
      taskd doctor
      taskd doctor --json | jq -r '.findings[] | select(.level != "ok") | .remedy'
    """
    settings, file = settings_of(ctx.obj), find(ctx.obj.config, os.environ)
    found: list[Finding] = []
    for finding in _findings(settings, file):
        found.append(finding)
        if not ctx.obj.json:
            output.print_lines(_lines(finding))
    problems = sum(each.level == "problem" for each in found)
    if ctx.obj.json:
        output.print_json({"ok": not problems, "findings": [asdict(each) for each in found]})
    else:
        warnings = sum(each.level == "warning" for each in found)
        output.say(f"{output.counted(problems, 'problem')}, {output.counted(warnings, 'warning')}")
    ctx.exit(1 if problems else 0)


def _findings(settings: Settings, file: Path | None) -> Iterator[Finding]:
    yield fine("settings", str(file) if file else "none found: built-in defaults serve")
    yield from file_findings(settings, file, holds_secrets=_holds_secrets(file))
    yield from zone_findings(clock.now())
    yield from source_findings(settings)
    try:
        app = create_app(settings)
    except ConfigError as error:
        yield broken("application", str(error), "set celery.app to what `celery -A` takes, and PYTHONPATH")
        return
    yield from broker_findings(app)
    try:
        with existing(settings) as database:
            yield from (schema := list(schema_findings(database)))
            if any(each.level == "problem" for each in schema):
                return
            yield from clock_findings(database)
            yield from lease_findings(database, settings.lease.ttl)
            yield from _quietly(lambda: worker_findings(app, database))
    except DatabaseUnavailable as error:
        sentence, _, remedy = str(error).partition(" yet: ")
        yield broken("database", sentence, remedy or "start it, or set database.url")
    if answers(settings.socket_path):
        yield fine("daemon", f"answers on {output.near(settings.socket_path)}")


def _quietly(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What workers say, unless the broker that carries it is away: that has been told."""
    try:
        yield from look()
    except DatabaseUnavailable:
        raise
    except Exception as error:  # noqa: BLE001  every transport has its own
        yield broken("workers", f"can't be asked: {error}", "mend the broker first")


def _holds_secrets(file: Path | None) -> bool:
    """Whether the file itself says a secret, and doesn't take it from elsewhere by ${…}."""
    if file is None:
        return False
    lines = file.read_text(encoding="utf-8").splitlines()
    places = (each.origin.removeprefix(f"{file}:") for each in effective(file, os.environ) if _masked(each))
    return any(
        "${" not in lines[int(place.partition(":")[0]) - 1] for place in places if place[0].isdecimal()
    )


def _masked(setting: Setting) -> bool:
    return "**" in str(setting.value)


def _lines(finding: Finding) -> Iterator[Text]:
    word = output.word(_MARKS[finding.level])
    yield (
        Text(f"{finding.level:8}", word.style)
        .append(f"{finding.about:12}", "bold")
        .append(finding.says, "default")
    )
    if finding.remedy:
        yield Text(f"{'':20}→ {finding.remedy}")
