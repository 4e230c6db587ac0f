"""Completion of commands and options in a shell."""

import click
from click.shell_completion import get_completion_class

from autoscaler.cli.shared import say

_VARIABLE = "_AUTOSCALER_COMPLETE"  # as click names it after the program

_FILES = """
  bash  autoscaler completion bash > ~/.local/share/bash-completion/completions/autoscaler
  zsh   autoscaler completion zsh > "${fpath[1]}/_autoscaler"
  fish  autoscaler completion fish > ~/.config/fish/completions/autoscaler.fish
"""


@click.command(epilog=f"\b\nWhere a shell looks for it:{_FILES}")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands in a shell."""
    found = get_completion_class(shell)
    assert found is not None, "click knows each of the choices"
    program = context.find_root().command
    for line in found(program, {}, "autoscaler", _VARIABLE).source().splitlines():
        say(line)
