"""`schema`: what editors need to complete and check schedule files."""

from typing import Any

import click

from taskd.celery_app import task_names
from taskd.cli import output
from taskd.cli.invocation import Command
from taskd.cli.settings import settings_of
from taskd.config import Settings
from taskd.errors import ConfigError
from taskd.source.schema import file_schema


@click.command(cls=Command, shared=("config", "json"))
@click.pass_context
def schema(ctx: click.Context) -> None:
    """Print the JSON Schema (2020-12) of schedule files, which suggests the tasks of the configured application.

    An editor with a YAML language server completes and checks a file that begins with
    `# yaml-language-server: $schema=../schedule.schema.json`.

    \b
    Examples:
      taskd schema > schedule.schema.json
      taskd schema | jq '."$defs".Schedule.properties | keys'
    """
    output.print_json(schema_with_tasks(settings_of(ctx.obj)))


def schema_with_tasks(settings: Settings) -> dict[str, Any]:
    """The schema of schedule files, with the names of the application's tasks where it can be imported."""
    try:
        tasks = task_names(settings)
    except ConfigError as error:
        output.say(f"without names of tasks: {error}")
        tasks = frozenset()
    return file_schema(name for name in tasks if not name.startswith("celery."))
