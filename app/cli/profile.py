"""`twofold profile`: the servers that you work with, and their keys, in a file that only you can read."""

from __future__ import annotations

import os
import re
import sys

import click

from app.cli import profiles
from app.cli.command import CommandError, Status
from app.cli.profiles import Profiles, Server
from app.cli.shown import columns, json_option, print_rows

COLUMNS = columns(used="used", name="name", url="url", key="key", workspace="workspace")
KEY = re.compile(r"[\x21-\x7e]+")  # what can stand in a header
SHOWN_OF_KEY = 8  # as GET /v1/keys shows its prefix


def _names(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in _read().servers if name.startswith(incomplete)]


_name = click.argument("name", shell_complete=_names)


@click.group()
def profile() -> None:
    """Servers to work with, with their keys. The first one is in use until you say otherwise."""


@profile.command()
@_name
@click.option("--url", metavar="URL", required=True, help="Such as https://events.example.com.")
@click.option("--workspace", metavar="ID_OR_UID", help="The workspace to act for, with a platform key.")
@click.option("--key-stdin", is_flag=True, help="Read the key from standard input rather than ask for it.")
def add(name: str, url: str, workspace: str | None, key_stdin: bool) -> None:
    """Remember a server as NAME. Its key is asked for: an option would be seen by others (ps) and kept by the shell."""
    url = profiles.checked_url(url)
    key = sys.stdin.readline().strip() if key_stdin else click.prompt("API key", hide_input=True, err=True).strip()
    if not KEY.fullmatch(key):
        raise CommandError("that is not a key, such as pk_… or sk_…", Status.USAGE)
    _write(_read().with_server(name, Server(url, key, workspace)))


@profile.command("list")
@json_option
def list_profiles(as_json: bool) -> None:
    """List the servers; of their keys the first letters only."""
    known = _read()
    rows = [
        {
            "used": "*" if name == known.used else "",
            "name": name,
            "url": server.url,
            "key": f"{server.key[:SHOWN_OF_KEY]}…",
            "workspace": server.workspace,
        }
        for name, server in known.servers.items()
    ]
    print_rows(rows, COLUMNS, as_json=as_json, empty="No profiles. Add one: twofold profile add NAME --url URL")


@profile.command()
@_name
def use(name: str) -> None:
    """Ask this server from now on, unless a command is told otherwise."""
    _write(_read().using(name))


@profile.command()
@_name
def remove(name: str) -> None:
    """Forget a server and its key."""
    _write(_read().without(name))


def _read() -> Profiles:
    return profiles.read(profiles.place(os.environ))


def _write(changed: Profiles) -> None:
    profiles.write(profiles.place(os.environ), changed)


commands = (profile,)
