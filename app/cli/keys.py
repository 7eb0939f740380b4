"""`twofold key`: API keys."""

from __future__ import annotations

import argparse
import json

from app.accounts.keys import SCOPES, create_key
from app.accounts.workspaces import find_workspace
from app.cli.command import CommandError, Commands, group
from app.cli.database import open_database


def add(commands: Commands) -> None:
    """Add these commands."""
    keys = group(commands, "key", "API keys")
    command = keys.add_parser("create", help="make an API key and print it, once")
    command.add_argument("--name", required=True, help="what the key is for")
    command.add_argument("--workspace", help="id or uid; without it a platform key, which may act for any workspace")
    command.add_argument(
        "--scopes", default=",".join(SCOPES), help=f"comma-separated, of {', '.join(SCOPES)} (default: all)"
    )
    command.set_defaults(run=create)


def create(arguments: argparse.Namespace) -> int:
    """Make a key and print it. Raises Problem, CommandError."""
    scopes = [scope.strip() for scope in arguments.scopes.split(",") if scope.strip()]
    with open_database() as database, database.session() as session:
        workspace = find_workspace(session, arguments.workspace) if arguments.workspace else None
        if arguments.workspace and workspace is None:
            raise CommandError(f"there is no workspace {arguments.workspace}")
        key = create_key(session, name=arguments.name, scopes=scopes, workspace_id=workspace.id if workspace else None)
    print(json.dumps({"id": key.id, "key": key.key, "prefix": key.prefix, "scopes": key.scopes}, indent=2))
    return 0
