"""The command line: each command parses, asks or calls, prints.

Exit codes   0 done, nothing to do · 1 the answer is no · 2 used wrongly, or can't run · 3 `plan` has changes
Output       data on stdout, for people or with --json for programs; messages on stderr
Start-up     a command's module, and what it imports, is loaded when that command is called
"""

from importlib import import_module
from typing import Any

import click

from taskd.cli.invocation import OPTIONS, Invocation
from taskd.errors import TaskdError

# name → the module that has it, and what it does; `list` and its like are called `list_` there
_COMMANDS = {
    "dev": ("taskd.cli.dev", "Everything on one machine with no server, and a live log."),
    "run": ("taskd.cli.run", "The daemon: keeps the table as the files say, and fires."),
    "worker": ("taskd.cli.programs", "Celery's worker on taskd's app."),
    "beat": ("taskd.cli.programs", "Celery's Beat with taskd's scheduler, without the daemon."),
    "check": ("taskd.cli.files", "Validate schedule files, offline."),
    "plan": ("taskd.cli.files", "What a pass would change in the database."),
    "sync": ("taskd.cli.files", "Make one pass: bring the database to what the files say."),
    "list": ("taskd.cli.look", "All schedules."),
    "show": ("taskd.cli.look", "One schedule in depth."),
    "next": ("taskd.cli.coming", "Coming occurrences of a schedule, a crontab or an interval."),
    "explain": ("taskd.cli.asking", "A crontab or an interval in words."),
    "why": ("taskd.cli.asking", "Why a schedule ran at a time, or didn't."),
    "runs": ("taskd.cli.look", "What ran, the newest first."),
    "trigger": ("taskd.cli.operate", "Run a schedule now."),
    "pause": ("taskd.cli.operate", "Keep a schedule from firing."),
    "resume": ("taskd.cli.operate", "Let a paused schedule fire again."),
    "start": ("taskd.cli.operate", "Make a schedule effective: resume it, enable it."),
    "db": ("taskd.cli.db", "Migrate the database, or look at its schema."),
}


class _Refusal(click.ClickException):
    """A sentence for whoever typed the command."""

    exit_code = 2

    def show(self, _file: Any = None) -> None:
        """The sentence, on stderr."""
        click.echo(f"taskd: {self.message}", err=True)


class _Lazy(click.Group):
    """Lists its commands without loading them."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """In the order of the table, which is that of a day's work."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The real command in place of its line in the table."""
        name, line, rest = super().resolve_command(ctx, args)
        if name is None or line is None:
            return name, line, rest
        module = import_module(_COMMANDS[name][0])
        return name, getattr(module, f"{name}_" if hasattr(module, f"{name}_") else name), rest

    def invoke(self, ctx: click.Context) -> Any:
        """No traceback for what a person can mend."""
        try:
            return super().invoke(ctx)
        except TaskdError as error:
            raise _Refusal(str(error)) from error
        except OSError as error:
            if isinstance(error, BrokenPipeError) or error.filename is None:
                raise
            raise _Refusal(f"{error.filename}: {error.strerror}") from error


@click.group(
    cls=_Lazy,
    params=list(OPTIONS.values()),
    commands={name: click.Command(name, short_help=what) for name, (_, what) in _COMMANDS.items()},
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with `taskd dev`. Each command has its own --help, with examples.",
)
@click.version_option(package_name="taskd", message="taskd %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Periodic work for Celery, declared in Git."""
    ctx.ensure_object(Invocation)
