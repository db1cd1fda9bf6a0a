"""`completion`: what a shell reads to complete taskd's commands and options."""

import click
from click.shell_completion import get_completion_class

from taskd.cli.invocation import Command

_SHELLS = ("bash", "zsh", "fish")


@click.command(cls=Command, shared=())
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script with which the shell completes commands, options and names of schedules; it asks taskd as you type.

    \b
    Examples:
      taskd completion bash > ~/.local/share/bash-completion/completions/taskd
      taskd completion zsh > ~/.zfunc/_taskd
      taskd completion fish > ~/.config/fish/completions/taskd.fish
    """
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(ctx.find_root().command, {}, "taskd", "_TASKD_COMPLETE").source())
