"""`run`: the daemon."""

from functools import partial

import click

from taskd import daemon
from taskd.cli.invocation import Service
from taskd.cli.settings import settings_of


@click.command(cls=Service, shared=("config",))
@click.option("--no-dispatch", is_flag=True, help="Leave firing to `taskd beat` or `celery beat -S taskd`.")
@click.pass_context
def run(ctx: click.Context, *, no_dispatch: bool) -> None:
    """The daemon: reads the files, keeps the table, fires what is due, answers the API. What systemd starts.

    \b
    Examples:
      taskd -c /etc/taskd/taskd.yaml run
      taskd run --no-dispatch
    """
    reread = partial(settings_of, ctx.obj)
    ctx.exit(daemon.run(reread(), reread=reread, dispatch=not no_dispatch))
