"""Customers for the portal's tests, in Flask's test client, who fill in forms as a browser does."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.web.pages.console import forms

TOKEN = re.compile(rf'name="{forms.FIELD}" value="(\w+)"')


@dataclass
class GuestAtPortal:
    """Somebody in front of a browser."""

    app: Flask
    link_id: str = ""
    client: FlaskClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.app.test_client()

    def open(self, url: str) -> TestResponse:
        """Open a link as a browser does: the page, then its form."""
        parts = urlsplit(url)
        page = self.client.get(f"{parts.path}?{parts.query}")
        assert page.status_code == 200
        assert page.headers["Referrer-Policy"] == "same-origin"
        return self.client.post(parts.path, data={"token": parse_qs(parts.query)["token"][0]})

    def get(self, path: str, status: int = 200) -> str:
        """A page's text, with entities as the letters that they stand for."""
        response = self.client.get(path)
        text = unescape(response.get_data(as_text=True))
        assert response.status_code == status, (path, response.status_code, text[:2000])
        return text

    def token(self) -> str:
        """The form token of this guest's pages; "" for whoever is not in."""
        found = TOKEN.search(self.client.get("/portal/types").get_data(as_text=True))
        return found[1] if found else ""

    def send(self, path: str, token: str | None = None, **fields: Any) -> TestResponse:
        """Send a form. token: None for the one that the guest's pages hold."""
        return self.client.post(path, data={forms.FIELD: self.token() if token is None else token, **fields})
