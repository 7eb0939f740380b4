"""`twofold keys`: API keys. `create` works on the database itself: the first key cannot be made with a key."""

from __future__ import annotations

import click

from app.cli.api import Api, asks, part
from app.cli.command import CommandError, Status
from app.cli.options import limit_option, sure, yes_option
from app.cli.shown import columns, json_option, print_object, print_rows

COLUMNS = columns(id="id", name="name", prefix="prefix", age="created_at", scopes="scopes")
# As app.accounts.keys has them, which takes SQLAlchemy to import; a test compares the two.
SCOPES = ("publish", "subscribe", "manage", "operate")


@click.group()
def keys() -> None:
    """API keys: a workspace's own, and platform keys, which may act for any workspace."""


@keys.command()
@click.option("--name", metavar="TEXT", required=True, help="What the key is for.")
@click.option("--workspace", metavar="ID_OR_UID", help="Whose key it is (default: a platform key).")
@click.option(
    "--scopes", metavar="LIST", default=",".join(SCOPES), help=f"Separated by commas, of {', '.join(SCOPES)} (all)."
)
def create(name: str, workspace: str | None, scopes: str) -> None:
    """Make a key in DATABASE_URL, and print it as JSON, once."""
    import json

    from app.accounts.keys import create_key
    from app.accounts.workspaces import find_workspace
    from app.cli.database import open_database

    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    with open_database() as database, database.session() as session:
        found = find_workspace(session, workspace) if workspace else None
        if workspace and found is None:
            raise CommandError(f"there is no workspace {workspace}", Status.NOT_FOUND)
        key = create_key(session, name=name, scopes=wanted, workspace_id=found.id if found else None)
    click.echo(json.dumps({"id": key.id, "key": key.key, "prefix": key.prefix, "scopes": key.scopes}, indent=2))


@keys.command("list")
@asks
@limit_option
@json_option
def list_keys(api: Api, limit: int, as_json: bool) -> None:
    """List the keys that work, newest first: the workspace's, or with a platform key alone the platform's."""
    print_rows(api.rows("/v1/keys", {}, limit), COLUMNS, as_json=as_json, empty="No keys.")


@keys.command()
@asks
@click.argument("key_id")
@json_option
def show(api: Api, key_id: str, as_json: bool) -> None:
    """Show a key that works: what it is for, how it begins, what it may do; never the key itself."""
    print_object(api.get(f"/v1/keys/{part(key_id)}"), as_json=as_json)


@keys.command()
@asks
@click.argument("key_id")
@yes_option
def revoke(api: Api, key_id: str, yes: bool) -> None:
    """Revoke a key; it stops working at once."""
    sure(yes, f"Revoke the key {key_id}?")
    api.json("DELETE", f"/v1/keys/{part(key_id)}")


commands = (keys,)
