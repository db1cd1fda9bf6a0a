"""What commands share. Imports nothing but click and our errors: `taskd --help` is to come at once."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from taskd.errors import Unavailable


@dataclass
class Invocation:
    """One call of taskd. The shared options stand here, whether they were given before or after the command."""

    config: Path | None = None
    json: bool = False
    url: str | None = None


def _keep(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    if value and option.name:
        setattr(ctx.ensure_object(Invocation), option.name, value)


def _option(*names: str, **attributes: Any) -> click.Option:
    return click.Option(names, expose_value=False, callback=_keep, **attributes)


OPTIONS = {
    "config": _option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Settings; else $TASKD_CONFIG, ./taskd.yaml, /etc/taskd/taskd.yaml, or built-in defaults.",
    ),
    "json": _option("--json", is_flag=True, help="Print JSON, for programs."),
    "url": _option(
        "--url", metavar="URL", help="The daemon's API; else $TASKD_URL, or what is on this machine."
    ),
}
"""`--config`, `--json` and `--url`: accepted before a command, and after it where they mean something to it."""


class Command(click.Command):
    """A command with those shared options that mean something to it; it refuses the others."""

    def __init__(self, *args: Any, shared: Collection[str] = tuple(OPTIONS), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [OPTIONS[name] for name in shared]
        self._refused = {"json", "url"}.difference(shared)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, unless it was given what it can't heed."""
        for name in sorted(self._refused):
            if getattr(ctx.obj, name):
                raise click.UsageError(f"`{ctx.info_name}` has no --{name}.", ctx)
        return super().invoke(ctx)


class Service(Command):
    """A command that a supervisor keeps running. What is away will be back: it ends with 1, and is started again."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; 2, which systemd doesn't start again, is for what a human must mend."""
        try:
            return super().invoke(ctx)
        except Unavailable as error:
            click.echo(f"taskd: {error}", err=True)
            ctx.exit(1)
