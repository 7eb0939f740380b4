"""`twofold listen`: receives webhooks on this machine, prints them and says whether their signatures are valid. With
--forward-to it fetches them itself (app/cli/forward.py)."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import requests
from click.core import ParameterSource

from app.cli.api import LOOPBACK
from app.cli.shown import json_line, json_option, safe
from app.client import SecretError, WebhookVerificationError, verify_webhook
from app.client.receiving import WebhookServer
from app.project import var_directory

ASK_AGAIN_SECONDS = 1.0


class SecretsOfRun:
    """The secrets of the endpoints that point to our port, asked from the local run that dev.json describes."""

    def __init__(self, described: Path, port: int) -> None:
        self._described = described
        self._port = port
        self._known: list[str] = []
        self._asked_at = 0.0
        self._lock = threading.Lock()
        self._http = requests.Session()
        self._http.trust_env = False

    def get(self, *, fresh: bool) -> list[str]:
        """What is known; `fresh`: ask again, unless that was a moment ago. Empty when no local run answers."""
        with self._lock:
            if fresh and time.monotonic() - self._asked_at > ASK_AGAIN_SECONDS:
                self._asked_at = time.monotonic()
                try:
                    self._known = self._ask()
                except (OSError, ValueError, KeyError):
                    self._known = []
            return self._known

    def _ask(self) -> list[str]:
        run = json.loads(self._described.read_text())
        self._http.headers["Authorization"] = f"Bearer {run['workspace_key']}"
        endpoints = f"{run['base_url']}/v1/endpoints"
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = self._get(endpoints, {"limit": "250", **({"cursor": cursor} if cursor else {})})
            for endpoint in page["data"]:
                url = urlsplit(endpoint["url"])
                if url.hostname in LOOPBACK and url.port == self._port:
                    found.append(self._get(f"{endpoints}/{endpoint['id']}/secret", {})["secret"])
            cursor = page["next_cursor"]
            if not cursor:
                return found

    def _get(self, url: str, params: Mapping[str, str]) -> Any:
        response = self._http.get(url, params=params, timeout=5)
        response.raise_for_status()
        return response.json()


class Listener(WebhookServer):
    """The receiver on 127.0.0.1; prints one line, then the payload, for each webhook; or one line of JSON."""

    def __init__(self, port: int, secrets: Sequence[str], run: SecretsOfRun | None, *, as_json: bool = False) -> None:
        super().__init__(port, self.receive)
        self._secrets = list(secrets)
        self._run = run
        self._as_json = as_json
        self._seen: set[str | None] = set()
        self._lock = threading.Lock()

    def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        """Judge and print one webhook; returns the status to answer with."""
        verdict, genuine = self._verdict(headers, body)
        id, text = headers.get("webhook-id"), body.decode(errors="replace")
        with self._lock:
            repeat = id in self._seen
            self._seen.add(id)
            if self._as_json:
                told = {"webhook_id": id, "repeat": repeat, "accepted": genuine, "verdict": verdict, "body": text}
                click.echo(json_line(told))
            else:
                title = f"{_title(body)} {id or '(no webhook-id)'}{', again' if repeat else ''}"
                click.echo(f"{time.strftime('%H:%M:%S')} {safe(title)}: {verdict}\n         {safe(text)}")
        return 204 if genuine else 400

    def _verdict(self, headers: Mapping[str, str], body: bytes) -> tuple[str, bool]:
        for fresh in (False, True):
            secrets = self._secrets or (self._run.get(fresh=fresh) if self._run else [])
            if not secrets:
                reason = "not verified (no secret known; give --secret)"
                continue
            try:
                verify_webhook(secrets, headers, body)
                return "verified", True
            except (WebhookVerificationError, SecretError) as error:
                reason = f"NOT VERIFIED: {error}"
        return reason, not secrets


def _title(body: bytes) -> str:
    try:
        event = json.loads(body)
        return f"{event['type']} {event['stream']['kind']}/{event['stream']['id']} seq {event['seq']}"
    except (ValueError, KeyError, TypeError):
        return f"{len(body)} bytes"


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=9000, show_default=True, help="Port on 127.0.0.1.")
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="TEXT",
    help="whsec_… or whpk_… to verify with; repeatable (default: asks the local run in var/ for the secrets of the"
    " endpoints that point here). With --forward-to: whsec_… to sign with.",
)
@click.option("--forward-to", metavar="URL", help="Do not receive: send each event of the workspace to this address.")
@click.option("--endpoint", metavar="ID", help="Forward as to this endpoint: its secret, and what it asks for.")
@click.option("--types", metavar="TYPES", help="Forward only these types, separated by commas; call.* is a prefix.")
@click.option("--streams", metavar="KIND:ID", help="Forward only of these streams, separated by commas.")
@click.option("--kinds", metavar="KINDS", help="Forward only of streams of these kinds, separated by commas.")
@click.option(
    "--after",
    metavar="PLACE",
    help="Forward from here on: latest, earliest, a time, 1h, or a cursor (default: where it ended; at first, latest).",
)
@click.option("--state", type=click.Path(dir_okay=False, path_type=Path), help="Keep the place in this file instead.")
@click.option("--profile", metavar="NAME", help="The server to forward from (see twofold profile).")
@click.option("--workspace", metavar="ID", help="Id or uid of its workspace, for a platform key.")
@json_option
@click.pass_context
def listen(ctx: click.Context, /, port: int, secrets: Sequence[str], as_json: bool, **forward: Any) -> None:
    """Receive webhooks on this machine until Ctrl-C: print them, and say whether their signatures are valid.

    With --forward-to it needs no address that the server can reach: it reads the feed and sends each event on, signed
    as a delivery is. Called again, it goes on where it was.
    """
    if forward["forward_to"] is not None:
        if ctx.get_parameter_source("port") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--port is for receiving; leave it out with --forward-to")
        from app.cli.forward import start

        start(secrets=secrets, as_json=as_json, **forward)
        return
    for name, value in forward.items():
        if value is not None:
            raise click.UsageError(f"--{name} needs --forward-to URL")
    _receive(port, secrets, as_json=as_json)


def _receive(port: int, secrets: Sequence[str], *, as_json: bool) -> None:
    described = var_directory(os.environ) / "dev.json"
    try:
        run = None if secrets else SecretsOfRun(described, port)
        server = Listener(port, secrets, run, as_json=as_json)
    except OSError as error:
        raise OSError(f"port {port} cannot be used ({error.strerror}); choose another: --port {port + 1}") from None
    with server:
        click.echo(f"Listening on http://127.0.0.1:{port}/ (Ctrl-C ends it)", err=as_json)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


commands = (listen,)
