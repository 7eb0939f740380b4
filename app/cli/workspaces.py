"""`twofold workspace`: customers."""

from __future__ import annotations

import argparse
import json

from app.accounts.workspaces import create_workspace, shown
from app.cli.command import Commands, group
from app.cli.database import open_database


def add(commands: Commands) -> None:
    """Add these commands."""
    workspaces = group(commands, "workspace", "workspaces")
    command = workspaces.add_parser("create", help="make a workspace and print it")
    command.add_argument("--uid", help="your own name for it (default: its id)")
    command.add_argument("--name", required=True, help="the name to show")
    command.set_defaults(run=create)


def create(arguments: argparse.Namespace) -> int:
    """Make a workspace and print it. Raises Problem."""
    with open_database() as database, database.session() as session:
        workspace = shown(create_workspace(session, uid=arguments.uid, name=arguments.name))
    print(json.dumps(workspace, indent=2, ensure_ascii=False))
    return 0
