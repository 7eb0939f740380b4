"""`twofold dev`: the whole product on this machine."""

from __future__ import annotations

import argparse

from app.cli.command import CommandError, Commands


def add(commands: Commands) -> None:
    """Add this command."""
    command = commands.add_parser("dev", help="run the whole product on this machine (what `make run` does)")
    command.add_argument("--stop-with-parent", action="store_true", help="stop when the starting process ends (Linux)")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run until a signal. Raises CommandError when the packages for it are not installed."""
    try:  # when asked for: a production installation does without what embedded engines need
        from app.local.run import main
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "app":
            raise
        raise CommandError(f"needs the package {error.name}: pip install 'twofold[embedded]'") from None
    return main(["--stop-with-parent"] if arguments.stop_with_parent else [])
