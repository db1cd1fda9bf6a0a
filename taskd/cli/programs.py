"""`worker`, `beat`, `flower`: Celery's own programs on taskd's app."""

import os
import sys
from importlib.util import find_spec

import click

from taskd.cli.database import migrated
from taskd.cli.invocation import Command, Invocation, Service
from taskd.cli.settings import hand_on_config, settings_of
from taskd.errors import ConfigError

_FLOWERS_OWN = ("--address=127.0.0.1", "--port=8555")  # before the caller's: the last one counts
_CELERYS_OWN = {"ignore_unknown_options": True, "help_option_names": ["--help"]}


@click.command(cls=Command, shared=(), context_settings=_CELERYS_OWN)
@click.argument("celery_args", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def worker(invocation: Invocation, celery_args: tuple[str, ...]) -> None:
    """Celery's worker on taskd's app, or on the one that `celery.app` names. Takes all of Celery's options.

    \b
    Examples:
      taskd worker
      taskd -c /etc/taskd/taskd.yaml worker --concurrency 4 --queues reports
      taskd worker --pool threads --loglevel DEBUG
    """
    _become_celery(invocation, "worker", celery_args)


@click.command(cls=Service, shared=(), context_settings=_CELERYS_OWN)
@click.argument("celery_args", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def beat(invocation: Invocation, celery_args: tuple[str, ...]) -> None:
    """Celery's Beat, firing taskd's schedules without the daemon. Takes all of Celery's options.

    Beside a daemon, run that as `taskd run --no-dispatch`.

    \b
    Examples:
      taskd beat
      taskd beat --loglevel DEBUG
    """
    with migrated(settings_of(invocation)):
        pass  # from inside Celery it would be a traceback
    _become_celery(invocation, "beat", ("--scheduler", "taskd", *celery_args))


@click.command(cls=Command, shared=(), context_settings=_CELERYS_OWN)
@click.argument("flower_args", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def flower(invocation: Invocation, flower_args: tuple[str, ...]) -> None:
    """Flower, Celery's monitor, on taskd's app: http://127.0.0.1:8555, for this machine only. Takes all of its options.

    It comes with `pip install 'taskd[flower]'`. It shows and controls everything, so give it a password before
    you let others reach it.

    \b
    Examples:
      taskd flower
      taskd flower --port 5555
      taskd flower --address 0.0.0.0 --basic-auth admin:secret
    """
    if find_spec("flower") is None:
        raise ConfigError("Flower is not installed: pip install 'taskd[flower]'")
    _become_celery(invocation, "flower", (*_FLOWERS_OWN, *flower_args))


def celery_command(program: str, level: str) -> list[str]:
    """The start of a command line for one of Celery's programs, as a process of its own."""
    return [sys.executable, "-m", "celery", "-A", "taskd.celery_app", program, "--loglevel", level]


def _become_celery(invocation: Invocation, program: str, arguments: tuple[str, ...]) -> None:
    """Replace this process: whoever supervises it sees Celery itself."""
    command = [*celery_command(program, settings_of(invocation).logging.level), *arguments]
    hand_on_config(invocation)
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606  no shell, and the arguments are the caller's own
