"""`towline completion`: what a shell reads to complete `towline`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from towline.cli.session import common

PROGRAM = "towline"
VARIABLE = "_TOWLINE_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion of commands and options for a shell.

    \b
    bash:  echo 'eval "$(towline completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(towline completion zsh)"' >> ~/.zshrc
    fish:  towline completion fish > ~/.config/fish/completions/towline.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None, shell  # noqa: S101 - click has all three
    click.echo(kind(context.find_root().command, {}, PROGRAM, VARIABLE).source())
