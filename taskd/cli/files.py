"""`sync`: a pass over the schedule files, asked for by hand."""

import click

from taskd.cli import output, planned
from taskd.cli.client import connect
from taskd.cli.invocation import Command
from taskd.cli.settings import settings_of
from taskd.errors import Unavailable


@click.command(cls=Command)
@click.option("--approve", "digest", metavar="DIGEST", help="Delete what is held under this digest too.")
@click.option("--wait", is_flag=True, help="As long as the pass takes; else 30 seconds.")
@click.pass_context
def sync(ctx: click.Context, digest: str | None, *, wait: bool) -> None:
    """Make one pass now, and show what it changed. Exits 1 if there are errors; the rest is applied.

    Deletions that may be a mistake are held: `taskd plan` and the daemon's log tell which, why, and their digest.

    \b
    Examples:
      taskd sync
      taskd sync --json
      taskd sync --approve 5f0c1d2e3a4b5c6d
    """
    client = connect(ctx.obj, settings_of(ctx.obj))
    done = client.post("sync", "approve", digest=digest) if digest is not None else client.post("sync")
    while "digest" not in done:  # it takes long: the daemon goes on with it
        if not wait:
            raise Unavailable(done["detail"])
        done = client.post("sync")  # waits for the one under way
    if ctx.obj.json:
        output.print_json(done)
    else:
        output.print_lines(planned.lines(done))
        output.say(planned.summary(done))
    ctx.exit(1 if planned.errors_of(done) else 0)
