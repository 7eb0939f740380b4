"""Begins `twofold listen --forward-to`: what to ask for, what signs, and where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from app.cli.api import Api, part, server
from app.cli.command import CommandError, Status
from app.cli.forward_receiver import Receiver, checked_url
from app.cli.forward_state import State, StateFile, place
from app.cli.forwarding import Forwarding, first_place
from app.cli.moment import AGO, moment
from app.cli.shown import cell
from app.core.feed.wanted import read_wanted
from app.core.webhook.signing import SECRET_BYTES, SECRET_PREFIX, SigningSecretError, new_secret, sign

TIMEOUT_SECONDS = 15.0  # of a delivery's attempt
LONGEST_FILTER = 6000  # of a content filter in an address, escaped: servers take 8 KiB of address


def start(
    *,
    forward_to: str,
    endpoint: str | None,
    secrets: Sequence[str],
    types: str | None,
    streams: str | None,
    kinds: str | None,
    after: str | None,
    state: Path | None,
    profile: str | None,
    workspace: str | None,
    as_json: bool,
) -> None:
    """Forward until Ctrl-C. Raises CommandError, click.UsageError, OSError."""
    url = checked_url(forward_to)
    _check_secrets(secrets, endpoint)
    asked = _checked({"types": types, "streams": streams, "kinds": kinds})
    tell = partial(click.echo, err=True)
    with Api(server(profile, workspace)) as api:
        file = StateFile(state or place(os.environ, api.server.url, api.server.workspace, url))
        file.lock()
        known = file.read(api.server.url, url)
        found = _of_endpoint(api, endpoint, asked, tell) if endpoint else None
        made = known.secret if known is not None and known.secret else new_secret(os.urandom(SECRET_BYTES))
        signing = list(secrets) or (found["secrets"] if found else [made])
        if known is None or after is not None:
            cursor = first_place(api, asked, _named(after or "latest"))
        else:
            cursor = known.cursor
        now = State(api.server.url, url, cursor, made if signing == [made] else known.secret if known else "")
        file.write(now)
        say = partial(click.echo, err=as_json)
        begins = "where it was" if known is not None and after is None else after or "now on"
        say(f"Forwarding {_words(asked)} of {api.server.url} to {url} from {begins} (Ctrl-C ends it)")
        if signing == [made]:
            say(f"Signed with {made}, also next time")
        receiver = Receiver(url, signing, TIMEOUT_SECONDS, with_cursor=bool(found and found["feed_cursor"]))
        try:
            Forwarding(api, receiver, file, now, asked, as_json=as_json, tell=tell).run()
        except KeyboardInterrupt:
            tell("Ended; the same command goes on from here")


def _check_secrets(secrets: Sequence[str], endpoint: str | None) -> None:
    if secrets and endpoint:
        raise click.UsageError("give --endpoint or --secret, not both: an endpoint has a secret of its own")
    for secret in secrets:
        try:
            if not secret.startswith(SECRET_PREFIX):
                raise SigningSecretError(f"a secret that signs starts with {SECRET_PREFIX}")
            sign([secret], "", 0, b"")
        except SigningSecretError as error:
            raise CommandError(f"--secret: {error}; leave it out, and one is made", Status.USAGE) from None


def _checked(given: dict[str, str | None]) -> dict[str, str]:
    asked = {name: value for name, value in given.items() if value is not None}
    try:
        read_wanted(asked)
    except ValueError as error:
        name, text = error.args
        raise CommandError(f"--{name} {text}", Status.USAGE) from None
    return asked


def _of_endpoint(api: Api, endpoint: str, asked: dict[str, str], tell: Any) -> dict[str, Any]:
    """The secrets that sign for an endpoint, and whether it wants cursors. Its types and kinds are asked for where the
    command names none, its content filter always; what the feed cannot do as a delivery would is told."""
    found = api.get(f"/v1/endpoints/{part(endpoint)}")
    secret = api.get(f"/v1/endpoints/{part(endpoint)}/secret")
    for name, member in (("types", "event_types"), ("kinds", "stream_kinds")):
        if name not in asked and found[member]:
            asked[name] = ",".join(found[member])
    missing = ["channels"] if found["channels"] else []
    if found["content_filter"]:
        text = json.dumps(found["content_filter"], ensure_ascii=False, separators=(",", ":"))
        if len(quote(text)) <= LONGEST_FILTER:
            asked["content_filter"] = text
        else:
            missing.append("content_filter")
    if missing:
        tell(f"Not applied: {' and '.join(missing)} of {cell(found['id'])}; you also get events that it does not")
    if found["header_names"]:
        tell(f"Not sent: its own headers ({cell(found['header_names'])}), whose values the server does not tell")
    if found["signing"] != "hmac":
        tell("Not sent: its v1a signatures, whose key the server does not tell; v1 signatures are")
    former = [one["secret"] for one in secret["former"] if "secret" in one]
    return {"secrets": [secret["secret"], *former], "feed_cursor": found["feed_cursor"]}


def _named(after: str) -> str:
    """A place as the server takes it."""
    return moment(after, datetime.now(UTC)) if AGO.fullmatch(after) else after


def _words(asked: dict[str, str]) -> str:
    return ", ".join(f"{name} {cell(value)}" for name, value in asked.items()) or "everything"
