"""`twofold users`: people who sign in to the console, made and changed by whoever has the database."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from app.cli.command import CommandError
from app.cli.shown import columns, json_option, print_object, print_rows

if TYPE_CHECKING:
    from app.accounts.users import UserRow

# As app.accounts.users has them, which takes SQLAlchemy to import; a test compares the two.
ROLES = ("viewer", "operator")
COLUMNS = columns(name="name", role="role", status="status", sessions="sessions")

_password_option = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")


@click.group()
def users() -> None:
    """People who sign in to the console. These commands work on DATABASE_URL."""


@users.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="viewer", show_default=True, help="Viewers change nothing.")
@_password_option
def create(name: str, role: str, password_stdin: bool) -> None:
    """Make a user NAME, such as an e-mail address; prints a new password, once, unless one is given."""
    from app.accounts import audit, passwords
    from app.accounts import users as people
    from app.cli.database import open_database

    password, printed = _password(password_stdin)
    kept = passwords.hashed(password)
    with open_database() as database, database.begin() as connection:
        user = people.create_user(connection, name=name, role=role, password_hash=kept)
        audit.note(connection, audit.Actor(audit.COMMAND_LINE), "user.create", target=user.name, role=user.role)
    _print({"id": user.id, "name": user.name, "role": user.role, **printed})


@users.command("list")
@json_option
def list_users(as_json: bool) -> None:
    """List all users."""
    from app.accounts import users as people
    from app.cli.database import open_database

    with open_database() as database, database.begin() as connection:
        found = [_shown(user) for user in people.list_users(connection)]
    print_rows(found, COLUMNS, as_json=as_json, empty="No users. Make one: twofold users create NAME --role operator")


@users.command()
@click.argument("user", metavar="ID_OR_NAME")
@json_option
def show(user: str, as_json: bool) -> None:
    """Show a user: their role, whether they may sign in, and how many sessions go on."""
    from app.accounts import users as people
    from app.cli.database import open_database

    with open_database() as database, database.begin() as connection:
        found = people.read_user(connection, user)
    print_object(_shown(found), as_json=as_json)


@users.command()
@click.argument("name")
@_password_option
def password(name: str, password_stdin: bool) -> None:
    """Give a user another password, which ends their sessions."""
    from app.accounts import passwords

    given, printed = _password(password_stdin)
    _print({"name": _change(name, "user.password", {}, password_hash=passwords.hashed(given)), **printed})


@users.command()
@click.argument("name")
@click.argument("role", type=click.Choice(ROLES))
def role(name: str, role: str) -> None:
    """Give a user another role, which ends their sessions."""
    _change(name, "user.role", {"role": role}, role=role)


@users.command()
@click.argument("name")
def disable(name: str) -> None:
    """End a user's sessions and let them in no more."""
    _change(name, "user.disable", {}, disabled=True)


@users.command()
@click.argument("name")
def enable(name: str) -> None:
    """Let a user in again."""
    _change(name, "user.enable", {}, disabled=False)


def _shown(user: UserRow) -> dict[str, Any]:
    from app.core.wire.envelope import rfc3339

    return {
        "id": user.id,
        "name": user.name,
        "role": user.role,
        "status": "disabled" if user.disabled_at else "enabled",
        "sessions": user.sessions,
        "created_at": rfc3339(user.created_at),
        "disabled_at": rfc3339(user.disabled_at) if user.disabled_at else None,
    }


def _change(name: str, action: str, noted: dict[str, str], **change: Any) -> str:
    """Change a user, write down what was done, and return their name as it is kept. Raises Problem, CommandError."""
    from app.accounts import audit
    from app.accounts import users as people
    from app.cli.database import open_database

    with open_database() as database, database.begin() as connection:
        user = people.get_user(connection, name)
        people.change_user(connection, user, **change)
        audit.note(connection, audit.Actor(audit.COMMAND_LINE), action, target=user.name, **noted)
    return user.name


def _password(from_stdin: bool) -> tuple[str, dict[str, Any]]:
    """The password to set, and what of it is printed: nothing of one that was given."""
    from app.accounts import passwords

    if not from_stdin:
        password = passwords.new_password()
        return password, {"password": password}
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise CommandError("standard input has no password in its first line")
    return password, {}


def _print(made: dict[str, Any]) -> None:
    click.echo(json.dumps(made, indent=2))


commands = (users,)
