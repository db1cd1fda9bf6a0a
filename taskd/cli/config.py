"""`config`: the settings in effect, and where each comes from."""

import os
from dataclasses import asdict
from typing import Any

import click
from rich.text import Text

from taskd.cli import output
from taskd.cli.invocation import Command, Invocation
from taskd.config import Setting, effective
from taskd.config.effective import DEFAULT


@click.command(cls=Command, shared=("config", "json"))
@click.argument("key", required=False)
@click.option("--changed", is_flag=True, help="Only what a file or a variable sets.")
@click.pass_obj
def config(invocation: Invocation, key: str | None, *, changed: bool) -> None:
    """The settings in effect, and where each comes from: the default, a place in a file, or a variable.

    KEY is a setting or a section. Secrets are masked.

    \b
    Examples:
      taskd config
      taskd config --changed
      taskd config broker.redis
      taskd config --json | jq -r '.[] | select(.key == "database.url") | .origin'
    """
    found = [each for each in effective(invocation.config, os.environ) if _is_under(each.key, key)]
    if not found:
        raise click.UsageError(f"there is no setting {key!r}: `taskd config` lists all")
    shown = [each for each in found if not (changed and each.origin == DEFAULT)]
    if invocation.json:
        output.print_json([asdict(each) for each in shown])
    elif shown:
        output.print_table(["KEY", "VALUE", "FROM"], map(_row, shown))
    else:
        output.say("everything is at its default")


def _is_under(key: str, asked: str | None) -> bool:
    return asked is None or key == asked or key.startswith(f"{asked}.")


def _row(setting: Setting) -> tuple[str | Text, ...]:
    value = Text(_plain(setting.value))
    if setting.means is not None:
        value.append(f" ({setting.means})", "dim")
    return setting.key, value, Text(setting.origin, "dim" if setting.origin == DEFAULT else "")


def _plain(value: Any) -> str:
    return "null" if value is None else output.short(value, 400) or '""'
