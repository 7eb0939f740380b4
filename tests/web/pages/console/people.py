"""People for the console's tests: users with sessions, in Flask's test client, who fill in forms as a browser does."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.accounts import users
from app.database.connection import Database
from app.settings import Settings
from app.web.engine import engine_of
from app.web.pages.console import forms

PASSWORD = "correct horse battery staple"
SALT, COST = bytes(16), 2
# As it is kept of users, but for the cost, which stands in it: to check a real one is meant to take long.
KEPT = "$".join(
    (
        *("scrypt", str(COST), "8", "1", base64.b64encode(SALT).decode()),
        base64.b64encode(hashlib.scrypt(PASSWORD.encode(), salt=SALT, n=COST, r=8, p=1, dklen=32)).decode(),
    )
)
TOKEN = re.compile(rf'name="{forms.FIELD}" value="(\w+)"')


@dataclass
class Person:
    """Somebody in front of a browser. session_id: "" while they are not signed in."""

    app: Flask
    name: str = ""
    session_id: str = ""
    client: FlaskClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.app.test_client()

    def get(self, path: str, status: int = 200) -> str:
        """A page's text, with entities as the letters that they stand for."""
        response = self.client.get(path)
        assert response.status_code == status, (path, response.status_code, response.get_data(as_text=True)[:2000])
        return unescape(response.get_data(as_text=True))

    def send(self, path: str, token: str | None = None, **fields: Any) -> TestResponse:
        """Send a form. token: None for the one that this person's pages hold."""
        if token is None:
            token = forms.token_for(settings_of(self.app), self.session_id)
        return self.client.post(path, data={forms.FIELD: token, **fields})

    def sign_in(self, name: str, password: str, **fields: str) -> TestResponse:
        """Fill in the sign-in page."""
        token = TOKEN.search(self.get("/console/sign-in"))
        assert token is not None
        return self.send("/console/sign-in", token[1], name=name, password=password, **fields)


def settings_of(app: Flask) -> Settings:
    """The settings that an application was made with."""
    return engine_of(app).settings


def user(database: Database, name: str, role: str) -> users.UserRow:
    """A user whose password is PASSWORD."""
    with database.begin() as connection:
        return users.create_user(connection, name=name, role=role, password_hash=KEPT)


def signed_in(app: Flask, database: Database, name: str, role: str) -> Person:
    """A new user, signed in (without the password, which takes long to check)."""
    made = user(database, name, role)
    with database.begin() as connection:
        session_id, expires_at = users.begin_session(connection, made.id)
    person = Person(app, name, session_id)
    cookie = forms.session_cookie(settings_of(app), session_id, expires_at)
    person.client.set_cookie(forms.COOKIE, cookie, path=forms.PATH)
    return person
