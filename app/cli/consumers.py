"""`twofold consumers`: readers of the feed whose places the server keeps."""

from __future__ import annotations

import json
from typing import Any

import click

from app.cli.api import Api, asks, part, stream_name
from app.cli.moment import place
from app.cli.options import limit_option, sure, yes_option
from app.cli.shown import columns, json_line, json_option, print_object, print_rows

COLUMNS = columns(
    name="name",
    behind="lag.events",
    seconds="lag.seconds",
    leased_until="leased_until",
    committed="committed_at",
    read="read_at",
    streams="streams",
    kinds="kinds",
    types="types",
    filter="content_filter",
)


@click.group()
def consumers() -> None:
    """Readers of the feed whose places the server keeps: how far each is behind, and moving it."""


@consumers.command("list")
@asks
@limit_option
@json_option
def list_consumers(api: Api, limit: int, as_json: bool) -> None:
    """List consumers by name, with how far each is behind."""
    print_rows(api.rows("/v1/feed/consumers", {}, limit), COLUMNS, as_json=as_json, empty="No consumers.")


@consumers.command()
@asks
@click.argument("name")
@json_option
def show(api: Api, name: str, as_json: bool) -> None:
    """Show where a consumer is, whether somebody reads, and how far it is behind."""
    print_object(api.get(_path(name)), as_json=as_json)


@consumers.command()
@asks
@click.argument("name")
@click.option("--stream", "streams", multiple=True, metavar="KIND/ID", help="Only this stream; repeatable.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only streams of this kind; repeatable.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only this type, such as call.*; repeatable.")
@click.option("--filter", metavar="JSON", help='Only such data, as {"path": "/amount", "gte": 100}.')
@click.option("--start", metavar="PLACE", help="Where a new one begins: earliest (default), latest, a time, a cursor.")
@json_option
def create(
    api: Api,
    name: str,
    streams: tuple[str, ...],
    kinds: tuple[str, ...],
    types: tuple[str, ...],
    filter: str | None,
    start: str | None,
    as_json: bool,
) -> None:
    """Make a consumer, or give the one of this name these filters instead; one that exists stays where it is."""
    wanted = {
        "streams": list(map(stream_name, streams)) or None,
        "kinds": list(kinds) or None,
        "types": list(types) or None,
        "content_filter": None if filter is None else _object(filter),
        "start": None if start is None else place(start),
    }
    body = {name: value for name, value in wanted.items() if value is not None}
    print_object(api.json("PUT", _path(name), json=body), as_json=as_json)


@consumers.command()
@asks
@click.argument("name")
@click.argument("to", metavar="PLACE")
@json_option
def seek(api: Api, name: str, to: str, as_json: bool) -> None:
    """Move a consumer to PLACE: earliest, latest, a time, how long ago such as 2h, or a cursor of the feed.

    Whoever reads it now loses the lease.
    """
    now = api.post(f"{_path(name)}/seek", {"to": place(to)})
    click.echo(json_line(now) if as_json else f"{now['name']} goes on from {to}")


@consumers.command()
@asks
@click.argument("name")
@yes_option
def delete(api: Api, name: str, yes: bool) -> None:
    """Forget a consumer; its place in the feed is lost."""
    sure(yes, f"Forget the consumer {name}?")
    api.json("DELETE", _path(name))


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"--filter is not JSON: {error}") from None


def _path(name: str) -> str:
    return f"/v1/feed/consumers/{part(name)}"


commands = (consumers,)
