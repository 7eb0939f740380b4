"""`twofold user`: people who sign in to the console."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from app.accounts import audit, passwords, users
from app.cli.command import CommandError, Commands, group
from app.cli.database import open_database

_BY_HAND = audit.Actor(audit.COMMAND_LINE)


def add(commands: Commands) -> None:
    """Add these commands."""
    made = group(commands, "user", "people who sign in to the console")
    command = made.add_parser("create", help="make a user; without --password-stdin, prints a new password once")
    command.add_argument("name", help="what they sign in with, such as an e-mail address")
    command.add_argument("--role", choices=users.ROLES, default=users.VIEWER, help="viewers change nothing (default)")
    _take_password(command)
    command.set_defaults(run=create)
    command = made.add_parser("list", help="print all users")
    command.set_defaults(run=show_all)
    command = made.add_parser("password", help="give a user another password, which ends their sessions")
    command.add_argument("name")
    _take_password(command)
    command.set_defaults(run=set_password)
    command = made.add_parser("role", help="give a user another role, which ends their sessions")
    command.add_argument("name")
    command.add_argument("role", choices=users.ROLES)
    command.set_defaults(run=set_role)
    for word, help in (("disable", "end a user's sessions and let them in no more"), ("enable", "let a user in again")):
        command = made.add_parser(word, help=help)
        command.add_argument("name")
        command.set_defaults(run=enable_or_disable, word=word)


def create(arguments: argparse.Namespace) -> int:
    """Make a user and print them. Raises Problem, CommandError."""
    password, printed = _password(arguments)
    kept = passwords.hashed(password)
    with open_database() as database, database.begin() as connection:
        user = users.create_user(connection, name=arguments.name, role=arguments.role, password_hash=kept)
        audit.note(connection, _BY_HAND, "user.create", target=user.name, role=user.role)
    _print({"id": user.id, "name": user.name, "role": user.role, **printed})
    return 0


def show_all(_arguments: argparse.Namespace) -> int:
    """Print all users, one line each."""
    with open_database() as database, database.begin() as connection:
        for user in users.list_users(connection):
            state = "disabled" if user.disabled_at else "enabled"
            print(f"{user.name}  {user.role}  {state}  sessions: {user.sessions}")
    return 0


def set_password(arguments: argparse.Namespace) -> int:
    """Give a user another password. Raises Problem, CommandError."""
    password, printed = _password(arguments)
    kept = passwords.hashed(password)
    with open_database() as database, database.begin() as connection:
        user = users.get_user(connection, arguments.name)
        users.change_user(connection, user, password_hash=kept)
        audit.note(connection, _BY_HAND, "user.password", target=user.name)
    _print({"name": user.name, **printed})
    return 0


def set_role(arguments: argparse.Namespace) -> int:
    """Give a user another role. Raises Problem."""
    with open_database() as database, database.begin() as connection:
        user = users.get_user(connection, arguments.name)
        users.change_user(connection, user, role=arguments.role)
        audit.note(connection, _BY_HAND, "user.role", target=user.name, role=arguments.role)
    return 0


def enable_or_disable(arguments: argparse.Namespace) -> int:
    """Let a user in, or no more. Raises Problem."""
    with open_database() as database, database.begin() as connection:
        user = users.get_user(connection, arguments.name)
        users.change_user(connection, user, disabled=arguments.word == "disable")
        audit.note(connection, _BY_HAND, f"user.{arguments.word}", target=user.name)
    return 0


def _take_password(command: argparse.ArgumentParser) -> None:
    command.add_argument("--password-stdin", action="store_true", help="read the password from standard input")


def _password(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The password to set, and what of it is printed: nothing of one that was given."""
    if not arguments.password_stdin:
        password = passwords.new_password()
        return password, {"password": password}
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise CommandError("standard input has no password in its first line")
    return password, {}


def _print(made: dict[str, Any]) -> None:
    print(json.dumps(made, indent=2))
