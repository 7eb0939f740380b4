"""`twofold workspaces`: customers. `create` works on the database itself: it is needed before there is a key."""

from __future__ import annotations

import click

from app.cli.api import Api, asks_platform, part
from app.cli.options import limit_option, sure, yes_option
from app.cli.shown import columns, json_option, print_object, print_rows

COLUMNS = columns(id="id", uid="uid", name="name", age="created_at")


@click.group()
def workspaces() -> None:
    """Workspaces: customers. They are listed and shown with a platform key."""


@workspaces.command("list")
@asks_platform
@limit_option
@json_option
def list_workspaces(api: Api, limit: int, as_json: bool) -> None:
    """List workspaces, newest first."""
    print_rows(api.rows("/v1/workspaces", {}, limit), COLUMNS, as_json=as_json, empty="No workspaces.")


@workspaces.command()
@asks_platform
@click.argument("workspace_id", metavar="ID_OR_UID")
@json_option
def show(api: Api, workspace_id: str, as_json: bool) -> None:
    """Show a workspace."""
    print_object(api.get(f"/v1/workspaces/{part(workspace_id)}"), as_json=as_json)


@workspaces.command()
@click.option("--uid", metavar="TEXT", help="Your own name for it (default: its id).")
@click.option("--name", metavar="TEXT", required=True, help="What people call it.")
def create(uid: str | None, name: str) -> None:
    """Make a workspace in DATABASE_URL, and print it as JSON."""
    import json

    from app.accounts.workspaces import create_workspace, shown
    from app.cli.database import open_database

    with open_database() as database, database.session() as session:
        made = shown(create_workspace(session, uid=uid, name=name))
    click.echo(json.dumps(made, indent=2, ensure_ascii=False))


@workspaces.command()
@asks_platform
@click.argument("workspace_id", metavar="ID_OR_UID")
@yes_option
def delete(api: Api, workspace_id: str, yes: bool) -> None:
    """Delete a workspace with everything in it; its keys stop working at once."""
    sure(yes, f"Delete the workspace {workspace_id} with all its streams, events, endpoints and keys?")
    api.json("DELETE", f"/v1/workspaces/{part(workspace_id)}")


commands = (workspaces,)
