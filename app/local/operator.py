"""The operator that a local run makes for its console: made once, remembered in a private file."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from app.accounts import audit, passwords, users
from app.database.connection import Database
from app.local.private_file import write_private

NAME = "operator"


@dataclass(frozen=True)
class LocalOperator:
    """What a person signs in with. password: None when they have chosen another than the run's."""

    name: str
    password: str | None


def local_operator(database: Database, remembered: Path) -> LocalOperator:
    """The operator in the file `remembered`, or a new one, which the file then holds."""
    with database.begin() as connection:
        found = users.find_user(connection, NAME)
    if found is not None:
        with suppress(FileNotFoundError, ValueError, TypeError):
            known = LocalOperator(**json.loads(remembered.read_text()))
            if known.password is not None and passwords.matches(known.password, found[1]):
                return known
        return LocalOperator(NAME, None)
    password = passwords.new_password()
    kept = passwords.hashed(password)
    with database.begin() as connection:
        users.create_user(connection, name=NAME, role=users.OPERATOR, password_hash=kept)
        audit.note(connection, audit.Actor("local run"), "user.create", target=NAME, role=users.OPERATOR)
    made = LocalOperator(NAME, password)
    write_private(remembered, json.dumps(asdict(made), indent=2) + "\n")
    return made
