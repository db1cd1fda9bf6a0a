"""`init`: the first files. Asks nothing, and never touches a file that is there."""

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import click

from taskd.cli import output
from taskd.cli.invocation import Command, Invocation
from taskd.cli.schema import schema_with_tasks
from taskd.config import Settings

_HEAD = """\
# Settings of taskd. A key with # in front stands at its default: to change it, take away its # and that of the
# section above it. `taskd config` shows what is in effect, and where each value comes from.
#
"""
# What a stranger is to see, and what would else be relative to wherever taskd is called.
_KEPT = ("timezone:", "schedules:", "  paths:")


@click.command(cls=Command, shared=("config", "json"))
@click.pass_obj
def init(invocation: Invocation) -> None:
    """Write a commented taskd.yaml and a first schedule into this folder; what is there already stays as it is.

    With the first schedule comes the JSON Schema that its editor asks for: see `taskd schema`.

    \b
    Examples:
      taskd init
      taskd -c /etc/taskd/taskd.yaml init
    """
    settings = invocation.config or Path("taskd.yaml")
    schedule = settings.parent / "schedules" / "hello.yaml"
    made = [_write(settings, settings_template())]
    if not schedule.parent.exists():  # a folder that is there is somebody's: nothing of ours belongs into it
        made.append(_write(schedule, template("hello.yaml")))
        made.append(
            _write(settings.parent / "schedule.schema.json", output.json_text(schema_with_tasks(Settings())))
        )
    written = [path for path in made if path is not None]
    if invocation.json:
        output.print_json({"written": [str(path) for path in written]})
        return
    for path in written:
        click.echo(f"wrote {path}")
    if settings not in written:
        output.say(f"{settings} is there already: left as it is")
    if schedule not in written:
        output.say(f"{schedule.parent} is there already: left as it is")
    output.say("next: `taskd check` reads the schedules, `taskd dev` runs them")


def template(name: str) -> str:
    """A file that ships with taskd, to be written somewhere."""
    return files("taskd.cli").joinpath("templates", name).read_text(encoding="utf-8")


def settings_template() -> str:
    """taskd.yaml with every key at its default, commented out; the zone and the folder of schedules are said."""
    _, _, body = template("taskd.yaml").partition("\n#\n")
    return _HEAD + "\n".join(_commented(body.splitlines())) + "\n"


def _commented(lines: list[str]) -> Iterator[str]:
    for line in lines:
        plain = not line or line.startswith(_KEPT) or re.match(r" *# ", line)
        yield line if plain else f"#{line}"


def _write(path: Path, text: str) -> Path | None:
    """The path, or None if it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return None
    return path
