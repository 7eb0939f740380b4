"""`twofold completion`: what makes a shell complete these commands."""

from __future__ import annotations

import click

# Where each shell reads it at its start.
PLACES = {
    "bash": 'eval "$(twofold completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(twofold completion zsh)" in ~/.zshrc, behind compinit',
    "fish": "twofold completion fish > ~/.config/fish/completions/twofold.fish",
}


@click.command(epilog="\b\n" + "\n".join(f"{shell:<5} {place}" for shell, place in PLACES.items()))
@click.argument("shell", type=click.Choice(tuple(PLACES)))
def completion(shell: str) -> None:
    """Print a script with which bash (4.4 or newer), zsh or fish completes commands, options and profiles."""
    from click.shell_completion import get_completion_class

    from app.cli.main import root

    made = get_completion_class(shell)
    assert made is not None, "click knows these three"
    click.echo(made(root, {}, "twofold", "_TWOFOLD_COMPLETE").source())


commands = (completion,)
