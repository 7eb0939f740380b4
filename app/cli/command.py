"""What every file of commands shares: the type that it adds them to, and the error that ends one with a line."""

from __future__ import annotations

import argparse
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class CommandError(Exception):
    """The command cannot do what was asked; the text is for the user."""


def group(commands: Commands, name: str, help: str) -> Commands:
    """A word that has commands of its own behind it, such as `twofold key create`."""
    return commands.add_parser(name, help=help).add_subparsers(title="commands", metavar="", required=True)
