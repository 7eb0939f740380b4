"""`twofold partitions`: the weekly partitions of the tables that grow."""

from __future__ import annotations

import argparse

from app.cli.command import Commands
from app.cli.database import open_database
from app.database.partitions import make_partitions


def add(commands: Commands) -> None:
    """Add this command."""
    command = commands.add_parser("partitions", help="make the partitions of the coming weeks; prints the new ones")
    command.set_defaults(run=make)


def make(_arguments: argparse.Namespace) -> int:
    """Make what is missing and print the names of what was made."""
    with open_database() as database, database.begin() as connection:
        for name in make_partitions(connection):
            print(name)
    return 0
