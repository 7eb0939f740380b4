"""`twofold key`, `workspace` and `partitions`: what an operator makes in the database."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime

from app.accounts.keys import create_key
from app.accounts.workspaces import create_workspace, find_workspace, shown
from app.cli.database import CommandError, open_database
from app.database.partitions import make_partitions


def run_create_key(arguments: argparse.Namespace) -> int:
    scopes = [scope.strip() for scope in arguments.scopes.split(",") if scope.strip()]
    with open_database() as database, database.session() as session:
        workspace = find_workspace(session, arguments.workspace) if arguments.workspace else None
        if arguments.workspace and workspace is None:
            raise CommandError(f"there is no workspace {arguments.workspace}")
        key = create_key(session, name=arguments.name, scopes=scopes, workspace_id=workspace.id if workspace else None)
    print(json.dumps({"id": key.id, "key": key.key, "prefix": key.prefix, "scopes": key.scopes}, indent=2))
    return 0


def run_create_workspace(arguments: argparse.Namespace) -> int:
    with open_database() as database, database.session() as session:
        found = shown(create_workspace(session, uid=arguments.uid, name=arguments.name))
    print(json.dumps(found, indent=2, ensure_ascii=False))
    return 0


def run_partitions(_arguments: argparse.Namespace) -> int:
    with open_database() as database, database.begin() as connection:
        for name in make_partitions(connection, datetime.now(UTC)):
            print(name)
    return 0
