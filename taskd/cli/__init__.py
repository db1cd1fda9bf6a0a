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
    "flower": ("taskd.cli.programs", "Flower, Celery's monitor, on taskd's app."),
    "init": ("taskd.cli.init", "Write a commented taskd.yaml and a first schedule."),
    "config": ("taskd.cli.config", "The settings in effect, and where each comes from."),
    "doctor": ("taskd.cli.doctor", "Look for what isn't right, and say what to do about it."),
    "import": ("taskd.cli.imports", "Bring an existing setup in as YAML: cron, beat, its databases."),
    "check": ("taskd.cli.check", "Validate schedule files, offline."),
    "plan": ("taskd.cli.plan", "What a pass would change: fields, and fire times gained and lost."),
    "schema": ("taskd.cli.schema", "The JSON Schema of schedule files, for editors."),
    "sync": ("taskd.cli.files", "Make one pass: bring the database to what the files say."),
    "list": ("taskd.cli.look", "All schedules, or those of a pattern or label."),
    "show": ("taskd.cli.look", "One schedule in depth."),
    "next": ("taskd.cli.coming", "Coming occurrences of a schedule, a crontab or an interval."),
    "explain": ("taskd.cli.asking", "A crontab or an interval in words."),
    "why": ("taskd.cli.asking", "Why a schedule ran at a time, or didn't."),
    "runs": ("taskd.cli.look", "What ran, the newest first."),
    "run-show": ("taskd.cli.look", "One run in depth, with its traceback."),
    "tail": ("taskd.cli.tail", "What happens, as it happens."),
    "log": ("taskd.cli.tasklog", "What a run's task logged."),
    "events": ("taskd.cli.events", "What was done to a schedule, and by whom."),
    "trigger": ("taskd.cli.operate", "Run schedules now."),
    "pause": ("taskd.cli.operate", "Keep schedules from firing."),
    "resume": ("taskd.cli.operate", "Let paused schedules fire again."),
    "start": ("taskd.cli.operate", "Make schedules effective: resume them, enable them."),
    "workers": ("taskd.cli.workers", "Look at the workers, and change them."),
    "revoke": ("taskd.cli.workers", "Keep a run from starting."),
    "terminate": ("taskd.cli.workers", "End a run, also while it runs."),
    "adopt": ("taskd.cli.ownership", "Hand schedules of the API to the files that declare them."),
    "export": ("taskd.cli.ownership", "Write schedules of the API as a schedule file."),
    "purge": ("taskd.cli.purging", "Delete old runs."),
    "db": ("taskd.cli.db", "Migrate the database, or look at its schema."),
    "completion": ("taskd.cli.completion", "Let the shell complete commands, options and names."),
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
        module, called = import_module(_COMMANDS[name][0]), name.replace("-", "_")
        return name, getattr(module, f"{called}_" if hasattr(module, f"{called}_") else called), rest

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
